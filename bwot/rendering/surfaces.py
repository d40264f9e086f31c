"""A mesh as it is drawn: equal vertices merged, faces without area and doubles of faces gone, a normal at each corner.

Nothing here trusts the winding of the faces: a neighbour's normal counts with the sign that agrees with the face's own.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from bwot.cpu.exponential import compiled
from bwot.meshes import Mesh

CREASE = 50.0  # degrees between two faces from which on the edge between them is sharp; an octagonal column is round
CROWD = (
    256  # faces at one vertex from which on each keeps its own normal there: the work stays linear
)


class Surface(NamedTuple):
    """Triangles with what shading needs of them; normals have length 1 and agree in sign with their face's."""

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    face_normals: Float32[np.ndarray, "f 3"]
    corner_normals: Float32[np.ndarray, "f 3 3"]


def surface(mesh: Mesh) -> Surface:
    """The triangles of a mesh that have an area; none at all for a shape of points."""
    vertices = np.ascontiguousarray(mesh.vertices, np.float32) + np.float32(0)  # no -0
    faces = _first_equal(vertices.view(np.int32))[mesh.faces].astype(np.int32)
    once = _first_equal(np.sort(faces, axis=1)) == np.arange(len(faces))
    faces = np.ascontiguousarray(faces[once])
    normals, areas = _face_normals(vertices, faces)
    solid = areas > 0
    faces, normals, areas = faces[solid], normals[solid], areas[solid]
    cosine = np.float32(math.cos(math.radians(CREASE)))
    corners = _corner_normals(len(vertices), faces, normals, areas, cosine)
    return Surface(vertices, faces, normals, corners)


@compiled
@no_type_check
def _first_equal(rows):
    """For each row of three integers the number of the first row that is equal, by a hash table."""
    n = len(rows)
    size = 16
    while size < 2 * n:
        size *= 2
    table = np.full(size, -1, np.int64)
    first = np.empty(n, np.int64)
    for i in range(n):
        a, b, c = rows[i, 0], rows[i, 1], rows[i, 2]
        code = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
        code = (code ^ (code >> np.uint64(29)) ^ np.uint64(b)) * np.uint64(0xBF58476D1CE4E5B9)
        code = (code ^ (code >> np.uint64(32)) ^ np.uint64(c)) * np.uint64(0x94D049BB133111EB)
        place = np.int64((code ^ (code >> np.uint64(31))) & np.uint64(size - 1))
        while True:
            j = table[place]
            if j < 0:
                table[place] = i
                first[i] = i
                break
            if rows[j, 0] == a and rows[j, 1] == b and rows[j, 2] == c:
                first[i] = j
                break
            place = (place + 1) & (size - 1)
    return first


@compiled
@no_type_check
def _face_normals(vertices, faces):
    """Unit normals and areas; both are 0 where a triangle is none."""
    normals = np.zeros((len(faces), 3), np.float32)
    areas = np.zeros(len(faces), np.float32)
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        px, py, pz = np.float64(b[0]) - a[0], np.float64(b[1]) - a[1], np.float64(b[2]) - a[2]
        qx, qy, qz = np.float64(c[0]) - a[0], np.float64(c[1]) - a[1], np.float64(c[2]) - a[2]
        x, y, z = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
        length = math.sqrt(x * x + y * y + z * z)
        longest = max(px * px + py * py + pz * pz, qx * qx + qy * qy + qz * qz)
        if length > 1e-7 * longest and length > 1e-20:  # else its direction is rounding
            areas[f] = length
            normals[f, 0], normals[f, 1], normals[f, 2] = x / length, y / length, z / length
    return normals, areas


@compiled
@no_type_check
def _corner_normals(count, faces, normals, areas, cosine):
    """Means, weighed by area, of the normals around a corner that differ from the face's own by less than the crease angle."""
    starts = np.zeros(count + 1, np.int64)
    for f in range(len(faces)):
        for k in range(3):
            starts[faces[f, k] + 1] += 1
    for v in range(count):
        starts[v + 1] += starts[v]
    around, filled = np.empty(3 * len(faces), np.int64), starts[:-1].copy()
    for f in range(len(faces)):
        for k in range(3):
            v = faces[f, k]
            around[filled[v]] = f
            filled[v] += 1
    corners = np.empty((len(faces), 3, 3), np.float32)
    for f in range(len(faces)):
        a, b, c = normals[f]
        for k in range(3):
            v = faces[f, k]
            x, y, z = np.float32(0), np.float32(0), np.float32(0)
            if starts[v + 1] - starts[v] <= CROWD:
                for g in around[starts[v] : starts[v + 1]]:
                    p, q, r = normals[g]
                    dot = a * p + b * q + c * r
                    if abs(dot) > cosine:
                        weight = areas[g] if dot > 0 else -areas[g]
                        x, y, z = x + weight * p, y + weight * q, z + weight * r
            length = math.sqrt(x * x + y * y + z * z)
            if length > 0:
                corners[f, k, 0], corners[f, k, 1], corners[f, k, 2] = x / length, y / length, z / length  # fmt: skip
            else:
                corners[f, k, 0], corners[f, k, 1], corners[f, k, 2] = a, b, c
    return corners
