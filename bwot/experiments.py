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

from bwot import controls, standins
from bwot.authors import AuthorsImageLoss
from bwot.backbones import LeNet5, glorot_
from bwot.data import cifar10, mnist
from bwot.data.images import ImageSet
from bwot.heads import LENET_HEADS, MetricHead
from bwot.losses import BatchwiseOTLoss, Form, PlanGradient
from bwot.paths import data_root
from bwot.published import IMAGE_SETTINGS
from bwot.records import Record

_GRID = {"rates": (0.005, 0.01, 0.02, 0.04), "margins": (2.0, 5.0, 12.5), "tuning_epochs": (1, 3)}
PRESETS = {
    "quick": {
        "epochs": 4,
        "seeds": (0, 1),
        "data": "embedded stand-ins, no download",
        "rates": (0.01, 0.02, 0.04),
        "margins": (5.0,),
        "tuning_epochs": (1, 2),
    },
    "short": {"epochs": 10, "seeds": (0, 1, 2), "data": "the real data"} | _GRID,
    "full": {"epochs": 50, "seeds": (0, 1, 2, 3, 4), "data": "the real data"} | _GRID,
}
"""How long and how often, and the grid that tuning begins with; the authors' plots show 50 epochs."""
DATASETS = {"mnist": mnist, "cifar10": cifar10}
STANDINS = {"mnist": standins.digits, "cifar10": standins.colours}
LOSSES = (
    "pairwise", "allpairs", "active", "softmax", "rowsoftmax", "bwot", "bwot-balanced", "cross-entropy",
)  # fmt: skip
ZERO_LINES = ("pixels", "untrained")
"""What is scored without training; the raw image as its own embedding, and the network as it starts."""
CLASSES = 10


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
    normalise_gradient: bool = False
    as_published: bool = False
    """Every quirk of the authors' 2D code, its loss and settings, which take the place of those given."""

    def __post_init__(self):
        if self.as_published is True:
            for name, value in IMAGE_SETTINGS.items():
                object.__setattr__(self, name, value)
        for name, known in (
            ("dataset", tuple(DATASETS)),
            ("preset", tuple(PRESETS)),
            ("loss", (*LOSSES, *ZERO_LINES)),
            ("head", tuple(LENET_HEADS)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}."
                )
        for field in fields(self):
            if field.type is bool and not isinstance(getattr(self, field.name), bool):
                raise ValueError(
                    f"{field.name} must be true or false, not {getattr(self, field.name)!r}."
                )
            if field.type in (int, float):
                value = _number(field.name, getattr(self, field.name), field.type)
                object.__setattr__(self, field.name, value)
        if self.loss in ZERO_LINES:
            object.__setattr__(self, "epochs", 0)
        for name, least in (
            ("epochs", int(self.loss not in ZERO_LINES)),
            ("seed", 0),
            ("batch_size", 2),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}.")
        if self.batch_size % 2:
            raise ValueError(f"batch_size must be even (two batches), not {self.batch_size}.")
        for name in ("learning_rate", "decay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), not {self.momentum}.")
        if self.as_published and self.loss != "bwot":
            raise ValueError(f"as published there is the loss bwot only, not {self.loss}.")
        if self.normalise_gradient and self.loss in ("cross-entropy", *ZERO_LINES):
            raise ValueError(
                f"the gradient of {self.loss} is not one of pairs: it has no length to be normalised to."
            )
        build_loss(self)  # checks the rest


def _number(name, value, kind):
    """``value`` as an int or a float: 5 and 5.0 are the same setting, 2.5 epochs, a text and NaN are none."""
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or (kind is int and value != int(value)):
        wanted = "whole" if kind is int else "finite"
        raise ValueError(f"{name} must be a {wanted} number, not {value!r}.")
    return kind(value)


def build_loss(settings: Images) -> nn.Module:
    """The loss that the settings name; a zero line has that of an identity."""
    pair = {"margin": settings.margin, "form": settings.form}
    weighting = pair | {"lam": settings.lam, "gamma": settings.gamma}
    if settings.as_published:
        return AuthorsImageLoss(
            settings.batch_size // 2,
            settings.margin,
            settings.lam,
            settings.gamma,
            settings.iterations,
        )
    if settings.loss in ("softmax", "rowsoftmax"):
        kind = controls.SoftmaxLoss if settings.loss == "softmax" else controls.RowSoftmaxLoss
        return kind(**weighting)
    if settings.loss in ("bwot", "bwot-balanced"):
        return BatchwiseOTLoss(
            iterations=settings.iterations,
            plan_gradient=settings.plan_gradient,
            balanced=settings.loss == "bwot-balanced",
            **weighting,
        )
    if settings.loss == "cross-entropy":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return glorot_(controls.ClassifierLoss(LENET_HEADS[settings.head][-1], CLASSES))
    kinds = {"pairwise": controls.PairwiseLoss, "active": controls.ActiveLoss}
    return kinds.get(settings.loss, controls.AllPairsLoss)(**pair)


def build_network(
    settings: Images, channels: int, size: int, bfloat16: bool = False
) -> nn.Sequential:
    """LeNet-5 and its head, initialised by the seed alone; the caller's random state is left as it was.

    The zero line ``pixels`` has no network: the image is its own embedding.
    """
    if settings.loss == "pixels":
        return nn.Sequential(nn.Flatten())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        backbone = LeNet5(channels, size, bfloat16)
        head = MetricHead(backbone.features, LENET_HEADS[settings.head])
        network = glorot_(nn.Sequential(backbone, head))
    return network.to(memory_format=torch.channels_last)  # convolutions on a CPU are faster so


def load_data(settings: Images, data_dir: str | Path | None = None) -> ImageSet:
    """The images of a run: the embedded stand-in at ``quick``, the real ones otherwise."""
    if settings.preset == "quick":
        return STANDINS[settings.dataset]()
    return DATASETS[settings.dataset].load(data_root(data_dir), settings.variant)


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


def campaign(preset: str) -> list[str]:
    """Names of all records of a data set at a preset: each loss tuned and at the common rate, the authors' settings, zero lines.

    >>> campaign("full")[0]
    'tuned/pairwise-seed0'
    """
    seeds = PRESETS[preset]["seeds"]
    names = [
        f"{way}{loss}-seed{seed}" for way in ("tuned/", "") for loss in LOSSES for seed in seeds
    ]
    names += [f"as-published/bwot-seed{seed}" for seed in seeds]
    return names + ["pixels-seed0"] + [f"untrained-seed{seed}" for seed in seeds]


def settings_of(record: Record) -> Images | None:
    """The settings of a record; None where they are no longer understood. Later settings have their defaults."""
    try:
        return Images(**record.settings)
    except (TypeError, ValueError):
        return None
