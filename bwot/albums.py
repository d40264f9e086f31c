"""Pictures that a data set brings → strips, like those that :mod:`bwot.rendering` draws: grey, of one size, below each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bwot.features.pixels import read_pictures
from bwot.rendering.folders import Broken, fill_folder

COLLECTING = 1  # version of the strips: raised whenever the same pictures give others


def collect_folder(
    paths: Sequence[tuple[Path, ...]],
    names: Sequence[str],
    folder: str | Path,
    size: int,
    processes: int | None = None,
) -> list[Broken]:
    """Put the twelve pictures of every shape into ``folder/<name>.png``; the list of those that are broken.

    Colours become grey, what is transparent becomes white, and other sizes are resized as a whole (bilinear, anti-aliased).
    It is resumed, spread over processes and refused as :func:`bwot.rendering.render_folder` is.

    Args:
        paths: twelve files a shape, in the order of the cameras.
        names: of the strips, one a shape.
        folder: where the strips go.
        size: width and height of a view in pixels.
        processes: how many work, None for one a core; 1 is this process.
    """
    settings = {"views": "ring", "size": size, "style": "given", "collecting": COLLECTING}
    return fill_folder(_strip, paths, names, folder, settings, processes)


def _strip(files, settings) -> UInt8[np.ndarray, "v size size"]:
    return np.stack([_grey(file, settings["size"]) for file in files])


def _grey(file, size):
    from PIL import Image

    (pixels,) = read_pictures(file)
    height, width = pixels.shape[:2]
    if height != width:
        raise ValueError(f"{file} must be square, not {width}×{height} pixels: pad or cut it.")
    picture = Image.fromarray(pixels).convert("L")
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
