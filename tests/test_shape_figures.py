"""Pictures of shapes: what lies where, how right and wrong are marked, and that all of it reads in the dark."""

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.patches import Circle, Rectangle

from bwot import figures, looks, shape_figures
from bwot.shape_figures import RIGHT, WRONG


@pytest.fixture(autouse=True)
def themed():
    with matplotlib.rc_context():
        figures.theme()
        yield


def pictures(count, side=24):
    """Grey pictures of which no two are the same; the number of one stands in its first pixels."""
    drawn = np.random.default_rng(0).integers(0, 256, (count, side, side)).astype(np.uint8)
    drawn[:, :2, :2] = np.arange(count)[:, None, None]
    return drawn


def cards(figure):
    """Number of each picture, and the x and y of its middle, as they are drawn."""
    for image in figure.axes[0].images:
        left, right, low, high = image.get_extent()
        yield int(image.get_array()[0, 0]), (left + right) / 2, (low + high) / 2


def frames(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(("views", "columns"), [(12, 6), (20, 5)])
def test_views_stand_in_rows_under_the_name_of_their_shape(views, columns):
    figure = shape_figures.view_sheet({"a chair": pictures(views), "a lamp": pictures(views)})
    assert words(figure) == ["a chair", "a lamp"]
    drawn = list(cards(figure))
    assert [number for number, *_ in drawn] == 2 * list(range(views))
    for first, second in zip(drawn[:columns], drawn[1:columns], strict=False):
        assert first[1] < second[1] and first[2] == second[2]
    assert drawn[columns][2] < drawn[0][2] and drawn[columns][1] == drawn[0][1]
    assert drawn[views][2] < drawn[views - 1][2]


def test_what_is_drawn_lies_inside_the_figure():
    sheet = shape_figures.view_sheet({"a": pictures(12), "b": pictures(20)})
    ranks = torch.arange(20).view(2, 10)
    gallery = shape_figures.retrieval_gallery(pictures(20), [0, 1], ranks, ranks % 2 == 0)
    plan = torch.rand(6, 6)
    pairs = shape_figures.plan_with_shapes(plan / plan.sum(), torch.eye(6) > 0, pictures(6))
    for figure in (sheet, gallery, pairs):
        (left, right), (low, high) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
        for image in figure.axes[0].images:
            west, east, south, north = image.get_extent()
            assert left <= west < east <= right and low - 1e-9 <= south < north <= high


def test_each_query_is_followed_by_what_was_found_for_it():
    ranks = torch.tensor([[3, 1, 4], [2, 7, 0]])
    figure = shape_figures.retrieval_gallery(pictures(9), [5, 6], ranks, ranks > 2)
    assert [number for number, *_ in cards(figure)] == [5, 3, 1, 4, 6, 2, 7, 0]
    query, first, second, third = list(cards(figure))[:4]
    assert query[1] < first[1] < second[1] and third[2] < first[2] == second[2]


def test_right_and_wrong_differ_in_line_and_sign_and_not_in_colour_alone():
    right = torch.tensor([[True, False]])
    figure = shape_figures.retrieval_gallery(pictures(3), [0], torch.tensor([[1, 2]]), right)
    good, bad = frames(figure)
    assert good.get_linestyle() != bad.get_linestyle()
    assert good.get_linewidth() < bad.get_linewidth()
    colours = [matplotlib.colors.to_hex(frame.get_edgecolor()) for frame in (good, bad)]
    assert colours == [RIGHT, WRONG]
    strokes = [len(line.get_xdata()) for line in figure.axes[0].lines]
    assert strokes == [3, 2, 2]  # a tick; the two strokes of a cross
    assert sum(isinstance(patch, Circle) for patch in figure.axes[0].patches) == 2


def test_the_heaviest_pairs_of_two_batches_come_first_with_their_weight():
    plan = torch.tensor([[0.05, 0.4, 0.05], [0.3, 0.15, 0.05]])
    same = torch.tensor([[True, False, True], [True, False, False]])
    first, second = pictures(5)[:2], pictures(5)[2:]
    figure = shape_figures.plan_with_shapes(plan, same, first, second, count=3)
    assert [number for number, *_ in cards(figure)] == [0, 3, 1, 2, 1, 3]
    assert words(figure) == [
        "weight 2.40", "two classes", "weight 1.80", "one class", "weight 0.90", "two classes",
    ]  # fmt: skip
    styles = [frame.get_linewidth() for frame in frames(figure)]
    assert styles[0] == styles[1] > styles[2] == styles[3] < styles[4] == styles[5]


def test_a_pair_of_one_batch_is_shown_once_and_never_a_shape_with_itself():
    plan = torch.tensor([[0.0, 0.3, 0.1], [0.2, 0.0, 0.1], [0.1, 0.2, 0.0]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    figure = shape_figures.plan_with_shapes(plan, same, pictures(3))
    assert [number for number, *_ in cards(figure)] == [0, 1, 1, 2, 0, 2]
    # The mean of both weights times 6, the number of pairs without the diagonal.
    assert words(figure)[::2] == ["weight 1.50", "weight 0.90", "weight 0.60"]


def test_confusions_are_counted_in_their_cells_and_coloured_by_the_share_of_the_row():
    matrix = torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 2]])
    figure = shape_figures.confusion_figure(matrix, ("mug", "jar", "cup"))
    axis = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axis.texts}
    assert cells == {(0, 0): "3", (1, 0): "1", (0, 2): "2", (2, 2): "2"}
    assert axis.images[0].get_array().filled(0).tolist() == [[0.75, 0.25, 0], [0, 0, 0], [0.5, 0, 0.5]]  # fmt: skip
    assert [label.get_text() for label in axis.get_yticklabels()] == ["mug", "jar", "cup"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted class", "true class")


def test_many_classes_have_names_and_no_numbers():
    figure = shape_figures.confusion_figure(torch.eye(40).long(), [str(k) for k in range(40)])
    assert not figure.axes[0].texts and len(figure.axes[0].get_xticklabels()) == 40


def test_a_curve_goes_through_its_ends_and_has_few_points():
    recall = torch.linspace(0.001, 1, 3000, dtype=torch.float64) ** 2
    precision = 1 - recall / 2
    figure = shape_figures.precision_recall_figure(
        {"bwot": (recall, precision), "frozen features": (recall, precision / 2)}
    )
    ours, other = figure.axes[0].lines
    points = ours.get_xydata()
    assert points[0].tolist() == [recall[0], precision[0]]
    assert points[-1].tolist() == [recall[-1], precision[-1]]
    assert len(points) <= 100 and np.diff(points[:, 0]).max() < 0.03
    assert np.allclose(points[:, 1], 1 - points[:, 0] / 2)
    assert [line.get_label() for line in (ours, other)] == ["batch-wise OT", "frozen features"]
    assert ours.get_linestyle() != other.get_linestyle() and ours.get_color() != other.get_color()


def test_a_curve_of_one_rank_is_drawn():
    one = torch.tensor([1.0])
    figure = shape_figures.precision_recall_figure({"bwot": (one, one)})
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[1, 1]]


