"""What a picture shows at each pixel, before it becomes grey or lines; and the step from fine pixels to those of the picture."""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, Float64

from bwot.cpu.exponential import compiled, inlined
from bwot.rendering.tracing import Tracer


class Layer(NamedTuple):
    """Depths (infinite for background) and unit normals towards the camera, in its frame: right, up, back.

    ``normals`` are smooth over a round surface, ``planes`` are those of the faces.
    """

    depths: Float32[np.ndarray, "h h"]
    normals: Float32[np.ndarray, "h h 3"]
    planes: Float32[np.ndarray, "h h 3"]


def mesh_layer(tracer: Tracer, frame: Float64[np.ndarray, "3 3"], size: int) -> Layer:
    """What one ray through the centre of each pixel meets."""
    pixels = tracer.touched(frame, size)
    hits = tracer.trace(frame, size, pixels, 1)
    surface = tracer.surface
    return Layer(*_filled(*hits, surface.face_normals, surface.corner_normals, frame.astype(np.float32), pixels, size))  # fmt: skip


@compiled
@no_type_check
def _filled(
    directions, faces, second, third, far, face_normals, corner_normals, frame, pixels, size
):
    depths = np.full((size, size), np.inf, np.float32)
    normals = np.zeros((size, size, 3), np.float32)
    planes = np.zeros((size, size, 3), np.float32)
    for n in range(len(faces)):
        f = faces[n]
        if f < 0:
            continue
        i, j = pixels[n] // size, pixels[n] % size
        depths[i, j] = far[n]
        own = face_normals[f]
        sign = turned(own, directions[n])
        p, q, r = smooth_normal(own, corner_normals[f], second[n], third[n])
        for k in range(3):
            a, b, c = sign * frame[k, 0], sign * frame[k, 1], sign * frame[k, 2]
            planes[i, j, k] = a * own[0] + b * own[1] + c * own[2]
            normals[i, j, k] = a * p + b * q + c * r
    return depths, normals, planes


@inlined
@no_type_check
def turned(normal, direction):
    """1 for a face that a ray in this direction meets from its front, -1 for its back."""
    along = normal[0] * direction[0] + normal[1] * direction[1] + normal[2] * direction[2]
    return np.float32(-1) if along > 0 else np.float32(1)


@inlined
@no_type_check
def smooth_normal(own, corners, second, third):
    """The unit normal between those of the corners, with the sign of the face's own."""
    first = np.float32(1) - second - third
    p = first * corners[0, 0] + second * corners[1, 0] + third * corners[2, 0]
    q = first * corners[0, 1] + second * corners[1, 1] + third * corners[2, 1]
    r = first * corners[0, 2] + second * corners[1, 2] + third * corners[2, 2]
    length = math.sqrt(p * p + q * q + r * r)
    if length < np.float32(1e-6):
        return own[0], own[1], own[2]
    over = np.float32(1) / length
    return over * p, over * q, over * r


@compiled
@no_type_check
def averaged(picture, samples):
    """The means over squares of ``samples`` times ``samples`` pixels, rounded: ``(size, size)`` integers up to 255."""
    size = len(picture) // samples
    result = np.empty((size, size), np.uint8)
    over = np.float32(1 / (samples * samples))
    for i in range(size):
        for j in range(size):
            total = np.float32(0)
            for k in range(samples):
                for m in range(samples):
                    total += picture[samples * i + k, samples * j + m]
            result[i, j] = np.uint8(total * over + np.float32(0.5))
    return result
