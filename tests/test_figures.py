"""Pictures: what they draw of records, and that their ink follows the reader's theme."""

import matplotlib
import pytest
import torch

from bwot import figures


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


def test_words_are_large_enough_on_a_phone(make_record):
    records = [make_record(loss, 0) for loss in ("bwot", "active", "softmax", "npair")]
    weights = torch.rand(8, 8)
    for figure in (
        figures.convergence(records),
        figures.weight_shares(records),
        figures.tuning_grid({"bwot": tuned(5.0, m2=0.2, m5=0.9, m12=None)}),
        figures.error_and_plan(weights, weights / weights.sum(), weights > 0.5),
    ):
        words = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
        shrunk = 342 / (72 * figure.get_figwidth())  # of the width of a column there, in pixels
        assert min(text.get_fontsize() for text in words) * shrunk > 8, figure
