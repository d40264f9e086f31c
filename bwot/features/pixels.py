"""From picture files to what a network takes: decoding, grey to colour, size and scale."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8


class Scaling(NamedTuple):
    """What a network was trained on: ``(pixel / 255 - mean) / std``, for red, green and blue."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


UNIT = Scaling((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Values in [0, 1] as they are."""
IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's pixels, with which torchvision's published weights were trained."""
MOST_PIXELS = 1 << 27
"""Of a picture file; a strip of twenty views of 2,048 pixels is within."""
_ONE_BYTE = {"1", "L", "P", "LA", "PA", "La", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}


def read_pictures(path: str | Path, views: int = 1) -> UInt8[np.ndarray, "views h w *rgb"]:
    """The pictures of one file, below each other and of equal height, as :mod:`bwot.rendering` writes them.

    Grey files give (views, h, w), all others red, green and blue in a last axis; what is transparent becomes white.
    Reads what Pillow reads, such as PNG and JPEG, of at most :data:`MOST_PIXELS`.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a file that is damaged, too large or no picture, one with more than 8 bits a channel, or one whose
            height is not ``views`` times a picture's.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"it has {image.width} × {image.height} pixels, expected {MOST_PIXELS:,} at most")  # fmt: skip
            if image.mode not in _ONE_BYTE:
                raise ValueError(f"its pixels are of mode {image.mode}, expected 8 bits a channel")
            pixels = np.asarray(_plain(image))
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever comes up in Pillow's readers when a file is broken
        raise ValueError(f"{path} cannot be read as a picture: {error}.") from error
    if len(pixels) % views:
        raise ValueError(f"{path} is {len(pixels)} pixels high, expected a multiple of its {views} views.")  # fmt: skip
    return pixels.reshape(views, len(pixels) // views, *pixels.shape[1:])


def _plain(image):
    """``image`` in grey or in red, green and blue, on white."""
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    from PIL import Image

    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def network_input(
    pictures: UInt8[np.ndarray, "v h w *rgb"], size: int, scaling: Scaling = UNIT
) -> Float32[np.ndarray, "v 3 {size} {size}"]:
    """Pictures as a network takes them: three channels first, ``size`` × ``size``, scaled.

    A grey picture stands in all three channels. Pictures of another size are resized as a whole, bilinear with
    anti-aliasing on 8-bit values, as torchvision resizes what Pillow read; nothing is cropped, since a rendered shape
    or a sketch fills its picture.

    Args:
        pictures: grey (v, h, w) or colour (v, h, w, 3), 0 to 255; square.
        size: side of what comes out, in pixels.
        scaling: of the values.

    Raises:
        ValueError: for pictures that are not square, or with other than 1 or 3 channels.
    """
    height, width = pictures.shape[1:3]
    if pictures.ndim not in (3, 4) or pictures.shape[3:] not in ((), (3,)):
        raise ValueError(f"pictures must be (v, h, w) or (v, h, w, 3), not {pictures.shape}.")
    if height != width or not height:
        raise ValueError(f"pictures must be square, not {height}×{width}: pad or cut them.")
    if height != size:
        pictures = _resized(pictures, size)
    levels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
    table = (levels - np.float32(scaling.mean)) / np.float32(scaling.std)
    out = np.empty((len(pictures), 3, size, size), np.float32)
    if pictures.ndim == 3 and len(set(scaling.mean)) == len(set(scaling.std)) == 1:
        out[:] = table[:, 0].take(pictures)[:, None]
        return out
    for channel in range(3):
        plane = pictures if pictures.ndim == 3 else pictures[..., channel]
        out[:, channel] = table[:, channel].take(plane)
    return out


def _resized(pictures, size):
    from PIL import Image

    way = Image.Resampling.BILINEAR
    return np.stack(
        [np.asarray(Image.fromarray(picture).resize((size, size), way)) for picture in pictures]
    )
