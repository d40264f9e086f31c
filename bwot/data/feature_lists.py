"""The authors' text files of features → one array file with names, labels and split.

Their scripts write a text file a picture, one number a line, and three lists with ``path label`` a line: training
sketches, test sketches, shapes (in their folder shrec14: sketch_train_sh.txt and the like). The rotations of a sketch and
the views of a shape follow each other in a list, as its files do in a sorted folder, the drawing as it was drawn first.

The array file is an ordinary ``.npz``, no pickle: ``sketches`` (n, r, d) and ``shapes`` (m, d), the maximum over the views,
in float32; ``sketch_labels`` and ``shape_labels``; ``sketch_names`` and ``shape_names``; ``test``, true for sketches of the
test part.
"""

import hashlib
import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from bwot.data.images import DataError
from bwot.data.shapes import split_training
from bwot.data.sketches import SHARE
from bwot.progress import progress
from bwot.records import write_atomically

ARRAYS = {
    "sketches": ("f", 3), "sketch_labels": ("i", 1), "sketch_names": ("U", 1), "test": ("b", 1),
    "shapes": ("f", 2), "shape_labels": ("i", 1), "shape_names": ("U", 1),
}  # fmt: skip
"""What an array file holds, with the kind of number and the number of axes."""
MOST_BYTES = 1 << 24  # of a text file


@dataclass(frozen=True, eq=False)
class ConvertedSet:
    """What an array file holds, with the fields of :class:`bwot.data.sketches.SketchSet` that do not name files."""

    name: str
    variant: str
    official: bool
    sha256: str  # of the array file
    classes: tuple[str, ...]  # the authors' numbers
    sketches: Float32[np.ndarray, "n r d"]
    sketch_names: tuple[str, ...]
    sketch_labels: Int64[np.ndarray, " n"]
    splits: dict[str, Int64[np.ndarray, " part"]]
    shapes: Float32[np.ndarray, "m d"]
    shape_names: tuple[str, ...]
    shape_labels: Int64[np.ndarray, " m"]


def convert(
    train: Path, test: Path, shapes: Path, output: Path, rotations: int = 20, views: int = 20
) -> Path:
    """Read three lists and every file that they name, and write the array file.

    Args:
        train: list of the training sketches; a path in a list is absolute, or relative to the folder of the list.
        test: list of the test sketches.
        shapes: list of the views of the shapes.
        output: ``NAME.npz``.
        rotations: files a sketch, which follow each other; 1 where each is a sketch of its own.
        views: files a shape, which follow each other.

    Raises:
        ValueError: for a name that does not end in ``.npz``.
        DataError: for a list or a file of features that is malformed or not there; it names file and line.
    """
    if output.suffix != ".npz":
        raise ValueError(f"the array file is named NAME.npz, not {output.name}.")
    train, test = _read_list(train, rotations), _read_list(test, rotations)
    seen = _read_list(shapes, views)
    length = len(_numbers(train[0].files[0]))
    sketches = train + test
    content = io.BytesIO()
    np.savez(
        content,
        sketches=_features(sketches, length),
        shapes=_features(seen, length).max(axis=1),
        test=np.arange(len(sketches)) >= len(train),
        **_named("sketch", sketches),
        **_named("shape", seen),
    )
    write_atomically(output, content.getvalue())
    return output


def read_converted(path: Path, name: str) -> ConvertedSet:
    """What :func:`convert` wrote, a fifth of the training sketches of each class for validation.

    Args:
        path: of the array file.
        name: of the data set that it stands for.

    Raises:
        FileNotFoundError: where it is not there.
        DataError: where it is damaged, or no such file.
    """
    content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {key: file[key] for key in ARRAYS}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is no array file of `bwot convert`: {error}.") from error
    _refuse_other_arrays(path, arrays)
    labels, shape_labels = (
        arrays[key].astype(np.int64) for key in ("sketch_labels", "shape_labels")
    )
    training = np.flatnonzero(~arrays["test"])
    return ConvertedSet(
        name=name,
        variant=f"features converted from text, {path.name}",
        official=False,
        sha256=hashlib.sha256(content).hexdigest(),
        classes=tuple(str(number) for number in range(1 + max(labels.max(), shape_labels.max()))),
        sketches=arrays["sketches"].astype(np.float32),
        sketch_names=tuple(arrays["sketch_names"].tolist()),
        sketch_labels=labels,
        splits=split_training(labels, training, SHARE) | {"test": np.flatnonzero(arrays["test"])},
        shapes=arrays["shapes"].astype(np.float32),
        shape_names=tuple(arrays["shape_names"].tolist()),
        shape_labels=shape_labels,
    )


