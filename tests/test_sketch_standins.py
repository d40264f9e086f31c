"""The drawings of solids and the shapes that they ask for."""

import numpy as np
import pytest
import torch

from bwot.sketch_standins import sketches
from bwot.solids import FAMILIES


def test_sketches_are_marked_as_a_stand_in():
    data = sketches()
    assert data.name == "shrec13" and data.variant.startswith("stand-in: ") and not data.official
    assert data.classes == FAMILIES


@pytest.mark.parametrize(
    ("part", "shape"),
    [("train", (120, 1)), ("validation", (40, 1)), ("test", (80, 1)), ("shapes", (80, 6))],
)
def test_sketches_and_shapes_have_their_sizes_and_equal_classes(part, shape):
    data = sketches()
    split = getattr(data, part)
    assert split.images.shape == (*shape, 1, 32, 32) and split.images.dtype == torch.uint8
    assert split.labels.bincount().tolist() == [shape[0] // 10] * 10
    for name, label in zip(data.names[part], split.labels, strict=True):
        assert name.startswith(f"{data.classes[label]}-")


def test_no_solid_is_sketched_twice_or_searched_for_itself():
    names = [name for part in sketches().names.values() for name in part]
    assert len(set(names)) == len(names) == 320


def test_sketches_are_a_few_dark_lines_on_white_paper():
    for split in (sketches().train, sketches().validation, sketches().test):
        paper = (split.images > 200).flatten(1).float().mean(1)
        assert paper.min() > 0.5
        assert split.images.flatten(1).min(1).values.max() < 100


def test_sketches_never_change():
    first = sketches()
    sketches.cache_clear()
    np.random.seed(3)
    second = sketches()
    assert torch.equal(first.test.images, second.test.images)
    assert (
        first.sha256
        == second.sha256
        == "06464eb56174b6583d22b457d25de70a1b4caad2691f7c9d16de802934cf8ef8"
    )


def test_raw_pixels_of_a_sketch_are_no_short_cut_to_shapes():
    from bwot.metrics import retrieval_scores

    data = sketches()
    queries = data.test.images[:, 0].flatten(1).float()
    views = data.shapes.images.flatten(2).float()
    distances = torch.cdist(queries, views.flatten(0, 1)).view(80, 80, 6).min(2).values
    scores = retrieval_scores(distances, data.test.labels, data.shapes.labels)
    assert 0.1 < scores.map < 0.4
