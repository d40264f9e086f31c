"""Pictures: what they draw of records, and that their ink follows the reader's theme."""

import matplotlib
import pytest
import torch

from bwot import explorer, figures, gradients, play, toy
from bwot.controls import AllPairsLoss


@pytest.fixture(autouse=True)
def themed():
    with matplotlib.rc_context():
        figures.theme()
        yield


def lines(figure):
    """Label to points of the lines in the first panel."""
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def test_a_curve_is_the_mean_of_the_finished_seeds(make_record):
    records = [
        make_record("bwot", 0, (0.1, 0.9), diverged="epoch 2, step 3"),
        make_record("bwot", 1, (0.1, 0.5, 0.6)),
        make_record("bwot", 2, (0.1, 0.7, 0.8)),
        make_record("pairwise", 0, (0.1,), diverged="epoch 1, step 1"),
    ]
    drawn = lines(figures.convergence(records, ("map",)))
    assert drawn.keys() & {"batch-wise OT", "pair-wise"} == {"batch-wise OT"}
    assert drawn["batch-wise OT"] == [[1, pytest.approx(0.6)], [2, pytest.approx(0.7)]]


def test_many_epochs_are_drawn_from_the_first_to_the_last_the_early_ones_apart(make_record):
    figure = figures.convergence([make_record("bwot", 0, (0.1, *[0.5] * 200))], ("map",))
    epochs = [epoch for epoch, _ in lines(figure)["batch-wise OT"]]
    assert epochs[:5] == [1, 2, 3, 4, 5] and epochs[-1] == 200
    assert len(epochs) <= figures.MOST_POINTS and figure.axes[0].get_xscale() == "log"


def test_epochs_are_whole(make_record):
    figure = figures.convergence([make_record("bwot", 0, (0.1, *[0.5] * 4))], ("map",))
    figure.canvas.draw()
    assert all(tick == int(tick) for tick in figure.axes[0].get_xticks())


def test_ink_turns_light_in_the_dark(make_record):
    text = figures.svg(figures.convergence([make_record("bwot", 0)]))
    assert text.index("prefers-color-scheme: dark") < text.index(figures.INK.lower(), 2000)


def tuned(chosen, **cells):
    """What tuning found at a rate of .01 and these margins: mAP of each, or None where it diverged."""
    grid = [{"learning_rate": 0.01, "margin": float(name[1:]), "epochs": 3} for name in cells]
    for cell, value in zip(grid, cells.values(), strict=True):
        cell |= {"diverged": "epoch 1, step 2"} if value is None else {"map": value}
    return {"chosen": {"learning_rate": 0.01, "margin": chosen}, "grid": grid}


