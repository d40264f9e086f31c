"""Rays into a mesh by Embree, and which of a picture's rays can meet it at all.

A place in a picture is (column, row) in pixels from the upper left corner, so the centre of the first pixel is (.5, .5).
Directions have length 1 along the axis of the camera, so the distance that Embree tells is the depth.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from bwot.cpu.exponential import compiled, inlined
from bwot.rendering.cameras import DISTANCE, HALF_WIDTH
from bwot.rendering.surfaces import Surface


class Hits(NamedTuple):
    """What rays meet first: the face (-1 for none), the weights of its second and third corner there, the depth."""

    directions: Float32[np.ndarray, "n 3"]
    faces: Int32[np.ndarray, " n"]
    second: Float32[np.ndarray, " n"]
    third: Float32[np.ndarray, " n"]
    depths: Float32[np.ndarray, " n"]


class Tracer:
    """The faces of a surface in Embree's tree: built once, asked by each view."""

    def __init__(self, surface: Surface):
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.surface = surface
        self.scene = EmbreeScene()
        TriangleMesh(self.scene, surface.vertices, surface.faces)

    def touched(self, frame: Float64[np.ndarray, "3 3"], size: int) -> Int64[np.ndarray, " k"]:
        """The pixels, counted along the rows, that some face touches: all others are background."""
        places = _project(self.surface.vertices, frame.astype(np.float32), size)
        return np.flatnonzero(_touched(places, self.surface.faces, size))

    def trace(
        self, frame: Float64[np.ndarray, "3 3"], size: int, pixels: Int64[np.ndarray, " k"], samples: int
    ) -> Hits:  # fmt: skip
        """The hits of ``samples * samples`` rays through each pixel, at the centres of its equal squares, pixel by pixel."""
        directions = _directions(frame.astype(np.float32), size, pixels, samples)
        origins = np.empty_like(directions)
        origins[:] = DISTANCE * frame[2]
        found = self.scene.run(origins, directions, query="INTERSECT", output=True)
        return Hits(directions, found["primID"], found["u"], found["v"], found["tfar"])


@compiled
@no_type_check
def _project(vertices, frame, size):
    """(v, 2) places of the vertices in a picture of ``size`` pixels."""
    places = np.empty((len(vertices), 2), np.float32)
    half = np.float32(size / 2)
    scale = np.float32(size / 2 / HALF_WIDTH)
    for i in range(len(vertices)):
        x, y, z = vertices[i]
        depth = np.float32(DISTANCE) - (x * frame[2, 0] + y * frame[2, 1] + z * frame[2, 2])
        places[i, 0] = half + scale * (x * frame[0, 0] + y * frame[0, 1] + z * frame[0, 2]) / depth
        places[i, 1] = half - scale * (x * frame[1, 0] + y * frame[1, 1] + z * frame[1, 2]) / depth
    return places


@compiled
@no_type_check
def _touched(places, faces, size):
    """(size * size) marks of the pixels that a triangle touches, or comes nearer to than a hundredth."""
    marks = np.zeros(size * size, np.bool_)
    slack, last = np.float32(0.01), np.float32(size - 1)
    for f in range(len(faces)):
        i, j, k = faces[f]
        x, y = places[i, 0], places[i, 1]
        p, q = places[j, 0], places[j, 1]
        s, t = places[k, 0], places[k, 1]
        left, right = _clipped(min(x, p, s) - slack, max(x, p, s) + slack, last)
        top, bottom = _clipped(min(y, q, t) - slack, max(y, q, t) + slack, last)
        if right - left < 2 and bottom - top < 2:  # most faces of a fine mesh
            marks[top * size + left] = marks[top * size + right] = True
            marks[bottom * size + left] = marks[bottom * size + right] = True
            continue
        if _all_marked(
            marks, size, left, right, top, bottom
        ):  # by its neighbours, or by those behind it
            continue
        one, two, three = _slope(x, y, p, q), _slope(p, q, s, t), _slope(s, t, x, y)
        for row in range(top, bottom + 1):
            upper, lower = np.float32(row) - slack, np.float32(row + 1) + slack
            low, high = _widen(x, y, p, q, one, upper, lower, np.float32(1e9), np.float32(-1e9))
            low, high = _widen(p, q, s, t, two, upper, lower, low, high)
            low, high = _widen(s, t, x, y, three, upper, lower, low, high)
            left, right = _clipped(low - slack, high + slack, last)
            for pixel in range(row * size + left, row * size + right + 1):
                marks[pixel] = True
    return marks


@inlined
@no_type_check
def _all_marked(marks, size, left, right, top, bottom):
    for row in range(top, bottom + 1):
        for pixel in range(row * size + left, row * size + right + 1):
            if not marks[pixel]:
                return False
    return True


@inlined
@no_type_check
def _clipped(low, high, last):
    return int(max(low, np.float32(0))), int(min(high, last))


@inlined
@no_type_check
def _slope(x, y, p, q):
    return (p - x) / (q - y) if q != y else np.float32(0)


@inlined
@no_type_check
def _widen(x, y, p, q, slope, upper, lower, low, high):
    """The columns from low to high, widened by those of an edge from (x, y) to (p, q) within a strip of rows."""
    if min(y, q) <= lower and max(y, q) >= upper:
        start = x + (min(max(y, upper), lower) - y) * slope
        end = p + (min(max(q, upper), lower) - q) * slope
        low, high = min(low, start, end), max(high, start, end)
    return low, high


@compiled
@no_type_check
def _directions(frame, size, pixels, samples):
    directions = np.empty((len(pixels) * samples * samples, 3), np.float32)
    step, half = np.float32(2 * HALF_WIDTH / (size * samples)), np.float32(HALF_WIDTH)
    n = 0
    for pixel in pixels:
        for i in range(samples):
            y = half - step * (np.float32(pixel // size * samples + i) + np.float32(0.5))
            for j in range(samples):
                x = step * (np.float32(pixel % size * samples + j) + np.float32(0.5)) - half
                for k in range(3):
                    directions[n, k] = x * frame[0, k] + y * frame[1, k] - frame[2, k]
                n += 1
    return directions
