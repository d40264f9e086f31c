"""From mesh files of any class to models that a trained network can find.

They are drawn and pass the frozen network as the shapes of the run did. What was drawn is kept under ``cache/meshes`` by the
bytes of each file: a killed call goes on, and of a folder that has grown what is new is drawn.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from bwot import sketch_standins
from bwot.indexing import Models, Trained, small
from bwot.paths import cache_root
from bwot.pipeline import ARRANGEMENTS, FROZEN, TRAINED
from bwot.rendering import Broken, read_strip, render_folder

SUFFIXES = (".off", ".obj", ".ply", ".stl")
"""Of the files that :func:`bwot.meshes.read_mesh` reads, in small letters; other letters are as good."""
Up = Literal["y", "z"]


def read_models(run: Trained, meshes: Sequence[str | Path], up: Up = "y") -> Models:
    """Models from mesh files, and from all such files in folders and the folders in them.

    Args:
        run: whose networks they are for.
        meshes: files and folders.
        up: the axis of the meshes that points up.

    Raises:
        FileNotFoundError: for a path that is not there.
        ValueError: for a file of another kind, a folder without mesh files, and where no file can be drawn.
    """
    files = mesh_files(meshes)
    drawn = _drawn(run, list(files), up)
    broken = [
        Broken(_readable(files[path]), Path(_readable(path)), reason)
        for path, reason in drawn.reasons.items()
    ]
    whole = {path: name for path, name in files.items() if path not in drawn.reasons}
    if not whole:
        told = "\n".join(f"  {each.path}: {each.reason}" for each in broken[:10])
        raise ValueError(f"none of {len(files)} mesh files can be drawn:\n{told}")
    keys = list(dict.fromkeys(drawn.keys[path] for path in whole))
    samples = _pictures(drawn, keys) if run.frozen is None else _features(run, drawn, keys, up)
    rows = {key: row for row, key in enumerate(keys)}
    rows = [rows[drawn.keys[path]] for path in whole]
    pictures = np.stack([small(drawn.read(key)[0]) for key in keys])
    return Models(
        tuple(whole.values()), tuple(map(str, whole)), samples[rows], pictures[rows], tuple(broken)
    )


def mesh_files(meshes: Sequence[str | Path]) -> dict[Path, str]:
    """Mesh files with their names: where they lie in the folder that was named, without suffix; whole where two were equal.

    Raises:
        FileNotFoundError: for a path that is not there.
        ValueError: for a file of another kind and a folder without mesh files.
    """
    found = {}
    for given in map(Path, meshes):
        if given.is_dir():
            inside = sorted(path for path in given.rglob("*") if _is_mesh(path))
            if not inside:
                raise ValueError(
                    f"{given} and the folders in it have no mesh files ({', '.join(SUFFIXES)})."
                )
            found |= {path: path.relative_to(given).with_suffix("").as_posix() for path in inside}
        elif not given.exists():
            raise FileNotFoundError(f"{given} does not exist: name mesh files and folders of them.")
        elif given.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{given} is no mesh file: its suffix must be one of {', '.join(SUFFIXES)}."
            )
        else:
            found[given] = given.stem
    often = Counter(found.values())
    return {path: name if often[name] == 1 else path.as_posix() for path, name in found.items()}


def _readable(name):
    """A name of a file as text that can be written; bytes that are no UTF-8 become question marks."""
    return os.fsencode(name).decode(errors="replace")


class _Drawn(NamedTuple):
    keys: dict[Path, str]  # files of the same bytes share one
    read: Callable[[str], UInt8[np.ndarray, "v s s"]]
    reasons: dict[Path, str]  # of files that could not be drawn


def _drawn(run, paths, up):
    """Views of each file, as the shapes of the run have them."""
    keys, reasons = {}, {}
    for path in paths:
        if _readable(path) != str(path):
            reasons[path] = "its name is not UTF-8: rename it."
            continue
        try:
            with path.open("rb") as stream:
                keys[path] = hashlib.file_digest(stream, "sha256").hexdigest()[:32]
        except OSError as error:
            reasons[path] = f"the file cannot be read: {error.strerror}."
    unique = {key: path for path, key in keys.items()}
    read, why = (_draw_small if run.record.preset == "quick" else _draw)(run, unique, up)
    why = {key: reason.removeprefix(f"{unique[key]}: ") for key, reason in why.items()}
    reasons |= {path: why[key] for path, key in keys.items() if key in why}
    return _Drawn(keys, read, reasons)


def _draw_small(run, unique, up):
    """Views as the stand-ins have them, drawn in this process."""
    from bwot.meshes import read_mesh

    strips, why = {}, {}
    for key, path in unique.items():
        try:
            strips[key] = sketch_standins.seen(read_mesh(path), up)
        except (ValueError, OSError) as error:
            why[key] = str(error)
    return strips.__getitem__, why


def _draw(run, unique, up):
    """Views as the run's data set has them, drawn by all cores into the cache."""
    size = TRAINED if run.frozen is None else FROZEN
    arrangement = ARRANGEMENTS[run.data.name][0]
    folder = cache_root() / "meshes" / f"{arrangement}-{up}-{size}"
    broken = render_folder(list(unique.values()), list(unique), folder, arrangement, size, up=up)
    return lambda key: read_strip(folder / f"{key}.png"), {
        each.name: each.reason for each in broken
    }


def _pictures(drawn, keys):
    return torch.from_numpy(np.stack([drawn.read(key) for key in keys])[:, :, None])


def _features(run, drawn, keys, up):
    """The maximum over the views of the frozen network's features, standardised as those of the run's shapes."""
    from bwot.features import compute_features, pooled

    arrangement, count, _ = ARRANGEMENTS[run.data.name]
    by, together = run.frozen.settings, hashlib.sha256("\n".join(keys).encode()).hexdigest()
    name = f"{by['name']}-{by['sha256'][:12]}-{arrangement}-{up}-{together[:20]}.npy"
    path = cache_root() / "meshes" / name
    features = compute_features(path, keys, drawn.read, run.frozen, count, together)
    mean, deviation = run.data.standards["shapes"]
    return torch.from_numpy((pooled(features) - mean) / deviation)


def _is_mesh(path):
    return path.suffix.lower() in SUFFIXES and path.is_file()
