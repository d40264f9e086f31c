"""Sliders for the settings of the batch-wise loss over a picture that follows them."""

import base64
import html
import math
from collections.abc import Callable

import ipywidgets
from matplotlib.figure import Figure

from bwot.figures import svg


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
        _log_slider("λ", "inverse weight of the entropy", lam),
        _log_slider("γ", "steepness of the cost", gamma),
        _slider(
            ipywidgets.FloatSlider, "ε", "margin", margin, margin / 20, 3 * margin, margin / 20
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


def _log_slider(symbol, meaning, start):
    reach = max(3.0, abs(math.log10(start)))
    return _slider(ipywidgets.FloatLogSlider, symbol, meaning, start, -reach, reach, 0.1)


def _slider(kind, symbol, meaning, start, low, high, step):
    return kind(
        start,
        min=low,
        max=high,
        step=step,
        readout_format=".3g",
        description=f"{symbol}, {meaning}",
        tooltip=f"{symbol}: {meaning}",
        style={"description_width": "14em"},
        layout=ipywidgets.Layout(width="min(100%, 40em)"),
    )


def _image(figure, alt):
    data = base64.b64encode(svg(figure).encode()).decode()
    return (
        f'<img class="dark-light" alt="{html.escape(alt)}" style="max-width: 100%" '
        f'src="data:image/svg+xml;base64,{data}">'
    )
