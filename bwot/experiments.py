"""The experiments: frozen settings, and what they name: data, network, loss, presets.

:mod:`bwot.runs` makes a record of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bwot import standins
from bwot.backbones import LeNet5, glorot_
from bwot.data import mnist
from bwot.data.images import ImageSet
from bwot.heads import LENET_HEADS, MetricHead
from bwot.losses import AllPairsLoss, BatchwiseOTLoss, Form, PairwiseLoss, PlanGradient
from bwot.paths import data_root
from bwot.records import Record

PRESETS = {
    "quick": {"epochs": 8, "seeds": (0, 1), "data": "embedded stand-ins, no download"},
    "short": {"epochs": 10, "seeds": (0, 1, 2), "data": "the real data"},
    "full": {"epochs": 50, "seeds": (0, 1, 2, 3, 4), "data": "the real data"},
}
"""How long and how often; the authors' plots show 50 epochs."""
DATASETS = ("mnist",)
LOSSES = ("pairwise", "allpairs", "bwot")


@dataclass(frozen=True, kw_only=True)
class Images:
    """One run of the paper's first experiment: images → LeNet-5 → metric head → loss.

    Defaults are the common setting in which the losses are compared at one rate; the schedule is that of the authors'
    2D code (run.py), save for the rate.
    """

    dataset: str = "mnist"
    variant: str | None = None
    """What other files of the data set's layout are; None for the published ones and no others."""
    preset: str = "quick"
    loss: str = "bwot"
    seed: int = 0
    epochs: int = 10
    learning_rate: float = 0.01
    momentum: float = 0.9
    decay: float = 0.95
    batch_size: int = 128
    head: str = "paper"
    margin: float = 5.0
    form: Form = "sketches"
    lam: float = 10.0
    gamma: float = 10.0
    iterations: int = 50
    plan_gradient: PlanGradient = "constant"

    def __post_init__(self):
        for name, known in (
            ("dataset", DATASETS),
            ("preset", tuple(PRESETS)),
            ("loss", LOSSES),
            ("head", tuple(LENET_HEADS)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}."
                )
        for field in fields(self):
            if field.type in (int, float):
                value = _number(field.name, getattr(self, field.name), field.type)
                object.__setattr__(self, field.name, value)
        for name, least in (("epochs", 1), ("seed", 0), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}.")
        if self.batch_size % 2:
            raise ValueError(f"batch_size must be even (two batches), not {self.batch_size}.")
        for name in ("learning_rate", "decay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), not {self.momentum}.")
        build_loss(self)  # checks the rest


def _number(name, value, kind):
    """``value`` as an int or a float: 5 and 5.0 are the same setting, 2.5 epochs, a text and NaN are none."""
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or (kind is int and value != int(value)):
        wanted = "whole" if kind is int else "finite"
        raise ValueError(f"{name} must be a {wanted} number, not {value!r}.")
    return kind(value)


def build_loss(settings: Images) -> nn.Module:
    """The loss that the settings name."""
    pair = {"margin": settings.margin, "form": settings.form}
    if settings.loss == "allpairs":
        return AllPairsLoss(**pair)
    if settings.loss == "pairwise":
        return PairwiseLoss(**pair)
    return BatchwiseOTLoss(
        lam=settings.lam,
        gamma=settings.gamma,
        iterations=settings.iterations,
        plan_gradient=settings.plan_gradient,
        **pair,
    )


def build_network(settings: Images, channels: int, size: int) -> nn.Module:
    """LeNet-5 and its head, initialised by the seed alone; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        backbone = LeNet5(channels, size)
        head = MetricHead(backbone.features, LENET_HEADS[settings.head])
        network = glorot_(nn.Sequential(backbone, head))
    return network.to(memory_format=torch.channels_last)  # convolutions on a CPU are faster so


def load_data(settings: Images, data_dir: str | Path | None = None) -> ImageSet:
    """The images of a run: the embedded stand-in at ``quick``, the real ones otherwise."""
    if settings.preset == "quick":
        return standins.digits()
    return mnist.load(data_root(data_dir), settings.variant)


def grid(
    preset: str, losses: Sequence[str], seeds: Sequence[int] | None = None, **given
) -> list[Images]:
    """Settings of all losses × seeds at a preset; what is None or not given is the preset's or the default.

    >>> [settings.seed for settings in grid("short", ("bwot",), dataset="mnist")]
    [0, 1, 2]
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}.")
    known = {name: value for name, value in given.items() if value is not None}
    unknown = known.keys() - {field.name for field in fields(Images)}
    if unknown:
        raise ValueError(
            f"no setting is called {', '.join(sorted(unknown))}; there are {', '.join(f.name for f in fields(Images))}."
        )
    known.setdefault("epochs", PRESETS[preset]["epochs"])
    seeds = PRESETS[preset]["seeds"] if seeds is None else seeds
    for name, values in (("losses", losses), ("seeds", seeds)):
        if not isinstance(values, list | tuple) or not values:
            raise ValueError(f"{name} must be a list with at least one entry, not {values!r}.")
    return [
        Images(preset=preset, loss=loss, seed=seed, **known) for loss in losses for seed in seeds
    ]


def settings_of(record: Record) -> Images | None:
    """The settings of a record; None where they are no longer understood. Later settings have their defaults."""
    try:
        return Images(**record.settings)
    except (TypeError, ValueError):
        return None
