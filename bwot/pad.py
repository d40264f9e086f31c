"""A pad in a live notebook: what is drawn on it with a mouse, a pen or a finger asks a gallery.

The browser sends where a stroke goes, and the drawing is made from these points here: nothing comes back as a picture.
"""

import base64
import html
import io
from collections.abc import Sequence

import ipycanvas
import ipywidgets
import numpy as np
from jaxtyping import UInt8

from bwot.search import Found, Gallery

SIDE = 400
"""Of the pad, in pixels of the browser; the unit of points and of the width of a line."""
SCALE = 2  # pixels of the drawing for one of the pad

Point = tuple[float | int, float | int]


def drawing_of(strokes: Sequence[Sequence[Point]], width: float | int) -> UInt8[np.ndarray, "s s"]:
    """Strokes as a drawing, black on white paper (255), as :func:`bwot.drawings.read_drawing` gives one.

    Args:
        strokes: points from the upper left corner, to the right and down; a stroke of one point is a dot.
        width: of the lines.

    >>> int(drawing_of([[(100, 100), (300, 100)]], width=4).min())
    0
    """
    from PIL import Image, ImageDraw

    paper = Image.new("L", (SCALE * SIDE, SCALE * SIDE), 255)
    draw, line = ImageDraw.Draw(paper), max(1, round(SCALE * width))
    for stroke in strokes:
        points = [(SCALE * x, SCALE * y) for x, y in stroke]
        draw.line(points, fill=0, width=line, joint="curve")
        for x, y in (points[0], points[-1]):
            draw.circle((x, y), line / 2, fill=0)
    return np.asarray(paper)


def pad(gallery: Gallery, top: int = 10, width: float = 3.0) -> ipywidgets.VBox:
    """A pad to draw on, a button that asks the gallery and one that clears; answers stand below.

    Args:
        gallery: what is asked, such as :func:`bwot.search.read_index` gives it.
        top: how many models answer.
        width: of the lines, as those of the sketches that the networks were trained with: 3 of 400 pixels are a pen's,
            the stand-ins have 12.
    """
    return _Pad(gallery, top, width).box


class _Pad:
    """The widgets of :func:`pad`, and the strokes on it."""

    def __init__(self, gallery, top, width):
        self.gallery, self.top, self.width = gallery, top, width
        self.strokes, self.drawing = [], False
        self.canvas = ipycanvas.Canvas(
            width=SIDE, height=SIDE, layout={"border": "1px solid gray", "width": f"{SIDE}px"}
        )
        self.find = ipywidgets.Button(
            description="Find", button_style="primary", tooltip="Find models that look like the drawing"
        )  # fmt: skip
        self.clear = ipywidgets.Button(description="Clear", tooltip="Take a new sheet")
        self.told, self.answers = ipywidgets.HTML(), ipywidgets.HTML()
        self._listen()
        self.find.on_click(self.ask)
        self.clear.on_click(self.begin)
        self.canvas.on_client_ready(
            self.repaint
        )  # what was drawn before a browser shows the pad is lost
        self.begin()
        buttons = ipywidgets.HBox([self.find, self.clear])
        self.box = ipywidgets.VBox([self.canvas, buttons, self.told, self.answers])

    def _listen(self):
        self.canvas.on_mouse_down(self.down)
        self.canvas.on_mouse_move(self.move)
        self.canvas.on_mouse_up(self.up)
        self.canvas.on_mouse_out(self.up)
        self.canvas.on_touch_start(lambda fingers: self.down(*fingers[0]))
        self.canvas.on_touch_move(lambda fingers: self.move(*fingers[0]))
        self.canvas.on_touch_end(lambda fingers: self.up())
        self.canvas.on_touch_cancel(lambda fingers: self.up())

    def begin(self, _=None):
        """A new sheet."""
        self.strokes, self.drawing = [], False
        self.repaint()
        self.answers.value = ""
        self.tell(f"Draw one thing, as large as the sheet; {len(self.gallery.names):,} models can be found.")  # fmt: skip

    def repaint(self):
        """Paper, and the strokes on it."""
        with ipycanvas.hold_canvas():
            self.canvas.fill_style = "white"
            self.canvas.fill_rect(0, 0, SIDE, SIDE)
            self.canvas.stroke_style = self.canvas.fill_style = "black"
            self.canvas.line_width, self.canvas.line_cap = self.width, "round"
            for stroke in self.strokes:
                self.canvas.fill_circle(*stroke[0], self.width / 2)
                self.canvas.stroke_lines(stroke)

    def down(self, x, y):
        """A stroke begins."""
        self.strokes.append([(x, y)])
        self.drawing = True
        self.canvas.fill_circle(x, y, self.width / 2)

    def move(self, x, y):
        """It goes on; without a stroke the mouse only passes."""
        if self.drawing:
            self.canvas.stroke_line(*self.strokes[-1][-1], x, y)
            self.strokes[-1].append((x, y))

    def up(self, *_):
        """It ends, or the mouse leaves the pad."""
        self.drawing = False

    def ask(self, _=None):
        """What is nearest to the drawing is shown."""
        if not self.strokes:
            self.tell("The sheet is empty: draw something first.")
            return
        found = self.gallery.find(drawing_of(self.strokes, self.width), self.top)
        self.answers.value = _shown(found, self.gallery)
        self.tell(f"The {len(found)} nearest of {len(self.gallery.names):,} models:")

    def tell(self, text):
        self.told.value = f'<div role="status">{html.escape(text)}</div>'


def _shown(found: Sequence[Found], gallery: Gallery) -> str:
    """The answers as figures beside each other, each with its rank, name and distance."""
    figures = [
        '<figure style="margin: 0; width: 110px; overflow-wrap: anywhere; line-height: 1.3">'
        f'<img alt="Rank {rank}: {html.escape(each.name, quote=True)}" width="110" height="110" src="{_address(gallery.pictures[each.index])}">'
        f"<figcaption>{rank}. {html.escape(each.name)}<br>at {each.distance:.3f}</figcaption></figure>"
        for rank, each in enumerate(found, 1)
    ]
    return f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{"".join(figures)}</div>'


def _address(picture):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
