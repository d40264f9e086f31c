"""The embedded digits."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from bwot.standins import digits


def test_digits_are_marked_as_a_stand_in():
    images = digits()
    assert images.name == "mnist" and images.variant.startswith("stand-in") and not images.official
    assert images.classes == tuple("0123456789")


def test_digits_have_their_sizes_and_range():
    images = digits()
    for split, size in ((images.train, 1152), (images.validation, 145), (images.test, 500)):
        assert split.images.shape == (size, 1, 8, 8) and split.images.dtype == torch.uint8
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
