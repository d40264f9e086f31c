"""Line drawings of what a layer shows: where one part hides another, creases, and valleys of the light.

- An occlusion edge is a jump of depth that neither of the two planes explains; its line lies on the nearer part.
- A crease is where the smooth normals of two neighbours differ by more than ``FOLD`` degrees.
- A suggestive contour is a valley of n.v, by the image-space rule of DeCarlo et al. (SIGGRAPH 2003, section 4.2): few pixels
  around are darker, and one is brighter by ``RELIEF``. Short ones are left out.
"""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import UInt8

from bwot.cpu.exponential import compiled
from bwot.rendering.cameras import DISTANCE, HALF_WIDTH
from bwot.rendering.layers import Layer, averaged

FOLD = 35.0  # degrees
STROKE = 1 / 180  # width of a line over that of the picture, one pixel at least
JUMP, STEEP = (
    2.0,
    8.0,
)  # widths of a pixel: depth that is always forgiven, and that a plane may explain at most
REACH = 1 / 100  # radius of the disc that a valley is sought in, over the width of the picture
DARKER, RELIEF = 0.2, 0.2  # share of the disc; difference of n.v
SHORTEST = (
    1 / 30
)  # valley that is drawn, over the width of the picture; of other lines a third of it

LINE = 1  # occlusion or crease
VALLEY = 2


def drawn(layer: Layer, samples: int) -> UInt8[np.ndarray, "size size"]:
    """Black lines on white from a layer of ``samples`` times the picture's size."""
    size = len(layer.depths)
    marks = _lines(*layer, np.float32(math.cos(math.radians(FOLD))))
    _keep_long(marks, round(SHORTEST * size / 3))
    valleys = _valleys(layer.depths, layer.normals, marks, max(2, round(REACH * size)))
    _keep_long(valleys, round(SHORTEST * size))
    radius = max(STROKE * size, samples) / 2
    return averaged(_inked(marks + valleys, np.float32(radius)), samples)


@compiled
@no_type_check
def _lines(depths, normals, planes, cosine):
    size = len(depths)
    marks = np.zeros((size, size), np.uint8)
    for i in range(size):
        for j in range(size):
            for k, m in ((i, j + 1), (i + 1, j)):
                if k >= size or m >= size:
                    continue
                one, two = depths[i, j], depths[k, m]
                if one == two:  # background beside background too
                    jumps = False
                elif one < two:
                    jumps = _jumps(depths, planes, i, j, k, m)
                else:
                    jumps = _jumps(depths, planes, k, m, i, j)
                if jumps:
                    marks[(i, j) if one < two else (k, m)] = LINE
                elif one < np.inf and two < np.inf:
                    a, b = normals[i, j], normals[k, m]
                    if a[0] * b[0] + a[1] * b[1] + a[2] * b[2] < cosine:
                        marks[i, j] = LINE
    return marks


@compiled
@no_type_check
def _jumps(depths, planes, i, j, k, m):
    """Is the nearer pixel (i, j) before (k, m) by more than their planes explain?"""
    near, far = depths[i, j], depths[k, m]
    if far == np.inf:
        return True
    pixel = np.float32(2 * HALF_WIDTH * DISTANCE / len(depths))
    ahead = _seen(planes[i, j], near, i, j, k, m, len(depths)) - near
    behind = far - _seen(planes[k, m], far, k, m, i, j, len(depths))
    explained = min(max(ahead, behind, np.float32(0)), STEEP * pixel)
    return far - near > JUMP * pixel + explained


@compiled
@no_type_check
def _seen(plane, depth, i, j, k, m, size):
    """Depth at pixel (k, m) of the plane that pixel (i, j) shows; huge where it is beyond the horizon."""
    step, half = np.float32(2 * HALF_WIDTH / size), np.float32(HALF_WIDTH)
    x, y = (j + np.float32(0.5)) * step - half, half - (i + np.float32(0.5)) * step
    p, q = (m + np.float32(0.5)) * step - half, half - (k + np.float32(0.5)) * step
    own = plane[0] * x + plane[1] * y - plane[2]
    other = plane[0] * p + plane[1] * q - plane[2]
    return depth * own / other if own * other > 0 else np.float32(1e6)


@compiled
@no_type_check
def _valleys(depths, normals, marks, radius):
    """Marks of valleys of n.v in discs that hold neither background nor a line."""
    size = len(depths)
    step, half = np.float32(2 * HALF_WIDTH / size), np.float32(HALF_WIDTH)
    facing = np.full((size, size), -1, np.float32)
    for i in range(size):
        for j in range(size):
            if depths[i, j] < np.inf and marks[i, j] == 0:
                x, y = (j + np.float32(0.5)) * step - half, half - (i + np.float32(0.5)) * step
                a = normals[i, j]
                facing[i, j] = (a[2] - a[0] * x - a[1] * y) / math.sqrt(1 + x * x + y * y)
    valleys = np.zeros((size, size), np.uint8)
    for i in range(radius, size - radius):
        for j in range(radius, size - radius):
            if facing[i, j] >= 0 and _is_valley(facing, i, j, radius):
                valleys[i, j] = VALLEY
    return valleys


@compiled
@no_type_check
def _is_valley(facing, i, j, radius):
    own, highest, darker, count = facing[i, j], facing[i, j], 0, 0
    for k in range(-radius, radius + 1):
        for m in range(-radius, radius + 1):
            if k * k + m * m <= radius * radius:
                other = facing[i + k, j + m]
                if other == -1:
                    return False
                highest = max(highest, other)
                darker += other < own
                count += 1
    return highest - own > RELIEF and darker < DARKER * count


@compiled
@no_type_check
def _keep_long(marks, shortest):
    """Remove connected marks that are neither as wide nor as high as ``shortest``."""
    size = len(marks)
    seen = np.zeros((size, size), np.bool_)
    stack = np.empty((size * size, 2), np.int32)
    for row in range(size):
        for column in range(size):
            if marks[row, column] == 0 or seen[row, column]:
                continue
            seen[row, column] = True
            stack[0, 0], stack[0, 1] = row, column
            count, done = 1, 0
            top, bottom, left, right = row, row, column, column
            while done < count:
                i, j = stack[done]
                done += 1
                top, bottom, left, right = min(top, i), max(bottom, i), min(left, j), max(right, j)
                for k in range(max(i - 1, 0), min(i + 2, size)):
                    for m in range(max(j - 1, 0), min(j + 2, size)):
                        if marks[k, m] and not seen[k, m]:
                            seen[k, m] = True
                            stack[count, 0], stack[count, 1] = k, m
                            count += 1
            if max(bottom - top, right - left) < shortest:
                for n in range(count):
                    marks[stack[n, 0], stack[n, 1]] = 0


@compiled
@no_type_check
def _inked(marks, radius):
    """Greys of round strokes of a radius around the marks."""
    size = len(marks)
    greys = np.full((size, size), 255, np.float32)
    reach = int(math.ceil(radius + np.float32(0.5)))
    for i in range(size):
        for j in range(size):
            if marks[i, j]:
                for k in range(max(i - reach, 0), min(i + reach + 1, size)):
                    for m in range(max(j - reach, 0), min(j + reach + 1, size)):
                        away = math.sqrt(np.float32((k - i) ** 2 + (m - j) ** 2))
                        light = min(max(away + np.float32(0.5) - radius, np.float32(0)), np.float32(1))  # fmt: skip
                        greys[k, m] = min(greys[k, m], 255 * light)
    return greys
