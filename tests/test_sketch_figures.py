"""Pictures of sketches and shapes: what lies where, how right and wrong are marked, and what each mark stands for."""

import itertools

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bwot import figures, published, sketch_figures


@pytest.fixture(autouse=True)
def themed():
    with matplotlib.rc_context():
        figures.theme()
        yield


def pictures(first, count, side=24):
    """Grey pictures whose number stands in their first pixel."""
    drawn = np.full((count, side, side), 200, np.uint8)
    drawn[:, :2, :2] = np.arange(first, first + count)[:, None, None]
    return drawn


def cards(figure):
    """Number of each picture, and the left, lower and right end of it."""
    for image in figure.axes[0].images:
        left, right, low, _ = image.get_extent()
        yield int(image.get_array()[0, 0]), left, low, right


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_drawings_stand_left_of_the_models_of_their_class():
    figure = sketch_figures.sketch_sheet(
        {"ant": (pictures(0, 4), pictures(10, 4)), "bee": (pictures(20, 4), pictures(30, 4))}
    )
    assert words(figure) == ["drawings", "models", "ant", "bee"]
    drawn = list(cards(figure))
    assert [number for number, *_ in drawn] == [*range(4), *range(10, 14), *range(20, 24), *range(30, 34)]  # fmt: skip
    assert drawn[3][3] < drawn[4][1]  # the last drawing ends before the first model begins
    assert drawn[0][2] == drawn[7][2] > drawn[8][2]


def test_a_class_of_few_leaves_gaps_and_of_many_is_cut():
    figure = sketch_figures.sketch_sheet({"ant": (pictures(0, 9), pictures(10, 2))})
    assert [number for number, *_ in cards(figure)] == [0, 1, 2, 3, 10, 11]


def test_every_rotation_has_its_angle_below():
    figure = sketch_figures.rotation_sheet(pictures(0, 20))
    assert words(figure)[:2] == ["0°", "18°"] and words(figure)[-1] == "342°"
    for (number, left, low, right), text in zip(cards(figure), figure.axes[0].texts, strict=True):
        x, y = text.get_position()
        assert left < x < right and y < low
        assert text.get_text() == f"{18 * number}°"


def test_each_drawing_is_followed_by_what_was_found_for_it():
    found = np.stack([pictures(10, 3), pictures(20, 3)])
    right = torch.tensor([[True, False, True], [False, False, True]])
    figure = sketch_figures.sketch_gallery(pictures(0, 2), found, right)
    drawn = list(cards(figure))
    assert [number for number, *_ in drawn] == [0, 10, 11, 12, 1, 20, 21, 22]
    widths = [right - left for _, left, _, right in drawn]
    assert widths[0] > 1.9 * widths[1]


def test_right_and_wrong_differ_in_line_and_sign():
    figure = sketch_figures.sketch_gallery(
        pictures(0, 1), pictures(10, 2)[None], torch.tensor([[True, False]])
    )
    good, bad = (p for p in figure.axes[0].patches if isinstance(p, matplotlib.patches.Rectangle))
    assert good.get_linestyle() != bad.get_linestyle()
    assert len(figure.axes[0].lines) == 3  # a tick has one stroke, a cross two


def test_the_map_shows_both_modalities_of_every_class_in_every_state():
    sketches, shapes = torch.rand(6, 2), torch.rand(4, 2)
    figure = sketch_figures.modality_map(
        {"before": (sketches, shapes), "after": (sketches + 1, shapes + 1)},
        torch.tensor([0, 0, 1, 1, 2, 2]),
        torch.tensor([0, 1, 1, 1]),
        ("ant", "bee", "cat"),
    )
    assert [axis.get_title() for axis in figure.axes] == ["before", "after"]
    for axis, shift in zip(figure.axes, (0, 1), strict=True):
        points = np.concatenate([marks.get_offsets() for marks in axis.collections])
        expected = np.concatenate([sketches, shapes]) + shift
        assert np.allclose(np.sort(points[:, 0]), np.sort(expected[:, 0]))
        assert {text.get_text() for text in axis.texts} == {"ant", "bee"}  # cat has no shape
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["drawing", "model"]


def test_names_beside_the_map_do_not_meet_and_lead_to_their_shapes():
    labels = torch.arange(50).repeat_interleave(torch.tensor([3] * 40 + [2] * 10))
    shapes = torch.rand(len(labels), 2) * 1e-3  # all in one place
    classes = [f"class {k}" for k in range(50)]
    figure = sketch_figures.modality_map({"now": (shapes, shapes)}, labels, labels, classes)
    FigureCanvasAgg(figure).draw()
    named = figure.axes[0].texts
    assert {text.get_text() for text in named} == set(classes[:40])  # those with most shapes
    for text in named:
        middle = shapes[labels == int(text.get_text().split()[1])].median(0).values
        assert np.allclose(text.xy, middle)
    words = [matplotlib.text.Text.get_window_extent(text) for text in named]
    assert not any(one.overlaps(two) for one, two in itertools.combinations(words, 2))


def test_the_authors_logs_are_drawn_point_by_point():
    figure = sketch_figures.logged_curves()
    for line, (loss, curve) in zip(figure.axes[0].lines, published.LOGGED.items(), strict=True):
        assert line.get_xdata().tolist() == list(curve.epochs)
        assert line.get_ydata().tolist() == list(curve.values)
        assert line.get_label() == f"{figures.TITLES[loss]}, authors"
    assert published.LOGGED["bwot"].values[-1] == pytest.approx(
        published.SCORES["shrec14", "map"].value, abs=0.001
    )


def test_sketches_and_shapes_of_the_map_differ_in_more_than_colour():
    figure = sketch_figures.modality_map(
        {"now": (torch.rand(2, 2), torch.rand(2, 2))}, torch.zeros(2).long(), torch.zeros(2).long(), ("ant",)
    )  # fmt: skip
    dots, rings = figure.axes[0].collections
    assert dots.get_sizes()[0] < rings.get_sizes()[0]
    assert len(rings.get_facecolor()) == 0
