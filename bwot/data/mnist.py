"""MNIST from its four idx files in ``<root>/mnist``, compressed or not.

Whether a file is the published one is judged by the SHA-256 of its *decompressed* bytes: the gzip wrapper around them
may differ from mirror to mirror, and some browsers take it off on the way. An idx file is a big-endian header, the
magic number 0x801 (labels) or 0x803 (images) and one 32-bit number a dimension, then one byte a value.
"""

import gzip
import hashlib
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bwot.data.download import fetch
from bwot.data.images import (
    AS_PUBLISHED,
    DataError,
    FileReport,
    ImageSet,
    Publication,
    PublishedFile,
    Split,
    checked_name,
    extend,
    judged_together,
    opened,
)
from bwot.paths import data_root

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CLASSES = tuple("0123456789")
MOST_ITEMS = 1_000_000  # in a file of a variant: a bound on memory (EMNIST, the largest relative, has 814,255)
RECOVERY = "Move it away and run `bwot data download mnist`."
REMEDY = f"{RECOVERY[:-1]}, or make it anew where it belongs to a variant."


@dataclass(frozen=True)
class IdxFile(PublishedFile):
    """A file as published: its name without ``.gz``, the SHA-256 of its decompressed bytes, its dimensions."""

    dimensions: tuple[int, ...]

    @property
    def magic(self) -> int:
        """0x0800 for unsigned bytes, plus the number of dimensions."""
        return 0x0800 + len(self.dimensions)

    @property
    def header_size(self) -> int:
        """Bytes before the first value."""
        return 4 + 4 * len(self.dimensions)


# Digests as five public sources agree on them.
FILES = (
    IdxFile(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        (60_000, 28, 28),
    ),
    IdxFile(
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        (60_000,),
    ),
    IdxFile(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        (10_000, 28, 28),
    ),
    IdxFile(
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        (10_000,),
    ),
)
FINGERPRINT = "b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a"
"""SHA-256 of the decompressed bytes of the four published files, one after another."""


