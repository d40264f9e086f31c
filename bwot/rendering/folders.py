"""A folder of shapes → a folder of pictures: one PNG a shape with its views below each other.

The work is spread over processes of one thread each, goes on past files that cannot be drawn, and goes on where it was when it
was stopped. ``settings.json`` in the folder says how its pictures were made: other ones do not get among them.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from bwot.meshes import read_mesh
from bwot.progress import progress
from bwot.records import write_atomically
from bwot.rendering.cameras import Up, Views
from bwot.rendering.pictures import Style, check_settings, render
from bwot.rendering.workers import in_processes

DRAWING = 1  # version of the pictures: raised whenever the same shape is drawn otherwise
COMPRESSION = 1  # of PNG, without filters: four times as fast as the usual 6 with them, files a quarter larger
SIGNATURE, END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


class Broken(NamedTuple):
    """A shape that was not drawn, and why."""

    name: str
    path: Path  # of its first file
    reason: str


def render_folder(
    paths: Sequence[str | Path],
    names: Sequence[str],
    folder: str | Path,
    views: Views,
    size: int = 224,
    style: Style = "shaded",
    samples: int = 2,
    up: Up = "z",
    processes: int | None = None,
) -> list[Broken]:
    """Draw every file into ``folder/<name>.png``, views below each other; the list of those that could not be drawn.

    A strip that is there, has the right size and is not older than its mesh is kept. Start scripts that call this under
    ``if __name__ == "__main__":`` when they use several processes, as Python's own pools ask for.

    Args:
        paths: mesh files.
        names: of the strips, one a path, such as ``chair/chair_0001``; folders among them are made.
        folder: where the strips go.
        views: as in :func:`bwot.rendering.pictures.render`, and so are the next four.
        size: width and height of a view in pixels.
        style: ``shaded`` or ``drawn``.
        samples: rays a pixel along each side.
        up: the axis of the shapes that points up.
        processes: how many draw, None for one a core; 1 draws in this process.

    Raises:
        ValueError: for settings of another kind, names that leave the folder or occur twice, or a folder whose strips were
            made with other settings.
        bwot.rendering.workers.WorkerDied: where a process ended in the middle of a shape, which is named.
    """
    check_settings(views, size, style, samples, up)
    settings = {"views": views, "size": size, "style": style, "samples": samples, "up": up, "drawing": DRAWING}  # fmt: skip
    return fill_folder(_drawn, paths, names, folder, settings, processes)


def fill_folder(
    strip_of: Callable[[Path | tuple[Path, ...], dict], UInt8[np.ndarray, "v size size"]],
    paths: Sequence[str | Path | tuple[Path, ...]],
    names: Sequence[str],
    folder: str | Path,
    settings: dict,
    processes: int | None = None,
) -> list[Broken]:
    """As :func:`render_folder`, with the views of each shape by ``strip_of(path, settings)``.

    Args:
        strip_of: a function of a module, which every process imports; ValueError and OSError say that a shape is broken.
        paths: a file, or a tuple of files, for each shape.
        names: as for :func:`render_folder`, and so are ``folder`` and ``processes``.
        folder: where the strips go.
        settings: all that the strips depend on, as JSON gives it back; ``views`` and ``size`` are among them.
        processes: how many work.
    """
    folder = Path(folder)
    jobs = _jobs(strip_of, paths, names, folder, settings)
    _settle(folder, settings)
    left = [job for job in jobs if not _is_drawn(job)]
    processes = min(len(left), processes or os.cpu_count() or 1)
    with closing(in_processes(_make, left, processes, [job.name for job in left])) as done:
        broken = {name: reason for name, reason in _watched(done, len(left)) if reason}
    return [Broken(job.name, job.files[0], broken[job.name]) for job in jobs if job.name in broken]


def read_strip(path: str | Path) -> UInt8[np.ndarray, "v size size"]:
    """The views in a strip, upper one first.

    Raises:
        ValueError: for a file that is no strip; it is named.
    """
    import cv2

    content = Path(path).read_bytes()
    picture = (
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    )
    if picture is None or picture.ndim != 2 or picture.dtype != np.uint8 or len(picture) % picture.shape[1]:  # fmt: skip
        found = "no picture" if picture is None else f"one of shape {picture.shape}, {picture.dtype}"  # fmt: skip
        raise ValueError(
            f"{path} must be a grey PNG of square views below each other, not {found}: remove it to have it made again."
        )
    return picture.reshape(-1, picture.shape[1], picture.shape[1])


class _Job(NamedTuple):
    strip_of: Callable
    name: str
    path: Path | tuple[Path, ...]
    strip: Path
    settings: dict

    @property
    def files(self):
        return self.path if isinstance(self.path, tuple) else (self.path,)


def _jobs(strip_of, paths, names, folder, settings):
    if len(paths) != len(names):
        raise ValueError(f"names must be one a path: {len(paths)} paths, {len(names)} names.")
    strips = {}
    for name in names:
        parts = PurePosixPath(name).parts
        inside = parts and ".." not in parts and not PurePosixPath(name).is_absolute()
        if not inside or "\\" in name or "\0" in name or ":" in name:
            raise ValueError(
                f"names must stay inside the folder and have no colon or backslash, like 'chair/chair_0001', not {name!r}."
            )
        strip = folder.joinpath(*parts[:-1], parts[-1] + ".png")
        if strip in strips:
            raise ValueError(f"names must differ: {strips[strip]!r} and {name!r} are both {strip}.")
        strips[strip] = name
    paths = [path if isinstance(path, tuple) else Path(path) for path in paths]
    return [
        _Job(strip_of, name, path, strip, settings)
        for path, (strip, name) in zip(paths, strips.items(), strict=True)
    ]


def _settle(folder, settings):
    """Write the settings of a new folder, or hold those of an old one against them."""
    path = folder / "settings.json"
    if not path.exists():
        write_atomically(path, (json.dumps(settings, indent=1) + "\n").encode())
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = "something else than JSON"
    if found != settings:
        raise ValueError(
            f"{folder} holds pictures made with other settings.\n  wanted {settings}\n  found  {found}\n"
            "Take another folder, or delete this one."
        )


def _is_drawn(job):
    """Is a whole PNG of the right size there, not older than its files? A look at its first and last bytes."""
    try:
        with job.strip.open("rb") as stream:
            first = stream.read(25)
            stream.seek(-len(END), os.SEEK_END)
            last = stream.read()
        newest = max(file.stat().st_mtime_ns for file in job.files)
        older = job.strip.stat().st_mtime_ns < newest
    except OSError:
        return False
    size = job.settings["size"]
    views = {"ring": 12, "dodecahedron": 20}[job.settings["views"]]
    shape = size.to_bytes(4, "big") + (views * size).to_bytes(4, "big") + b"\x08"
    return first == SIGNATURE + b"\0\0\0\rIHDR" + shape and last == END and not older


def _drawn(path, settings):
    from bwot.rendering.shading import WHITE

    strip = render(
        read_mesh(path), **{key: value for key, value in settings.items() if key != "drawing"}
    )
    if (strip == WHITE).all():  # triangles thinner than the distance of two rays
        raise ValueError(f"{path}: the shape is too thin to be seen, all of its views are empty.")
    return strip


def _make(job: _Job) -> tuple[str, str]:
    """Write one strip; its name, and why it could not be made, or an empty text."""
    import cv2

    try:
        strip = job.strip_of(job.path, job.settings)
    except (ValueError, OSError) as error:
        return job.name, str(error) or type(error).__name__
    strip = strip.reshape(-1, strip.shape[-1])
    how = [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]  # fmt: skip
    _, content = cv2.imencode(".png", strip, how)
    write_atomically(job.strip, content.tobytes())
    return job.name, ""


def _watched(done: Iterator, count: int) -> Iterator:
    """What is done, behind a bar for who watches."""
    for _ in progress(range(count), "views"):
        yield next(done)
