"""Pictures of images: which are drawn where, and what is marked."""

import matplotlib
import pytest
import torch

from bwot import figures, image_figures
from bwot.looks import WRONG


@pytest.fixture(autouse=True)
def themed():
    with matplotlib.rc_context():
        figures.theme()
        yield
    matplotlib.pyplot.close("all")


def images(count, channels=1):
    """Images whose number stands in their first pixel."""
    made = torch.zeros(count, channels, 8, 8, dtype=torch.uint8)
    made[:, :, 0, 0] = torch.arange(count, dtype=torch.uint8)[:, None]
    return made


def drawn(axis):
    return [int(picture.get_array().reshape(-1)[0]) for picture in axis.images]


def test_a_class_has_a_row_of_its_first_images():
    figure = image_figures.samples(images(6), torch.tensor([0, 1, 0, 1, 1, 0]), ("ant", "bee"), each=3)  # fmt: skip
    assert [drawn(axis) for axis in figure.axes] == [[0], [2], [5], [1], [3], [4]]
    assert [figure.axes[k].get_ylabel() for k in (0, 3)] == ["ant", "bee"]


def test_the_heaviest_pairs_of_a_kind_come_first():
    plan = torch.tensor([[0.1, 0.4], [0.3, 0.2]])
    same = torch.eye(2).bool()
    positive, negative = (image_figures.heaviest(plan, kind) for kind in (same, ~same))
    assert [(i, j) for i, j, _ in positive] == [(1, 1), (0, 0)]
    assert [weight for *_, weight in negative] == [pytest.approx(1.6), pytest.approx(1.2)]


def test_hard_pairs_stand_one_above_the_other_with_their_weight():
    plan = torch.tensor([[0.1, 0.4], [0.3, 0.2]])
    figure = image_figures.hardest_pairs(images(2), images(4)[2:], plan, torch.eye(2).bool())
    rows = [figure.axes[k * image_figures.PAIRS : (k + 1) * image_figures.PAIRS] for k in range(4)]
    assert [[drawn(axis) for axis in row[:2]] for row in rows] == [[[1], [0]], [[3], [2]], [[0], [1]], [[3], [2]]]  # fmt: skip
    assert [axis.get_title() for axis in rows[2][:3]] == ["1.60", "1.20", ""]


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_of_another_class_has_a_frame(channels):
    labels = torch.tensor([0, 0, 1])
    figure = image_figures.retrievals(images(3, channels), labels, [0, 2], torch.tensor([[1, 2], [0, 1]]))  # fmt: skip
    framed = [axis.spines["left"].get_visible() for axis in figure.axes]
    assert framed == [False, False, True, False, True, True]
    assert matplotlib.colors.to_hex(figure.axes[2].spines["left"].get_edgecolor()) == WRONG
