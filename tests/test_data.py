"""MNIST from idx files, the state of a reader's copies, batches and subsets.

The published files stand in as small ones with the same header layout: 24 training and 20 test images of 28×28.
"""

import gzip
import hashlib
import shutil
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from bwot.data import catalogue, mnist
from bwot.data.images import DataError
from bwot.data.sampling import batch_pairs, stratified_subset
from bwot.experiments import Images

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (file.name for file in mnist.FILES)
COUNTS = {TRAIN_IMAGES: 24, TRAIN_LABELS: 24, TEST_IMAGES: 20, TEST_LABELS: 20}


def idx(name, count, seed=0):
    rng = np.random.default_rng([seed, count])
    if "labels" in name:
        return struct.pack(">2I", 0x801, count) + rng.integers(0, 10, count, np.uint8).tobytes()
    pixels = rng.integers(0, 256, (count, 28, 28), np.uint8)
    return struct.pack(">4I", 0x803, *pixels.shape) + pixels.tobytes()


CONTENTS = {name: idx(name, count) for name, count in COUNTS.items()}


@pytest.fixture
def published(monkeypatch):
    """Declare the small files to be the published ones."""
    small = tuple(
        replace(
            file,
            dimensions=(COUNTS[file.name], *file.dimensions[1:]),
            sha256=hashlib.sha256(CONTENTS[file.name]).hexdigest(),
        )
        for file in mnist.FILES
    )
    monkeypatch.setattr(mnist, "FILES", small)


@pytest.fixture
def root(tmp_path, published):
    for name, content in CONTENTS.items():
        put(tmp_path, name, content)
    return tmp_path


def put(root, name, content):
    (root / "mnist").mkdir(exist_ok=True)
    (root / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content))


def put_variant(root, **counts):
    for name, count in (COUNTS | counts).items():
        put(root, name, idx(name, count, seed=1))


def state_of(root):
    return next(status for status in catalogue.verify(root) if status.name == "mnist")


def test_the_published_files_are_read_as_their_bytes_say(root):
    images = mnist.load(root)
    pixels, labels = CONTENTS[TRAIN_IMAGES][16:], CONTENTS[TRAIN_LABELS][8:]
    both = torch.cat([images.validation.images, images.train.images])
    assert both.shape == (24, 1, 28, 28)
    for i, r, c in ((0, 0, 0), (0, 3, 5), (23, 27, 27), (2, 27, 0)):
        assert both[i, 0, r, c] == pixels[i * 784 + r * 28 + c]
    assert torch.cat([images.validation.labels, images.train.labels]).tolist() == list(labels)
    assert images.test.labels.tolist() == list(CONTENTS[TEST_LABELS][8:])
    assert images.test.images.numpy().tobytes() == CONTENTS[TEST_IMAGES][16:]
    assert images.official and images.variant == "as published"


def test_the_first_twelfth_is_for_validation(root):
    images = mnist.load(root)
    assert (len(images.validation.labels), len(images.train.labels)) == (2, 22)
    assert images.validation.images.numpy().tobytes() == CONTENTS[TRAIN_IMAGES][16 : 16 + 2 * 784]


def test_the_fingerprint_is_that_of_the_bytes_in_order(root):
    assert mnist.load(root).sha256 == hashlib.sha256(b"".join(CONTENTS.values())).hexdigest()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_without_their_wrapper_are_the_same_files(root, suffix):
    wrapped = mnist.load(root)
    for name, content in CONTENTS.items():
        (root / "mnist" / f"{name}.gz").unlink()
        (root / "mnist" / f"{name}{suffix}").write_bytes(content)
    assert mnist.load(root).sha256 == wrapped.sha256
    assert state_of(root).state == "official"


def test_another_compression_of_the_same_bytes_is_official(root):
    path = root / "mnist" / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(gzip.compress(CONTENTS[TRAIN_IMAGES], compresslevel=1, mtime=7))
    assert mnist.load(root).official


def test_the_root_is_taken_from_the_environment(root, monkeypatch):
    monkeypatch.setenv("BWOT_DATA", str(root))
    assert mnist.load().official


