"""CIFAR-10 from the publisher's archive, from its six files, and from a variant's.

The published files stand in as small ones of the same layout: 20 records a file.
"""

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bwot.data import catalogue, cifar10
from bwot.data.images import DataError

BATCHES = [file.name for file in cifar10.FILES]
FIRST, SECOND, *_, TEST = BATCHES
RECORD, COUNT = 3073, 20


def records(count, seed):
    """Records whose classes come in turn."""
    content = np.random.default_rng([seed, count]).integers(0, 256, (count, RECORD), np.uint8)
    content[:, 0] = np.arange(count) % 10
    return content.tobytes()


CONTENTS = {name: records(COUNT, seed) for seed, name in enumerate(BATCHES)}
NAMES = {"batches.meta.txt": "\n".join(cifar10.CLASSES).encode(), "readme.html": b"<html>"}


def packed(members):
    """A tar.gz of pairs of a member, or its name, and its content."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as wrapper:
        with tarfile.open(fileobj=wrapper, mode="w") as archive:
            for member, content in members:
                if isinstance(member, str):
                    member = tarfile.TarInfo(f"cifar-10-batches-bin/{member}")
                    member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


ARCHIVE = packed((NAMES | CONTENTS).items())


def declare(monkeypatch, archive):
    """Declare these bytes to be the published archive."""
    sha256 = hashlib.sha256(archive).hexdigest()
    monkeypatch.setattr(cifar10, "ARCHIVE", replace(cifar10.ARCHIVE, sha256=sha256))
    monkeypatch.setattr(cifar10, "ARCHIVE_SIZE", len(archive))
    monkeypatch.setattr(cifar10, "FINGERPRINT", sha256)


@pytest.fixture
def published(monkeypatch):
    small = tuple(
        replace(file, sha256=hashlib.sha256(CONTENTS[file.name]).hexdigest())
        for file in cifar10.FILES
    )
    monkeypatch.setattr(cifar10, "FILES", small)
    monkeypatch.setattr(cifar10, "RECORDS", COUNT)
    declare(monkeypatch, ARCHIVE)


@pytest.fixture
def packed_root(tmp_path, published):
    put_archive(tmp_path, ARCHIVE)
    return tmp_path


@pytest.fixture
def root(tmp_path, published):
    """The six published files, and no archive."""
    for name, content in (NAMES | CONTENTS).items():
        put(tmp_path, name, content)
    return tmp_path


def put_archive(root, content):
    (root / "cifar10").mkdir(exist_ok=True)
    (root / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(content)


def at(root, name):
    return root / "cifar10" / "cifar-10-batches-bin" / name


def put(root, name, content):
    at(root, name).parent.mkdir(parents=True, exist_ok=True)
    at(root, name).write_bytes(content)


def put_variant(root, **counts):
    for seed, name in enumerate(BATCHES, start=10):
        put(root, name, records(counts.get(name.removesuffix(".bin"), COUNT), seed))


def state_of(root):
    return next(status for status in catalogue.verify(root) if status.name == "cifar10")


def rows(*splits):
    """The records that splits hold, sorted."""
    parts = [torch.cat([s.labels[:, None].byte(), s.images.flatten(1)], 1) for s in splits]
    return sorted(map(bytes, torch.cat(parts).numpy()))


# ------------------------------------------------------------------------------ the published bytes


@pytest.mark.parametrize("form", ["packed_root", "root"])
def test_the_published_files_are_read_as_their_bytes_say(form, request):
    images = cifar10.load(request.getfixturevalue(form))
    content = CONTENTS[TEST]
    for i, c, y, x in ((0, 0, 0, 0), (3, 2, 5, 7), (19, 1, 31, 0), (19, 2, 31, 31)):
        assert images.test.images[i, c, y, x] == content[i * RECORD + 1 + c * 1024 + y * 32 + x]
    assert images.test.labels.tolist() == list(content[::RECORD])
    train = b"".join(CONTENTS[name] for name in BATCHES[:-1])
    assert rows(images.train, images.validation) == sorted(
        train[i : i + RECORD] for i in range(0, len(train), RECORD)
    )
    assert (images.official, images.variant, images.name) == (True, "as published", "cifar10")
    assert images.sha256 == cifar10.FINGERPRINT
    for split in (images.train, images.validation, images.test):
        assert split.images.dtype == torch.uint8 and split.images.shape[1:] == (3, 32, 32)
        assert split.labels.dtype == torch.int64 and split.images.is_contiguous()


def test_validation_is_a_tenth_of_every_class_and_always_the_same(root, packed_root):
    first = cifar10.load(root)
    assert first.validation.labels.bincount().tolist() == [1] * 10
    assert first.train.labels.bincount().tolist() == [9] * 10
    torch.manual_seed(3)
    assert torch.equal(cifar10.load(packed_root).validation.images, first.validation.images)


def test_archive_and_files_give_the_same_images(root):
    loose = cifar10.load(root)
    shutil.rmtree(root / "cifar10")
    put_archive(root, ARCHIVE)
    unpacked = cifar10.load(root)
    assert torch.equal(loose.train.images, unpacked.train.images)
    assert torch.equal(loose.test.labels, unpacked.test.labels)
    assert loose.sha256 == unpacked.sha256


@pytest.mark.parametrize("form", ["packed_root", "root"])
def test_the_published_files_are_official(form, request):
    status = state_of(request.getfixturevalue(form))
    assert status.state == "official" and status.detail == ""
    assert status.size == sum(file.path.stat().st_size for file in status.files) > 0


def test_reading_the_archive_writes_nothing(packed_root):
    before = sorted(packed_root.rglob("*"))
    cifar10.load(packed_root)
    assert sorted(packed_root.rglob("*")) == before


def test_the_root_is_taken_from_the_environment(packed_root, monkeypatch):
    monkeypatch.setenv("BWOT_DATA", str(packed_root))
    assert cifar10.load().official


def test_the_published_names_sizes_and_digests_are_as_recorded():
    assert BATCHES == [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    digests = {cifar10.ARCHIVE.sha256, *(file.sha256 for file in cifar10.FILES)}
    assert len(digests) == 7 and all(len(bytes.fromhex(digest)) == 32 for digest in digests)
    assert cifar10.RECORD == RECORD and cifar10.ARCHIVE_SIZE == 170_052_171
    assert cifar10.FINGERPRINT == cifar10.ARCHIVE.sha256


# ------------------------------------------------------------------------------ missing


def test_nothing_there_names_every_file_and_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="bwot data download cifar10") as error:
        cifar10.load(tmp_path)
    assert all(name in str(error.value) for name in BATCHES)
    assert str(tmp_path / "cifar10") in str(error.value)
    status = state_of(tmp_path)
    assert status.state == "missing" and "bwot data download cifar10" in status.detail
    assert [file.path.name for file in status.files] == ["cifar-10-binary.tar.gz"]


def test_missing_files_are_listed_and_the_others_not(root):
    at(root, SECOND).unlink()
    at(root, TEST).unlink()
    with pytest.raises(FileNotFoundError, match="bwot data download cifar10") as error:
        cifar10.load(root)
    listed = str(error.value)
    assert SECOND in listed and TEST in listed and FIRST not in listed
    states = {file.path.name: file.state for file in state_of(root).files}
    assert states[SECOND] == states[TEST] == "missing" and states[FIRST] == "official"
    assert state_of(root).state == "missing"


def test_a_variant_is_not_looked_for_in_the_archive(packed_root):
    with pytest.raises(FileNotFoundError, match="read where no variant is named"):
        cifar10.load(packed_root, variant="mine")


# ------------------------------------------------------------------------------ damaged files

LABEL_10 = bytearray(records(COUNT, 11))
LABEL_10[7 * RECORD] = 10
BROKEN = {
    "no bytes": (b"", "holds 0 bytes"),
    "too short": (records(COUNT, 11)[:-1], "holds 61,459 bytes"),
    "too long": (records(COUNT, 11) + b"\0", "holds 61,461 bytes"),
    "label 10": (bytes(LABEL_10), "the label 10"),
    "a web page": (b"<!DOCTYPE html><html><body>Sign in", "holds 34 bytes"),
    "a wrapped file": (gzip.compress(records(COUNT, 11)), "bytes, expected 1 to"),
    "the python version": (b"\x80\x02}q\x01(U\x0bbatch_label" * 3, "bytes, expected 1 to"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_name_also_for_a_variant(tmp_path, published, case):
    content, found = BROKEN[case]
    put_variant(tmp_path)
    put(tmp_path, SECOND, content)
    with pytest.raises(DataError, match=SECOND) as error:
        cifar10.load(tmp_path, variant="mine")
    assert found in str(error.value) and "bwot data download cifar10" in str(error.value)
    with pytest.raises(DataError):
        cifar10.load(tmp_path)
    status = state_of(tmp_path)
    assert status.state == "damaged" and SECOND in status.detail and found in status.detail


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_is_found_in_whichever_file_it_is(root, seed):
    rng = np.random.default_rng(seed)
    name = BATCHES[seed]
    content = bytearray(CONTENTS[name])
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    put(root, name, content)
    with pytest.raises(DataError, match=name):
        cifar10.load(root)
    damaged = [file.path.name for file in state_of(root).files if file.state == "damaged"]
    assert damaged == [name]


def test_a_huge_file_is_given_up_after_the_most_it_may_hold(root):
    with at(root, FIRST).open("wb") as stream:
        stream.truncate(10**11)  # a hole: takes no disk
    tracemalloc.start()
    with pytest.raises(DataError, match="holds more bytes, expected 1 to 20 records"):
        cifar10.load(root)
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


@pytest.mark.parametrize(("one", "other"), [(FIRST, SECOND), (FIRST, TEST)])
@pytest.mark.parametrize("variant", [None, "mine"])
def test_swapped_files_are_damaged_and_named(root, one, other, variant):
    put(root, one, CONTENTS[other])
    put(root, other, CONTENTS[one])
    with pytest.raises(DataError, match=f"found .*, the published {other}"):
        cifar10.load(root, variant)
    status = state_of(root)
    assert {f.path.name for f in status.files if f.state == "damaged"} == {one, other}


@pytest.mark.parametrize("name", [FIRST, TEST])
def test_a_folder_in_place_of_a_file_is_damaged(root, name):
    at(root, name).unlink()
    at(root, name).mkdir()
    with pytest.raises(DataError, match=f"{name} is no plain file"):
        cifar10.load(root)
    assert state_of(root).state == "damaged"


def test_a_pipe_in_place_of_a_file_is_not_waited_for(root):
    at(root, TEST).unlink()
    os.mkfifo(at(root, TEST))
    with pytest.raises(DataError, match="no plain file"):
        cifar10.load(root)


@pytest.mark.parametrize("name", ["cifar10", "cifar10/cifar-10-batches-bin"])
def test_a_file_in_place_of_a_folder_is_missing_files(root, name):
    shutil.rmtree(root / name)
    (root / name).write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=FIRST):
        cifar10.load(root)
    assert state_of(root).state == "missing"


def test_an_unreadable_file_is_named(root, monkeypatch):
    path = at(root, SECOND)

    def refuse(opened, *mode):  # permissions do not bind an administrator, who may run this test
        if opened == path:
            raise PermissionError(13, "Permission denied", str(opened))
        return open(opened, *mode)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=f"{SECOND}.*Permission denied"):
        cifar10.load(root)
    assert state_of(root).files[1].state == "damaged"


# ------------------------------------------------------------------------------ damaged archives


@pytest.mark.parametrize("keep", [0, 1, 1000, -1])
def test_a_truncated_archive_is_refused(packed_root, keep):
    put_archive(packed_root, ARCHIVE[:keep])
    with pytest.raises(DataError, match=f"tar.gz holds .* bytes, expected {len(ARCHIVE):,}"):
        cifar10.load(packed_root)
    assert state_of(packed_root).state == "damaged"


@pytest.mark.parametrize("position", [20, len(ARCHIVE) // 2, -1])
def test_a_flipped_bit_in_the_archive_is_refused_before_it_is_unpacked(packed_root, position):
    content = bytearray(ARCHIVE)
    content[position] ^= 4
    put_archive(packed_root, content)
    with pytest.raises(DataError, match="not the published archive") as error:
        cifar10.load(packed_root)
    for digest in (cifar10.ARCHIVE.sha256, hashlib.sha256(content).hexdigest()):
        assert digest in str(error.value)
    status = state_of(packed_root)
    assert status.state == "damaged" and "bwot data download cifar10" in status.detail


def test_a_folder_in_place_of_the_archive_is_damaged(root):
    (root / "cifar10" / "cifar-10-binary.tar.gz").mkdir()
    with pytest.raises(DataError, match="no plain file"):
        cifar10.load(root)
    assert state_of(root).state == "damaged"


def member(name, kind=tarfile.REGTYPE, size=0, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    return info


FIRST_MEMBER = f"cifar-10-batches-bin/{FIRST}"
REST = [(name, content) for name, content in CONTENTS.items() if name != FIRST]
HOSTILE = {
    "symbolic link": [(member(FIRST_MEMBER, tarfile.SYMTYPE, target="/etc/passwd"), b"")],
    "hard link": [(member(FIRST_MEMBER, tarfile.LNKTYPE, target="../../secret"), b"")],
    "folder": [(member(FIRST_MEMBER, tarfile.DIRTYPE), b"")],
    "device": [(member(FIRST_MEMBER, tarfile.CHRTYPE), b"")],
    "duplicate": [(FIRST, CONTENTS[FIRST]), (FIRST, CONTENTS[SECOND])],
    "too large": [(FIRST, CONTENTS[FIRST] + bytes(RECORD))],
    "too small": [(FIRST, CONTENTS[FIRST][:-RECORD])],
    "absent": [],
    "parent folder": [(member(f"../{FIRST_MEMBER}", size=3), b"abc")],
    "absolute path": [(member(f"/{FIRST_MEMBER}", size=3), b"abc")],
    "another folder": [(member(f"else/{FIRST}", size=3), b"abc")],
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("digest", ["other", "published"])
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    tmp_path, published, monkeypatch, case, digest
):
    archive = packed([*HOSTILE[case], *REST])
    if digest == "published":  # what would be, had such an archive the right digest
        declare(monkeypatch, archive)
    (tmp_path / "data").mkdir()
    put_archive(tmp_path / "data", archive)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="cifar-10-binary.tar.gz") as error:
        cifar10.load(tmp_path / "data")
    if digest == "published":
        assert FIRST in str(error.value)
    assert state_of(tmp_path / "data").state == "damaged"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_of_the_right_digest_that_is_no_archive_is_refused(
    tmp_path, published, monkeypatch
):
    for content in (b"no gzip" * 200, gzip.compress(b"no tar" * 200), ARCHIVE[:-3000]):
        declare(monkeypatch, content)
        put_archive(tmp_path, content)
        with pytest.raises(DataError, match="cannot be read|has no member"):
            cifar10.load(tmp_path)


def test_other_members_are_passed_over(tmp_path, published, monkeypatch):
    extra = [(member("../../evil", size=4), b"evil"), (member("/evil", tarfile.SYMTYPE, target="/"), b"")]  # fmt: skip
    archive = packed([*extra, *CONTENTS.items()])
    declare(monkeypatch, archive)
    put_archive(tmp_path, archive)
    assert cifar10.load(tmp_path).official
    assert not list(tmp_path.rglob("evil*"))


def test_a_label_beyond_the_classes_is_refused_in_the_archive_too(tmp_path, published, monkeypatch):
    archive = packed([(FIRST, bytes(LABEL_10)), *REST])
    declare(monkeypatch, archive)
    put_archive(tmp_path, archive)
    with pytest.raises(DataError, match="the label 10, expected 0 to 9"):
        cifar10.load(tmp_path)


# ------------------------------------------------------------------------------ variants


def test_a_named_variant_of_other_counts_is_loaded_under_its_name(tmp_path, published):
    put_variant(tmp_path, data_batch_2=7, test_batch=1)
    images = cifar10.load(tmp_path, variant="my copy")
    assert (images.variant, images.official) == ("my copy", False)
    sizes = [len(split.labels) for split in (images.train, images.validation, images.test)]
    assert sizes == [79, 8, 1]
    content = b"".join(at(tmp_path, name).read_bytes() for name in BATCHES)
    assert images.sha256 == hashlib.sha256(content).hexdigest()
    assert state_of(tmp_path).state == "variant"


def test_a_variant_may_have_one_class_alone(tmp_path, published):
    for seed, name in enumerate(BATCHES):
        content = bytearray(records(4, seed))
        content[::RECORD] = bytes(4)
        put(tmp_path, name, content)
    assert cifar10.load(tmp_path, variant="mine").train.labels.unique().tolist() == [0]


def test_other_bytes_are_refused_without_a_name(tmp_path, published):
    put_variant(tmp_path)
    with pytest.raises(DataError, match="not the published file") as error:
        cifar10.load(tmp_path)
    digest = hashlib.sha256(at(tmp_path, FIRST).read_bytes()).hexdigest()
    assert digest in str(error.value) and "variant=" in str(error.value)


def test_more_records_than_published_need_a_name(tmp_path, published):
    put_variant(tmp_path, data_batch_1=21)
    with pytest.raises(DataError, match="expected 1 to 20 records"):
        cifar10.load(tmp_path)
    assert len(cifar10.load(tmp_path, variant="mine").test.labels) == COUNT


def test_a_variant_too_small_to_split_is_refused(tmp_path, published):
    put_variant(tmp_path, **{f"data_batch_{i}": 1 for i in range(1, 6)})
    with pytest.raises(DataError, match="5 training images, expected 10"):
        cifar10.load(tmp_path, variant="my copy")
    assert state_of(tmp_path).state == "damaged"


def test_published_files_do_not_pass_as_a_variant(root):
    with pytest.raises(DataError, match="without the name 'my copy'"):
        cifar10.load(root, variant="my copy")


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_a_variant_without_a_name_is_refused(root, name):
    with pytest.raises(ValueError, match="must be a name"):
        cifar10.load(root, variant=name)


def test_a_variant_beside_the_archive_is_loaded_by_its_name(packed_root):
    put_variant(packed_root)
    assert cifar10.load(packed_root).official
    assert not cifar10.load(packed_root, variant="my copy").official


# ------------------------------------------------------------------------------ download


@pytest.fixture
def fetched(monkeypatch):
    """What ``fetch`` was asked for, instead of a network; it gives the archive."""
    asked = []

    def fetch(urls, path, check, most):
        asked.append((tuple(urls), most))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(ARCHIVE)
        check(path)
        return path

    monkeypatch.setattr(cifar10, "fetch", fetch)
    return asked


def test_download_fetches_the_archive(tmp_path, published, fetched):
    assert cifar10.download(tmp_path) == [tmp_path / "cifar10" / "cifar-10-binary.tar.gz"]
    assert fetched == [(cifar10.URLS, len(ARCHIVE))]
    assert cifar10.load(tmp_path).official and state_of(tmp_path).state == "official"


@pytest.mark.parametrize("form", ["packed_root", "root"])
def test_download_keeps_what_is_there(form, request, fetched):
    paths = cifar10.download(request.getfixturevalue(form))
    assert fetched == [] and all(path.exists() for path in paths)


def test_download_leaves_a_variant_as_it_is(tmp_path, published, fetched):
    put_variant(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.bin")}
    cifar10.download(tmp_path)
    assert cifar10.load(tmp_path).official
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.bin")} == before


def test_download_does_not_replace_another_archive(tmp_path, published, fetched):
    put_archive(tmp_path, ARCHIVE[:-1])
    with pytest.raises(DataError, match="Move it away"):
        cifar10.download(tmp_path)
    assert (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").read_bytes() == ARCHIVE[:-1]


def test_a_download_that_was_killed_counts_for_nothing(tmp_path, published):
    put_archive(tmp_path, ARCHIVE)
    archive = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    archive.rename(archive.with_name(f"{archive.name}.part"))
    with pytest.raises(FileNotFoundError):
        cifar10.load(tmp_path)
    assert state_of(tmp_path).state == "missing"


# ------------------------------------------------------------------------------ real bytes

REAL = Path(os.environ.get("BWOT_DATA") or "nowhere")


@pytest.mark.skipif(
    not (REAL / "cifar10").is_dir(), reason="BWOT_DATA names no folder with cifar10"
)
def test_the_reader_s_copy_is_what_it_is_judged_to_be():
    official = {report.state for report in cifar10.judge(REAL)} == {"official"}
    images = cifar10.load(REAL, variant=None if official else "a reader's copy")
    assert images.official == official
    assert images.train.labels.bincount().tolist() == [4500] * 10
    assert images.validation.labels.bincount().tolist() == [500] * 10
    assert images.test.labels.bincount().tolist() == [1000] * 10
    # Planes in the right order: the sky of ships and aeroplanes is bluer than what is below them.
    for name in ("airplane", "ship"):
        mine = images.test.labels == images.classes.index(name)
        red, _, blue = images.test.images[mine][:, :, :8].float().mean((0, 2, 3))
        assert blue > red + 2
