"""Pictures of the book: each has a name, a caption and alternative text, and follows the reader's theme.

:func:`show` displays a figure as one SVG whose ink turns light in dark mode. What it says of itself (name, alternative
text, caption) travels in the output's metadata to :mod:`bwot.publishing`, which puts it where the book reads it.
"""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import seaborn
from IPython.display import display
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bwot.comparison import at_epoch, losses_in, of_loss
from bwot.looks import COLOURS, HEAT, LINES, MARKERS, SCORE_NAMES, TITLES, WRONG
from bwot.published import CURVES
from bwot.records import Record

INK = "#010203"  # a colour nobody uses: it is swapped in dark mode
_INKED = "text.color axes.edgecolor axes.labelcolor axes.titlecolor xtick.color ytick.color".split()
_DARK = (
    "<style>@media (prefers-color-scheme: dark){"
    f'[style*="{INK}"]{{stroke:#e8e8e8!important}}'
    f'text[style*="{INK}"],g[style*="fill: {INK}"]{{fill:#e8e8e8!important;stroke:none!important}}'
    "}</style>"
)
WIDTH = 5.0  # inches: on a phone of 390 pixels, 11 points are 10 pixels; nothing is written smaller
MOST_POINTS, MOST_MARKERS = 60, 12  # of a curve
CELL = 0.25  # inches, of a point of a tuning grid
EDGE = "#7f7f7f"  # tells dark squares from dark paper


def theme() -> None:
    """The look of every figure; call it before the first one."""
    seaborn.set_theme(context="notebook", style="ticks", palette="colorblind")
    matplotlib.rcParams.update({key: INK for key in _INKED})
    matplotlib.rcParams.update(
        {"savefig.transparent": True, "svg.hashsalt": "bwot", "svg.fonttype": "none", "legend.frameon": False,
         "axes.spines.top": False, "axes.spines.right": False, "image.cmap": HEAT, "figure.constrained_layout.use": True,
         "legend.labelcolor": INK, "font.size": 11, "axes.facecolor": "none", "axes.titlesize": 11},
    )  # fmt: skip


def show(figure: Figure, name: str, alt: str, caption: str) -> None:
    """Display a figure as SVG with what the book needs to know of it.

    Args:
        figure: closed afterwards.
        name: label for references, unique in the notebook.
        alt: what the picture shows, for readers who do not see it.
        caption: the text under it.
    """
    display(
        {"image/svg+xml": svg(figure), "text/plain": alt},
        raw=True,
        metadata={"bwot": {"name": name, "alt": alt, "caption": caption}},
    )


