"""The embedded digits, and the shapes in colour."""

from importlib.machinery import ModuleSpec

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from bwot import standins
from bwot.standins import SHAPES, colours, digits


def test_digits_are_marked_as_a_stand_in():
    images = digits()
    assert images.name == "mnist" and images.variant.startswith("stand-in") and not images.official
    assert images.classes == tuple("0123456789")


def test_shapes_in_colour_are_marked_as_a_stand_in():
    images = colours()
    assert images.name == "cifar10" and images.variant.startswith("stand-in: ")
    assert not images.official and images.classes == tuple(SHAPES) and len(SHAPES) == 10


@pytest.mark.parametrize(("make", "shape"), [(digits, (1, 8, 8)), (colours, (3, 16, 16))])
def test_stand_ins_have_their_sizes_and_range(make, shape):
    images = make()
    for split, size in ((images.train, 1152), (images.validation, 145), (images.test, 500)):
        assert split.images.shape == (size, *shape) and split.images.dtype == torch.uint8
        assert split.labels.shape == (size,) and split.labels.dtype == torch.int64
    assert images.train.images.min() == 0 and images.train.images.max() == 255


def test_the_three_parts_together_are_the_source():
    images, source = digits(), load_digits()
    parts = (images.train, images.validation, images.test)
    ours = torch.cat([split.images.flatten(1) for split in parts]).numpy()
    labels = torch.cat([split.labels for split in parts]).numpy()
    levels = np.round(ours * (16 / 255))
    expected = np.column_stack([source.images.reshape(-1, 64), source.target])
    found = np.column_stack([levels, labels])
    assert np.array_equal(expected[np.lexsort(expected.T)], found[np.lexsort(found.T)])


def test_the_digits_name_the_package_that_they_lie_in_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(standins, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        digits.__wrapped__()
    assert caught.value.name == "sklearn"


def test_the_digits_name_the_file_that_is_not_where_their_package_has_had_it(monkeypatch, tmp_path):
    package = ModuleSpec("sklearn", None, is_package=True)
    package.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(standins, "find_spec", lambda name: package)
    with pytest.raises(
        FileNotFoundError, match=r"should lie in .*digits\.csv\.gz, and do not: install"
    ):
        digits.__wrapped__()


def test_the_parts_keep_the_shares_of_the_classes():
    images, source = digits(), load_digits()
    shares = np.bincount(source.target) / len(source.target)
    for split in (images.train, images.validation, images.test):
        counts = split.labels.bincount(minlength=10).numpy()
        # Validation is drawn from what test left, so its rounding adds to the first.
        assert np.abs(counts - shares * len(split.labels)).max() < 2


def test_the_split_never_changes():
    first, second = digits(), digits()
    assert torch.equal(first.test.images, second.test.images)
    assert first.sha256 == second.sha256
    assert first.test.labels[:12].tolist() == [1, 5, 6, 9, 2, 4, 5, 6, 7, 9, 3, 4]
    assert first.sha256 == "65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5"


def whole(images):
    """All images and labels of a set, as floats and integers."""
    parts = (images.train, images.validation, images.test)
    pixels = torch.cat([split.images for split in parts]).double()
    return pixels, torch.cat([split.labels for split in parts])


def test_shapes_in_colour_have_equal_classes_in_every_part():
    images = colours()
    for split in (images.train, images.validation, images.test):
        counts = split.labels.bincount(minlength=10)
        assert counts.max() - counts.min() <= 1


def test_shapes_in_colour_never_change():
    first = colours()
    np.random.seed(3)
    torch.manual_seed(3)
    second = colours()
    assert torch.equal(first.test.images, second.test.images)
    assert first.test.labels[:12].tolist() == second.test.labels[:12].tolist()
    assert (
        first.sha256
        == second.sha256
        == "a3df0d5b6d7e6eb066fe2c2fef1cc7961dfe9856ac6690354905d1349c7f5d17"
    )


def test_colour_tells_nothing_of_the_class():
    pixels, labels = whole(colours())
    # Ink is brighter than paper in every channel on average, so the share of ink is taken out first.
    brightness = pixels.mean((1, 2, 3))
    for channel in range(3):
        tint = pixels[:, channel].mean((1, 2)) - brightness
        means = torch.stack([tint[labels == label].mean() for label in range(10)])
        error = tint.std() / (len(labels) / 10) ** 0.5
        assert (means - tint.mean()).abs().max() < 4 * error


def test_no_two_drawings_are_the_same():
    pixels, _ = whole(colours())
    assert len(pixels.flatten(1).unique(dim=0)) == len(pixels)


def test_raw_pixels_are_no_short_cut_to_the_shapes():
    from bwot.metrics import retrieval_scores

    images = colours().test
    points = images.images.flatten(1).float()
    distances = torch.cdist(points, points)
    scores = retrieval_scores(distances, images.labels, images.labels, exclude_self=True)
    assert 0.1 < scores.map < 0.3
