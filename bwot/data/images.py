"""What a loader of images returns, whether its files are the published ones, and what it raises where they are not."""

import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedIOBase
from pathlib import Path

from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

AS_PUBLISHED = "as published"


@dataclass(frozen=True)
class Split:
    """Samples and the class of each, as an index into :attr:`ImageSet.classes`."""

    images: (
        UInt8[Tensor, "n c h w"]
        | UInt8[Tensor, "n v c h w"]
        | Float32[Tensor, "n d"]
        | Float32[Tensor, "n r d"]
    )  # images of 0 to 255, views or rotations of such, or features, of rotations too
    labels: Int64[Tensor, " n"]


@dataclass(frozen=True)
class ImageSet:
    """A data set, and which copy of it."""

    name: str
    variant: str  # "as published", or what else the files are
    official: bool  # every file has the published bytes
    sha256: (
        str  # of what the loader says: its bytes, one file after another, or the published archive
    )
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split


def check_retrieval(data: ImageSet) -> ImageSet:
    """``data``, with which a retrieval can be trained and scored.

    Raises:
        DataError: where all training images are of one class, or no two images of a split are of the same.
    """
    where = f"{data.name} ({data.variant})"
    found = [data.classes[int(label)] for label in data.train.labels.unique()]
    if len(found) < 2:
        raise DataError(
            f"{where} has training images of the classes {found}, expected two classes or more: there are no pairs to tell apart."
        )
    for name, split in (
        ("training", data.train),
        ("validation", data.validation),
        ("test", data.test),
    ):
        count = len(split.labels)
        if len(split.labels.unique()) == count:
            raise DataError(
                f"{where} has {count} {name} image{'s' * (count != 1)} and no two of the same class, expected some: "
                "an image has to have another one to be found."
            )
    return data


@dataclass(frozen=True)
class FileReport:
    """What one file of a data set is: ``official``, ``variant`` (valid, other bytes), ``missing`` or ``damaged``."""

    path: Path
    state: str
    size: int  # bytes on disk
    detail: str = ""  # for all but ``official``: expected, found, what to do


class DataError(ValueError):
    """A file is not what a data set should have there; the message names expected, found and what to do."""


@dataclass(frozen=True)
class PublishedFile:
    """A file as published: its name and the SHA-256 of its bytes, out of any gzip wrapper or archive."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Publication:
    """The files of a data set as published, and the sentence that says what to do about one that is not."""

    files: tuple[PublishedFile, ...]
    recovery: str

    def other_name(self, digest: str) -> str | None:
        """The published name of the file with this digest."""
        return next((file.name for file in self.files if file.sha256 == digest), None)

    def refusal(self, path: Path, digest: str, file: PublishedFile) -> str:
        """Why the bytes at ``path`` are not those of ``file``, and what to do."""
        other = self.other_name(digest)
        whose = f", the published {other}" if other else ""
        naming = (
            ""
            if other
            else ' Are other data meant? Name them: `--variant NAME`, or load(variant="…").'
        )
        return (
            f"{path} is not the published file.\n"
            f"  expected sha256 {file.sha256} (unpacked)\n"
            f"  found    sha256 {digest}{whose}\n"
            f"{self.recovery}{naming}"
        )

    def refuse_others(
        self, found: Sequence[Path], digests: Sequence[str], variant: str | None
    ) -> None:
        """Refuse other bytes than the published ones, or under the name of a variant the published ones.

        A published file in another's place is refused in either case.
        """
        for path, digest, file in zip(found, digests, self.files, strict=True):
            swapped = self.other_name(digest) not in (None, file.name)
            if swapped or (variant is None and digest != file.sha256):
                raise DataError(self.refusal(path, digest, file))
        if variant is not None and list(digests) == [file.sha256 for file in self.files]:
            raise DataError(
                f"{found[0].parent} has the published files: load them without the name {variant!r}."
            )

    def report(self, path: Path, digest: str, file: PublishedFile) -> FileReport:
        """What a valid file with this digest is in the place of ``file``."""
        size = path.stat().st_size
        if digest == file.sha256:
            return FileReport(path, "official", size)
        state = "damaged" if self.other_name(digest) else "variant"
        return FileReport(path, state, size, self.refusal(path, digest, file))


def checked_name(variant: str | None) -> str | None:
    """``variant``, which must say something where it is given."""
    if variant is not None and not variant.strip():
        raise ValueError("variant must be a name that says what the files are, not an empty text.")
    return variant


def judged_together(reports: Sequence[FileReport]) -> list[FileReport]:
    """Reports in which a ``variant`` is ``damaged`` beside published files: one of a set seldom differs on purpose."""
    if any(report.state == "official" for report in reports):
        return [replace(r, state="damaged") if r.state == "variant" else r for r in reports]
    return list(reports)


@contextmanager
def opened(path: Path, recovery: str) -> Iterator[BufferedIOBase]:
    """The bytes of a plain file; whatever hinders reading them is a :class:`DataError`."""
    if not path.is_file():
        raise DataError(f"{path} is no plain file.\n{recovery}")
    try:
        with path.open("rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read: {error}.\n{recovery}") from error


def extend(content: bytearray, stream: BufferedIOBase, size: int) -> None:
    """Append to ``content`` from ``stream`` up to ``size`` bytes in all, and one, which tells that there are more.

    In blocks, so that a size that is declared and not there allocates nothing.
    """
    while block := stream.read(min(1 << 20, size + 1 - len(content))):
        content += block
