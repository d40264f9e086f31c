"""Pictures of images and of what is found among them; they are shown by :func:`bwot.figures.show`."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from bwot.figures import WIDTH
from bwot.looks import WRONG, as_weight

PAIRS = 8  # of most weight, of either kind


def samples(
    images: UInt8[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    classes: Sequence[str],
    each: int = 10,
) -> Figure:
    """The first ``each`` images of every class, a class a row."""
    figure, axes = matplotlib.pyplot.subplots(
        len(classes), each, figsize=(WIDTH, 0.96 * WIDTH / each * len(classes))
    )
    for row, label in zip(axes, range(len(classes)), strict=True):
        for axis, image in zip(row, images[labels == label], strict=False):
            _show(axis, image)
        row[0].set_ylabel(classes[label], rotation=0, ha="right", va="center")
    _bare(axes)
    return figure


def hardest_pairs(
    first: UInt8[Tensor, "n c h w"],
    second: UInt8[Tensor, "m c h w"],
    plan: Float[Tensor, "n m"],
    same: Bool[Tensor, "n m"],
) -> Figure:
    """The pairs of most weight, positives above and negatives below, each with its weight n m T."""
    figure, axes = matplotlib.pyplot.subplots(4, PAIRS, figsize=(WIDTH, 3.1))
    for rows, kind, mask in ((axes[:2], "positive", same), (axes[2:], "negative", ~same)):
        for column, (i, j, weight) in zip(rows.T, heaviest(plan, mask), strict=False):
            _show(column[0], first[i])
            _show(column[1], second[j])
            column[0].set_title(as_weight(weight))
        rows[0][0].set_ylabel(f"{kind}s\nA")
        rows[1][0].set_ylabel("B")
    _bare(axes)
    return figure


def heaviest(plan: Float[Tensor, "n m"], kind: Bool[Tensor, "n m"]) -> list[tuple[int, int, float]]:
    """Row, column and weight n m T of the pairs of a kind that weigh most, heaviest first."""
    relative = plan * plan.numel()
    ranked = (relative * kind).flatten().argsort(descending=True)[: min(PAIRS, int(kind.sum()))]
    places = [divmod(place, plan.shape[1]) for place in ranked.tolist()]
    return [(i, j, relative[i, j].item()) for i, j in places]


def retrievals(
    images: UInt8[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    queries: Sequence[int],
    nearest: Int64[Tensor, "q k"],
) -> Figure:
    """Queries in the first column and what is nearest to each; a frame marks what is of another class."""
    count = nearest.shape[1]
    figure, axes = matplotlib.pyplot.subplots(
        len(queries), count + 1, figsize=(WIDTH, 1.05 * WIDTH / (count + 1) * len(queries))
    )
    for row, query, found in zip(axes, queries, nearest.tolist(), strict=True):
        for axis, item in zip(row, [query, *found], strict=True):
            _show(axis, images[item])
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(
                visible=bool(labels[item] != labels[query]), color=WRONG, linewidth=3
            )
    axes[0][0].set_title("query")
    return figure


def _show(axis, image):
    pixels = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    axis.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=255, interpolation="none")


def _bare(axes):
    for axis in np.ravel(axes):
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
