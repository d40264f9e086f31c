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
TILE = 8  # pixels along a side of a tile
PIXELS = TILE * TILE
ROWS, COLUMNS = (
    each.ravel().astype(np.float32) for each in np.indices((TILE, TILE))
)  # of a tile's pixels
PLANES = 7  # that a tile has: sums of normals (3), weights and weighted depths, the foremost depth, a product that is added
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
    """Depths and normals. Drawn on tiles of pixels, each contiguous: a loop over one has no remainder and no overlap to check."""
    side = (size + TILE - 1) // TILE
    tiles = np.zeros((side, side, PLANES * PIXELS), np.float32)
    tiles[:, :, 5 * PIXELS : 6 * PIXELS] = np.inf
    farthest = np.full((side, side), np.inf, np.float32)
    for n in range(len(centres)):
        _draw_one(centres[n], normals[n], radii[n], tiles, farthest, size, False)
    for i in range(side):
        for j in range(side):
            farthest[i, j] = _farthest(tiles[i, j, 5 * PIXELS : 6 * PIXELS])
    for n in range(len(centres)):
        _draw_one(centres[n], normals[n], radii[n], tiles, farthest, size, True)
    return _untiled(tiles, farthest, size)


@compiled
@no_type_check
def _farthest(front):
    """The largest of the depths that are finite, as they are wherever a spheroid is."""
    result = np.float32(-np.inf)
    for depth in front:
        result = max(result, depth if depth < np.inf else np.float32(-np.inf))
    return result


@compiled
@no_type_check
def _untiled(tiles, farthest, size):
    depths = np.full((size, size), np.inf, np.float32)
    normals = np.zeros((size, size, 3), np.float32)
    for i in range(len(tiles)):
        for j in range(len(tiles)):
            if farthest[i, j] > -np.inf:
                _normalise(tiles[i, j])
                _place(tiles[i, j], depths, normals, TILE * i, TILE * j, size)
    return depths, normals


@compiled
@no_type_check
def _normalise(tile):
    """Of a tile: unit normals and depths in place of what they are made of."""
    for k in range(PIXELS):
        p, q, r = tile[k], tile[PIXELS + k], tile[2 * PIXELS + k]
        length = math.sqrt(p * p + q * q + r * r)
        over = np.float32(1) / length if length > 0 else np.float32(0)
        depth = tile[4 * PIXELS + k] / tile[3 * PIXELS + k]
        tile[k], tile[PIXELS + k], tile[2 * PIXELS + k] = over * p, over * q, over * r
        tile[4 * PIXELS + k] = depth if length > 0 else np.float32(np.inf)


@compiled
@no_type_check
def _place(tile, depths, normals, top, left, size):
    for i in range(min(TILE, size - top)):
        for j in range(min(TILE, size - left)):
            k = TILE * i + j
            depths[top + i, left + j] = tile[4 * PIXELS + k]
            normals[top + i, left + j, 0] = tile[k]
            normals[top + i, left + j, 1] = tile[PIXELS + k]
            normals[top + i, left + j, 2] = tile[2 * PIXELS + k]


@compiled
@no_type_check
def _draw_one(centre, normal, radius, tiles, farthest, size, last):
    """One spheroid into the foremost depths; with ``last`` into the sums of what is not far behind them."""
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
    top, below = max(int(row - high), 0), min(int(row + high) + 1, size)
    step = np.float32(1) / scale
    first = (np.float32(left) + np.float32(0.5) - middle) * step
    start = middle - np.float32(0.5)
    nearest = -z - np.float32(2.001) * radius  # what is farther in front hides all of it
    for i in range(top // TILE, (below + TILE - 1) // TILE):
        for j in range(left // TILE, (right + TILE - 1) // TILE):
            box = (np.float32(top - TILE * i), np.float32(below - TILE * i), np.float32(left - TILE * j), np.float32(right - TILE * j))  # fmt: skip
            level = start - np.float32(TILE * i)
            if not last:
                _advance(tiles[i, j], box, x, y, z, p, q, r, radius, first, level, step)
            elif nearest <= farthest[i, j]:
                _weigh(tiles[i, j], box, x, y, z, p, q, r, radius, first, level, step)


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


@inlined
@no_type_check
def _ray(k, box, first, level, step):
    i, j = ROWS[k], COLUMNS[k]
    inside = (i >= box[0]) & (i < box[1]) & (j >= box[2]) & (j < box[3])
    return first + (j - box[2]) * step, (level - i) * step, inside


@compiled
@no_type_check
def _advance(tile, box, x, y, z, p, q, r, radius, first, level, step):
    for k in range(PIXELS):
        a, b, inside = _ray(k, box, first, level, step)
        ahead, root, _, _, _ = _meeting(x, y, z, p, q, r, radius, a, b)
        depth = ahead - z if inside & (root >= 0) else np.float32(np.inf)
        tile[5 * PIXELS + k] = min(depth, tile[5 * PIXELS + k])


@compiled
@no_type_check
def _weigh(tile, box, x, y, z, p, q, r, radius, first, level, step):
    over = 1 / (radius * radius)
    for k in range(PIXELS):
        a, b, inside = _ray(k, box, first, level, step)
        ahead, root, s, t, off = _meeting(x, y, z, p, q, r, radius, a, b)
        across = s * s + t * t + ahead * ahead - off * off  # from the axis, squared
        weight = max(np.float32(1) - across * over, np.float32(0.01))
        counts = inside & (root >= 0) & (ahead - z <= tile[5 * PIXELS + k] + radius)
        weight = np.float32(weight * weight) if counts else np.float32(0)
        tile[k] += weight * p
        tile[PIXELS + k] += weight * q
        tile[2 * PIXELS + k] += weight * r
        tile[3 * PIXELS + k] += weight
        tile[6 * PIXELS + k] = (ahead - z) * weight
    for k in range(PIXELS):  # rounded before it is added, as on every machine
        tile[4 * PIXELS + k] += tile[6 * PIXELS + k]
