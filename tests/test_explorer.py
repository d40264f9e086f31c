"""The sliders, the toy batch and its pictures."""

import base64
import math
import re
import statistics
import time
from typing import get_args

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure

from bwot import figures, play, toy
from bwot.controls import AllPairsLoss
from bwot.explorer import draw_play, explore, explore_play
from bwot.losses import BatchwiseOTLoss


@pytest.fixture(autouse=True)
def look():
    with matplotlib.rc_context():
        figures.theme()
        yield


@pytest.fixture
def batches():
    return toy.toy_batch()


def named(lam, gamma, margin):
    """A picture that says what it was drawn for."""
    figure = Figure((2, 1))
    figure.text(0, 0, f"{lam:g} {gamma:g} {margin:g}")
    return figure


def drawn(widget):
    """Alternative text and SVG of the widget's picture."""
    alt, data = re.search(r'alt="([^"]*)".*base64,([^"]*)"', widget.children[-1].value).groups()
    return alt, base64.b64decode(data).decode()


def test_the_start_is_drawn_without_a_kernel():
    alt, svg = drawn(explore(named, "A picture.", lam=5.0, gamma=20.0, margin=2.0))
    assert alt == "A picture. Here λ = 5, γ = 20, ε = 2."
    assert ">5 20 2<" in svg and "prefers-color-scheme: dark" in svg


@pytest.mark.parametrize("place, text", [(0, "7 10 1"), (1, "10 7 1"), (2, "10 10 0.7")])
def test_a_slider_that_moves_redraws_the_picture(place, text):
    widget = explore(named, "A picture.")
    slider = widget.children[place]
    slider.value = float(text.split()[place])
    alt, svg = drawn(widget)
    assert f">{text}<" in svg
    assert f"{slider.description[0]} = {slider.value:g}" in alt


def test_every_slider_says_what_it_moves():
    for slider in explore(named, "A picture.").children[:-1]:
        assert len(slider.description) > 5 and slider.tooltip


@pytest.mark.parametrize("value", [1e-5, 0.3, 5e4])
def test_sliders_reach_any_start(value):
    sliders = explore(named, "A picture.", lam=value, gamma=value, margin=value).children[:-1]
    assert [slider.value for slider in sliders] == pytest.approx([value] * 3)
    assert [(s.min, s.max) for s in explore(named, "A picture.").children[:2]] == [(-3, 3)] * 2


def test_quotes_in_alternative_text_do_not_end_it():
    assert "&quot;hard&quot; &lt;pairs&gt;" in drawn(explore(named, 'The "hard" <pairs>.'))[0]


def test_the_margin_is_drawn_around_the_sample_whose_positive_pairs_are_the_worst_on_average():
    batches = toy.toy_batch()
    means = [
        sum(float(((a - b) ** 2).sum()) for b, other in zip(batches.b, batches.labels_b, strict=True) if other == label)
        / int((batches.labels_b == label).sum())
        for a, label in zip(batches.a, batches.labels_a, strict=True)
    ]  # fmt: skip
    assert toy.hardest(batches) == means.index(max(means)) == 7  # of class 2, among class 1
    (circle,) = toy.draw_batch(batches, 1.0).axes[0].patches
    assert list(circle.center) == batches.a[7].tolist()


def test_the_toy_batch_has_easy_and_hard_pairs_for_every_seed():
    for seed in range(20):
        batches = toy.toy_batch(seed)
        error = toy.transport(batches, 10.0, 10.0, 1.0).error
        assert error[:2, :3].max() < 0.3  # class 0
        assert error[batches.same].max() > 0.5 and error[~batches.same].max() > 0.5


def test_seeds_move_the_points_and_one_seed_does_not(batches):
    assert torch.equal(batches.a, toy.toy_batch(0).a)
    assert not torch.equal(batches.a, toy.toy_batch(1).a)


def test_cost_kernel_and_plan_belong_together(batches):
    error, cost, kernel, weight = toy.transport(batches, 3.0, 2.0, 1.5)
    for i in range(8):
        for j in range(8):
            assert cost[i, j].item() == pytest.approx(math.exp(-2 * error[i, j]))
            assert kernel[i, j].item() == pytest.approx(math.exp(-3 * cost[i, j]))
    scaling = weight / kernel  # of rank one, as weight is u K v
    assert scaling[0, 0] * scaling[5, 6] == pytest.approx((scaling[0, 6] * scaling[5, 0]).item())
    assert weight.mean(0).tolist() == pytest.approx([1] * 8, abs=1e-5)


@pytest.mark.parametrize("loss", [AllPairsLoss(), BatchwiseOTLoss()])
def test_pull_and_push_add_up_to_minus_the_gradient(batches, loss):
    ends = [batches.a.clone().requires_grad_(), batches.b.clone().requires_grad_()]
    loss(ends[0], batches.labels_a, ref_emb=ends[1], ref_labels=batches.labels_b).backward()
    pull, push = toy.pull_and_push(loss, batches)
    torch.testing.assert_close(pull + push, -torch.cat([end.grad for end in ends]))


def test_positive_pairs_pull_together_and_negative_ones_push_apart():
    near = toy.Batches(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[0.5, 0.0]]), torch.tensor([0]))  # fmt: skip
    pull, push = toy.pull_and_push(AllPairsLoss(), near)
    assert pull[:, 0].tolist() == [1, -1] and not push.any()
    pull, push = toy.pull_and_push(AllPairsLoss(), near._replace(labels_b=torch.tensor([1])))
    assert push[:, 0].tolist() == [-1, 1] and not pull.any()


