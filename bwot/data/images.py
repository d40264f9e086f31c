"""What a loader of images returns, and what it reports and raises where the files are not the published ones."""

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Int64, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Images of 0 to 255 and the class of each, as an index into :attr:`ImageSet.classes`."""

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]


@dataclass(frozen=True)
class ImageSet:
    """A data set, and which copy of it."""

    name: str
    variant: str  # "as published", or what else the files are
    official: bool  # every file has the published bytes
    sha256: str  # of the bytes used, one file after another in the loader's order, decompressed
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class FileReport:
    """What one file of a data set is: ``official``, ``variant`` (valid, other bytes), ``missing`` or ``damaged``."""

    path: Path
    state: str
    size: int  # bytes on disk
    detail: str = ""  # for all but ``official``: expected, found, what to do


class DataError(ValueError):
    """A file is not what a data set should have there; the message names expected, found and what to do."""
