"""The loss on a toy batch in the plane, and its pictures.

Notation as in :mod:`bwot.losses`: ``G`` error of a pair, ``C`` cost, ``K`` kernel, ``T`` plan. Plans are drawn as
``n m T``, which is 1 everywhere for a uniform plan. A circle is a sample of batch A, a square one of batch B; colour and
digit are its class. Positive pairs are drawn solid in ink, negative ones dashed in magenta.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from bwot.controls import AllPairsLoss
from bwot.figures import INK, WIDTH
from bwot.losses import BatchwiseOTLoss
from bwot.pairs import squared_distances

CLASSES = ("#0173b2", "#d55e00", "#02865f")  # at least 3:1 against both themes' paper
NEGATIVE = "#c2459a"
FLOOR = 1e-3  # of the axis of weights; what is smaller is drawn there
GREY = "#7f7f7f"
LINES = ((INK, "solid", "o"), (NEGATIVE, "dashed", "x"))  # positive pairs, negative pairs
LEGEND = (
    Line2D([], [], marker="o", ls="none", color=GREY, ms=9, label="batch A"),
    Line2D([], [], marker="s", ls="none", color=GREY, ms=9, label="batch B"),
    Line2D([], [], color=INK, ls="solid", marker="o", mfc="none", label="positive pair"),
    Line2D([], [], color=NEGATIVE, ls="dashed", marker="x", label="negative pair"),
)


class Batches(NamedTuple):
    """Two batches of embeddings with their classes, each sorted by class."""

    a: Float[Tensor, "n d"]
    labels_a: Int64[Tensor, " n"]
    b: Float[Tensor, "m d"]
    labels_b: Int64[Tensor, " m"]

    @property
    def same(self) -> Bool[Tensor, "n m"]:
        """Which pairs are positive."""
        return self.labels_a[:, None] == self.labels_b


def toy_batch(seed: int = 0) -> Batches:
    """Two batches of eight points in three classes; the seed moves every point a little.

    Class 0 lies apart (easy); classes 1 and 2 touch (hard negatives), and each has one sample that lies with the other
    class (hard positives). Distances are of the order of a margin of 1.
    """
    noise = torch.Generator().manual_seed(seed)
    # fmt: off
    a = [[0.3, 0.4], [0.45, 0.6], [1.5, 1.2], [1.8, 0.95], [1.45, 0.6], [2.6, 1.1], [2.7, 0.55], [1.85, 0.4]]
    b = [[0.45, 0.4], [0.3, 0.55], [0.5, 0.5], [1.7, 1.35], [1.3, 0.9], [2.35, 1.25], [2.2, 0.7], [2.9, 0.85]]
    # fmt: on
    jitter = 0.04 * torch.randn(2, 8, 2, generator=noise, dtype=torch.float64)
    a, b = torch.tensor([a, b], dtype=torch.float64) + jitter
    labels_a, labels_b = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2]])
    return Batches(a, labels_a, b, labels_b)


class Transport(NamedTuple):
    """Errors, cost and kernel of all pairs, and ``n m`` times the plan; each (n, m)."""

    error: Float[Tensor, "n m"]
    cost: Float[Tensor, "n m"]
    kernel: Float[Tensor, "n m"]
    weight: Float[Tensor, "n m"]


def transport(batches: Batches, lam: float, gamma: float, margin: float) -> Transport:
    """What the batch-wise loss computes on the way to its value."""
    loss = BatchwiseOTLoss(margin, lam, gamma)
    error = loss.pair_errors(squared_distances(batches.a, batches.b), batches.same)
    cost = (-gamma * error).exp()
    return Transport(error, cost, (-lam * cost).exp(), error.numel() * plan_of(loss, batches))


def plan_of(loss: BatchwiseOTLoss | AllPairsLoss, batches: Batches) -> Float[Tensor, "n m"]:
    """The weights that a loss gives to the pairs of two batches."""
    a, labels_a, b, labels_b = batches
    return loss.plan(a, labels_a, ref_emb=b, ref_labels=labels_b)


def pull_and_push(
    loss: BatchwiseOTLoss | AllPairsLoss, batches: Batches
) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
    """Minus the gradient of the loss, the part of the positive pairs and the part of the negative ones.

    One row a sample, batch A before batch B. The plan is held constant and the loss charges ``G`` (form ``sketches``).
    """
    ends = [batches.a.clone().requires_grad_(), batches.b.clone().requires_grad_()]
    charge = plan_of(loss, batches) * loss.pair_errors(squared_distances(*ends), batches.same)
    parts = (charge[batches.same].sum(), charge[~batches.same].sum())
    pull, push = (torch.cat(torch.autograd.grad(-part, ends, retain_graph=True)) for part in parts)
    return pull, push


def draw_toy(batches: Batches, lam: float, gamma: float, margin: float) -> Figure:
    """The batches with their heaviest pairs, the plan with its row and column sums, and weight against error."""
    pairs = transport(batches, lam, gamma, margin)
    figure = Figure((WIDTH, 5.8), layout="none")  # fixed places: a computed layout takes longer
    _scatter(figure.add_axes((0.01, 0.51, 0.98, 0.48)), batches, pairs.weight)
    heat = figure.add_axes((0.09, 0.09, 0.34, 0.31))
    _heat(heat, pairs.weight, batches, len(batches.a))
    _sums(heat, pairs.weight)
    heat.set_title(_range("n m T", pairs.weight), y=1.13)
    _against_error(figure.add_axes((0.65, 0.09, 0.34, 0.35)), pairs, batches.same)
    return figure


def draw_batch(batches: Batches, margin: float) -> Figure:
    """The batches, and the margin around the sample of A whose positive pairs have the largest errors."""
    figure = Figure((WIDTH, 2.9), layout="none")
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    _scatter(axis, batches)
    centre = batches.a[hardest(batches)].tolist()
    axis.add_patch(Circle(centre, math.sqrt(margin), fill=False, ec=GREY, ls="dotted", lw=1.5))
    return figure


def hardest(batches: Batches) -> int:
    """The sample of A whose positive pairs have the largest errors, in the mean over them."""
    squared = squared_distances(batches.a, batches.b)
    return int(((squared * batches.same).sum(1) / batches.same.sum(1).clamp_min(1)).argmax())


def draw_steps(batches: Batches, pairs: Transport) -> Figure:
    """Heat maps of error, cost, kernel and plan."""
    figure = Figure((WIDTH, 5.2))
    names = ("error G", "cost C", "kernel K", "plan, n m T")
    for axis, values, name in zip(figure.subplots(2, 2).flat, pairs, names, strict=True):
        _heat(axis, values, batches, values.max())
        axis.set_title(_range(name, values))
        axis.label_outer()
    return figure


def draw_settings(batches: Batches, lams: Sequence[float], gamma: float, margin: float) -> Figure:
    """The heaviest pairs (above) and the plan (below) for several ``lam``."""
    figure = Figure((WIDTH, 3.6))
    rows = figure.subplots(2, len(lams), height_ratios=(1, 1.6))
    for above, below, lam in zip(*rows, lams, strict=True):
        weight = transport(batches, lam, gamma, margin).weight
        _scatter(above, batches, weight, small=True)
        above.set_title(f"λ = {lam:g}")
        _heat(below, weight, batches, len(batches.a))
        below.set_title(_range("n m T", weight))
        below.label_outer()
        below.set_xlabel("")  # it stands once below all of them
    figure.supxlabel("batch B, by class", fontsize=12)
    return figure


def draw_influence(batches: Batches, lam: float, gammas: Sequence[float], margin: float) -> Figure:
    """Left: cost of a pair by its error for several ``gamma``. Right: what a growing margin does to negative pairs."""
    figure = Figure((WIDTH, 3.4))
    left, right = figure.subplots(1, 2)
    errors = torch.linspace(0, 1.5, 200)
    for gamma, style in zip(gammas, ("solid", "dashed", "dotted"), strict=False):
        left.plot(
            errors, (-gamma * errors).exp(), ls=style, color=CLASSES[0], label=f"γ = {gamma:g}"
        )
    left.set(xlabel="error G", ylabel="cost C")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1))
    margins = [margin * step / 10 for step in range(1, 31)]
    plans = [transport(batches, lam, gammas[1], value) for value in margins]
    negative = ~batches.same
    active = [(plan.error[negative] > 0).double().mean() for plan in plans]
    mass = [plan.weight[negative].sum() / negative.numel() for plan in plans]
    right.plot(margins, active, "--", color=GREY, label="with an error, of\nthe negative pairs")
    right.plot(margins, mass, color=NEGATIVE, label="mass of the plan\non negative pairs")
    right.set(xlabel="margin ε", ylabel="share", ylim=(0, 1.03))
    right.legend(loc="lower center", bbox_to_anchor=(0.4, 1))
    return figure


def draw_masses(batches: Batches, pairs: Transport) -> Figure:
    """How much each sample counts: in the plan, and where every pair is weighted by its kernel alone."""
    figure = Figure((WIDTH, 3.8))
    alone = pairs.kernel / pairs.kernel.mean()
    for axis, batch, labels, dim in zip(
        figure.subplots(2, 1, sharey=True), "AB", batches[1::2], (1, 0), strict=True
    ):
        places = torch.arange(len(labels)).numpy()
        axis.bar(
            places - 0.2, alone.mean(dim).numpy(), 0.38, color=GREY, label="each pair by itself"
        )
        axis.bar(places + 0.2, pairs.weight.mean(dim).numpy(), 0.38, color=CLASSES[0], hatch="//", ec="white", label="plan")  # fmt: skip
        axis.set_xticks(places, labels.tolist())
        axis.set(xlabel="class of the sample", ylabel=f"mass × {len(labels)}")
        axis.set_title(f"batch {batch}", loc="left")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def draw_step(
    batches: Batches, losses: Mapping[str, BatchwiseOTLoss | AllPairsLoss], rate: float
) -> Figure:
    """One gradient step of length ``rate`` for each loss: an arrow a sample for its pull, one for its push."""
    figure = Figure((WIDTH, 2.6 * len(losses)))
    places = torch.cat([batches.a, batches.b])
    for axis, (title, loss) in zip(figure.subplots(len(losses), 1), losses.items(), strict=True):
        _scatter(axis, batches, small=True)
        axis.set_title(title)
        for force, (colour, style, _) in zip(pull_and_push(loss, batches), LINES, strict=True):
            for start, end in zip(places.tolist(), (places + rate * force).tolist(), strict=True):
                axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour, "ls": style, "lw": 1.6, "shrinkA": 0, "shrinkB": 0})  # fmt: skip
    figure.axes[0].legend(handles=LEGEND, loc="upper left", borderpad=0)
    return figure


def _scatter(axis: Axes, batches: Batches, weight=None, small=False):
    """Samples in the plane; with weights (n, m), a line for each pair of at least a quarter of the uniform weight."""
    if weight is not None:
        for kind, (colour, style, _) in zip((batches.same, ~batches.same), LINES, strict=True):
            i, j = ((weight >= 0.25) & kind).nonzero(as_tuple=True)
            ends = torch.stack([batches.a[i], batches.b[j]], 1)
            widths = (0.4 if small else 0.8) * weight[i, j]
            axis.add_collection(LineCollection(ends.numpy(), linewidths=widths.numpy(), colors=colour, linestyles=style, alpha=0.75))  # fmt: skip
    for points, labels, marker in zip(batches[::2], batches[1::2], "os", strict=True):
        colours = [CLASSES[label] for label in labels]
        axis.scatter(*points.T, s=30 if small else 170, c=colours, marker=marker, zorder=3)
        for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True):
            if not small:
                axis.text(x, y, label, color="white", ha="center", va="center_baseline", size=11, weight="bold", zorder=5)  # fmt: skip
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_axis_off()
    if not small:
        handles = LEGEND if weight is not None else LEGEND[:2]
        axis.legend(handles=handles, loc="upper left", borderpad=0)


def _heat(axis: Axes, values, batches: Batches, top):
    """A matrix of pairs, dark at 0 and light at ``top``; the blocks of one class are framed."""
    axis.imshow(values.numpy(), vmin=0, vmax=top, aspect="auto", interpolation="nearest")
    rows, columns = _blocks(batches.labels_a), _blocks(batches.labels_b)
    for label in rows.keys() & columns.keys():
        (first, height), (left, width) = rows[label], columns[label]
        for colour, line in (("black", 3), ("white", 1.5)):
            axis.add_patch(Rectangle((left - 0.5, first - 0.5), width, height, fill=False, ec=colour, lw=line))  # fmt: skip
    axis.set_xticks([first + (count - 1) / 2 for first, count in columns.values()], columns)
    axis.set_yticks([first + (count - 1) / 2 for first, count in rows.values()], rows)
    axis.tick_params(length=0, pad=2)
    axis.set_xlabel("batch B, by class", labelpad=1)
    axis.set_ylabel("batch A, by class", labelpad=1)


def _blocks(labels):
    """Class -> first place and number, of labels that are sorted."""
    classes, counts = labels.unique_consecutive(return_counts=True)
    firsts = (counts.cumsum(0) - counts).tolist()
    return dict(zip(classes.tolist(), zip(firsts, counts.tolist(), strict=True), strict=True))


def _sums(axis: Axes, weight):
    """Bars around a heat map for the sums of its columns (above) and rows (right); they end at a line where all fit."""
    n, m = weight.shape
    for sums, edge, out in ((weight.mean(0), -0.7, -0.09 * n), (weight.mean(1), m - 0.3, 0.09 * m)):
        bars = [[(k, edge), (k, edge + out * total)] for k, total in enumerate(sums.tolist())]
        line = [[(-0.5, edge + out), (len(sums) - 0.5, edge + out)]]
        for places, colour, width in ((bars, CLASSES[0], 9), (line, INK, 1)):
            turned = places if out < 0 else [[end[::-1] for end in place] for place in places]
            axis.add_collection(LineCollection(turned, colors=colour, linewidths=width, clip_on=False), autolim=False)  # fmt: skip


def _against_error(axis: Axes, pairs: Transport, same):
    """Weight of every pair by its error; the line is what the kernel alone would give it."""
    order = pairs.error.flatten().argsort()
    alone = (pairs.kernel / pairs.kernel.mean()).flatten()[order]
    axis.plot(pairs.error.flatten()[order], _decades(alone), color=GREY)
    axis.text(0.98, 0.04, "line: each pair\nby itself", color=GREY, ha="right", size=11, transform=axis.transAxes)  # fmt: skip
    for kind, (colour, _, marker) in zip((same, ~same), LINES, strict=True):
        axis.plot(
            pairs.error[kind], _decades(pairs.weight[kind]), marker, color=colour, mfc="none", ms=6
        )
    ticks = {-3: "≤ .001", -2: ".01", -1: ".1", 0: "1", 1: "10"}
    axis.set_yticks(list(ticks), ticks.values())
    axis.set(ylim=(-3.2, 1.4), xlabel="error G")
    axis.set_title("weight, n m T", loc="left")


def _decades(weights):
    return weights.clamp_min(FLOOR).log10()


def _range(name, values):
    low = values.min() if values.min() >= 0.01 else 0
    return f"{name}: {low:.2g} to {values.max():.2g}"
