"""The three gradients of the batch-wise loss side by side, and their picture (book, "Method").

Notation: ``T`` plan, ``G`` error of a pair, ``W`` the derivative of the loss by ``G`` (form ``sketches``). ``W / T`` is 1 where
the plan is held constant. Where it is negative, the pair is pushed towards a *larger* error: a positive pair apart, a
negative one together. Plans are converged, unlike those of 50 iterations.
"""

from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bwot.figures import INK, WIDTH
from bwot.losses import BatchwiseOTLoss, PlanGradient
from bwot.pairs import squared_distances
from bwot.toy import CLASSES, GREY, LINES, Batches

LOOKS = {"constant": (GREY, "dotted"), "kernel": (CLASSES[0], "dashed"), "exact": (INK, "solid")}
ITERATIONS, TOL = 50_000, 1e-7


class Gradients(NamedTuple):
    """The pairs of two batches under the three gradients."""

    error: Float[Tensor, "n m"]
    """``G``."""
    factor: dict[PlanGradient, Float[Tensor, "n m"]]
    """``W / T``."""
    at_embeddings: dict[PlanGradient, Float[Tensor, " k"]]
    """The gradient in the embeddings of both batches, in one row."""
    turned: tuple[float, float]
    """Shares of the positive pairs, and of the negative pairs with an error, for which ``W`` of ``exact`` is negative."""

    def cosine(self, one: PlanGradient, other: PlanGradient) -> float:
        """Of the angle between two of the gradients in the embeddings."""
        pair = self.at_embeddings[one], self.at_embeddings[other]
        return torch.cosine_similarity(*pair, dim=0).item()

    def length(self, one: PlanGradient) -> float:
        """Of a gradient in the embeddings, relative to that of the constant plan."""
        return (self.at_embeddings[one].norm() / self.at_embeddings["constant"].norm()).item()


def gradients_of(batches: Batches, lam: float, gamma: float, margin: float) -> Gradients:
    """The three gradients of the loss between two batches, in the pairs and in the embeddings."""
    factor, at_embeddings = {}, {}
    for kind in get_args(PlanGradient):
        loss = BatchwiseOTLoss(margin, lam, gamma, ITERATIONS, TOL, plan_gradient=kind)
        ends = [batches.a.clone().requires_grad_(), batches.b.clone().requires_grad_()]
        error = loss.pair_errors(squared_distances(*ends), batches.same)
        plan = loss.weights(error, batches.same, None)
        slope, *rest = torch.autograd.grad((plan * error).sum(), [error, *ends])
        factor[kind] = slope / plan.detach()
        at_embeddings[kind] = torch.cat(rest).flatten()
    error = error.detach()
    kinds = (batches.same, ~batches.same & (error > 0))
    turned = tuple((factor["exact"] < 0)[kind].double().mean().item() for kind in kinds)
    return Gradients(error, factor, at_embeddings, turned)


def trained_batch(seed: int = 0) -> Batches:
    """Two batches of 64 in ten classes as a trained network might embed them: tight, but one sample in twenty elsewhere.

    Distances within a class are about 0.4, those between most classes above a margin of 1.
    """
    noise = torch.Generator().manual_seed(seed)
    centres = 0.4 * torch.randn(10, 8, generator=noise, dtype=torch.float64)
    labels = torch.randint(10, (2, 64), generator=noise).sort(-1).values
    strays = torch.rand(2, 64, generator=noise) < 0.05
    places = torch.where(strays, torch.randint(10, (2, 64), generator=noise), labels)
    spread = 0.1 * torch.randn(2, 64, 8, generator=noise, dtype=torch.float64)
    a, b = centres[places] + spread
    return Batches(a, labels[0], b, labels[1])


def draw_gradients(
    batches: Batches, lam: float, lams: Sequence[float], gamma: float, margin: float
) -> Figure:
    """``W / T`` by error at ``lam``; over ``lams``, the pairs that ``exact`` turns round, and angles and lengths."""
    figure = Figure((WIDTH, 5.6))
    (left, right), (angle, length) = figure.subplots(2, 2)
    _factors(left, gradients_of(batches, lam, gamma, margin), batches)
    found = [gradients_of(batches, each, gamma, margin) for each in lams]
    for place, (name, (colour, style, _)) in enumerate(zip(("positive", "negative"), LINES, strict=True)):  # fmt: skip
        right.plot(lams, [each.turned[place] for each in found], ls=style, color=colour, label=name)  # fmt: skip
    right.set_title("share turned round", loc="left")
    for one, other, look in (("constant", "kernel", "kernel"), ("constant", "exact", "exact"), ("kernel", "exact", "constant")):  # fmt: skip
        colour, style = LOOKS[look]
        angle.plot(lams, [each.cosine(one, other) for each in found], ls=style, color=colour, label=f"{one}, {other}")  # fmt: skip
    angle.set_title("cosine between", loc="left")
    angle.set_ylim(0, 1.05)  # the names fit below the curves
    for kind, (colour, style) in LOOKS.items():
        length.plot(lams, [each.length(kind) for each in found], ls=style, color=colour, label=kind)
    length.set_yscale("log")
    length.yaxis.set_major_formatter("{x:g}")  # not in powers, whose glyphs grow bold in the dark
    length.set_title("length / constant", loc="left")
    for axis in (right, angle, length):
        axis.set(xlabel="λ", xscale="log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.legend(handlelength=1.3, handletextpad=0.5, borderaxespad=0.2)
    return figure


def _factors(axis: Axes, found: Gradients, batches: Batches):
    """``W / T`` of every pair by its error: a line each for constant and kernel, a mark for each pair for exact."""
    order = found.error.flatten().argsort()
    for kind in ("constant", "kernel"):
        colour, style = LOOKS[kind]
        axis.plot(found.error.flatten()[order], found.factor[kind].flatten()[order], ls=style, color=colour)  # fmt: skip
    for kind, (colour, _, marker) in zip((batches.same, ~batches.same), LINES, strict=True):
        kind = kind & (found.error > 0)
        axis.plot(found.error[kind], found.factor["exact"][kind], marker, color=colour, mfc="none", ms=6)  # fmt: skip
    axis.axhline(0, color=INK, lw=0.8)
    axis.set_title("push per weight, W / T", loc="left")
    axis.set_xlabel("error G")