def test_missing_files_are_listed_with_the_command(root):
    (root / "mnist" / f"{TRAIN_LABELS}.gz").unlink()
    (root / "mnist" / f"{TEST_IMAGES}.gz").unlink()
    with pytest.raises(FileNotFoundError, match="bwot data download mnist") as error:
        mnist.load(root)
    text = str(error.value)
    assert TRAIN_LABELS in text and TEST_IMAGES in text and str(root / "mnist") in text
    assert TRAIN_IMAGES not in text and TEST_LABELS not in text
    assert state_of(root).state == "missing"


def test_missing_beats_variant_and_damaged_beats_missing(tmp_path, published):
    put_variant(tmp_path)
    (tmp_path / "mnist" / f"{TEST_LABELS}.gz").unlink()
    assert [file.state for file in state_of(tmp_path).files] == ["variant"] * 3 + ["missing"]
    assert state_of(tmp_path).state == "missing"
    put(tmp_path, TEST_IMAGES, b"")
    assert state_of(tmp_path).state == "damaged"


BROKEN = {
    "no bytes": (b"", "0 bytes"),
    "half a header": (CONTENTS[TRAIN_LABELS][:5], "5 bytes"),
    "too short": (CONTENTS[TRAIN_LABELS][:-1], "31"),
    "too long": (CONTENTS[TRAIN_LABELS] + b"\0", "more"),
    "images for labels": (CONTENTS[TRAIN_IMAGES], "0x00000803"),
    "little-endian": (struct.pack("<2I", 0x801, 24) + bytes(24), "0x01080000"),
    "no item": (struct.pack(">2I", 0x801, 0), "declares 0"),
    "a billion items": (struct.pack(">2I", 0x801, 10**9) + bytes(24), "1,000,000,000"),
    "label 10": (CONTENTS[TRAIN_LABELS][:-1] + b"\x0a", "the label 10"),
    "a web page": (b"<!DOCTYPE html><html><body>Sign in", "0x3c21444f"),
}


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_name_also_for_a_variant(tmp_path, published, case, wrapped):
    content, found = BROKEN[case]
    put_variant(tmp_path)
    path = tmp_path / "mnist" / f"{TRAIN_LABELS}.gz"
    path.write_bytes(gzip.compress(content) if wrapped else content)
    with pytest.raises(DataError, match=TRAIN_LABELS) as error:
        mnist.load(tmp_path, variant="mine")
    assert found in str(error.value) and "bwot data download mnist" in str(error.value)
    with pytest.raises(DataError):
        mnist.load(tmp_path)
    status = state_of(tmp_path)
    assert status.state == "damaged" and TRAIN_LABELS in status.detail and found in status.detail


@pytest.mark.parametrize(
    "shape", [(10**9, 28, 28), (24, 10**6, 10**6), (24, 28, 27), (2**32 - 1,) * 3, (24, 0, 28)]
)
def test_absurd_dimensions_are_refused_and_allocate_nothing(tmp_path, published, shape):
    put_variant(tmp_path)
    put(tmp_path, TRAIN_IMAGES, struct.pack(">4I", 0x803, *shape) + bytes(100))
    tracemalloc.start()
    with pytest.raises(DataError, match=f"{shape[0]:,} × {shape[1]:,} × {shape[2]:,}"):
        mnist.load(tmp_path, variant="mine")
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


def test_a_header_that_declares_more_than_the_file_holds_allocates_nothing(tmp_path, published):
    put_variant(tmp_path)
    put(tmp_path, TRAIN_IMAGES, struct.pack(">4I", 0x803, mnist.MOST_ITEMS, 28, 28) + bytes(100))
    tracemalloc.start()
    with pytest.raises(DataError, match="declares 784,000,016 bytes in its header and holds 116"):
        mnist.load(tmp_path, variant="mine")
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_a_gzip_bomb_is_given_up_after_the_declared_size(root):
    with gzip.open(root / "mnist" / f"{TRAIN_LABELS}.gz", "wb", compresslevel=1) as stream:
        stream.write(CONTENTS[TRAIN_LABELS])
        for _ in range(64):
            stream.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match="holds more"):
        mnist.load(root)
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


