"""Pictures of shapes and of what is found among them; they are shown by :func:`bwot.figures.show`.

Shapes come as grey pictures on white (255), as :mod:`bwot.rendering` draws them. Each lies on a light card, so that it
reads in the dark theme too. What is of the right class has a thin blue solid frame and a tick, what is of another
class a thick orange dashed frame and a cross.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from bwot.figures import WIDTH
from bwot.looks import COLOURS, HEAT, MARKERS, TITLES, WRONG, as_weight

RIGHT = "#0173b2"  # with WRONG at least 3:1 against a card and against both themes' paper
SHARES = LinearSegmentedColormap.from_list(
    "shares", colormaps[HEAT](np.linspace(0.25, 1, 64))
)  # no shade as dark as the paper
CARD = LinearSegmentedColormap.from_list("card", ["#101010", "#f2f2f2"])
GAP, LINE = 0.06, 0.24  # between cards; for a line of text
PIXELS = 96  # an inch of a card, at most: about what a screen shows
MOST_POINTS = 100  # of a curve
MOST_COUNTS = 15  # classes up to which a matrix shows its numbers
OTHER_LOOKS = (
    ("#7f7f7f", "*"),
    ("#a6611a", "p"),
    ("#8073ac", "h"),
)  # of curves that are no loss of ours


def view_sheet(strips: Mapping[str, UInt8[np.ndarray, "v h w"]]) -> Figure:
    """The views of some shapes, six or five a row; a shape's key stands above its views."""
    counts = [len(views) for views in strips.values()]
    columns = 6 if all(count % 6 == 0 for count in counts) else 5
    side = (WIDTH - GAP * (columns - 1)) / columns
    rows = [-(-count // columns) for count in counts]
    axis = sheet(sum(rows) * (side + GAP) + 1.5 * LINE * len(rows))
    top = axis.get_ylim()[1]
    for (title, views), high in zip(strips.items(), rows, strict=True):
        axis.text(0, top - 1.2 * LINE, title, fontsize=11)
        top -= 1.5 * LINE
        for k, picture in enumerate(views):
            place = (k % columns) * (side + GAP), top - (k // columns + 1) * (side + GAP)
            card(axis, picture, *place, side)
        top -= high * (side + GAP)
    return axis.figure


def retrieval_gallery(
    pictures: UInt8[np.ndarray, "n h w"],
    queries: Sequence[int],
    ranks: Int64[Tensor, "q k"],
    right: Bool[Tensor, "q k"],
) -> Figure:
    """Queries, large, each with what was found for it: from left to right, nearest first, in two rows.

    Args:
        pictures: one of each shape.
        queries: indices of the queries.
        ranks: indices of the nearest shapes, nearest first.
        right: which of them have the query's class.
    """
    columns = -(-ranks.shape[1] // 2)
    side = (WIDTH - GAP * (columns + 2)) / (columns + 2)
    block = 2 * (side + GAP) + 2 * GAP
    axis = sheet(block * len(queries) + LINE)
    top = axis.get_ylim()[1] - LINE
    axis.text(0, top + GAP, "query", fontsize=11)
    axis.text(2 * (side + GAP) + GAP, top + GAP, "found, nearest first", fontsize=11)
    for query, found, good in zip(queries, ranks.tolist(), right.tolist(), strict=True):
        card(axis, pictures[query], 0, top - 2 * side - GAP, 2 * side + GAP)
        for k, (item, is_right) in enumerate(zip(found, good, strict=True)):
            row, column = divmod(k, columns)
            place = (column + 2) * (side + GAP) + GAP, top - (row + 1) * side - row * GAP
            card(axis, pictures[item], *place, side)
            _judge(axis, *place, side, is_right)
        top -= block
    return axis.figure


def plan_with_shapes(
    plan: Float[Tensor, "n m"],
    same: Bool[Tensor, "n m"],
    pictures: UInt8[np.ndarray, "n h w"],
    others: UInt8[np.ndarray, "m h w"] | None = None,
    count: int = 8,
) -> Figure:
    """The pairs of most weight, heaviest first, each with its weight relative to a uniform plan.

    Args:
        plan: weights of the pairs, which sum to 1.
        same: which pairs have one class.
        pictures: of the rows' shapes.
        others: of the columns' shapes; None for one batch against itself, where a pair is shown once, with the mean of
            its two weights, and a uniform plan leaves out the diagonal.
        count: how many pairs at most.
    """
    pairs = heaviest(plan, others is None, count)
    others = pictures if others is None else others
    columns = 4
    side = (WIDTH - 3 * GAP * (columns - 1)) / columns
    block = 2 * side + GAP + 2.6 * LINE
    axis = sheet(block * -(-len(pairs) // columns))
    for k, (i, j, weight) in enumerate(pairs):
        left, top = (k % columns) * (side + 3 * GAP), axis.get_ylim()[1] - (k // columns) * block
        axis.text(left, top - 0.9 * LINE, f"weight {as_weight(weight)}", fontsize=11)
        axis.text(
            left, top - 1.75 * LINE, "one class" if same[i, j] else "two classes", fontsize=11
        )
        for row, picture in enumerate((pictures[i], others[j])):
            place = left, top - 2 * LINE - (row + 1) * side - row * GAP
            card(axis, picture, *place, side)
            _judge(axis, *place, side, bool(same[i, j]), glyph=False)
    return axis.figure


def heaviest(
    plan: Float[Tensor, "n m"], against_itself: bool, count: int = 8
) -> list[tuple[int, int, float]]:
    """Row, column and relative weight of the pairs that :func:`plan_with_shapes` shows, heaviest first."""
    weight = plan * plan.numel()
    if against_itself:
        n = len(plan)
        weight = ((plan + plan.T) / 2 * (n * (n - 1))).triu(1)
    ranked = weight.flatten().argsort(descending=True, stable=True)[:count].tolist()
    places = [divmod(place, plan.shape[1]) for place in ranked]
    return [(i, j, weight[i, j].item()) for i, j in places if weight[i, j] > 0]


def confusion_figure(matrix: Int64[Tensor, "c c"], classes: Sequence[str]) -> Figure:
    """Items by true class (row) and predicted class (column): colour is the share of the row, empty cells are 0."""
    many = len(classes) > MOST_COUNTS
    width = 1.5 * WIDTH if many else WIDTH
    figure = Figure((width, 1.1 * width))
    axis = figure.subplots()
    shares = matrix / matrix.sum(1, keepdim=True).clamp_min(1)
    shown = np.ma.masked_equal(shares.numpy(), 0)
    picture = axis.imshow(shown, vmin=0, vmax=1, cmap=SHARES, interpolation="nearest")
    places = range(len(classes))
    axis.set_xticks(places, classes, rotation=90, fontsize=11 if not many else 8)
    axis.set_yticks(places, classes, fontsize=11 if not many else 8)
    axis.set(xlabel="predicted class", ylabel="true class")
    axis.tick_params(length=0)
    if not many:
        for i, j in matrix.nonzero().tolist():
            colour = "white" if shares[i, j] < 0.25 else "black"
            axis.text(j, i, int(matrix[i, j]), color=colour, ha="center", va="center", fontsize=11)
    figure.colorbar(picture, ax=axis, location="top", shrink=0.8, aspect=30, label="share of the true class")  # fmt: skip
    return figure


def precision_recall_figure(
    curves: Mapping[str, tuple[Float[Tensor, " r"], Float[Tensor, " r"]]],
) -> Figure:
    """Mean precision against mean recall, rank by rank.

    Args:
        curves: name of a loss, or any other name, to (recall, precision) of :class:`bwot.metrics.RetrievalScores`.
    """
    figure = Figure((WIDTH, 4.0))
    axis = figure.subplots()
    free = cycle(OTHER_LOOKS)
    styles = cycle(("solid", "dashed", "dashdot", (0, (1, 1))))
    for number, (name, (recall, precision)) in enumerate(curves.items()):
        colour, marker = (COLOURS[name], MARKERS[name]) if name in TITLES else next(free)
        few = _even_in(recall)
        axis.plot(
            recall[few], precision[few], color=colour, ls=next(styles), marker=marker, ms=5,
            markevery=(0.03 * number, 0.15), label=TITLES.get(name, name),
        )  # fmt: skip
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.03))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _even_in(recall):
    """Ranks whose recall is nearest to even steps, the first and the last among them."""
    steps = torch.linspace(float(recall[0]), float(recall[-1]), MOST_POINTS, dtype=recall.dtype)
    return torch.searchsorted(recall.contiguous(), steps).clamp_max(len(recall) - 1).unique()


def sheet(height: float) -> Axes:
    """An empty figure of this height whose coordinates are inches."""
    figure = Figure((WIDTH, height), layout="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.03, WIDTH + 0.03), ylim=(0, height), autoscale_on=False)
    axis.set_axis_off()
    return axis


def card(axis: Axes, picture: UInt8[np.ndarray, "h w"], x, y, side) -> None:
    """A picture on a light card with its lower left corner at (x, y), in inches; larger ones are averaged down."""
    step = max(1, round(max(picture.shape) / (PIXELS * side)))
    high, wide = (length // step for length in picture.shape)
    blocks = picture[: high * step, : wide * step].reshape(high, step, wide, step)
    axis.imshow(
        blocks.mean((1, 3)).round().astype(np.uint8), cmap=CARD, vmin=0, vmax=255,
        extent=(x, x + side, y, y + side), interpolation="none", aspect="auto",
    )  # fmt: skip


def _judge(axis, x, y, side, right, glyph=True):
    """The frame of a card and, in its upper right corner, a tick or a cross."""
    colour, style, width = (RIGHT, "solid", 1.2) if right else (WRONG, (0, (3, 1.5)), 2.8)
    axis.add_patch(Rectangle((x, y), side, side, fill=False, ec=colour, ls=style, lw=width))
    if not glyph:
        return
    size = 0.1 * side
    u, v = x + side - 1.6 * size, y + side - 1.6 * size
    axis.add_patch(Circle((u, v), 1.3 * size, fc="white", ec=colour, lw=1, zorder=3))
    strokes = [((-0.6, 0), (-0.1, -0.5), (0.6, 0.6))]
    if not right:
        strokes = [((-0.5, -0.5), (0.5, 0.5)), ((-0.5, 0.5), (0.5, -0.5))]
    for stroke in strokes:
        points = np.array([u, v]) + size * np.array(stroke)
        axis.add_line(Line2D(*points.T, color=colour, lw=2, zorder=4))
