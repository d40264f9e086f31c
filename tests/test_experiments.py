"""The experiments: settings that are checked, and the networks and grids that they name."""

import inspect
import math

import pytest
import torch

from bwot.experiments import Images, grid


@pytest.mark.parametrize(
    "given, message",
    [
        ({"dataset": "imagenet"}, "dataset must be one of mnist, cifar10, not 'imagenet'"),
        ({"preset": "fast"}, "preset must be one of quick, short, full, not 'fast'"),
        ({"loss": "ot"}, "loss must be one of pairwise, allpairs, active"),
        ({"head": "big"}, "head must be one of paper, code, not 'big'"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"epochs": "2"}, "epochs must be a whole number, not '2'"),
        ({"epochs": None}, "epochs must be a whole number, not None"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"seed": math.inf}, "seed must be a whole number, not inf"),
        ({"batch_size": 0}, "batch_size must be at least 2, not 0"),
        ({"batch_size": 33}, "batch_size must be even"),
        ({"learning_rate": 0}, "learning_rate must be positive, not 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number, not nan"),
        ({"learning_rate": "fast"}, "learning_rate must be a finite number, not 'fast'"),
        ({"decay": -0.5}, "decay must be positive, not -0.5"),
        ({"momentum": 1}, r"momentum must lie in \[0, 1\), not 1.0"),
        ({"margin": 0}, "margin must be positive and finite, not 0.0"),
        ({"lam": -1}, "lam must be positive and finite, not -1.0"),
        ({"gamma": math.inf}, "gamma must be a finite number, not inf"),
        ({"iterations": 0}, "iterations"),
    ],
)
def test_settings_out_of_range_are_named(untyped, given, message):
    with pytest.raises(ValueError, match=message):
        untyped(**given)


@pytest.mark.parametrize("name", ["margin", "lam", "epochs", "seed", "batch_size", "iterations"])
def test_a_number_is_the_same_setting_with_and_without_a_point(untyped, name):
    whole, point = untyped(**{name: 8}), untyped(**{name: 8.0})
    assert whole == point and repr(whole) == repr(point)


def test_the_grid_fills_in_what_the_preset_says():
    runs = grid(Images, "short", ["pairwise", "bwot"], lam=5.0, epochs=None)
    assert [(each.loss, each.seed) for each in runs] == [
        (loss, seed) for loss in ("pairwise", "bwot") for seed in (0, 1, 2)
    ]
    assert {(each.preset, each.epochs, each.lam) for each in runs} == {("short", 10, 5.0)}
    assert [each.seed for each in grid(Images, "quick", ("bwot",), [7])] == [7]


@pytest.mark.parametrize(
    "arguments, given, message",
    [
        (("quick", ["bwot"]), {"lambda_": 5}, "no setting is called lambda_; there are dataset"),
        (("fast", ["bwot"]), {}, "preset must be one of quick, short, full"),
        (("quick", "bwot"), {}, "losses must be a list with at least one entry, not 'bwot'"),
        (("quick", []), {}, "losses must be a list with at least one entry"),
        (("quick", ["bwot"], 3), {}, "seeds must be a list with at least one entry, not 3"),
        (("quick", ["bwot"], []), {}, "seeds must be a list with at least one entry"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(arguments, given, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(grid)(
            Images, *arguments, **given
        )  # as a notebook calls it, without checks of types


def test_every_loss_starts_from_the_same_network_at_a_seed():
    def start(**settings):
        return torch.cat(
            [p.flatten() for p in Images(**settings).build_network((1, 8, 8)).parameters()]
        )

    assert torch.equal(start(loss="bwot"), start(loss="pairwise"))
    assert torch.equal(start(loss="bwot"), start(loss="allpairs", learning_rate=0.5))
    assert not torch.equal(start(seed=0), start(seed=1))


# ------------------------------------------------------------------------------ zero lines, as published


@pytest.mark.parametrize("loss", ["pixels", "untrained"])
def test_a_zero_line_is_not_trained_whatever_is_asked(loss):
    assert Images(loss=loss).epochs == 0 == Images(loss=loss, epochs=7).epochs


def test_pixels_are_their_own_embedding():
    images = torch.rand(3, 1, 8, 8)
    network = Images(loss="pixels").build_network((1, 8, 8))
    assert torch.equal(network(images), images.reshape(3, 64)) and not list(network.parameters())


def test_the_untrained_network_is_the_one_that_others_start_from():
    images = torch.rand(3, 1, 8, 8)
    ours, theirs = (
        Images(loss=loss, seed=2).build_network((1, 8, 8)) for loss in ("untrained", "bwot")
    )
    assert torch.equal(ours(images), theirs(images))


def test_as_published_every_setting_is_the_authors():
    given = Images(as_published=True, learning_rate=0.5, margin=1.0, head="paper", seed=4, normalise_gradient=True)  # fmt: skip
    assert given == Images(
        as_published=True, seed=4, form="images", margin=5.0, lam=0.01, gamma=10.0, iterations=30, plan_gradient="kernel",
        learning_rate=0.2, decay=0.95, momentum=0.9, batch_size=128, head="code", normalise_gradient=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "given, message",
    [
        ({"as_published": True, "loss": "pairwise"}, "as published there is the loss bwot only"),
        ({"as_published": 1}, "as_published must be true or false, not 1"),
        ({"normalise_gradient": "yes"}, "normalise_gradient must be true or false, not 'yes'"),
        ({"normalise_gradient": True, "loss": "cross-entropy"}, "gradient of cross-entropy is not"),
        ({"normalise_gradient": True, "loss": "pixels"}, "gradient of pixels is not one of pairs"),
    ],
)
def test_quirks_that_cannot_be_are_refused(untyped, given, message):
    with pytest.raises(ValueError, match=message):
        untyped(**given)


def test_a_classifier_starts_from_the_seed_alone():
    def start(seed):
        torch.manual_seed(seed + 10)
        return Images(loss="cross-entropy", seed=seed).build_loss(10).classifier.weight

    assert start(0).shape == (10, 256)
    torch.manual_seed(99)
    assert torch.equal(start(0), Images(loss="cross-entropy").build_loss(10).classifier.weight)
    assert not torch.equal(start(0), start(1))
