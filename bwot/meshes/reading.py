"""A file → its mesh, told by its suffix; and where a mesh is put, so that all are of one size.

The centre is that of the bounding box and the radius the distance to the farthest vertex, both of the vertices that a
triangle uses: neither the density of a mesh nor a stray vertex moves a shape, and the same file gives the same numbers.
A file without triangles is a cloud of points, all of which count.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from bwot.meshes.ply import ply
from bwot.meshes.rows import MeshError, refuse_infinite
from bwot.meshes.stl import stl
from bwot.meshes.text import obj, off

MOST_BYTES = 1 << 28
"""The largest file that is read; a usual one takes up to about fifteen times its size in memory, any one what
:data:`bwot.meshes.rows.MOST` says."""


class Mesh(NamedTuple):
    """A shape, z or y upwards as its set has it; ``faces`` holds indices of vertices and is (0, 3) for points alone."""

    vertices: Float64[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]


def read_mesh(path: str | Path) -> Mesh:
    """The mesh in a file of at most :data:`MOST_BYTES`, told by its suffix, in the unit sphere.

    Polygons become fans of triangles around their first vertex; what has fewer than three corners is left out, and so
    are colours, normals, textures and every file that a mesh names. Vertices that no triangle uses are left out too,
    unless there is no triangle. STL repeats a vertex in each of its triangles: equal ones become one.

    Raises:
        FileNotFoundError: where there is no file.
        MeshError: for another suffix, a folder, a file that is empty, cut off, too large or no mesh, counts that do not
            fit, an index out of range, a coordinate that is not finite, a shape without extent.
    """
    path = Path(path)
    readers = {".off": off, ".obj": obj, ".ply": ply, ".stl": stl}
    try:
        if path.suffix.lower() not in readers:
            raise MeshError(f"the suffix is {path.suffix!r}, expected {', '.join(readers)}.")
        return normalised(*readers[path.suffix.lower()](_content(path)))
    except MeshError as error:
        raise MeshError(f"{path}: {error}") from error.__cause__


def normalised(vertices: Float64[np.ndarray, "v 3"], faces: Int64[np.ndarray, "f 3"]) -> Mesh:
    """A mesh of the vertices in use, its bounding box centred on the origin, the farthest vertex at distance 1.

    Raises:
        MeshError: if there is no vertex, one is not finite, or all lie at one point as far as numbers of 64 bits tell.
    """
    if not len(vertices):
        raise MeshError("there is no vertex.")
    refuse_infinite(vertices)
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    if len(faces) and not used.all():
        vertices, faces = vertices[used], (np.cumsum(used) - 1)[faces]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    # Halves first: the difference of two finite numbers may not be one.
    if (high / 2 - low / 2).max() <= max(1e-12 * np.abs(vertices).max(), 1e-290):
        raise MeshError("the shape has no extent: its vertices lie at one point.")
    centred = vertices - (low / 2 + high / 2)
    centred /= np.abs(centred).max()
    return Mesh(centred / np.sqrt((centred**2).sum(axis=1).max()), faces)


def _content(path):
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if not path.is_file():
        raise MeshError("this is no plain file.")
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise MeshError(f"the file holds {size:,} bytes, at most {MOST_BYTES:,} are read.")
        with path.open("rb") as stream:
            content = stream.read(size)
    except OSError as error:
        raise MeshError(f"the file cannot be read: {error.strerror}.") from error
    if not content.strip():
        raise MeshError("the file is empty.")
    return content