@pytest.mark.parametrize("lam", [1e-3, 10.0, 1e3])
def test_the_picture_of_the_sliders_is_drawn_at_their_ends(batches, lam):
    for gamma, margin in ((1e-3, 0.05), (1e3, 3.0)):
        svg = figures.svg(toy.draw_toy(batches, lam, gamma, margin))
        assert "nan" not in svg.lower()


def test_the_picture_follows_the_settings(batches):
    pictures = [(10, 10, 1), (20, 10, 1), (10, 20, 1), (10, 10, 2)]
    assert len({figures.svg(toy.draw_toy(batches, *map(float, p))) for p in pictures}) == 4


def test_lines_are_as_thick_as_the_weights(batches):
    weight = toy.transport(batches, 10.0, 10.0, 1.0).weight
    axis = toy.draw_toy(batches, 10.0, 10.0, 1.0).axes[0]
    for lines, kind in zip(axis.collections[:2], (batches.same, ~batches.same), strict=True):
        heavy = weight[kind & (weight >= 0.25)]
        assert lines.get_linewidths() == pytest.approx((0.8 * heavy).tolist())
    solid, dashed = (lines.get_linestyles()[0][1] for lines in axis.collections[:2])
    assert solid is None and dashed is not None


def test_all_other_pictures_are_figures_that_say_what_they_show(batches):
    pairs = toy.transport(batches, 10.0, 10.0, 1.0)
    losses = {"mean": AllPairsLoss(), "plan": BatchwiseOTLoss()}
    for figure, text in (
        (toy.draw_batch(batches, 1.0), "batch B"),
        (toy.draw_steps(batches, pairs), "kernel K"),
        (toy.draw_settings(batches, (0.01, 100.0), 10.0, 1.0), "λ = 0.01"),
        (toy.draw_influence(batches, 10.0, (1.0, 10.0, 100.0), 1.0), "margin ε"),
        (toy.draw_masses(batches, pairs), "each pair by itself"),
        (toy.draw_step(batches, losses, 2.0), "plan"),
    ):
        assert isinstance(figure, Figure)
        assert text in figures.svg(figure)


# ------------------------------------------------------------------------------------------------ the batch to play with


def parts(box):
    """The widgets of the explorer by what they are called, its picture and its words."""
    named = {child.description: child for child in box.children if child.description}
    return named, *box.children[-2:]


def test_the_widgets_start_as_the_page_does():
    named, picture, told = parts(explore_play())
    assert told.value == play.words(play.play_batch(), next(iter(play.PRESETS.values())))
    assert told.value in picture.value
    assert named["x"].value == play.play_batch().points[0, 0].item()


def test_a_preset_sets_every_widget_and_the_words():
    named, _, told = parts(explore_play())
    named["published"].value = "shapes"
    settings = play.PRESETS["shapes"]
    assert (named["λ, sharpness"].value, named["ε, margin"].value) == (settings.lam, 8.0)
    assert (named["form"].value, named["iterations"].value) == ("shapes", 50)
    assert told.value == play.words(play.play_batch(), settings)


def test_a_moved_point_is_where_it_was_put_and_the_others_stay():
    named, picture, told = parts(explore_play())
    before, batch = picture.value, play.play_batch()
    named["point"].value = i = batch.names.index("triangle 7")
    assert named["x"].value == batch.points[i, 0].item() and picture.value == before
    named["x"].value, named["y"].value = -0.7, 0.2
    batch.points[i] = torch.tensor([-0.7, 0.2], dtype=torch.float64)
    assert told.value == play.words(batch, play.Settings()) and picture.value != before


def test_a_margin_below_that_of_the_positives_takes_it_along():
    named, _, told = parts(explore_play())
    named["published"].value = "shapes"
    named["ε, margin"].value = 2.0
    settings = play.Settings(**vars(play.PRESETS["shapes"]) | {"margin": 2.0, "positive_margin": 1.98})  # fmt: skip
    assert told.value == play.words(play.play_batch(), settings)


@pytest.mark.parametrize("weights", get_args(play.Weights))
def test_the_picture_to_play_with_is_drawn_for_all_weights(weights):
    figure = draw_play(play.play_batch(), play.Settings(weights=weights))
    svg = figures.svg(figure)
    assert "nan" not in svg.lower() and ">12<" in svg


def test_lines_between_points_are_as_thick_as_their_share_of_the_mass():
    batch, settings = play.play_batch(), play.Settings()
    relative = 66 * play.shares(play.read(batch, settings))
    lines = draw_play(batch, settings).axes[0].lines
    expected = relative[relative >= 0.25].tolist()
    assert [line.get_linewidth() for line in lines] == pytest.approx([0.8 * each for each in expected])  # fmt: skip
    assert {line.get_linestyle() for line in lines} == {"-", "--"}


def test_a_slider_is_answered_at_once():
    """In processor time, which other work on the machine leaves alone; the target on an idle one is a fifth of a second."""
    box, taken = explore_play(), []
    lam = next(each for each in box.children if getattr(each, "description", "").startswith("λ"))
    for place in range(5):
        started = time.process_time()
        lam.value = 10 ** (place / 5)
        taken.append(time.process_time() - started)
    assert statistics.median(taken) < 0.4
