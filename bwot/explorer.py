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
        _log_slider("λ, sharpness", "inverse weight of the plan's entropy", lam),
        _log_slider("γ, steepness", "how fast the cost falls with the error of a pair", gamma),
        ipywidgets.FloatSlider(
            margin,
            min=margin / 20,
            max=3 * margin,
            step=margin / 20,
            **_described("ε, margin", "from where on a negative pair has no error"),
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
        "style": {"description_width": "7em"},
        "layout": ipywidgets.Layout(width="min(100%, 40em)"),
    }


def _image(figure, alt):
    data = base64.b64encode(svg(figure).encode()).decode()
    return (
        '<div style="background: var(--pst-color-background, transparent)">'  # the book's paper
        f'<img class="dark-light" alt="{html.escape(alt)}" style="max-width: 100%" '
        f'src="data:image/svg+xml;base64,{data}"></div>'
    )