class _Item(NamedTuple):
    name: str
    label: int
    files: tuple[Path, ...]


def _read_list(path, together):
    """The sketches or shapes of a list, each with its files."""
    if together < 1:
        raise ValueError(f"files a sketch or a shape must be 1 or more, not {together}.")
    lines = [
        (n, line.split()) for n, line in enumerate(_text(path).splitlines(), 1) if line.strip()
    ]
    for number, words in lines:
        if len(words) != 2 or not re.fullmatch(r"\d{1,6}", words[1]):
            shown = " ".join(words)[:60]
            raise DataError(f"{path}, line {number}: expected `path label`, found {shown!r}.")
    if not lines or len(lines) % together:
        raise DataError(
            f"{path} lists {len(lines):,} files, expected one or more times {together}: so many follow each other for each"
            " sketch or shape."
        )
    items = []
    for start in range(0, len(lines), together):
        group = lines[start : start + together]
        labels = {words[1] for _, words in group}
        if len(labels) > 1:
            raise DataError(
                f"{path}, lines {group[0][0]} to {group[-1][0]}: expected one label for {together} files that belong"
                f" together, found {', '.join(sorted(labels))}."
            )
        files = tuple(path.parent / words[0] for _, words in group)
        items.append(_Item(str(Path(group[0][1][0]).with_suffix("")), int(labels.pop()), files))
    return items


def _features(items, length):
    out = np.empty((len(items), len(items[0].files), length), np.float32)
    for item, row in zip(progress(items, "features"), out, strict=True):
        for file, place in zip(item.files, row, strict=True):
            numbers = _numbers(file)
            if len(numbers) != length:
                raise DataError(f"{file} has {len(numbers):,} numbers, expected {length:,} as in the first file.")  # fmt: skip
            place[:] = numbers
    return out


def _numbers(path):
    """The numbers of a text file, one a line."""
    lines = _text(path).split()
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is refused
        try:
            numbers = np.array(lines, np.float32)
        except ValueError:
            numbers = np.array([_number(line) for line in lines], np.float32)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong) or not lines:
        found = f"line {wrong[0] + 1} is {lines[wrong[0]][:40]!r}" if lines else "it is empty"
        raise DataError(f"{path} must have one finite number a line; {found}.")
    return numbers


def _number(line):
    try:
        return float(line)
    except ValueError:
        return np.nan


def _text(path):
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise DataError(f"{path} has more than {MOST_BYTES:,} bytes.")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}.") from error


def _named(kind, items):
    return {
        f"{kind}_names": np.array([item.name for item in items]),
        f"{kind}_labels": np.array([item.label for item in items], np.int64),
    }


def _refuse_other_arrays(path, arrays):
    for key, (kind, axes) in ARRAYS.items():
        found = arrays[key]
        if found.dtype.kind != kind or found.ndim != axes or not found.size:
            raise DataError(f"{path}: {key} is {found.dtype} of shape {found.shape}, not as `bwot convert` writes it.")  # fmt: skip
    n, m = len(arrays["sketches"]), len(arrays["shapes"])
    sizes = [len(arrays[key]) for key in ARRAYS]
    if sizes != [n, n, n, n, m, m, m] or arrays["sketches"].shape[2] != arrays["shapes"].shape[1]:
        raise DataError(f"{path}: its arrays do not belong together, they have {sizes} rows.")
    for key in ("sketch_labels", "shape_labels"):
        if arrays[key].min() < 0 or arrays[key].max() > 999_999:
            raise DataError(f"{path}: {key} must be 0 or more, at most 999,999.")
