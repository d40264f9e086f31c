"""The small batch that readers play with, what it can be set to, and what is read off it.

The page "Play with hard samples" and the notebook's widgets start from here: the page gets :func:`start` as JSON when the book is
built, and its script computes what :func:`read` does. One batch is compared with itself, without self-pairs.
"""

import math
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from bwot import controls
from bwot.looks import TITLES
from bwot.losses import BatchwiseOTLoss, Form, PairLoss, squared_distances
from bwot.published import IMAGE_SETTINGS

Weights = Literal[
    "bwot", "bwot-balanced", "rowsoftmax", "softmax", "active", "allpairs", "pairwise"
]
PANELS = ("pairwise", "allpairs", "active", "rowsoftmax", "bwot", "bwot-balanced")
"""The losses whose steps are played side by side."""
SHAPES = ("circle", "triangle")
"""What marks the two classes."""


class Batch(NamedTuple):
    """Points in the plane with their classes."""

    points: Float[Tensor, "n 2"]
    """In units of the drawing."""
    labels: Int64[Tensor, " n"]
    names: tuple[str, ...]
    """``circle 1``, ...; numbered class by class."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the explorer can be set to; as :class:`~bwot.losses.BatchwiseOTLoss` where the names are the same."""

    weights: Weights = "bwot"
    form: Form = "sketches"
    lam: float = 10.0
    gamma: float = 10.0
    margin: float = 1.0
    positive_margin: float = 0.0
    """Plays a part with form ``shapes`` only."""
    iterations: int = 20
    scale: float = 1.0
    """Embedding units in one unit of the drawing, so that every preset's margin has the same ring on the screen."""


PRESETS = {
    "sketches": Settings(),
    "images": Settings(
        **{name: IMAGE_SETTINGS[name] for name in ("form", "lam", "gamma", "margin", "iterations")},
        scale=math.sqrt(IMAGE_SETTINGS["margin"]),
    ),
    "shapes": Settings(
        form="shapes", lam=0.01, margin=8.0, positive_margin=6.0, iterations=50, scale=8.0
    ),
}
"""The settings published with the authors' three codes (book, "Method", table of the forms); the first is where one starts."""

NOTES = {
    "sketches": ("Sketches", "SHREC: λ = 10, margin 1 on the squared distance"),
    "images": ("Images", "MNIST and CIFAR-10: λ = 0.01, margin 5, errors squared in the loss"),
    "shapes": ("3D shapes", "ModelNet10: λ = 0.01, margins 6 and 8 on the distance"),
}
"""Title of each preset, and what it is."""

RANGES = {
    "lam": (0.01, 200.0),
    "gamma": (0.1, 100.0),
    "margin": (0.001, 100.0),
    "positive_margin": (0.001, 100.0),
    "iterations": (1, 500),
}
"""Ends of the sliders, all logarithmic."""

REACH = (1.67, 1.02)
"""How far from the middle a point can be moved, across and up, in units of the drawing."""


def play_batch() -> Batch:
    """Twelve points, six a class; one of each class lies with the other.

    The halves of the batch hold positive and negative aligned pairs, which the pair-wise loss needs.
    """
    # fmt: off
    points = [
        [-1.30, 0.35], [1.35, 0.05], [-1.15, 0.10], [1.20, -0.15], [-0.30, 0.65], [0.25, 0.45],
        [-0.35, 0.10], [0.25, -0.10], [0.20, -0.65], [-0.25, -0.45], [-0.95, -0.35], [0.90, 0.45],
    ]
    # fmt: on
    labels = [0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 1, 0]
    order = sorted(range(len(labels)), key=labels.__getitem__)
    names = tuple(f"{SHAPES[label]} {order.index(i) + 1}" for i, label in enumerate(labels))
    return Batch(torch.tensor(points, dtype=torch.float64), torch.tensor(labels), names)


class Reading(NamedTuple):
    """What the explorer shows of a batch under some settings."""

    loss: float
    same: Bool[Tensor, "n n"]
    error: Float[Tensor, "n n"]
    weight: Float[Tensor, "n n"]
    """The plan, or the weights that stand in its place; 0 for self-pairs."""


def loss_of(settings: Settings) -> PairLoss:
    """The loss that the settings name.

    Raises:
        ValueError: for unknown weights, or settings that the loss refuses.
    """
    if settings.weights not in get_args(Weights):
        raise ValueError(
            f"weights must be one of {', '.join(get_args(Weights))}, not {settings.weights!r}."
        )
    positive = settings.positive_margin if settings.form == "shapes" else None
    errors = {"margin": settings.margin, "form": settings.form, "positive_margin": positive}
    plain = {
        "pairwise": controls.PairwiseLoss,
        "allpairs": controls.AllPairsLoss,
        "active": controls.ActiveLoss,
    }
    if settings.weights in plain:
        return plain[settings.weights](**errors)
    errors |= {"lam": settings.lam, "gamma": settings.gamma}
    soft = {"softmax": controls.SoftmaxLoss, "rowsoftmax": controls.RowSoftmaxLoss}
    if settings.weights in soft:
        return soft[settings.weights](**errors)
    balanced = settings.weights == "bwot-balanced"
    return BatchwiseOTLoss(**errors, iterations=settings.iterations, balanced=balanced)


def read(batch: Batch, settings: Settings) -> Reading:
    """Loss, errors and weights of all pairs; errors as for :func:`loss_of`."""
    loss, embeddings = loss_of(settings), settings.scale * batch.points
    same = batch.labels[:, None] == batch.labels
    error = loss.pair_errors(squared_distances(embeddings, embeddings), same)
    weight = loss.plan(embeddings, batch.labels)
    if settings.weights == "pairwise":  # its plan is that of the halves
        half = len(same) // 2
        whole = torch.zeros_like(error)
        whole[:half, half : 2 * half] = weight
        weight = whole
    return Reading(loss(embeddings, batch.labels).item(), same, error, weight)


def shares(reading: Reading) -> Float[Tensor, "n n"]:
    """Share of the mass of each pair of points, whichever comes first: (i, j) holds both directions where i < j, else 0."""
    both = (reading.weight + reading.weight.T).triu(1)
    return both / both.sum().clamp_min(1e-300)


def words(batch: Batch, settings: Settings) -> str:
    """The loss, and the hardest pair of each kind with its share of the mass, in a sentence or three."""
    reading = read(batch, settings)
    share = shares(reading)
    said = [f"Loss {reading.loss:.3g}."]
    for kind, of_kind in (("positive", reading.same), ("negative", ~reading.same)):
        error = torch.where(of_kind, reading.error, 0.0).triu(1)
        i, j = divmod(int(error.argmax()), len(error))
        if error[i, j] > 0:
            said.append(
                f"Hardest {kind} pair: {batch.names[i]} and {batch.names[j]}, {100 * share[i, j]:.1f}% of the mass."
            )
        else:
            said.append(f"No {kind} pair has an error.")
    return " ".join(said)


def start() -> dict:
    """All that the page starts from, ready for JSON."""
    batch = play_batch()
    return {
        "points": batch.points.tolist(),
        "labels": batch.labels.tolist(),
        "names": list(batch.names),
        "shapes": list(SHAPES),
        "panels": list(PANELS),
        "titles": {name: TITLES[name] for name in get_args(Weights)},
        "presets": {
            name: {"title": NOTES[name][0], "note": NOTES[name][1], "settings": asdict(settings)}
            for name, settings in PRESETS.items()
        },
        "reach": list(REACH),
        "ranges": {name: list(ends) for name, ends in RANGES.items()},
    }
