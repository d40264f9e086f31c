"""Where the cameras stand, and what their pictures cover.

A camera looks at the origin from a distance of 3 and sees 40 degrees, so the unit sphere fills 97 % of the picture's width,
whatever the view. Its frame is three unit vectors: to the right, up in the picture, and back to the camera.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float64

Views = Literal["ring", "dodecahedron"]
Up = Literal["y", "z"]

DISTANCE = 3.0  # of the camera from the origin, in radii of the sphere around the shape
FIELD_OF_VIEW = 40.0  # degrees, across and down
HALF_WIDTH = math.tan(math.radians(FIELD_OF_VIEW / 2))  # of the picture, at distance 1
ELEVATION = 30.0  # of the ring, in degrees
RING = 12


def camera_frames(views: Views, up: Up = "z") -> Float64[np.ndarray, "v 3 3"]:
    """The frame of each camera, as rows: right, up in the picture, back to the camera, which stands at three times the last.

    Args:
        views: ``ring`` is 12 cameras, 30 degrees apart and 30 degrees above the equator of an upright shape, the first one
            towards x (Su et al., ICCV 2015, section 3.1); ``dodecahedron`` is the 20 vertices of a regular dodecahedron,
            for shapes without a common up axis (Xu et al., 2019, take both).
        up: the axis that points up in the pictures; no camera stands on it, so each has one roll.

    >>> camera_frames("ring").shape, camera_frames("dodecahedron").shape
    ((12, 3, 3), (20, 3, 3))
    """
    if views not in ("ring", "dodecahedron"):
        raise ValueError(f"views must be 'ring' or 'dodecahedron', not {views!r}.")
    if up not in ("y", "z"):
        raise ValueError(f"up must be 'y' or 'z', not {up!r}.")
    back = _ring() if views == "ring" else _dodecahedron()
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    frames = np.stack([right, np.cross(back, right), back], axis=1)
    return frames if up == "z" else np.stack([frames[..., 0], frames[..., 2], -frames[..., 1]], axis=-1)  # fmt: skip


def _ring():
    azimuth = np.radians(360 / RING * np.arange(RING))
    height = math.radians(ELEVATION)
    level = [np.cos(azimuth), np.sin(azimuth)]
    return np.stack([*(math.cos(height) * each for each in level), np.full(RING, math.sin(height))], axis=1)  # fmt: skip


def _dodecahedron():
    golden = (1 + math.sqrt(5)) / 2
    signs = (-1.0, 1.0)
    corners = [(x, y, z) for x in signs for y in signs for z in signs]
    for first in signs:
        for second in signs:
            a, b = first / golden, second * golden
            corners += [(0.0, a, b), (a, b, 0.0), (b, 0.0, a)]
    return np.array(corners) / math.sqrt(3)