def luminance(colour):
    """Relative luminance of the web content accessibility guidelines, version 2."""
    parts = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in matplotlib.colors.to_rgb(colour)
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(colour, paper):
    dark, light = sorted((luminance(colour), luminance(paper)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("paper", ["#ffffff", "#14181e", shape_figures.CARD(1.0)])
@pytest.mark.parametrize("frame", [RIGHT, WRONG])
def test_frames_stand_out_against_both_themes_and_the_cards(frame, paper):
    assert contrast(frame, paper) >= 3


@pytest.mark.parametrize("paper", ["#ffffff", "#14181e"])
@pytest.mark.parametrize("loss", looks.COLOURS)
def test_the_curve_of_every_loss_stands_out_against_both_themes(loss, paper):
    assert contrast(looks.COLOURS[loss], paper) >= 3


def test_losses_of_one_colour_differ_in_line_and_marker():
    known = {(looks.COLOURS[loss], looks.LINES[loss]) for loss in looks.TITLES}
    assert len(known) == len(set(looks.MARKERS.values())) == len(looks.TITLES)


def test_large_pictures_are_averaged_down_and_small_ones_left_as_they_are():
    large = np.zeros((12, 448, 448), np.uint8)
    large[:, ::2] = 200
    figure = shape_figures.view_sheet({"small": pictures(12), "large": large})
    small, *_, last = figure.axes[0].images
    assert np.array_equal(small.get_array(), pictures(12)[0])
    assert 64 <= last.get_array().shape[0] <= 128 and set(np.unique(last.get_array())) <= {80, 100, 120}  # fmt: skip


def test_words_follow_the_theme_and_pictures_do_not():
    text = figures.svg(shape_figures.view_sheet({"a chair": pictures(12)}))
    assert f"fill: {figures.INK}" in text and text.count("<image") == 12
