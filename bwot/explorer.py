"""Sliders for the settings of the batch-wise loss over a picture that follows them.

:func:`explore` takes any picture; :func:`explore_play` is the explorer of the book's page as widgets, from the same start
(:mod:`bwot.play`), with the same numbers.
"""

import base64
import html
import math
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import ipywidgets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bwot.figures import INK, WIDTH, svg
from bwot.looks import TITLES
from bwot.losses import Form
from bwot.play import (
    NOTES,
    PRESETS,
    RANGES,
    REACH,
    Batch,
    Reading,
    Settings,
    Weights,
    play_batch,
    read,
    words,
)
from bwot.toy import CLASSES, LINES

SETTINGS = {
    "lam": ("λ, sharpness", "inverse weight of the plan's entropy"),
    "gamma": ("γ, steepness", "how fast the cost falls with the error of a pair"),
    "margin": ("ε, margin", "from where on a negative pair has no error"),
    "positive_margin": (
        "ε₊, of positives",
        "up to where a positive pair has no error, form shapes",
    ),
    "iterations": ("iterations", "of Sinkhorn's algorithm"),
}
"""Name and meaning of each slider."""


def explore(
    draw: Callable[[float, float, float], Figure],
    alt: str,
    lam: float = 10.0,
    gamma: float = 10.0,
    margin: float = 1.0,
) -> ipywidgets.VBox:
    """Sliders for the three settings over a picture that is drawn again whenever one moves.

    A browser sends the next position of a slider only when the last one has been dealt with, so dragging piles nothing
    up. Without a kernel the first picture stays.

    Args:
        draw: makes the picture of ``lam``, ``gamma`` and ``margin``.
        alt: what the picture shows; the settings are added to it.
        lam: where its logarithmic slider starts.
        gamma: the same.
        margin: where its slider starts; it ends at three times as much.
    """
    sliders = (
        _log_slider(*SETTINGS["lam"], lam),
        _log_slider(*SETTINGS["gamma"], gamma),
        ipywidgets.FloatSlider(
            margin,
            min=margin / 20,
            max=3 * margin,
            step=margin / 20,
            **_described(*SETTINGS["margin"]),
        ),
    )
    picture = ipywidgets.HTML()

    def redraw(_=None):
        values = [slider.value for slider in sliders]
        settings = ", ".join(f"{s.description[0]} = {s.value:.3g}" for s in sliders)
        picture.value = _image(draw(*values), f"{alt} Here {settings}.")

    for slider in sliders:
        slider.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*sliders, picture])


def _log_slider(name, meaning, start):
    reach = max(3.0, abs(math.log10(start)))
    return ipywidgets.FloatLogSlider(
        start, min=-reach, max=reach, step=0.1, **_described(name, meaning)
    )


def _described(name, meaning):
    return {
        "description": name,
        "tooltip": f"{name}: {meaning}",
        "readout_format": ".3g",
        "style": {"description_width": "8.5em"},
        "layout": ipywidgets.Layout(width="min(100%, 40em)"),
    }


def _image(figure, alt):
    data = base64.b64encode(svg(figure).encode()).decode()
    return (
        '<div style="background: var(--pst-color-background, transparent)">'  # the book's paper
        f'<img class="dark-light" alt="{html.escape(alt)}" style="max-width: 100%" '
        f'src="data:image/svg+xml;base64,{data}"></div>'
    )


def draw_play(batch: Batch, settings: Settings) -> Figure:
    """The points with a line for each pair that counts, and the weights as a heat map with the sums of rows and columns.

    Lines are solid for positive pairs and dashed for negative ones, as thick as the weight; drawn from a quarter of the
    uniform weight on. Rows and columns of the heat map are the points by number, its frames the classes.
    """
    reading = read(batch, settings)
    figure = Figure((WIDTH, 6.4), layout="none")
    axis = figure.add_axes((0.0, 0.5, 1.0, 0.5))
    draw_points(axis, batch, reading)
    for (x, y), label, name in zip(batch.points.tolist(), batch.labels.tolist(), batch.names, strict=True):  # fmt: skip
        axis.text(x, y - 0.045 * label, name.split()[1], color="white", ha="center", va="center", size=11, weight="bold", zorder=4)  # fmt: skip
    heat = figure.add_axes((0.08, 0.045, 0.75, 0.37))
    order = batch.labels.argsort(stable=True)
    weight = reading.weight[order][:, order]
    n = len(order)
    heat.imshow((n * weight).sqrt().numpy(), vmin=0, vmax=1, aspect="auto")  # as on the page
    counts = batch.labels.bincount().tolist()
    for k, count in enumerate(counts):
        corner = sum(counts[:k]) - 0.5
        for colour, line in (("black", 3), ("white", 1.5)):
            heat.add_patch(Rectangle((corner, corner), count, count, fill=False, ec=colour, lw=line))  # fmt: skip
    heat.set_xticks(range(n), range(1, n + 1))
    heat.set_yticks(range(n), range(1, n + 1))
    heat.tick_params(length=0, pad=2)
    for place, sums in (((0.08, 0.42, 0.75, 0.08), weight.sum(0)), ((0.84, 0.045, 0.12, 0.37), weight.sum(1))):  # fmt: skip
        _draw_sums(figure.add_axes(place), (n * sums).tolist())
    return figure