def load(root: Path | None = None, variant: str | None = None) -> ImageSet:
    """MNIST with the split of the TensorFlow tutorial: 55,000 training, 5,000 validation, 10,000 test images of 28×28.

    Validation is the first twelfth of the training file. ``sha256`` is that of the four files' decompressed bytes, one
    after another as in :data:`FILES`.

    Args:
        root: the folder that has the folder ``mnist``; None is :func:`bwot.paths.data_root`.
        variant: None accepts the published bytes only. A name says what other files of the same layout (idx, 28×28,
            ten classes, any counts) are; the set then carries that name and is not official.

    Raises:
        FileNotFoundError: that lists the missing files and the command that fetches them.
        DataError: for a damaged, swapped or unreadable file, and for other bytes than expected; the file is named.
    """
    checked_name(variant)
    folder = data_root(root) / "mnist"
    found = [_find(folder, file) for file in FILES]
    if None in found:
        raise FileNotFoundError(_what_is_missing(folder, found))
    contents = [_read(path, file, _most(variant)) for path, file in zip(found, FILES, strict=True)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    _publication().refuse_others(found, digests, variant)
    values = [_values(path, *pair) for path, *pair in zip(found, contents, FILES, strict=True)]
    for _, reason in _misfits(found, [len(tensor) for tensor in values]):
        raise DataError(reason)
    train_images, train_labels, test_images, test_labels = values
    held_out = len(train_labels) // 12
    return ImageSet(
        name="mnist",
        variant=variant or AS_PUBLISHED,
        official=variant is None,
        sha256=hashlib.sha256(b"".join(contents)).hexdigest(),
        classes=CLASSES,
        train=Split(train_images[held_out:], train_labels[held_out:]),
        validation=Split(train_images[:held_out], train_labels[:held_out]),
        test=Split(test_images, test_labels),
    )


def judge(root: Path) -> list[FileReport]:
    """What each of the four files in ``<root>/mnist`` is, in the order of :data:`FILES`.

    A valid file with other bytes is a ``variant``, and ``damaged`` beside published ones: one file of a set seldom
    differs on purpose.
    """
    judged = [_judge_one(root / "mnist", file) for file in FILES]
    reports = judged_together([report for report, _ in judged])
    if [report.state for report in reports] == ["variant"] * len(FILES):
        for index, reason in _misfits([r.path for r in reports], [count for _, count in judged]):
            reports[index] = replace(reports[index], state="damaged", detail=reason)
    return reports


def download(root: Path | None = None) -> list[Path]:
    """Fetch the files that are not there yet, and check all four; the paths of the four.

    Raises:
        DownloadError: where no mirror gives the published bytes.
        DataError: where a file that is there already has other bytes; it is left as it is.
    """
    folder = data_root(root) / "mnist"
    return [_fetched(folder, file) for file in FILES]


def _fetched(folder, file):
    path = _find(folder, file) or folder / f"{file.name}.gz"
    urls = [f"{mirror}{file.name}.gz" for mirror in MIRRORS]
    # The largest that a mirror may send is the file without its wrapper.
    most = file.header_size + math.prod(file.dimensions)
    return fetch(urls, path, lambda path: _refuse_unpublished(path, file), most)


def _refuse_unpublished(path, file):
    digest = hashlib.sha256(_read(path, file, _most(None))).hexdigest()
    if digest != file.sha256:
        raise DataError(_publication().refusal(path, digest, file))


def _publication():
    return Publication(FILES, RECOVERY)


def _judge_one(folder, file):
    """The report of one file, and the number of its items (0 where it has no valid content)."""
    path = _find(folder, file)
    if path is None:
        wanted = folder / f"{file.name}.gz"
        detail = f"{wanted} is missing: run `bwot data download mnist`."
        return FileReport(wanted, "missing", 0, detail), 0
    try:
        content = _read(path, file, MOST_ITEMS)
        count = len(_values(path, content, file))
    except DataError as error:
        return FileReport(path, "damaged", path.stat().st_size, str(error)), 0
    return _publication().report(path, hashlib.sha256(content).hexdigest(), file), count


def _find(folder, file):
    for path in (folder / f"{file.name}.gz", folder / file.name):
        if path.exists():
            return path
    return None


def _what_is_missing(folder, found):
    names = [f"{file.name}.gz" for file, path in zip(FILES, found, strict=True) if path is None]
    return (
        f"MNIST is not complete: {folder} has no {', '.join(names)} (nor without .gz).\n"
        "Run `bwot data download mnist`, or place the published files there by hand."
    )


def _most(variant):
    return MOST_ITEMS if variant else max(file.dimensions[0] for file in FILES)


def _read(path, file, most):
    """The decompressed bytes of an idx file, never more than its header declares for ``most`` items, and one.

    Whether it is compressed is seen from its first bytes, for what unpacks on the way keeps the name.
    """
    with opened(path, REMEDY) as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        return _read_idx(path, gzip.open(raw) if compressed else raw, file, most)


def _read_idx(path, stream, file, most):
    content = bytearray(stream.read(file.header_size))
    expected = file.header_size + math.prod(_dimensions(path, content, file, most))
    extend(content, stream, expected)
    if len(content) != expected:
        found = "more" if len(content) > expected else f"{len(content):,}"
        raise DataError(
            f"{path} declares {expected:,} bytes in its header and holds {found}.\n{REMEDY}"
        )
    return content


def _dimensions(path, header, file, most):
    if len(header) < file.header_size:
        raise DataError(f"{path} holds {len(header)} bytes, less than an idx header.\n{REMEDY}")
    magic, *dimensions = struct.unpack(f">{1 + len(file.dimensions)}I", header)
    if magic != file.magic:
        raise DataError(
            f"{path} starts with {magic:#010x}, expected {file.magic:#010x}"
            f" (0x00000801 is an idx file of labels, 0x00000803 one of images).\n{REMEDY}"
        )
    if tuple(dimensions[1:]) != file.dimensions[1:] or not 1 <= dimensions[0] <= most:
        expected = " × ".join([f"(1 to {most:,})", *map(str, file.dimensions[1:])])
        found = " × ".join(f"{size:,}" for size in dimensions)
        raise DataError(
            f"{path} declares {found} values in its header, expected {expected}.\n{REMEDY}"
        )
    return dimensions


def _values(path, content, file):
    """The values of a file as a tensor that shares its memory; labels as int64, which are within the classes."""
    values = np.frombuffer(content, np.uint8, offset=file.header_size)
    if len(file.dimensions) > 1:
        return torch.from_numpy(values).view(-1, 1, *file.dimensions[1:])
    if values.max() >= len(CLASSES):
        raise DataError(
            f"{path} has the label {values.max()}, expected 0 to {len(CLASSES) - 1}.\n{REMEDY}"
        )
    return torch.from_numpy(values).long()


def _misfits(found, counts):
    """The files whose number of items does not fit the others', each as its index and what is wrong."""
    for images, labels in ((0, 1), (2, 3)):
        if counts[images] != counts[labels]:
            reason = f"{found[labels]} has {counts[labels]:,} labels, expected {counts[images]:,} as {found[images]}"
            yield labels, f"{reason} has images.\n{REMEDY}"
    if counts[0] < 12:
        yield (
            0,
            f"{found[0]} has {counts[0]} images, expected 12 or more: a twelfth is validation. Give it more.",
        )
