"""What the loaders of sketches return and the learning side takes."""

import numpy as np
import pytest
import torch

from bwot.data.images import Split
from bwot.data.sketches import PARTS, SketchData


def data(samples, shapes, look=None):
    def split(images):
        return Split(images, torch.arange(len(images)) % 2)

    return SketchData(
        name="shrec13",
        variant="made up",
        official=False,
        sha256="0" * 64,
        classes=("ant", "bee"),
        shapes=split(shapes),
        names={part: tuple("abcd") for part in (*PARTS, "shapes")},
        look=look,
        **{part: split(samples) for part in PARTS},
    )


@pytest.fixture
def drawn():
    """Four drawings in three rotations, four shapes in five views, each picture of one level."""
    levels = torch.arange(4 * 3, dtype=torch.uint8).view(4, 3, 1, 1, 1).expand(4, 3, 1, 6, 6)
    views = 100 + torch.arange(4 * 5, dtype=torch.uint8).view(4, 5, 1, 1, 1).expand(4, 5, 1, 6, 6)
    return data(levels, views)


@pytest.mark.parametrize("part", PARTS)
def test_drawings_are_shown_as_they_were_drawn(drawn, part):
    pictures = drawn.pictures(part, [2, 0])
    assert pictures.shape == (2, 6, 6)
    assert pictures[:, 0, 0].tolist() == [6, 0]


def test_shapes_are_shown_by_their_first_view(drawn):
    assert drawn.pictures("shapes", [1, 3])[:, 0, 0].tolist() == [105, 115]


def test_pictures_of_features_come_from_the_files():
    asked = []

    def look(part, index):
        asked.append((part, index))
        return np.full((6, 6), index, np.uint8)

    learned = data(torch.zeros(4, 20, 7), torch.zeros(4, 7), look)
    pictures = learned.pictures("test", [3, 1])
    assert pictures[:, 0, 0].tolist() == [3, 1]
    assert asked == [("test", 3), ("test", 1)]
