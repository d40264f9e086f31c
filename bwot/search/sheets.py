"""Contact sheets: a drawing and the models that answer it, with their names and distances under them."""

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from bwot.records import write_atomically
from bwot.search.gallery import Found, Gallery

CELL, PICTURE, GAP, LINE, TEXT = 136, 120, 8, 16, 12  # pixels
ACROSS = 5
"""Models beside each other, to the right of the drawing."""
PAPER, INK, FRAME = 255, 20, 110  # grey


class Row(NamedTuple):
    """A drawing and its answers."""

    title: str
    drawing: UInt8[np.ndarray, "s s"]
    answers: Sequence[tuple[UInt8[np.ndarray, "p p"], str, str]]  # picture, and two lines under it


def answered(
    title: str, drawing: UInt8[np.ndarray, "s s"], gallery: Gallery, found: Sequence[Found]
) -> Row:
    """A drawing with what was found for it."""
    answers = [
        (gallery.pictures[each.index], f"{rank}. {PurePosixPath(each.name).name}", f"at {each.distance:.3f}")
        for rank, each in enumerate(found, 1)
    ]  # fmt: skip
    return Row(title, drawing, answers)


def draw_sheet(rows: Sequence[Row]):
    """The rows below each other, as a grey :class:`PIL.Image.Image`; drawings stand in a frame, to the left."""
    from PIL import Image, ImageDraw, ImageFont

    heights = [_lines(row) * (CELL + 2 * LINE) + GAP for row in rows]
    across = max(min(ACROSS, len(row.answers)) for row in rows)
    sheet = Image.new("L", (GAP + (1 + across) * CELL + GAP, sum(heights) + GAP), PAPER)
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT), GAP
    for row, height in zip(rows, heights, strict=True):
        _place(sheet, draw, font, (GAP, top), row.drawing, (row.title, "asks"))
        draw.rectangle((GAP, top, GAP + PICTURE, top + PICTURE), outline=FRAME, width=2)
        for number, (picture, *words) in enumerate(row.answers):
            down, right = divmod(number, ACROSS)
            corner = GAP + (1 + right) * CELL, top + down * (CELL + 2 * LINE)
            _place(sheet, draw, font, corner, picture, words)
        top += height
    return sheet


def write_sheet(path: str | Path, rows: Sequence[Row]) -> None:
    """Write a contact sheet as a PNG file.

    Raises:
        ValueError: for another suffix than ``.png``.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"a contact sheet is written as NAME.png, not {path.name}.")
    stream = io.BytesIO()
    draw_sheet(rows).save(stream, "PNG", optimize=True)
    write_atomically(path, stream.getvalue())


def _lines(row):
    return max(1, -(-len(row.answers) // ACROSS))


def _place(sheet, draw, font, corner, picture, words):
    from PIL import Image

    x, y = corner
    image = Image.fromarray(np.ascontiguousarray(picture)).resize(
        (PICTURE, PICTURE), Image.Resampling.BOX if len(picture) > 2 * PICTURE else Image.Resampling.BICUBIC
    )  # fmt: skip
    sheet.paste(image, (x, y))
    for line, text in enumerate(words):
        place = x, y + PICTURE + 2 + line * LINE
        draw.text(place, _fitting(text, draw, font), fill=INK, font=font)


def _fitting(text, draw, font):
    """``text`` as it is, or its two ends, so that it fits into a cell."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    room = CELL - GAP // 2
    if draw.textlength(text, font) <= room:
        return text
    kept = len(text)
    while kept > 2 and draw.textlength(_shortened(text, kept), font) > room:
        kept -= 1
    return _shortened(text, kept)


def _shortened(text, kept):
    head = (kept + 1) // 2
    return f"{text[:head]}…{text[len(text) - (kept - head) :]}"