@pytest.mark.parametrize("keep", [1, 5, 40, -1])
def test_a_truncated_wrapper_is_refused(root, keep):
    path = root / "mnist" / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=TRAIN_IMAGES):
        mnist.load(root)
    assert state_of(root).files[0].state == "damaged"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_flipped_bit_is_found_wherever_it_is(root, seed, wrapped):
    rng = np.random.default_rng(seed)
    name = list(CONTENTS)[seed % 4]
    path = root / "mnist" / f"{name}.gz"
    content = bytearray(path.read_bytes() if wrapped else CONTENTS[name])
    start = (
        10 if wrapped else 0
    )  # the wrapper's own header has a time and a system that do not matter
    content[rng.integers(start, len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    with pytest.raises(DataError, match=name):
        mnist.load(root)
    status = state_of(root)
    assert [file.path.name for file in status.files if file.state == "damaged"] == [path.name]
    assert "bwot data download mnist" in status.detail


def test_other_bytes_are_named_with_expected_and_found(root):
    flipped = bytearray(CONTENTS[TEST_IMAGES])
    flipped[-1] ^= 1
    put(root, TEST_IMAGES, flipped)
    with pytest.raises(DataError, match="variant=") as error:
        mnist.load(root)
    expected = hashlib.sha256(CONTENTS[TEST_IMAGES]).hexdigest()
    assert expected in str(error.value) and hashlib.sha256(flipped).hexdigest() in str(error.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TRAIN_LABELS, TEST_LABELS),
        (TRAIN_IMAGES, TEST_IMAGES),
        (TRAIN_IMAGES, TRAIN_LABELS),
        (TEST_IMAGES, TEST_LABELS),
    ],
)
@pytest.mark.parametrize("variant", [None, "mine"])
def test_swapped_files_are_damaged_and_named(root, one, other, variant):
    put(root, one, CONTENTS[other])
    put(root, other, CONTENTS[one])
    with pytest.raises(DataError, match=one):
        mnist.load(root, variant)
    status = state_of(root)
    assert status.state == "damaged"
    assert {f.path.name for f in status.files if f.state == "damaged"} == {
        f"{one}.gz",
        f"{other}.gz",
    }


def test_a_file_of_the_other_part_is_called_by_its_published_name(root):
    put(root, TRAIN_LABELS, CONTENTS[TEST_LABELS])
    with pytest.raises(DataError, match=f"found .*, the published {TEST_LABELS}"):
        mnist.load(root)
    assert f"the published {TEST_LABELS}" in state_of(root).detail


def test_train_and_test_swapped_as_a_whole_are_refused(root):
    for ours, theirs in ((TRAIN_IMAGES, TEST_IMAGES), (TRAIN_LABELS, TEST_LABELS)):
        put(root, ours, CONTENTS[theirs])
        put(root, theirs, CONTENTS[ours])
    with pytest.raises(DataError, match=f"the published {TEST_IMAGES}"):
        mnist.load(root, variant="mine")
    assert state_of(root).state == "damaged"


def test_a_named_variant_of_other_counts_is_loaded_under_its_name(tmp_path, published):
    put_variant(tmp_path, **{TRAIN_IMAGES: 36, TRAIN_LABELS: 36})
    images = mnist.load(tmp_path, variant="my copy")
    assert (images.variant, images.official) == ("my copy", False)
    assert (len(images.validation.labels), len(images.train.labels)) == (3, 33)
    assert state_of(tmp_path).state == "variant"
    with pytest.raises(DataError, match="not the published file|declares"):
        mnist.load(tmp_path)


def test_a_variant_needs_as_many_labels_as_images(tmp_path, published):
    put_variant(tmp_path, **{TEST_LABELS: 19})
    with pytest.raises(DataError, match="19 labels, expected 20"):
        mnist.load(tmp_path, variant="my copy")
    status = state_of(tmp_path)
    assert [file.state for file in status.files] == ["variant"] * 3 + ["damaged"]


def test_a_variant_too_small_to_split_is_refused(tmp_path, published):
    put_variant(tmp_path, **{TRAIN_IMAGES: 11, TRAIN_LABELS: 11})
    with pytest.raises(DataError, match="11 images, expected 12"):
        mnist.load(tmp_path, variant="my copy")


def test_published_files_do_not_pass_as_a_variant(root):
    with pytest.raises(DataError, match="without the name 'my copy'"):
        mnist.load(root, variant="my copy")


def test_a_variant_without_a_name_is_refused(root):
    with pytest.raises(ValueError, match="must be a name"):
        mnist.load(root, variant=" ")


def test_a_folder_in_place_of_a_file_is_damaged(root):
    path = root / "mnist" / f"{TEST_LABELS}.gz"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="no plain file"):
        mnist.load(root)
    assert state_of(root).files[3].state == "damaged"


