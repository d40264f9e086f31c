"""Drawings as the networks take them: a file in any usual form → grey ink on white paper, square; and its rotations.

What is paper is seen at the border of a picture. Ink is what differs from it in any channel, so a drawing in white or in
colour, on black or on nothing, becomes the same dark lines on white. Black on white, as the SHREC tracks have it, stays
as it is, level by level.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

VERSION = 1  # raised whenever the same file gives other pictures
ROTATIONS = 20
"""As many as the authors take, 18 degrees apart."""
MOST_PIXELS = 1 << 26
FAINTEST = 24  # levels of 255 by which the darkest ink differs from the paper, at least
BORDER = 50  # one in so many pixels of the shorter side is border, one at least


def read_drawing(path: str | Path) -> UInt8[np.ndarray, "s s"]:
    """A drawing in a picture file (PNG, JPEG and what else Pillow reads) as ink on white paper (255).

    Colour, palettes, 16 bits and transparency are understood. A picture that is not square is set in the middle of a
    square of paper. Ink is spread so that the darkest is black.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: that names the file, for one that is damaged, no picture, too large, or has nothing drawn on it.
    """
    try:
        ink = _ink(_levels(Path(path)))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a drawing: {error}.") from error
    height, width = ink.shape
    side = max(height, width)
    paper = np.full((side, side), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    paper[top : top + height, left : left + width] = 255 - ink
    return paper


def rotations(
    drawing: UInt8[np.ndarray, "s s"], size: int, count: int = ROTATIONS
) -> UInt8[np.ndarray, "count size size"]:
    """A drawing turned by 360° / ``count`` each time, counter-clockwise, the first as it is.

    As the authors' extraction does it with Pillow: the picture keeps its size, so what turns out of it is cut off. What
    turns into it is white (there black, Pillow's default).

    Args:
        drawing: from :func:`read_drawing`.
        size: width and height of what comes out, in pixels; resized with anti-aliasing.
        count: of the rotations, the first included.

    >>> rotations(np.full((30, 30), 255, np.uint8), size=8).shape
    (20, 8, 8)
    """
    from PIL import Image

    image = Image.fromarray(drawing)
    if image.width > 2 * size:  # as good to turn, and cheaper
        image = image.resize((2 * size, 2 * size), Image.Resampling.BOX)
    turned = [
        image.rotate(360 * k / count, Image.Resampling.BICUBIC, fillcolor=255) for k in range(count)
    ]
    return np.stack([np.asarray(each.resize((size, size), Image.Resampling.BILINEAR)) for each in turned])  # fmt: skip


def _levels(path):
    """The colours of a file, (h, w, 3) or (h, w, 1), 0 to 255; what is transparent lies on white, or on black if that shows more."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.verify()  # check-sums, which reading leaves out; the file has to be opened anew
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(
                    f"it has {image.width} × {image.height} pixels, expected {MOST_PIXELS:,} at most"
                )
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith(("I", "F")):
                return _scaled(np.asarray(image, np.float32))[..., None]
            if not image.has_transparency_data:
                return np.asarray(image.convert("RGB"), np.float32)
            image = image.convert("RGBA")
    except (FileNotFoundError, ValueError):
        raise
    except Exception as error:  # whatever comes up in Pillow's readers when a file is broken
        raise ValueError(str(error) or type(error).__name__) from error
    laid = [_laid(image, paper) for paper in ("white", "black")]
    return max(laid, key=lambda levels: np.ptp(levels.mean(axis=2)))


def _scaled(levels):
    """Levels of more than 8 bits, or of real numbers, whose white is the next of 1, 255 and 65,535."""
    if not np.isfinite(levels).all():
        raise ValueError("it has pixels that are no numbers")
    most = levels.max()
    return levels * (255 / next((white for white in (1, 255, 65535) if most <= white), most))


def _laid(image, paper):
    from PIL import Image

    ground = Image.new("RGBA", image.size, paper)
    return np.asarray(Image.alpha_composite(ground, image).convert("RGB"), np.float32)


def _ink(levels):
    """How far each pixel is from the paper in its most different channel, 0 to 255."""
    margin = max(1, min(levels.shape[:2]) // BORDER)
    border = np.ones(levels.shape[:2], bool)
    border[margin:-margin, margin:-margin] = False
    away = np.abs(levels - np.median(levels[border], axis=0)).max(axis=2)
    if not away.size or away.max() < FAINTEST:
        raise ValueError("nothing is drawn on it")
    return (away * (255 / away.max())).round().astype(np.uint8)
