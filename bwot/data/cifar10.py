"""CIFAR-10, binary version, from the publisher's archive in ``<root>/cifar10``, or from what it unpacks to.

The archive holds the folder ``cifar-10-batches-bin`` with six files of records, each one byte for the class and 3,072
for the image: the red, the green and the blue plane, 32×32 each, row by row. The archive is read in place: nothing is
unpacked to disk, and no file is a pickle.

How the published bytes are known: the archive's page gives its md5, c32a1d4ab5d03f1284b67883e8d87530; that the archive
with this md5 has the SHA-256 below, several independent public sources record. The digests of the single files are
those of one public loader (for ``test_batch.bin`` two more sources agree): a file that has one is the published file,
and should one of them be mistaken, the archive still is what counts.
"""

import hashlib
import os
import tarfile
from dataclasses import replace
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
from bwot.data.sampling import parted
from bwot.paths import data_root

URLS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
)
CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
FOLDER = "cifar-10-batches-bin"
RECORD = 1 + 3 * 32 * 32  # bytes
RECORDS = 10_000  # in a published file
MOST_RECORDS = 100_000  # in a file of a variant: a bound on memory, 2 GB for all six
RECOVERY = "Move it away and run `bwot data download cifar10`."
REMEDY = f"{RECOVERY[:-1]}, or make it anew where it belongs to a variant."
FINGERPRINT = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
"""SHA-256 of the published archive; the published images bear it wherever they were read from."""
ARCHIVE = PublishedFile("cifar-10-binary.tar.gz", FINGERPRINT)
ARCHIVE_SIZE = 170_052_171
FILES = tuple(
    PublishedFile(f"{name}.bin", sha256)
    for name, sha256 in {
        "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    }.items()
)


def load(root: Path | None = None, variant: str | None = None) -> ImageSet:
    """CIFAR-10 as 45,000 training, 5,000 validation and 10,000 test images of 3×32×32.

    Validation is a tenth of the five training files, 500 images of each class, always the same. ``sha256`` is
    :data:`FINGERPRINT` for the published bytes; for a variant, that of the bytes of its six files, one after another
    as in :data:`FILES`.

    Args:
        root: the folder that has the folder ``cifar10``; None is :func:`bwot.paths.data_root`.
        variant: None accepts the published bytes only, from the archive where it is there and from its six files
            otherwise. A name says what six files of the same layout are (ten classes or fewer, any counts); the set
            then carries that name and is not official.

    Raises:
        FileNotFoundError: that lists the missing files and the command that fetches them.
        DataError: for a damaged, swapped or unreadable file, and for other bytes than expected; the file is named.
    """
    checked_name(variant)
    folder = data_root(root) / "cifar10"
    if variant is None and (folder / ARCHIVE.name).exists():
        paths = [folder / ARCHIVE.name] * len(FILES)
        contents = _from_archive(folder / ARCHIVE.name)
        sha256 = FINGERPRINT
    else:
        paths = _found(folder)
        contents = [_from_file(path, _most(variant)) for path in paths]
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        _publication().refuse_others(paths, digests, variant)
        sha256 = _fingerprint(contents) if variant else FINGERPRINT
    splits = [_split(path, content) for path, content in zip(paths, contents, strict=True)]
    if reason := _too_few(paths, [len(split.labels) for split in splits]):
        raise DataError(reason)
    whole = Split(
        torch.cat([split.images for split in splits[:-1]]),
        torch.cat([split.labels for split in splits[:-1]]),
    )
    train, validation = parted(whole, len(whole.labels) // 10)
    return ImageSet(
        name="cifar10",
        variant=variant or AS_PUBLISHED,
        official=variant is None,
        sha256=sha256,
        classes=CLASSES,
        train=train,
        validation=validation,
        test=Split(splits[-1].images.contiguous(), splits[-1].labels),
    )


def judge(root: Path) -> list[FileReport]:
    """What the archive in ``<root>/cifar10`` is, or where there is none, each of the six files in the order of :data:`FILES`.

    Another archive is ``damaged``: a variant comes as files. One of those with other bytes is a ``variant``, and
    ``damaged`` beside published ones.
    """
    folder = root / "cifar10"
    archive = folder / ARCHIVE.name
    if archive.exists():
        return [_judge_archive(archive)]
    if not any((folder / FOLDER / file.name).exists() for file in FILES):
        detail = f"{archive} is missing: run `bwot data download cifar10`."
        return [FileReport(archive, "missing", 0, detail)]
    judged = [_judge_one(folder / FOLDER, file) for file in FILES]
    reports = judged_together([report for report, _ in judged])
    reason = _too_few([r.path for r in reports], [count for _, count in judged])
    if reason and all(report.state == "variant" for report in reports):
        reports[0] = replace(reports[0], state="damaged", detail=reason)
    return reports


def download(root: Path | None = None) -> list[Path]:
    """Fetch the archive where neither it nor its six files are there, and check it; the paths of what is there then.

    Files with other bytes stay as they are beside it.

    Raises:
        DownloadError: where no address gives the published bytes.
        DataError: where an archive that is there already has other bytes; it is left as it is.
    """
    reports = judge(data_root(root))
    if all(report.state == "official" for report in reports):
        return [report.path for report in reports]
    path = data_root(root) / "cifar10" / ARCHIVE.name
    return [fetch(URLS, path, _refuse_unpublished, ARCHIVE_SIZE)]


def _refuse_unpublished(path):
    with opened(path, RECOVERY) as raw:
        _check_archive(path, raw)


def _publication():
    return Publication(FILES, RECOVERY)


def _judge_archive(path):
    try:
        _from_archive(path)
    except DataError as error:
        return FileReport(path, "damaged", path.stat().st_size, str(error))
    return FileReport(path, "official", path.stat().st_size)


def _judge_one(folder, file):
    """The report of one file, and the number of its records (0 where it has no valid content)."""
    path = folder / file.name
    if not path.exists():
        return FileReport(path, "missing", 0, f"{path} is missing.\n{RECOVERY}"), 0
    try:
        content = _from_file(path, MOST_RECORDS)
        count = len(_split(path, content).labels)
    except DataError as error:
        return FileReport(path, "damaged", path.stat().st_size, str(error)), 0
    return _publication().report(path, hashlib.sha256(content).hexdigest(), file), count


def _found(folder):
    paths = [folder / FOLDER / file.name for file in FILES]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        advice = f"Run `bwot data download cifar10`, or place {ARCHIVE.name} in {folder} by hand."
        if (folder / ARCHIVE.name).exists():
            advice = f"{ARCHIVE.name} is there: it is read where no variant is named."
        raise FileNotFoundError(
            f"CIFAR-10 is not complete: {folder / FOLDER} has no {', '.join(missing)}.\n{advice}"
        )
    return paths


def _from_archive(path):
    """The bytes of the six files in the published archive.

    Members are chosen by their exact names and read in place: no path in the archive leads anywhere.
    """
    wanted = {f"{FOLDER}/{file.name}": None for file in FILES}
    with opened(path, RECOVERY) as raw:
        _check_archive(path, raw)
        with tarfile.open(fileobj=raw, mode="r|gz") as archive:
            for member in archive:
                if member.name in wanted:
                    _check_member(path, member, wanted[member.name])
                    wanted[member.name] = bytearray(archive.extractfile(member).read())
    missing = [name for name, content in wanted.items() if content is None]
    if missing:
        raise DataError(f"{path} has no member {', '.join(missing)}.\n{RECOVERY}")
    return list(wanted.values())


def _check_archive(path, raw):
    size = os.fstat(raw.fileno()).st_size
    if size != ARCHIVE_SIZE:
        raise DataError(f"{path} holds {size:,} bytes, expected {ARCHIVE_SIZE:,}.\n{RECOVERY}")
    digest = hashlib.file_digest(raw, "sha256").hexdigest()
    if digest != ARCHIVE.sha256:
        raise DataError(
            f"{path} is not the published archive.\n"
            f"  expected sha256 {ARCHIVE.sha256}\n"
            f"  found    sha256 {digest}\n"
            f"{RECOVERY}"
        )
    raw.seek(0)


def _check_member(path, member, before):
    if before is not None:
        raise DataError(f"{path} has {member.name} twice.\n{RECOVERY}")
    if not member.isreg() or member.size != RECORDS * RECORD:
        raise DataError(
            f"{path} has {member.name} with {member.size:,} bytes of type {member.type!r}, expected a plain file of"
            f" {RECORDS * RECORD:,}.\n{RECOVERY}"
        )


def _most(variant):
    return MOST_RECORDS if variant else RECORDS


def _from_file(path, most):
    content = bytearray()
    with opened(path, REMEDY) as raw:
        extend(content, raw, most * RECORD)
    if not 0 < len(content) <= most * RECORD or len(content) % RECORD:
        found = "more" if len(content) > most * RECORD else f"{len(content):,}"
        raise DataError(
            f"{path} holds {found} bytes, expected 1 to {most:,} records of {RECORD:,} bytes.\n{REMEDY}"
        )
    return content


def _split(path, content):
    """Images and labels of the records of a file; the images share its memory."""
    records = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, RECORD))
    labels = records[:, 0].long()
    if labels.max() >= len(CLASSES):
        raise DataError(
            f"{path} has the label {labels.max()}, expected 0 to {len(CLASSES) - 1}.\n{REMEDY}"
        )
    return Split(records[:, 1:].view(-1, 3, 32, 32), labels)


def _too_few(paths, counts):
    """What is wrong where the training records are too few to split; None where they are enough."""
    if sum(counts[:-1]) >= 10:
        return None
    return f"{paths[0].parent} has {sum(counts[:-1])} training images, expected 10 or more: a tenth is validation. Give them more."


def _fingerprint(contents):
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()
