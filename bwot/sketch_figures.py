"""Pictures of sketches beside the shapes that they ask for; they are shown by :func:`bwot.figures.show`.

Cards, frames and signs are those of :mod:`bwot.shape_figures`: right and wrong differ in line and sign, not in colour
alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from seaborn import color_palette
from torch import Tensor

from bwot.looks import COLOURS, LINES, MARKERS, TITLES
from bwot.published import LOGGED
from bwot.shape_figures import GAP, LINE, WIDTH, card, retrieval_gallery, sheet

COLUMNS = 4  # drawings, and as many views, of a class
MOST_NAMES = 40  # beside a map, half of them on either side


def sketch_sheet(
    classes: Mapping[str, tuple[UInt8[np.ndarray, "k h w"], UInt8[np.ndarray, "m h w"]]],
) -> Figure:
    """Drawings of some classes, on the left, beside views of models of the same class; four of each a row."""
    side = (WIDTH - 2 * COLUMNS * GAP - 3 * GAP) / (2 * COLUMNS)
    block = side + GAP + 1.4 * LINE
    axis = sheet(block * len(classes) + LINE)
    top = axis.get_ylim()[1] - LINE
    right = WIDTH - COLUMNS * (side + GAP) + GAP
    axis.text(0, top + GAP, "drawings", fontsize=11)
    axis.text(right, top + GAP, "models", fontsize=11)
    for name, (drawings, views) in classes.items():
        axis.text(0, top - 1.1 * LINE, name, fontsize=11)
        for left, pictures in ((0, drawings), (right, views)):
            for k, picture in enumerate(pictures[:COLUMNS]):
                card(axis, picture, left + k * (side + GAP), top - 1.4 * LINE - side, side)
        top -= block
    return axis.figure


def rotation_sheet(turned: UInt8[np.ndarray, "r h w"]) -> Figure:
    """A drawing in all its rotations, ten a row, each with its angle in degrees below."""
    columns = 10
    side = (WIDTH - (columns - 1) * GAP) / columns
    block = side + LINE
    axis = sheet(block * -(-len(turned) // columns))
    for k, picture in enumerate(turned):
        row, column = divmod(k, columns)
        place = column * (side + GAP), axis.get_ylim()[1] - row * block - side
        card(axis, picture, *place, side)
        angle = f"{360 * k / len(turned):g}°"
        axis.text(place[0] + side / 2, place[1] - 0.75 * LINE, angle, fontsize=11, ha="center")
    return axis.figure


def sketch_gallery(
    drawings: UInt8[np.ndarray, "q h w"],
    found: UInt8[np.ndarray, "q k h w"],
    right: Bool[Tensor, "q k"],
) -> Figure:
    """Query drawings, large, each with views of the shapes found for it, nearest first.

    Args:
        drawings: the queries.
        found: a view of each shape that was found, of the size of a drawing.
        right: which of them have the query's class.
    """
    q, k = right.shape
    pictures = np.concatenate([drawings, found.reshape(q * k, *found.shape[2:])])
    return retrieval_gallery(pictures, range(q), q + torch.arange(q * k).view(q, k), right)


def logged_curves() -> Figure:
    """Test mAP by epoch in the authors' own logs of SHREC'14, a loss a curve."""
    figure = Figure((WIDTH, 3.8))
    axis = figure.subplots()
    for loss, curve in LOGGED.items():
        axis.plot(curve.epochs, curve.values, color=COLOURS[loss], marker=MARKERS[loss], ms=6,
                  mfc="none", ls=LINES[loss], label=f"{TITLES[loss]}, authors")  # fmt: skip
    axis.set(xlabel="epoch", ylabel="test mAP on SHREC'14", xlim=(0, None), ylim=(0, 0.65))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def modality_map(
    places: Mapping[str, tuple[Float[Tensor, "n 2"], Float[Tensor, "m 2"]]],
    sketch_labels: Int64[Tensor, " n"],
    shape_labels: Int64[Tensor, " m"],
    classes: Sequence[str],
) -> Figure:
    """Sketches (dots) and shapes (rings) in the plane, a panel a state; the class by colour, and its name at the end of a line to the middle of its shapes.

    Names stand on both sides, by height, so that none covers another. Where they are too many, the classes with most shapes have one.

    Args:
        places: title of a panel, such as ``before``, to the points of the sketches and of the shapes.
        sketch_labels: classes of the sketches.
        shape_labels: classes of the shapes.
        classes: their names.
    """
    figure = Figure((WIDTH, 4.4 * len(places) + 0.4))
    axes = figure.subplots(len(places), 1, squeeze=False)[:, 0]
    colours = color_palette("husl", len(classes))
    counts = shape_labels.bincount(minlength=len(classes))
    named = [k for k in counts.argsort(descending=True, stable=True).tolist() if counts[k]]
    for axis, (title, (sketches, shapes)) in zip(axes, places.items(), strict=True):
        for label, colour in enumerate(colours):
            mine, theirs = shapes[shape_labels == label], sketches[sketch_labels == label]
            axis.scatter(*theirs.T, s=7, color=colour, linewidths=0, alpha=0.7)
            axis.scatter(*mine.T, s=42, facecolors="none", edgecolors=[colour], linewidths=1.5)
        middles = {k: shapes[shape_labels == k].median(0).values.tolist() for k in named[:MOST_NAMES]}  # fmt: skip
        _name_from_the_sides(axis, middles, classes, colours)
        axis.set(title=title, xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    grey = {"ls": "", "color": "#7f7f7f"}  # reads in both themes
    handles = [
        Line2D([], [], marker=".", ms=7, label="drawing", **grey),
        Line2D([], [], marker="o", ms=7, mfc="none", mew=1.5, label="model", **grey),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _name_from_the_sides(axis, middles, classes, colours):
    """Half of the names left of a panel, half right of it, evenly spaced in the order of their heights."""
    across = sorted(middles, key=lambda label: middles[label][0])
    half = -(-len(across) // 2)
    for names, x, side in ((across[:half], -0.02, "right"), (across[half:], 1.02, "left")):
        names.sort(key=lambda label: middles[label][1])
        for place, label in enumerate(names):
            axis.annotate(
                classes[label], middles[label], (x, (place + 0.5) / len(names)), textcoords="axes fraction",
                ha=side, va="center", fontsize=11,
                arrowprops={"arrowstyle": "-", "color": colours[label], "lw": 1.2, "shrinkA": 2, "shrinkB": 3, "relpos": (side == "right", 0.5)},
            )  # fmt: skip