def draw_points(axis: Axes, batch: Batch, reading: Reading) -> None:
    """The points with a line for each pair of at least a quarter of the uniform weight, as thick as its weight."""
    both = (reading.weight + reading.weight.T).triu(1)
    relative = both / both.sum().clamp_min(1e-300) * len(both) * (len(both) - 1) / 2
    points = batch.points.tolist()
    for i, j in (relative >= 0.25).nonzero().tolist():
        colour, style, _ = LINES[0 if reading.same[i, j] else 1]
        ends = zip(points[i], points[j], strict=True)
        axis.plot(*ends, color=colour, ls=style, lw=0.8 * relative[i, j].item(), alpha=0.75)
    for (x, y), label in zip(points, batch.labels.tolist(), strict=True):
        axis.scatter(x, y, s=(260, 560)[label], c=CLASSES[label], marker="o^"[label], zorder=3)
    axis.set(xlim=(-1.75, 1.75), ylim=(-1.1, 1.1), aspect="equal")
    axis.set_axis_off()


def _draw_sums(axis: Axes, sums):
    flat = axis.get_position().height < axis.get_position().width
    (axis.bar if flat else axis.barh)(range(len(sums)), sums, 0.6, color=CLASSES[0])
    (axis.axhline if flat else axis.axvline)(1, color=INK, lw=1)
    axis.set(**{"xlim" if flat else "ylim": (-0.5, len(sums) - 0.5), "ylim" if flat else "xlim": (0, 1.6)})  # fmt: skip
    if not flat:
        axis.invert_yaxis()
    axis.set_axis_off()


def explore_play() -> ipywidgets.VBox:
    """The explorer of the page "Play with hard samples" as widgets: presets, settings, and a point to choose and move.

    The page's words stand below the picture.
    """
    return _Play().box


class _Play:
    """The widgets of :func:`explore_play` and what they stand at."""

    def __init__(self):
        self.batch, self.settings = play_batch(), next(iter(PRESETS.values()))
        self.following = True
        order = self.batch.labels.argsort(stable=True).tolist()
        titles = [(title, name) for name, (title, _) in NOTES.items()]
        self.preset = _dropdown("published", titles)
        self.controls = _play_controls(self.settings)
        self.point = _dropdown("point", [(self.batch.names[i], i) for i in order])
        self.place = [_place_slider(name, end) for name, end in zip("xy", REACH, strict=True)]
        self.picture, self.told = ipywidgets.HTML(), ipywidgets.HTML()
        for control in (*self.controls.values(), *self.place):
            control.observe(self.follow, names="value")
        self.point.observe(self.show_place, names="value")
        self.preset.observe(self.choose, names="value")
        self.show_place()
        self.redraw()
        parts = (self.preset, *self.controls.values(), self.point, *self.place, self.picture, self.told)  # fmt: skip
        self.box = ipywidgets.VBox(parts)

    def redraw(self):
        told = words(self.batch, self.settings)
        alt = "The points joined by lines as thick as their weight, and the weights as a heat map."
        self.told.value = html.escape(told)
        self.picture.value = _image(draw_play(self.batch, self.settings), f"{alt} {told}")

    def put(self, widgets, values):
        """Set widgets without following each of them."""
        self.following = False
        for widget, value in zip(widgets, values, strict=True):
            widget.value = value
        self.following = True

    def show_place(self, _=None):
        self.put(self.place, self.batch.points[self.point.value].tolist())

    def follow(self, _):
        if self.following:
            moved = [slider.value for slider in self.place]
            self.batch.points[self.point.value] = self.batch.points.new_tensor(moved)
            given = {name: control.value for name, control in self.controls.items()}
            given["positive_margin"] = min(given["positive_margin"], 0.99 * given["margin"])
            self.settings = replace(self.settings, **given)
            self.redraw()

    def choose(self, _):
        self.settings = PRESETS[self.preset.value]
        values = [getattr(self.settings, name) for name in self.controls]
        self.put(self.controls.values(), values)
        self.redraw()


def _play_controls(settings):
    """The widget of each setting but the scale, which belongs to the presets."""
    weights = [(TITLES[name], name) for name in get_args(Weights)]
    controls = {
        "weights": _dropdown("weights", weights),
        "form": _dropdown("form", [(name, name) for name in get_args(Form)]),
    }
    for name, (low, high) in RANGES.items():
        texts = _described(*SETTINGS[name])
        if name == "iterations":
            controls[name] = ipywidgets.IntSlider(settings.iterations, min=low, max=high, **texts | {"readout_format": "d"})  # fmt: skip
            continue
        ends = {"min": math.log10(low), "max": math.log10(high), "step": 0.05}
        controls[name] = ipywidgets.FloatLogSlider(max(low, getattr(settings, name)), **ends, **texts)  # fmt: skip
    return controls


def _dropdown(name, options):
    return ipywidgets.Dropdown(options=options, description=name, style={"description_width": "8.5em"})  # fmt: skip


def _place_slider(name, end):
    meaning = f"where the chosen point is, {'across' if name == 'x' else 'up'}"
    texts = _described(name, meaning) | {"readout_format": ".2f"}
    return ipywidgets.FloatSlider(0.0, min=-end, max=end, step=0.01, **texts)