def test_a_file_in_place_of_the_folder_is_missing_files(root):
    shutil.rmtree(root / "mnist")
    (root / "mnist").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=TEST_LABELS):
        mnist.load(root)
    assert state_of(root).state == "missing"


def test_an_unreadable_file_is_named(root, monkeypatch):
    path = root / "mnist" / f"{TRAIN_LABELS}.gz"

    def refuse(
        opened, *arguments
    ):  # permissions do not bind an administrator, who may run this test
        if opened == path:
            raise PermissionError(13, "Permission denied", str(opened))
        return open(opened, *arguments)

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(DataError, match=f"{TRAIN_LABELS}.*Permission denied"):
        mnist.load(root)
    assert state_of(root).files[1].state == "damaged"


def test_verify_lists_every_set_with_size_and_licence(root):
    by_name = {status.name: status for status in catalogue.verify(root)}
    assert by_name["mnist"].state == "official" and by_name["mnist"].detail == ""
    on_disk = sum(path.stat().st_size for path in (root / "mnist").iterdir())
    assert by_name["mnist"].size == on_disk > 0
    assert "CC BY-SA 3.0" in by_name["mnist"].licence
    assert [s.state for s in by_name.values() if "digits" in s.name] == ["embedded"]


def test_verify_goes_on_where_a_folder_may_not_be_read(root, monkeypatch):
    def refuse(root):
        raise PermissionError(13, "Permission denied", str(root))

    sets = tuple(replace(entry, judge=refuse) if entry.judge else entry for entry in catalogue.SETS)
    monkeypatch.setattr(catalogue, "SETS", sets)
    states = [status.state for status in catalogue.verify(root)]
    assert states == ["damaged" if entry.judge else "embedded" for entry in sets]


def test_the_published_names_dimensions_and_digests_are_distinct():
    assert [file.dimensions[0] for file in mnist.FILES] == [60_000, 60_000, 10_000, 10_000]
    assert len({file.sha256 for file in mnist.FILES}) == 4
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in mnist.FILES)
    assert [file.magic for file in mnist.FILES] == [0x803, 0x801, 0x803, 0x801]


def test_download_fetches_what_lacks_and_keeps_the_rest(root, monkeypatch):
    asked = []

    def fetch(urls, path, check, most):
        asked.append(urls)
        if not path.exists():
            path.write_bytes(CONTENTS[path.name.removesuffix(".gz")])
        check(path)
        return path

    monkeypatch.setattr(mnist, "fetch", fetch)
    (root / "mnist" / f"{TEST_LABELS}.gz").unlink()
    bare = root / "mnist" / TRAIN_LABELS
    (root / "mnist" / f"{TRAIN_LABELS}.gz").unlink()
    bare.write_bytes(CONTENTS[TRAIN_LABELS])
    assert mnist.download(root)[1] == bare
    assert asked[3] == [f"{mirror}{TEST_LABELS}.gz" for mirror in mnist.MIRRORS]
    assert mnist.load(root).official


def test_download_does_not_replace_a_file_of_other_bytes(root):
    put(root, TRAIN_LABELS, idx(TRAIN_LABELS, 24, seed=1))
    before = (root / "mnist" / f"{TRAIN_LABELS}.gz").read_bytes()
    with pytest.raises(DataError, match="not the published file"):
        mnist.download(root)
    assert (root / "mnist" / f"{TRAIN_LABELS}.gz").read_bytes() == before