def test_a_tuning_grid_has_a_cross_where_training_diverged_and_a_frame_around_the_chosen():
    figure = figures.tuning_grid({"bwot": tuned(5.0, m2=0.2, m5=0.9, m12=None)})
    low, chosen, diverged = figure.axes[0].lines
    assert [line.get_marker() for line in (low, chosen, diverged)] == ["s", "s", "x"]
    assert [line.get_xydata().tolist() for line in (low, chosen, diverged)] == [
        [[0, 0]],
        [[0, 1]],
        [[0, 2]],
    ]
    assert chosen.get_markeredgecolor() == figures.WRONG != low.get_markeredgecolor()
    assert [text.get_text() for text in figure.axes[0].texts] == ["20", "90"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["2", "5", "12"]


def test_points_that_were_trained_for_less_are_small_and_have_no_number():
    found = tuned(5.0, m2=0.2, m5=0.9)
    found["grid"][0]["epochs"] = 1
    short, long = figures.tuning_grid({"bwot": found}).axes[0].lines
    assert short.get_markersize() < long.get_markersize()
    assert [text.get_text() for text in figures.tuning_grid({"bwot": found}).axes[0].texts] == ["90"]  # fmt: skip


def test_the_panels_of_a_tuning_grid_share_one_scale_of_colours():
    names = ("bwot", "allpairs", "active", "softmax", "cross-entropy")
    found = {name: tuned(5.0, m5=0.5, m2=0.1 * place) for place, name in enumerate(names)}
    figure = figures.tuning_grid(found)
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == [figures.TITLES[name] for name in names]
    assert len({axis.lines[0].get_color() for axis in panels}) == 1  # the same mAP everywhere
    assert panels[0].lines[1].get_color() != panels[1].lines[1].get_color()
    assert (
        sum(axis.axison for axis in figure.axes) == len(names) + 1
    )  # the bar; empty panels are off


def test_a_loss_without_a_margin_shows_none():
    figure = figures.tuning_grid({"bwot": tuned(5.0, m5=0.9), "cross-entropy": tuned(5.0, m5=0.9)})
    ours, classifier = (axis.get_yticklabels() for axis in figure.axes[:2])
    assert [text.get_text() for text in ours] == ["5"] and classifier == []


def test_squares_of_a_tuning_grid_lie_beside_each_other_and_the_chosen_one_on_top():
    rates = [0.01 * 2**k for k in range(7)]
    grid = [{"learning_rate": rate, "margin": m, "epochs": 3, "map": 0.9} for rate in rates for m in range(1, 9)]  # fmt: skip
    found = {"chosen": {"learning_rate": 0.01, "margin": 1}, "grid": grid}
    figure = figures.tuning_grid({name: found for name in ("bwot", "allpairs")})
    figure.canvas.draw()
    axis = figure.axes[0]
    (x, y), (right, up) = axis.transData.transform([(0, 0), (1, 1)]) * 72 / figure.dpi
    sizes = {line.get_markersize() for line in axis.lines}
    assert max(sizes) <= min(right - x, up - y) + 0.5
    heights = [line.get_zorder() for line in axis.lines]
    assert heights.index(max(heights)) == 0 and heights.count(max(heights)) == 1


def segments(line):
    """Ends of the parts of a line between its gaps."""
    points = line.get_xydata().reshape(-1, 3, 2)
    return {tuple(sorted(map(tuple, part))) for part in points[:, :2].tolist()}


def test_positives_are_framed_along_the_borders_of_their_cells():
    same = torch.tensor([[True, True, False], [False, False, True]])
    figure = figures.error_and_plan(torch.rand(2, 3), torch.full((2, 3), 1 / 6), same, ("drawings", "models"))  # fmt: skip
    left, _, right, _ = figure.axes
    dark, light = left.lines
    assert segments(light) == segments(dark) == {
        ((-0.5, -0.5), (0.5, -0.5)), ((0.5, -0.5), (1.5, -0.5)), ((-0.5, 0.5), (0.5, 0.5)), ((0.5, 0.5), (1.5, 0.5)),
        ((-0.5, -0.5), (-0.5, 0.5)), ((1.5, -0.5), (1.5, 0.5)), ((1.5, 0.5), (2.5, 0.5)), ((1.5, 1.5), (2.5, 1.5)),
        ((1.5, 0.5), (1.5, 1.5)), ((2.5, 0.5), (2.5, 1.5)),
    }  # fmt: skip
    assert light.get_linewidth() < dark.get_linewidth()
    assert left.axis() == right.axis() == (-0.5, 2.5, 1.5, -0.5)
    assert (left.get_ylabel(), left.get_xlabel()) == ("drawings, by class", "models, by class")


def phone_pixels(figure):
    """Height of the smallest words of a picture in a column of a phone."""
    words = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
    return min(text.get_fontsize() for text in words) * 342 / (72 * figure.get_figwidth())


def test_words_are_ten_pixels_high_on_a_phone(make_record):
    records = [make_record(loss, 0) for loss in ("bwot", "active", "softmax", "npair")]
    weights = torch.rand(8, 8)
    assert phone_pixels(figures.convergence(records)) >= 10
    assert phone_pixels(figures.weight_shares(records)) >= 10
    assert phone_pixels(figures.tuning_grid({"bwot": tuned(5.0, m2=0.2, m5=0.9, m12=None)})) >= 10
    assert phone_pixels(figures.error_and_plan(weights, weights / weights.sum(), weights > 0.5)) >= 10  # fmt: skip


def toy_pictures():
    """Those of the page on hard samples, and the explorer's."""
    batches, settings = toy.toy_batch(), (10.0, 10.0, 1.0)
    pairs = toy.transport(batches, *settings)
    yield toy.draw_toy(batches, *settings)
    yield toy.draw_batch(batches, 1.0)
    yield toy.draw_steps(batches, pairs)
    yield toy.draw_settings(batches, (0.01, 10.0, 100.0), 10.0, 1.0)
    yield toy.draw_influence(batches, 10.0, (1.0, 10.0, 100.0), 1.0)
    yield toy.draw_masses(batches, pairs)
    yield toy.draw_step(batches, {"mean": AllPairsLoss(1.0), "again": AllPairsLoss(1.0)}, 2.0)
    yield gradients.draw_gradients(batches, 10.0, (0.1, 10.0), 10.0, 1.0)
    yield explorer.draw_play(play.play_batch(), play.Settings())


def test_words_of_the_toy_batch_are_ten_pixels_high_on_a_phone_too():
    assert [figure for figure in toy_pictures() if phone_pixels(figure) < 10] == []


def test_many_epochs_have_few_markers(make_record):
    line, *_ = figures.convergence([make_record("bwot", 0, (0.1, *[0.5] * 50))], ("map",)).axes[0].lines  # fmt: skip
    shown = line.get_xdata()[:: line.get_markevery()]
    assert len(line.get_xdata()) == 50 and 5 < len(shown) <= figures.MOST_MARKERS
