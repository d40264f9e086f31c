"""The experiments: settings that are checked, and the networks and grids that they name."""

import inspect
import math

import pytest
import torch

from bwot.experiments import Images, build_network, grid


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
    runs = grid("short", ["pairwise", "bwot"], lam=5.0, epochs=None)
    assert [(each.loss, each.seed) for each in runs] == [
        (loss, seed) for loss in ("pairwise", "bwot") for seed in (0, 1, 2)
    ]
    assert {(each.preset, each.epochs, each.lam) for each in runs} == {("short", 10, 5.0)}
    assert [each.seed for each in grid("quick", ("bwot",), [7])] == [7]


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
        inspect.unwrap(grid)(*arguments, **given)  # as a notebook calls it, without checks of types


def test_every_loss_starts_from_the_same_network_at_a_seed():
    def start(**settings):
        return torch.cat(
            [p.flatten() for p in build_network(Images(**settings), 1, 8).parameters()]
        )

    assert torch.equal(start(loss="bwot"), start(loss="pairwise"))
    assert torch.equal(start(loss="bwot"), start(loss="allpairs", learning_rate=0.5))
    assert not torch.equal(start(seed=0), start(seed=1))