@pytest.mark.parametrize(
    ("n", "batch_size"), [(55_000, 128), (50_000, 128), (128, 128), (255, 128), (7, 2)]
)
def test_an_epoch_draws_every_sample_at_most_once(n, batch_size):
    pairs = batch_pairs(n, batch_size, seed=3, epoch=2)
    assert pairs.shape == (n // batch_size, 2, batch_size // 2)
    assert pairs.unique().numel() == pairs.numel()
    assert 0 <= pairs.min() and pairs.max() < n


def test_batches_depend_on_seed_and_epoch_and_nothing_else():
    first = batch_pairs(100, 10, seed=1, epoch=2)
    torch.manual_seed(9)
    np.random.seed(9)
    batch_pairs(100, 10, seed=1, epoch=1)
    assert torch.equal(batch_pairs(100, 10, seed=1, epoch=2), first)
    for seed, epoch in ((1, 1), (2, 2), (2, 1), (0, 0), (12, 0)):
        assert not torch.equal(batch_pairs(100, 10, seed=seed, epoch=epoch), first)


def test_every_sample_is_as_likely_in_either_batch():
    counts = torch.zeros(2, 12)
    for epoch in range(600):
        for side, batch in enumerate(batch_pairs(12, 8, seed=0, epoch=epoch)[0]):
            counts[side] += batch.bincount(minlength=12)
    # 600 epochs draw each sample 200 times a side, with a standard deviation of 12.
    assert (counts - 200).abs().max() < 5 * 12


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((100, 9, 0, 0), "not 9"),
        ((100, 0, 0, 0), "not 0"),
        ((100, -2, 0, 0), "not -2"),
        ((7, 8, 0, 0), "there are 7"),
        ((100, 10, -1, 0), "-1 and 0"),
        ((100, 10, 0, -3), "0 and -3"),
    ],
)
def test_impossible_batches_are_refused(arguments, found):
    with pytest.raises(ValueError, match=found):
        batch_pairs(*arguments)


@pytest.mark.parametrize("size", [1, 2, 10, 33, 150, 199, 200])
@pytest.mark.parametrize("classes", [1, 3, 10])
def test_a_stratified_subset_has_its_size_and_the_shares_of_the_classes(size, classes):
    weights = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    labels = torch.from_numpy(np.random.default_rng(classes).choice(classes, 200, p=weights))
    subset = stratified_subset(labels, size, seed=4)
    assert len(subset) == size == subset.unique().numel()
    assert torch.equal(subset, subset.sort().values)
    for label in range(classes):
        share = (labels == label).sum().item() * size / 200
        assert abs((labels[subset] == label).sum().item() - share) < 1


def test_a_stratified_subset_depends_on_its_seed_alone():
    labels = torch.arange(100) % 10
    first = stratified_subset(labels, 50, seed=0)
    torch.manual_seed(5)
    np.random.seed(5)
    assert torch.equal(stratified_subset(labels, 50, seed=0), first)
    assert not torch.equal(stratified_subset(labels, 50, seed=1), first)


def test_a_rounded_share_goes_to_the_lower_class_among_equals():
    labels = torch.tensor([0, 1, 2] * 4)
    assert labels[stratified_subset(labels, 4, seed=0)].bincount().tolist() == [2, 1, 1]


@pytest.mark.parametrize("size", [0, -1, 11])
def test_an_impossible_subset_is_refused(size):
    with pytest.raises(ValueError, match=f"between 1 and the 10 labels there are, not {size}"):
        stratified_subset(torch.arange(10), size, seed=0)


def test_a_faulty_file_of_a_variant_is_told_what_to_do_too(tmp_path, published):
    put_variant(tmp_path)
    put(tmp_path, TEST_LABELS, BROKEN["label 10"][0])
    with pytest.raises(DataError, match="or make it anew where it belongs to a variant"):
        mnist.load(tmp_path, variant="mine")


@pytest.mark.parametrize(
    "name, labels, message",
    [
        (TRAIN_LABELS, [7] * 24, "training images of the classes \\['7'\\], expected two"),
        (TRAIN_LABELS, [0, 1, *range(10), *range(10), 0, 1], "2 validation images and no two"),
        (TEST_LABELS, [3], "1 test image and no two of the same class"),
    ],
)
def test_data_without_a_pair_to_learn_from_or_to_find_are_refused_before_a_run(
    tmp_path, published, name, labels, message
):
    put_variant(tmp_path)
    put(tmp_path, TRAIN_LABELS, struct.pack(">2I", 0x801, 24) + bytes(2 * [0] + 2 * [*range(10)] + [0, 1]))  # fmt: skip
    put(tmp_path, name, struct.pack(">2I", 0x801, len(labels)) + bytes(labels))
    images = TEST_IMAGES if name == TEST_LABELS else TRAIN_IMAGES
    put(tmp_path, images, idx(images, len(labels)))
    with pytest.raises(DataError, match=message):
        Images(preset="short", variant="mine").load_data(tmp_path)


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_place_of_the_folder_is_named(tmp_path, below):
    (tmp_path / "data").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name in ("data", "nowhere"):
        with pytest.raises(NotADirectoryError, match=f"{name} is no folder, so"):
            Images(preset="short").load_data(tmp_path / name / below)