def svg(figure: Figure) -> str:
    """The figure as one SVG whose ink turns light in dark mode; the figure is closed."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    matplotlib.pyplot.close(figure)
    text = stream.getvalue()
    inside = text.index(">", text.index("<svg")) + 1
    return text[:inside] + _DARK + text[inside:]


def error_and_plan(
    error: Float[Tensor, "n m"],
    plan: Float[Tensor, "n m"],
    same: Bool[Tensor, "n m"],
    sides: tuple[str, str] = ("batch A", "batch B"),
) -> Figure:
    """Heat maps of pair errors ``G`` and of ``n m T`` (1: the weight of a uniform plan), positives framed.

    Args:
        error: of each pair.
        plan: its weight.
        same: which pairs are positive.
        sides: what the rows and the columns are.
    """
    # places by hand: a computed layout takes longer than a slider may
    figure = matplotlib.pyplot.figure(figsize=(WIDTH, 3.5), layout="none")
    panels = ((0.14, error, "pair error G"), (0.585, plan * plan.numel(), "weight n m T"))
    for left, values, title in panels:
        axis = figure.add_axes((left, 0.31, 0.41, 0.6))
        picture = axis.imshow(
            values.numpy(), aspect="equal", interpolation="nearest", rasterized=True
        )
        scale = figure.add_axes((left + 0.03, 0.09, 0.35, 0.03))
        figure.colorbar(picture, scale, orientation="horizontal", ticks=_ticks(3))  # fmt: skip
        _frame(axis, same.numpy())
        axis.set(title=title, xlabel=f"{sides[1]}, by class")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(_ticks(4, integer=True))
    figure.axes[2].tick_params(labelleft=False)  # as on the left
    figure.axes[0].set_ylabel(f"{sides[0]}, by class")
    return figure


def _ticks(count, **options):
    """At most so many steps between round numbers."""
    return matplotlib.ticker.MaxNLocator(count, steps=(1, 2, 5, 10), **options)


def _frame(axis, inside):
    """A line along the border of the cells that are True, light on dark so that it reads on every colour."""
    wide = np.pad(inside, 1)
    rows, columns = np.nonzero(wide[1:] != wide[:-1])
    level = np.stack([columns - 1.5, rows - 0.5, columns - 0.5, rows - 0.5], 1)
    rows, columns = np.nonzero(wide[:, 1:] != wide[:, :-1])
    upright = np.stack([columns - 0.5, rows - 1.5, columns - 0.5, rows - 0.5], 1)
    ends = np.concatenate([level, upright]).reshape(-1, 2, 2)
    points = np.pad(ends, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan).reshape(-1, 2)
    limits = axis.axis()
    for colour, width in (("black", 2.0), ("white", 0.9)):
        axis.plot(*points.T, color=colour, lw=width, clip_on=False)
    axis.axis(limits)


def convergence(records: Sequence[Record], scores: Sequence[str] = ("map", "nn")) -> Figure:
    """Test scores over epochs: mean of the finished seeds, band from the lowest to the highest, authors' points if any."""
    rows = -(-len(losses_in(records)) // 2)  # of the legend
    figure, axes = matplotlib.pyplot.subplots(
        len(scores), 1, figsize=(WIDTH, 2.6 * len(scores) + 0.3 * rows), squeeze=False
    )
    for axis, score in zip(axes.flat, scores, strict=True):
        draw_curves(axis, records, score)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_curves(axis: Axes, records: Sequence[Record], score: str) -> None:
    """One panel of :func:`convergence`."""
    dataset, official = records[0].dataset["name"], records[0].dataset["official"]
    last = max(record.settings["epochs"] for record in records)
    for loss in losses_in(records):
        _curve(axis, of_loss(records, loss), score, loss)
        theirs = CURVES.get((dataset, loss, score)) if official else None
        if theirs:
            points = [
                (e, v) for e, v in zip(theirs.epochs, theirs.values, strict=True) if e <= last
            ]
            axis.plot(*zip(*points, strict=True), MARKERS[loss], mfc="none", color=COLOURS[loss], ms=9, mew=1.5,
                      label=f"{TITLES[loss]}, authors")  # fmt: skip
    axis.set(xlabel="epoch", ylabel=f"test {SCORE_NAMES[score]}")


def _curve(axis, records, score, loss):
    records = [record for record in records if record.status == "finished"]
    if not records:
        return
    epochs = [row["epoch"] for row in records[0].history if score in row and row["epoch"] > 0]
    axis.xaxis.set_major_locator(_ticks("auto", integer=True))
    if len(epochs) > MOST_POINTS:  # what differs, differs in the first of so many
        places = np.unique(np.geomspace(1, len(epochs), MOST_POINTS).round().astype(int))
        epochs = [epochs[place - 1] for place in places]
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 3)))
        axis.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    values = [[at_epoch(record, score, epoch) for record in records] for epoch in epochs]
    values = np.array(values, dtype=float)  # NaN where a score was not taken
    if len(values):
        axis.plot(
            epochs,
            np.nanmean(values, 1),
            LINES[loss],
            color=COLOURS[loss],
            label=TITLES[loss],
            marker=MARKERS[loss],
            markevery=-(-len(epochs) // MOST_MARKERS),
            ms=5,
        )
        axis.fill_between(
            epochs,
            np.nanmin(values, 1),
            np.nanmax(values, 1),
            color=COLOURS[loss],
            alpha=0.25,
            lw=0,
        )


def weight_shares(records: Sequence[Record]) -> Figure:
    """Per epoch: share of the weights on positives, share on pairs with error, gradient norm over the all-pairs mean's."""
    names = {
        "mass_on_positives": "weight on positives",
        "mass_on_active": "weight on pairs\nwith an error",
        "gradient_ratio": "gradient over\nall-pairs mean's",
    }
    figure, axes = matplotlib.pyplot.subplots(2, 2, figsize=(WIDTH, 5.2))
    for axis, (score, title) in zip(axes.flat, names.items(), strict=False):
        for loss in losses_in(records):
            _curve(axis, of_loss(records, loss), score, loss)
        axis.set(xlabel="epoch", title=title)
        axis.set_ylim(bottom=0)
    axes[1, 1].legend(*axes[0, 0].get_legend_handles_labels(), loc="center")
    axes[1, 1].set_axis_off()
    return figure


def tuning_grid(found: Mapping[str, dict]) -> Figure:
    """Validation mAP over learning rate and margin, a loss a panel; a cross where training diverged, a frame: chosen.

    Large squares, with the mAP in percent, were trained for as long as any of their loss; small ones for less.

    Args:
        found: what :func:`bwot.tuning.tune` returned for each loss.
    """
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    margins = [len({cell["margin"] for cell in each["grid"]}) for each in found.values()]
    highs = [max(margins[columns * row : columns * (row + 1)]) for row in range(rows)]
    highs = [CELL * max(3, high) + 1.15 for high in highs]  # with title and rates
    figure, axes = matplotlib.pyplot.subplots(
        rows, columns, figsize=(WIDTH, 0.9 + sum(highs)), height_ratios=highs, squeeze=False
    )
    reached = [cell["map"] for each in found.values() for cell in each["grid"] if "map" in cell]
    levels = matplotlib.colors.Normalize(min(reached), max(reached))
    for axis, (loss, each) in zip(axes.flat, found.items(), strict=False):
        _tuned_panel(axis, each, levels)
        axis.set_title(TITLES[loss])
        if loss == "cross-entropy":  # it has no margin
            axis.set_yticks([])
    for axis in axes.flat[len(found) :]:
        axis.set_axis_off()
    figure.supxlabel("learning rate")
    figure.supylabel("margin")
    scale = matplotlib.cm.ScalarMappable(levels, HEAT)
    figure.colorbar(scale, ax=axes, label="validation mAP", location="top", aspect=40)
    return figure


def _tuned_panel(axis, found, levels):
    rates, margins = (
        sorted({cell[name] for cell in found["grid"]}) for name in ("learning_rate", "margin")
    )
    longest = max(cell["epochs"] for cell in found["grid"])
    side = min(17, 118 / len(rates))  # points
    for cell in found["grid"]:
        place = rates.index(cell["learning_rate"]), margins.index(cell["margin"])
        if "map" not in cell:
            axis.plot(*place, "x", color=WRONG, ms=0.5 * side, mew=2)
            continue
        chosen = all(cell[name] == value for name, value in found["chosen"].items())
        whole = cell["epochs"] == longest
        axis.plot(
            *place,
            "s",
            color=matplotlib.colormaps[HEAT](levels(cell["map"])),
            ms=side if whole else 0.5 * side,
            mec=WRONG if chosen else EDGE,
            mew=2.5 if chosen else 0.5,
            zorder=3 if chosen else 2,
        )
        if whole:
            colour = "white" if levels(cell["map"]) < 0.6 else "black"
            axis.annotate(f"{100 * cell['map']:.0f}", place, ha="center", va="center_baseline", color=colour, zorder=4)  # fmt: skip
    axis.set_xticks(range(len(rates)), [f"{rate:.2g}" for rate in rates], rotation=90)
    axis.set_yticks(range(len(margins)), [f"{margin:.3g}" for margin in margins])
    axis.set(xlim=(-0.6, len(rates) - 0.4), ylim=(-0.6, len(margins) - 0.4))
