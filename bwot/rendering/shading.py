"""Grey pictures of a mesh: light from above the camera on a grey shape before white, as in Su et al. (ICCV 2015, section 3.1).

The reflection is Phong's, with normals that turn to the camera, so a face looks alike from both sides.

Anti-aliasing is adaptive: one ray through the centre of each pixel that the shape touches, then ``samples * samples`` through
those where the grey differs from a neighbour's by more than ``CONTRAST``, or that the shape touches beside its centre.
"""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float64, UInt8

from bwot.cpu.exponential import compiled
from bwot.rendering.cameras import HALF_WIDTH
from bwot.rendering.layers import Layer, averaged, smooth_normal, turned
from bwot.rendering.tracing import Hits, Tracer

WHITE = 255
AMBIENT, DIFFUSE, SPECULAR = 45.0, 165.0, 20.0  # greys; together they stay below the white ground
RISE = 0.35  # of the light above the camera, as a slope
CONTRAST = 12.0  # greys


def shaded(
    tracer: Tracer, frame: Float64[np.ndarray, "3 3"], size: int, samples: int, adaptive: bool = True
) -> UInt8[np.ndarray, "size size"]:  # fmt: skip
    """The picture from one camera; ``adaptive=False`` traces all ``samples * samples`` rays of each pixel."""
    pixels = tracer.touched(frame, size)
    picture = np.full(size * size, WHITE, np.float32)
    first = 1 if adaptive else samples
    greys = _greys(tracer, frame, tracer.trace(frame, size, pixels, first))
    picture[pixels] = _means(greys, first)
    if adaptive and samples > 1:
        edges = _edges(picture.reshape(size, size), pixels)
        greys = _greys(tracer, frame, tracer.trace(frame, size, edges, samples))
        picture[edges] = _means(greys, samples)
    return (picture + np.float32(0.5)).astype(np.uint8).reshape(size, size)


def shaded_layer(layer: Layer, samples: int) -> UInt8[np.ndarray, "size size"]:
    """The picture of what a layer of ``samples`` times its size shows."""
    greys = _layer_greys(layer.depths, layer.normals, light(np.eye(3)).astype(np.float32))
    return averaged(greys, samples)


def light(frame: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, " 3"]:
    """The unit vector towards the light of a camera."""
    return (frame[2] + RISE * frame[1]) / math.hypot(1, RISE)


def _means(greys, samples):
    """Of the rays of each pixel; one ray's grey is its own, and NumPy takes long to say so."""
    return greys if samples == 1 else greys.reshape(-1, samples * samples).mean(axis=1)


def _greys(tracer: Tracer, frame, hits: Hits):
    surface = tracer.surface
    lamp = light(frame).astype(np.float32)
    return _phong(hits.directions, hits.faces, hits.second, hits.third, surface.face_normals, surface.corner_normals, lamp)  # fmt: skip


@compiled
@no_type_check
def _phong(directions, faces, second, third, face_normals, corner_normals, lamp):
    greys = np.empty(len(faces), np.float32)
    for n in range(len(faces)):
        f = faces[n]
        if f < 0:
            greys[n] = WHITE
            continue
        own, sign = face_normals[f], turned(face_normals[f], directions[n])
        p, q, r = smooth_normal(own, corner_normals[f], second[n], third[n])
        x, y, z = directions[n]
        over = np.float32(-1) / math.sqrt(x * x + y * y + z * z)
        greys[n] = grey(sign * p, sign * q, sign * r, over * x, over * y, over * z, lamp)
    return greys


@compiled
@no_type_check
def _layer_greys(depths, normals, lamp):
    size = len(depths)
    greys = np.full((size, size), WHITE, np.float32)
    step = 2 * HALF_WIDTH / size
    for i in range(size):
        for j in range(size):
            if depths[i, j] < np.inf:
                x, y = HALF_WIDTH - step * (j + 0.5), step * (i + 0.5) - HALF_WIDTH
                over = np.float32(1 / math.sqrt(x * x + y * y + 1))
                p, q, r = normals[i, j]
                greys[i, j] = grey(p, q, r, over * x, over * y, over, lamp)
    return greys


@compiled
@no_type_check
def grey(p, q, r, x, y, z, lamp):
    """Phong's grey of a unit normal (p, q, r) seen from the direction (x, y, z), with the light at ``lamp``."""
    lit = max(p * lamp[0] + q * lamp[1] + r * lamp[2], np.float32(0))
    s, t, u = x + lamp[0], y + lamp[1], z + lamp[2]
    half = max(p * s + q * t + r * u, np.float32(0)) / math.sqrt(s * s + t * t + u * u)
    shine = half * half * half
    shine *= shine
    return np.float32(AMBIENT) + np.float32(DIFFUSE) * lit + np.float32(SPECULAR) * shine * shine


@compiled
@no_type_check
def _edges(picture, pixels):
    """The pixels among those given that are background or differ from one of their four neighbours."""
    size, last = len(picture), len(picture) - 1
    edges = np.empty(len(pixels), np.int64)
    n = 0
    for pixel in pixels:
        row, column = pixel // size, pixel % size
        own = picture[row, column]
        left, right = picture[row, max(column - 1, 0)], picture[row, min(column + 1, last)]
        above, below = picture[max(row - 1, 0), column], picture[min(row + 1, last), column]
        low, high = min(left, right, above, below), max(left, right, above, below)
        edges[n] = pixel
        n += own == WHITE or high - own > CONTRAST or own - low > CONTRAST
    return edges[:n]
