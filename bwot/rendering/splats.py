"""Pictures of a shape that is points alone: each is drawn as a flat spheroid along the surface that its neighbours suggest.

The normal at a point is the direction in which its neighbours spread least, its sign that which turns to the camera. Where
spheroids lie over each other, what is within a radius behind the foremost counts, most at its centre, so the surface is smooth
(elliptical weighted averages, Zwicker et al., SIGGRAPH 2001, with spheroids in place of discs: these vanish at an edge).
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float64

from bwot.cpu.exponential import compiled, inlined
from bwot.rendering.cameras import DISTANCE, HALF_WIDTH
from bwot.rendering.layers import Layer
from bwot.rendering.surfaces import CREASE

NEIGHBOURS = 12  # that a normal is estimated from, the point itself included
REACH = 5  # the neighbour to which a spheroid reaches: random points then leave hardly a hole
SMALLEST, LARGEST = 0.004, 0.12  # radius, in radii of the sphere around the shape
FLATNESS = 0.25  # of a spheroid, its height over its width
PULL = 0.6  # of the way from a point to the mean of its neighbours: against noise, and what sticks out at a rim
FITTING = 1.0  # radius of the sphere that has to hold all spheroids, as it holds a mesh


class Splats(NamedTuple):
    """Points with the normal (of either sign) and the radius of the spheroid around each."""

    points: Float64[np.ndarray, "n 3"]
    normals: Float64[np.ndarray, "n 3"]
    radii: Float64[np.ndarray, " n"]


def splats(points: Float64[np.ndarray, "n 3"]) -> Splats:
    """Normals and radii from the neighbours of each point; a single point is a ball."""
    from scipy.spatial import KDTree

    points = np.unique(points, axis=0)
    count = min(NEIGHBOURS, len(points))
    distances, neighbours = KDTree(points).query(points, k=range(1, count + 1))
    means = points[neighbours].mean(axis=1)
    around = points[neighbours] - means[:, None]
    _, directions = np.linalg.eigh(np.swapaxes(around, 1, 2) @ around)
    normals = _smoothed(directions[:, :, 0], neighbours)
    radii = distances[:, min(REACH, count - 1)] if count > 1 else np.array([LARGEST])
    radii = np.minimum(radii, np.median(radii)).clip(SMALLEST, LARGEST)
    return _fitted(points + PULL * (means - points), normals, radii)


def _fitted(points, normals, radii):
    """Shrunk, where they would not fit into a picture, so that they do."""
    lengths = np.linalg.norm(points, axis=1)
    along = (points * normals).sum(axis=1) / np.maximum(lengths, 1e-9)
    farthest = (lengths + radii * np.sqrt(1 - (1 - FLATNESS**2) * along**2)).max()
    scale = min(1.0, FITTING / farthest)
    return Splats(scale * points, normals, scale * radii)


def _smoothed(normals, neighbours):
    """Means of the normals around each point that differ from its own by less than the crease angle."""
    around = normals[neighbours]
    agreement = np.einsum("nkd,nd->nk", around, normals)
    weights = np.where(abs(agreement) > math.cos(math.radians(CREASE)), np.sign(agreement), 0.0)
    means = np.einsum("nk,nkd->nd", weights, around)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def splat_layer(splats: Splats, frame: Float64[np.ndarray, "3 3"], size: int) -> Layer:
    """The spheroids from one camera, in a picture of ``size`` times ``size`` pixels."""
    centres = splats.points @ frame.T
    centres[:, 2] -= DISTANCE
    radii = splats.radii.clip(
        1.5 * HALF_WIDTH * DISTANCE / size
    )  # a pixel and a half across at least
    single = (each.astype(np.float32) for each in (centres, splats.normals @ frame.T, radii))
    depths, normals = _draw(*single, size)
    return Layer(depths, normals, normals)


@compiled
@no_type_check
def _draw(centres, normals, radii, size):
    front = np.full((size, size), np.inf, np.float32)
    sums = np.zeros((size, 5, size), np.float32)
    for last in (False, True):
        for n in range(len(centres)):
            _draw_one(centres[n], normals[n], radii[n], front, sums, last)
    result = np.zeros((size, size, 3), np.float32)
    for i in range(size):
        for j in range(size):
            p, q, r = sums[i, 0, j], sums[i, 1, j], sums[i, 2, j]
            length = math.sqrt(p * p + q * q + r * r)
            if length > 0:
                result[i, j, 0], result[i, j, 1], result[i, j, 2] = p / length, q / length, r / length  # fmt: skip
                front[i, j] = sums[i, 4, j] / sums[i, 3, j]
    return front, result


@compiled
@no_type_check
def _draw_one(centre, normal, radius, front, sums, last):
    """One spheroid into the foremost depths; with ``last`` into the sums of what is not far behind them."""
    size = len(front)
    x, y, z = centre
    p, q, r = normal
    if p * x + q * y + r * z > 0:  # the camera is at the origin, so this one turns away from it
        p, q, r = -p, -q, -r
    scale = np.float32(size / 2 / HALF_WIDTH)
    middle, thin = np.float32(size / 2), np.float32(1 - FLATNESS**2)
    reach = np.float32(1.15) * scale * radius / -z
    wide, high = reach * math.sqrt(1 - thin * p * p) + 1, reach * math.sqrt(1 - thin * q * q) + 1
    column, row = middle - scale * x / z, middle + scale * y / z
    left, right = max(int(column - wide), 0), min(int(column + wide) + 1, size)
    step = np.float32(1) / scale
    first = (np.float32(left) + np.float32(0.5) - middle) * step
    weights, depths = (
        np.empty(max(right - left, 0), np.float32),
        np.empty(max(right - left, 0), np.float32),
    )
    for i in range(max(int(row - high), 0), min(int(row + high) + 1, size)):
        b = (middle - np.float32(0.5) - np.float32(i)) * step
        if last:
            line = front[i, left:right]
            _weigh(line, weights, depths, x, y, z, p, q, r, radius, first, b, step)
            for k, value in enumerate((p, q, r, np.float32(1))):
                _add(sums[i, k, left:right], weights, value)
            _add(sums[i, 4, left:right], depths, np.float32(1))
        else:
            _advance(front[i, left:right], x, y, z, p, q, r, radius, first, b, step)


@inlined
@no_type_check
def _meeting(x, y, z, p, q, r, radius, a, b):
    """Where the ray (a, b, -1) meets a spheroid, from the depth of its centre on; the sign tells whether it does; and offsets.

    It does where ``|P + t W|^2 + stretch ((P + t W) N)^2 = radius^2``: W is the ray, P its offset from the centre where it
    is as deep, N the normal. Everything is small there, so single precision does.
    """
    stretch = np.float32(1 / FLATNESS**2 - 1)
    s, t = -z * a - x, -z * b - y
    slope, off = p * a + q * b - r, p * s + q * t
    square = a * a + b * b + np.float32(1) + stretch * slope * slope
    half = s * a + t * b + stretch * off * slope
    root = half * half - square * (s * s + t * t + stretch * off * off - radius * radius)
    ahead = -(half + math.sqrt(max(root, np.float32(0)))) / square
    return ahead, root, s + ahead * a, t + ahead * b, off + ahead * slope


@compiled
@no_type_check
def _advance(front, x, y, z, p, q, r, radius, first, b, step):
    for j in range(len(front)):
        ahead, root, _, _, _ = _meeting(x, y, z, p, q, r, radius, first + np.float32(j) * step, b)
        depth = ahead - z if root >= 0 else np.float32(np.inf)
        front[j] = min(depth, front[j])


@compiled
@no_type_check
def _weigh(front, weights, depths, x, y, z, p, q, r, radius, first, b, step):
    over = 1 / (radius * radius)
    for j in range(len(front)):
        ahead, root, s, t, off = _meeting(x, y, z, p, q, r, radius, first + np.float32(j) * step, b)
        across = s * s + t * t + ahead * ahead - off * off  # from the axis, squared
        weight = max(np.float32(1) - across * over, np.float32(0.01))
        counts = (root >= 0) & (ahead - z <= front[j] + radius)
        weights[j] = weight * weight if counts else np.float32(0)
        depths[j] = (ahead - z) * weights[j]


@compiled
@no_type_check
def _add(sums, weights, value):
    for j in range(len(sums)):
        sums[j] += weights[j] * value
