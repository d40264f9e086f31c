"""What the settings of all experiments share: their fields, what is refused, and the losses that they name."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from bwot import controls
from bwot.backbones import glorot_
from bwot.data.images import ImageSet, Split
from bwot.losses import BatchwiseOTLoss, PlanGradient
from bwot.pairs import Form, PairLoss

LOSSES = (
    "pairwise", "allpairs", "active", "softmax", "rowsoftmax", "bwot", "bwot-balanced", "cross-entropy",
)  # fmt: skip
"""What every experiment compares."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run of an experiment: data → network → metric head → loss.

    Defaults are the common setting in which the losses are compared at one rate.
    """

    NAME: ClassVar[str]
    DATASETS: ClassVar[tuple[str, ...]]
    PRESETS: ClassVar[dict[str, dict]]
    """How long and how often, and the grid that tuning begins with."""
    LOSSES: ClassVar[tuple[str, ...]] = LOSSES
    SIDES: ClassVar[dict[str, dict]] = {}
    """What is tuned and compared beside the losses, a folder's name and the settings that differ, the loss among them."""
    HEADS: ClassVar[dict[str, tuple[int, ...]]]
    """Widths by name; the last one is the length of the embeddings."""
    ZERO_LINES: ClassVar[tuple[str, str]]
    """What is scored without training; the input as its own embedding, and the network as it starts."""
    ACCURACY_EPOCHS: ClassVar[tuple[int, ...]] = ()
    """After which epochs, besides the last, the accuracy is measured, for which support vectors are fitted each time."""
    COMPARISONS: ClassVar[dict[str, tuple[str, ...]]]
    """The ways in which the losses are compared on each data set, keys of :data:`bwot.experiments.plan.FOLDERS`."""
    MODULES: ClassVar[tuple[str, ...]]
    """What the results of this experiment depend on beside what those of all experiments do."""

    dataset: str
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
    as_published: bool = False
    """Every quirk of the authors' code, its loss and settings, which take the place of those given."""

    def __post_init__(self):
        if self.as_published is True:
            for name, value in self.published().items():
                object.__setattr__(self, name, value)
        for name, known in (
            ("dataset", self.DATASETS),
            ("preset", tuple(self.PRESETS)),
            ("loss", (*self.LOSSES, *self.ZERO_LINES)),
            ("head", tuple(self.HEADS)),
        ):
            self._one_of(name, known)
        for field in fields(self):
            if field.type is bool and not isinstance(getattr(self, field.name), bool):
                raise ValueError(
                    f"{field.name} must be true or false, not {getattr(self, field.name)!r}."
                )
            if field.type in (int, float):
                value = _number(field.name, getattr(self, field.name), field.type)
                object.__setattr__(self, field.name, value)
        if self.loss in self.ZERO_LINES:
            object.__setattr__(self, "epochs", 0)
        self._check()

    def _one_of(self, name, known):
        if getattr(self, name) not in known:
            raise ValueError(
                f"{name} must be one of {', '.join(map(str, known))}, not {getattr(self, name)!r}."
            )

    def _check(self):
        for name, least in (
            ("epochs", int(self.loss not in self.ZERO_LINES)),
            ("seed", 0),
            ("batch_size", 2),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}.")
        for name in ("learning_rate", "decay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), not {self.momentum}.")
        if self.as_published and self.loss != "bwot":
            raise ValueError(f"as published there is the loss bwot only, not {self.loss}.")
        self.build_loss(2)  # checks the rest

    def _check_network(self):
        """Of an experiment whose field ``network`` names a frozen one, or ``small`` for one that is trained too."""
        if not isinstance(self.network, str) or not self.network.strip():
            raise ValueError(f"network must name a network or an ONNX file, not {self.network!r}.")
        if self.preset == "quick" and not self.end_to_end:
            raise ValueError(
                f"at preset quick there is the network small only, not {self.network}."
            )

    def published(self) -> dict:
        """The authors' settings of this experiment."""
        raise NotImplementedError

    def load_data(self, data_dir: str | Path | None = None) -> ImageSet:
        """The data of a run: the embedded stand-in at ``quick``, the real ones otherwise."""
        raise NotImplementedError

    def build_network(self, shape: tuple[int, ...], bfloat16: bool = False) -> nn.Module:
        """The network for samples of ``shape``, initialised by the seed alone; the caller's random state stays as it was."""
        raise NotImplementedError

    def batches(self, n: int, epoch: int) -> Int64[Tensor, "steps batches size"]:
        """Indices of the samples of every step of an epoch: of two batches, or of one that meets itself."""
        raise NotImplementedError

    def training_samples(self, data: ImageSet, device: str = "cpu") -> Split:
        """What is trained on, on a device."""
        return Split(data.train.images.to(device), data.train.labels.to(device))

    def sampler(self, train: Split) -> Callable[[int], Int64[Tensor, "steps batches size"]]:
        """From an epoch to the indices of the samples of its steps; see :meth:`batches`."""
        return partial(self.batches, len(train.labels))

    def dimensions(self, data: ImageSet) -> dict[str, list[int]]:
        """The shape of one sample, as a record keeps it."""
        return {"image": list(data.train.images.shape[1:])}

    def network_for(self, dimensions: dict, bfloat16: bool = False) -> nn.Module:
        """The network for samples of ``dimensions``, those of the data or of a record; see :meth:`build_network`."""
        return self.build_network(tuple(dimensions["image"]), bfloat16)

    def replay_data(self) -> ImageSet:
        """Embedded data on which the first steps of a run are taken again."""
        raise NotImplementedError

    def build_loss(self, classes: int) -> nn.Module:
        """The loss that the settings name, for labels from 0 to ``classes`` - 1; a zero line has that of an identity."""
        if self.loss == "cross-entropy":
            return self._classifier(classes)
        return self._pair_loss()

    def _classifier(self, classes):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return glorot_(controls.ClassifierLoss(self.HEADS[self.head][-1], classes))

    def _pair_loss(self) -> PairLoss:
        pair = {"margin": self.margin, "form": self.form, **self._pair_options()}
        weighting = pair | {"lam": self.lam, "gamma": self.gamma}
        if self.loss in ("softmax", "rowsoftmax"):
            kind = controls.SoftmaxLoss if self.loss == "softmax" else controls.RowSoftmaxLoss
            return kind(**weighting)
        if self.loss in ("bwot", "bwot-balanced"):
            return BatchwiseOTLoss(
                iterations=self.iterations,
                plan_gradient=self.plan_gradient,
                balanced=self.loss == "bwot-balanced",
                **weighting,
            )
        kinds = {"pairwise": controls.PairwiseLoss, "active": controls.ActiveLoss}
        return kinds.get(self.loss, controls.AllPairsLoss)(**pair)

    def _pair_options(self):
        return {}


def _number(name, value, kind):
    """``value`` as an int or a float: 5 and 5.0 are the same setting, 2.5 epochs, a text and NaN are none."""
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or (kind is int and value != int(value)):
        wanted = "whole" if kind is int else "finite"
        raise ValueError(f"{name} must be a {wanted} number, not {value!r}.")
    return kind(value)
