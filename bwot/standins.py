"""Small data that come with the installed packages: what the ``quick`` preset runs on, without a network."""

import hashlib

import numpy as np
import torch

from bwot.data.images import ImageSet, Split
from bwot.data.sampling import stratified_subset

TEST_SIZE, VALIDATION_SIZE = 500, 145  # of 1,797


def digits() -> ImageSet:
    """The 1,797 scanned digits of scikit-learn, in place of MNIST.

    Images have the shape (n, 1, 8, 8) and values 0 to 255 (17 levels: 0 to 16 in the source). The split into 1,152
    training, 145 validation and 500 test images keeps the shares of the classes and never changes.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), its test part.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    levels = source.images.astype(np.uint8)
    labels = source.target.astype(np.int64)
    scaled = torch.from_numpy((levels * (255 / 16)).round().astype(np.uint8))
    whole = Split(scaled[:, None], torch.from_numpy(labels))
    rest, test = _parted(whole, TEST_SIZE)
    train, validation = _parted(rest, VALIDATION_SIZE)
    return ImageSet(
        name="mnist",
        variant="stand-in: scikit-learn digits, 8×8",
        official=False,
        sha256=hashlib.sha256(levels.tobytes() + labels.astype("<i8").tobytes()).hexdigest(),
        classes=tuple("0123456789"),
        train=train,
        validation=validation,
        test=test,
    )


def _parted(split, size):
    taken = stratified_subset(split.labels, size, seed=0)
    rest = torch.ones(len(split.labels), dtype=torch.bool)
    rest[taken] = False
    return Split(split.images[rest], split.labels[rest]), Split(
        split.images[taken], split.labels[taken]
    )
