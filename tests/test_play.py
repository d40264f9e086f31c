"""The batch that readers play with: its start, presets, and what is read off it."""

import json
from itertools import combinations
from typing import get_args

import pytest
import torch

from bwot import play
from bwot.published import IMAGE_SETTINGS


@pytest.fixture
def batch():
    return play.play_batch()


def test_each_class_has_a_point_that_lies_with_the_other(batch):
    centres = torch.stack([batch.points[batch.labels == label].mean(0) for label in (0, 1)])
    nearest = torch.cdist(batch.points, centres).argmin(1)
    strays = {batch.names[i] for i in (nearest != batch.labels).nonzero().flatten().tolist()}
    assert strays == {"circle 6", "triangle 12"}


def test_the_halves_hold_aligned_pairs_of_both_kinds(batch):
    first, second = batch.labels.view(2, -1)
    assert set((first == second).tolist()) == {True, False}


def test_points_are_numbered_class_by_class(batch):
    ordered = [batch.names[i] for i in batch.labels.argsort(stable=True)]
    shapes = [play.SHAPES[0]] * 6 + [play.SHAPES[1]] * 6
    assert ordered == [f"{shape} {k}" for k, shape in enumerate(shapes, start=1)]


def test_every_point_is_within_reach_and_every_preset_within_its_sliders(batch):
    assert bool((batch.points.abs() <= torch.tensor(play.REACH)).all())
    for settings in play.PRESETS.values():
        for name in ("lam", "gamma", "margin", "iterations"):
            low, high = play.RANGES[name]
            assert low <= getattr(settings, name) <= high


def test_the_image_preset_is_what_the_authors_publish():
    for name in ("form", "lam", "gamma", "margin", "iterations"):
        assert getattr(play.PRESETS["images"], name) == IMAGE_SETTINGS[name]


def test_the_margin_has_one_radius_in_the_drawing_under_every_preset():
    sketches, images, shapes = play.PRESETS.values()
    assert sketches.margin**0.5 / sketches.scale == pytest.approx(1)
    assert images.margin**0.5 / images.scale == pytest.approx(1)
    assert shapes.margin / shapes.scale == pytest.approx(1)


@pytest.mark.parametrize("name", ["images", "shapes"])
def test_at_the_published_hundredth_the_plan_is_uniform(batch, name):
    weight = play.read(batch, play.PRESETS[name]).weight
    off = ~torch.eye(12, dtype=torch.bool)
    assert ((132 * weight[off] - 1).abs() < 0.02).all() and not weight.diagonal().any()


@pytest.mark.parametrize("weights", get_args(play.Weights))
@pytest.mark.parametrize("preset", play.PRESETS)
def test_the_loss_is_the_weighted_sum_of_what_pairs_are_charged(batch, weights, preset):
    settings = play.Settings(**vars(play.PRESETS[preset]) | {"weights": weights})
    reading = play.read(batch, settings)
    expected = 0.0
    for i in range(12):
        for j in range(12):
            error = reading.error[i, j].item()
            expected += reading.weight[i, j].item() * (error**2 if preset == "images" else error)
    assert reading.loss == pytest.approx(expected)


def test_shares_count_both_directions_of_a_pair_once(batch):
    reading = play.read(batch, play.Settings(weights="rowsoftmax"))
    share = play.shares(reading)
    for i, j in combinations(range(12), 2):
        assert share[i, j] == pytest.approx((reading.weight[i, j] + reading.weight[j, i]).item())
        assert share[j, i] == 0
    assert share.sum() == pytest.approx(1)


def test_the_words_name_the_hardest_pair_of_each_kind(batch):
    said = play.words(batch, play.Settings())
    hardest = {}
    for i, j in combinations(range(12), 2):
        squared = (batch.points[i] - batch.points[j]).square().sum().item()
        same = bool(batch.labels[i] == batch.labels[j])
        error = squared if same else max(0.0, 1 - squared)
        hardest[same] = max(hardest.get(same, (0,)), (error, i, j))
    for same, kind in ((True, "positive"), (False, "negative")):
        _, i, j = hardest[same]
        assert f"Hardest {kind} pair: {batch.names[i]} and {batch.names[j]}, " in said


def test_the_words_say_when_no_negative_pair_has_an_error(batch):
    assert "No negative pair has an error." in play.words(batch, play.Settings(margin=0.001))


def test_unknown_weights_are_refused_with_the_known_ones(untyped_settings):
    with pytest.raises(ValueError, match="weights must be one of bwot, .* not 'triplet'"):
        play.loss_of(untyped_settings)


@pytest.fixture
def untyped_settings():
    settings = play.Settings()
    object.__setattr__(settings, "weights", "triplet")
    return settings


def test_the_start_is_json_and_names_every_panel():
    start = json.loads(json.dumps(play.start()))
    assert start["labels"] == play.play_batch().labels.tolist()
    assert set(start["panels"]) < set(start["titles"]) == set(get_args(play.Weights))
    assert list(start["presets"]) == ["sketches", "images", "shapes"]
