"""What a loader of shapes returns, and what the loaders share: the fingerprint, the validation part, a published archive.

Neither Princeton set has published check-sums. A fingerprint says which copy a number was made with; the one of the
first download is kept in ``fingerprint.txt`` beside the files and later ones are held against it, but that does not
make it official.
"""

import hashlib
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Int64

from bwot.data.images import DataError, FileReport
from bwot.data.sampling import stratified_subset

UNVERIFIED = "as downloaded, no check-sum is published"
FIRST_SEEN = "fingerprint.txt"
MOST_MEMBER = 1 << 28  # bytes of a file in an archive, as of a mesh


@dataclass(frozen=True)
class ShapeSet:
    """A data set of shapes in n files (or n tuples of files, a view each), and which copy of it.

    ``labels`` are indices into ``classes``; ``splits`` has the ascending indices of ``train``, ``validation`` and
    ``test``, which together may be fewer than n.
    """

    name: str
    variant: str  # what the files are, in words
    official: bool  # the published bytes; never where no check-sum is published
    sha256: str  # see :func:`fingerprint`
    classes: tuple[str, ...]
    names: tuple[str, ...]  # unique in the set
    paths: tuple[Path, ...] | tuple[tuple[Path, ...], ...]
    labels: Int64[np.ndarray, " n"]
    splits: Mapping[str, Int64[np.ndarray, " part"]]
    missing: tuple[str, ...] = ()  # names that the set lists and that have no file

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(
            f for path in self.paths for f in (path if isinstance(path, tuple) else (path,))
        )

    @property
    def summary(self) -> str:
        """How many shapes there are in what, in words."""
        parts = ", ".join(f"{len(indices):,} {part}" for part, indices in self.splits.items())
        return f"{parts} shapes in {len(self.classes)} classes"


def some(names: Sequence[str], most: int = 10) -> str:
    """The first of some names, and how many more there are.

    >>> some(["ant", "bee", "cat"], most=2)
    'ant, bee and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def fingerprint(folder: Path, paths: Sequence[Path]) -> str:
    """SHA-256 over the bytes and the names, relative to ``folder``, of files below it.

    It is that of the text with one line a file, its SHA-256, two blanks, its name, sorted by name: what
    ``find . -name '*.off' | cut -c3- | LC_ALL=C sort | xargs sha256sum | sha256sum`` prints in ``folder``.

    Raises:
        DataError: for a file that cannot be read, or whose name is no UTF-8 text.
    """
    lines = []
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in paths):
        try:
            name.encode()
            with path.open("rb") as stream:
                lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {name}\n")
        except UnicodeEncodeError as error:
            raise DataError(f"{folder} has a file whose name is no UTF-8 text: {name!a}. Rename it.") from error  # fmt: skip
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def split_training(
    labels: Int64[np.ndarray, " n"], training: Int64[np.ndarray, " m"], share: int, least: int = 1
) -> dict[str, Int64[np.ndarray, " part"]]:
    """``train`` and ``validation``: one in ``share`` of the training samples, stratified by class, always the same.

    In a set so small that no class has ``least`` of these, they are ``least`` a class instead, but at most half of the samples:
    2 where the validation samples are searched among themselves.

    Raises:
        DataError: if there are fewer than ``share`` training samples.
    """
    if len(training) < share:
        raise DataError(
            f"there are {len(training)} training shapes, expected {share} or more: one in {share} is for validation."
        )
    classes = torch.from_numpy(labels[training])
    taken = stratified_subset(classes, len(training) // share, seed=0).numpy()
    if classes[taken].bincount().max() < least:
        enough = min(least * len(classes.unique()), len(training) // 2)
        taken = stratified_subset(classes, enough, seed=0).numpy()
    rest = np.setdiff1d(np.arange(len(training)), taken)
    return {"train": training[rest], "validation": training[taken]}


class Loaded(Protocol):
    """What :func:`judged` needs of a set."""

    variant: str
    sha256: str
    missing: tuple[str, ...]
    files: tuple[Path, ...]
    summary: str


def judged(folder: Path, load: Callable[[], Loaded], recovery: str) -> list[FileReport]:
    """What the set in ``folder`` is, in one report: ``variant``, ``missing`` or ``damaged``.

    Damaged is a set that does not load, and one whose fingerprint is another than at its download.
    """
    try:
        found = load()
    except FileNotFoundError as error:
        return [FileReport(folder, "missing", 0, str(error))]
    except DataError as error:
        return [FileReport(folder, "damaged", 0, str(error))]
    size = sum(file.stat().st_size for file in found.files)
    detail = f"{folder} has {found.summary}: {found.variant}.\n  sha256 {found.sha256}"
    if found.missing:
        detail += f"\n  no file for {some(found.missing)}"
    first = folder / FIRST_SEEN
    if first.exists() and found.sha256 not in first.read_text(encoding="ascii", errors="replace"):
        return [
            FileReport(folder, "damaged", size, f"{detail}\n  not what {first} has.\n{recovery}")
        ]
    return [FileReport(folder, "variant", size, detail)]


def keep_first_seen(folder: Path, sha256: str) -> None:
    """Write the fingerprint of a first download beside its files; one that is there stays."""
    path = folder / FIRST_SEEN
    if not path.exists():
        path.write_text(f"{sha256}\nseen here first; none is published\n", encoding="ascii")


def members(archive: Path, pattern: re.Pattern, recovery: str) -> dict[str, str]:
    """The files in a zip archive whose whole names match, each with the path that the group ``path`` has in it.

    Raises:
        DataError: for a file that is no zip archive, or has a name twice, one that leads elsewhere or a file too large.
    """
    found = {}
    with _opened(archive, recovery) as content:
        for info in content.infolist():
            if not (match := pattern.fullmatch(info.filename)):
                continue
            path = match["path"]
            if {"", ".", ".."} & set(path.split("/")) or path in found.values():
                reason = f"{info.filename!r} twice, or as a path that leads elsewhere"
            elif info.file_size > MOST_MEMBER:
                reason = f"{info.filename} with {info.file_size:,} bytes, expected at most {MOST_MEMBER:,}"
            else:
                found[info.filename] = path
                continue
            raise DataError(f"{archive} has {reason}.\n{recovery}")
    return found


def unpack(archive: Path, found: Mapping[str, str], folder: Path, recovery: str) -> None:
    """Write what :func:`members` found in a zip archive below ``folder``, which then has all of it or is not there.

    The files are written into a hidden folder beside it, checked against the archive's own check-sums, and the folder
    is renamed at the end. A link in the archive becomes a plain file, so nothing is followed.

    Raises:
        DataError: for an archive that is damaged.
        FileExistsError: where ``folder`` is there already; it is left as it is.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: move it away to unpack {archive} again.")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with _opened(archive, recovery) as content:
            for name, place in found.items():
                (part / place).parent.mkdir(parents=True, exist_ok=True)
                with content.open(name) as source, (part / place).open("wb") as target:
                    shutil.copyfileobj(source, target)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _opened(archive, recovery):
    try:
        with zipfile.ZipFile(archive) as content:
            yield content
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: encrypted, or packed in a way that zipfile does not know
        raise DataError(f"{archive} is no whole zip archive: {error}.\n{recovery}") from error
