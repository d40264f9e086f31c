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
from jaxtyping import Bool, Float, Int64, UInt8
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
MOST_POINTS = 60  # of a curve


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


def samples(
    images: UInt8[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    classes: Sequence[str],
    each: int = 10,
) -> Figure:
    """The first ``each`` images of every class, a class a row."""
    figure, axes = matplotlib.pyplot.subplots(
        len(classes), each, figsize=(0.6 * each, 0.6 * len(classes))
    )
    for row, label in zip(axes, range(len(classes)), strict=True):
        for axis, image in zip(row, images[labels == label], strict=False):
            axis.imshow(_pixels(image), cmap="gray", vmin=0, vmax=255, interpolation="none")
        row[0].set_ylabel(classes[label], rotation=0, ha="right", va="center")
    _bare(axes)
    return figure


def error_and_plan(
    error: Float[Tensor, "n m"],
    plan: Float[Tensor, "n m"],
    same: Bool[Tensor, "n m"],
    titles: Sequence[str] = (),
) -> Figure:
    """Heat maps of pair errors ``G`` and of ``n m T`` (1: the weight of a uniform plan), positives framed."""
    figure, axes = matplotlib.pyplot.subplots(1, 2, figsize=(9, 4))
    relative = plan * plan.numel()
    for axis, values, title in zip(
        axes, (error, relative), titles or ("pair error G", "weight n m T"), strict=True
    ):
        picture = axis.imshow(
            values.numpy(), aspect="equal", interpolation="nearest", rasterized=True
        )
        figure.colorbar(picture, ax=axis, shrink=0.85)
        axis.contour(same.float().numpy(), levels=[0.5], colors="white", linewidths=0.7)
        axis.set(
            title=title, xlabel="sample of batch B, by class", ylabel="sample of batch A, by class"
        )
    return figure


def hardest_pairs(
    first: UInt8[Tensor, "n c h w"],
    second: UInt8[Tensor, "m c h w"],
    plan: Float[Tensor, "n m"],
    same: Bool[Tensor, "n m"],
    count: int = 8,
) -> Figure:
    """The pairs of most weight, positives above and negatives below, each with its weight n m T."""
    figure, axes = matplotlib.pyplot.subplots(4, count, figsize=(1.0 * count, 4.6))
    relative = plan * plan.numel()
    for rows, kind, mask in ((axes[:2], "positive", same), (axes[2:], "negative", ~same)):
        ranked = (relative * mask).flatten().argsort(descending=True)[: min(count, int(mask.sum()))]
        for column, pair in zip(rows.T, ranked.tolist(), strict=False):
            i, j = divmod(pair, plan.shape[1])
            column[0].imshow(_pixels(first[i]), cmap="gray", vmin=0, vmax=255, interpolation="none")
            column[1].imshow(
                _pixels(second[j]), cmap="gray", vmin=0, vmax=255, interpolation="none"
            )
            column[0].set_title(f"{relative[i, j]:.1f}", fontsize=10)
        rows[0][0].set_ylabel(f"hardest\n{kind}s: A")
        rows[1][0].set_ylabel("B")
    _bare(axes)
    return figure


def convergence(records: Sequence[Record], scores: Sequence[str] = ("map", "nn")) -> Figure:
    """Test scores over epochs: mean of the finished seeds, band from the lowest to the highest, authors' points if any."""
    figure, axes = matplotlib.pyplot.subplots(1, len(scores), figsize=(5.2 * len(scores), 4.2))
    for axis, score in zip(np.atleast_1d(axes), scores, strict=True):
        draw_curves(axis, records, score)
    figure.legend(
        *np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
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
    if len(epochs) > MOST_POINTS:  # what differs, differs in the first of so many
        places = np.unique(np.geomspace(1, len(epochs), MOST_POINTS).round().astype(int))
        epochs = [epochs[place - 1] for place in places]
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
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
            ms=4,
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
        "mass_on_active": "weight on pairs with error",
        "gradient_ratio": "gradient norm / all-pairs mean's",
    }
    figure, axes = matplotlib.pyplot.subplots(1, 3, figsize=(10.5, 3.6))
    for axis, (score, title) in zip(axes, names.items(), strict=True):
        for loss in losses_in(records):
            _curve(axis, of_loss(records, loss), score, loss)
        axis.set(xlabel="epoch", title=title)
        axis.set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def tuning_grid(found: Mapping[str, dict]) -> Figure:
    """Validation mAP over learning rate and margin, a loss a panel; a cross where training diverged, a ring: chosen.

    Args:
        found: what :func:`bwot.tuning.tune` returned for each loss.
    """
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure, axes = matplotlib.pyplot.subplots(
        rows, columns, figsize=(0.6 + 2.7 * columns, 0.4 + 2.9 * rows), squeeze=False
    )
    cells = [cell for each in found.values() for cell in each["grid"]]
    levels = matplotlib.colors.Normalize(
        min(cell.get("map", 1.0) for cell in cells), max(cell.get("map", 0.0) for cell in cells)
    )
    for axis, (loss, each) in zip(axes.flat, found.items(), strict=False):
        _tuned_panel(axis, each, levels)
        axis.set_title(TITLES[loss])
    for axis in axes.flat[len(found) :]:
        axis.set_axis_off()
    figure.supxlabel("learning rate")
    figure.supylabel("margin")
    figure.colorbar(
        matplotlib.cm.ScalarMappable(levels, HEAT), ax=axes, label="validation mAP", shrink=0.8
    )
    return figure


def _tuned_panel(axis, found, levels):
    rates, margins = (
        sorted({cell[name] for cell in found["grid"]}) for name in ("learning_rate", "margin")
    )
    for cell in found["grid"]:
        place = rates.index(cell["learning_rate"]), margins.index(cell["margin"])
        chosen = all(cell[name] == value for name, value in found["chosen"].items())
        if "map" not in cell:
            axis.plot(*place, "x", color=WRONG, ms=9, mew=2)
            continue
        colour = matplotlib.colormaps[HEAT](levels(cell["map"]))
        axis.plot(
            *place,
            "s",
            color=colour,
            ms=min(22, 125 / len(rates)),
            mec=WRONG if chosen else "none",
            mew=3,
        )
        dark = levels(cell["map"]) < 0.6
        axis.annotate(f"{100 * cell['map']:.0f}\n{cell['epochs']} ep", place, ha="center", va="center", fontsize=min(7, 41 / len(rates)),
                      color="white" if dark else "black")  # fmt: skip
    axis.set_xticks(range(len(rates)), [f"{rate:.3g}" for rate in rates], fontsize=8, rotation=45)
    axis.set_yticks(range(len(margins)), [f"{margin:g}" for margin in margins], fontsize=8)
    axis.set(xlim=(-0.6, len(rates) - 0.4), ylim=(-0.6, len(margins) - 0.4))


def retrievals(
    images: UInt8[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    queries: Sequence[int],
    nearest: Int64[Tensor, "q k"],
) -> Figure:
    """Queries in the first column and what is nearest to each; a frame marks what is of another class."""
    count = nearest.shape[1]
    figure, axes = matplotlib.pyplot.subplots(
        len(queries), count + 1, figsize=(0.75 * (count + 1), 0.78 * len(queries))
    )
    for row, query, found in zip(axes, queries, nearest.tolist(), strict=True):
        for axis, item in zip(row, [query, *found], strict=True):
            axis.imshow(_pixels(images[item]), cmap="gray", vmin=0, vmax=255, interpolation="none")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(
                visible=bool(labels[item] != labels[query]), color=WRONG, linewidth=3
            )
    axes[0][0].set_title("query", fontsize=10)
    return figure


def _pixels(image):
    return image[0].numpy() if image.shape[0] == 1 else image.permute(1, 2, 0).numpy()


def _bare(axes):
    for axis in np.ravel(axes):
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
