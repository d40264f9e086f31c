"""From a mesh file to vertices and triangles in the unit sphere: OFF, OBJ, PLY and STL.

The centre is that of the bounding box and the radius the distance to the farthest vertex, both of the vertices that a
triangle uses: neither the density of a mesh nor a stray vertex moves a shape, and the same file gives the same numbers.
A file without triangles is a cloud of points, all of which count.

OFF and OBJ are read here, PLY and STL by trimesh, whose own readers of the other two pass over lines beyond the counts,
the index 0 and what is no number; here an error names its line, and polygons are read at the speed of NumPy.
"""

import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

MOST_BYTES = 1 << 28
"""The largest file that is read; reading takes up to about fifteen times its size in memory."""
NUMBER = re.compile(rb"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)", re.IGNORECASE)
OFF_HEADER = re.compile(
    rb"\s*(?:ST)?C?N?OFF\s*(\d{1,18})[^\S\n]+(\d{1,18})(?:[^\S\n]+\d{1,18})?[^\S\n]*(?:\n|$)"
)


class Mesh(NamedTuple):
    """A shape, z or y upwards as its set has it; ``faces`` holds indices of vertices and is (0, 3) for points alone."""

    vertices: Float64[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]


class MeshError(ValueError):
    """A file holds no mesh that can be read; the message gives the file, the line where there is one, and the reason."""


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
    readers = {".off": _off, ".obj": _obj, ".ply": _ply, ".stl": _stl}
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
    _refuse_infinite(vertices)
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


def _refuse_infinite(vertices, where="vertex", numbers=None):
    finite = np.isfinite(vertices).all(axis=1)
    if not finite.all():
        number = np.argmin(finite) if numbers is None else numbers[np.argmin(finite)]
        raise MeshError(f"{where} {number}: a coordinate is not finite.")


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


class _Rows(NamedTuple):
    """The lines of a text that hold numbers; row r is ``values[starts[r] : starts[r] + counts[r]]``, of ``lines[r]``."""

    values: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    lines: np.ndarray

    def part(self, start, stop):
        return _Rows(self.values, *(of_rows[start:stop] for of_rows in self[1:]))

    def refuse(self, wrong, reason):
        """Raise for the first row that is ``wrong``, if one is; ``reason`` is a text or a function of the row."""
        if wrong.any():
            row = int(np.argmax(wrong))
            raise MeshError(f"line {self.lines[row]}: {reason(row)}.")


def _plain(content):
    """A text with one kind of line ends and no comments (``1.#IND`` is no comment, but a number that went wrong)."""
    content = (
        content.removeprefix(b"\xef\xbb\xbf")
        .rstrip(b"\0\x1a")
        .replace(b"\r\n", b"\n")
        .replace(b"\r", b"\n")
    )
    return re.sub(rb"(?<!\.)#[^\n]*", b"", content) if b"#" in content else content


def _rows(text, lines):
    """The numbers of a text, all at once; ``lines`` is the number in the file of each of its lines, or of the first."""
    characters = np.frombuffer(text + b"\n", np.uint8)
    blank = (characters == 32) | ((characters >= 9) & (characters <= 13))
    begins = ~blank & np.append(True, blank[:-1])
    ends = np.flatnonzero(characters == 10)
    counts = np.add.reduceat(begins, np.append(0, ends[:-1] + 1), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it stops early is seen below
        try:
            values = np.fromstring(text, sep=" ")
        except ValueError:
            values = np.empty(0)
    lines = np.arange(lines, lines + len(ends)) if isinstance(lines, int) else np.asarray(lines)
    if len(values) != counts.sum():
        raise MeshError(_no_number(text, lines))
    filled = counts > 0
    return _Rows(values, (np.cumsum(counts) - counts)[filled], counts[filled], lines[filled])


def _no_number(text, lines):
    rows = zip(lines, text.split(b"\n"), strict=True)
    wrong = ((at, word) for at, row in rows for word in row.split() if not NUMBER.fullmatch(word))
    line, word = next(wrong, ("?", b"what is none"))
    return f"line {line}: expected a number, found {_shown(word)}."


def _shown(word):
    return repr(word.strip()[:20].decode("ascii", "backslashreplace"))


def _vertices(rows):
    """The first three numbers of each row."""
    rows.refuse(rows.counts < 3, lambda row: f"a vertex of {rows.counts[row]} numbers, expected 3")
    vertices = rows.values[rows.starts[:, None] + np.arange(3)]
    _refuse_infinite(vertices, "line", rows.lines)
    return vertices


def _polygons(rows, first, sizes, count, shown):
    """(f, 3): the polygon of each row, its ``sizes`` values from ``first`` on, as triangles around its first corner."""
    owners, within = _spread(sizes)
    places = first[owners] + within
    corners = rows.values[places]
    wrong = (corners != np.floor(corners)) | ~((corners >= 0) & (corners < count))
    rows._replace(lines=rows.lines[owners]).refuse(
        wrong, lambda at: f"the index {shown[places[at]]:.15g} is none of the {count} vertices"
    )
    fans, within = _spread(np.maximum(sizes - 2, 0))
    start = (np.cumsum(sizes) - sizes)[fans]
    triangles = np.stack([start, start + within + 1, start + within + 2], axis=1)
    return corners.astype(np.int64)[triangles]


def _spread(sizes):
    """For items in groups of the given sizes, one after another: the group of each, and its place there from 0."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return groups, np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _off(content):
    """The keyword ``OFF`` (COFF, NOFF, STOFF), the counts of vertices, faces and edges, a line a vertex, a line a face."""
    text = _plain(content)
    header = OFF_HEADER.match(text)
    if not header:
        line = 1 + text.count(b"\n", 0, len(text) - len(text.lstrip()))
        raise MeshError(f"line {line}: expected OFF and counts, found {_shown(text)}.")
    count, polygons = (int(number) for number in header.groups())
    rows = _rows(text[header.end() :], 1 + text.count(b"\n", 0, header.end()))
    declared = f"the header declares {count:,} vertices and {polygons:,} faces"
    if len(rows.lines) < count + polygons:
        raise MeshError(f"{declared}, and only {len(rows.lines):,} lines follow: is it cut off?")
    rows.refuse(
        np.arange(len(rows.lines)) >= count + polygons, lambda row: f"{declared}, and here is more"
    )
    corners, faces = rows.part(0, count), rows.part(count, None)
    corners.refuse(  # where the counts are wrong, a face stands here
        corners.counts != corners.counts[:1],
        lambda row: f"a vertex of {corners.counts[row]} numbers, the first has {corners.counts[0]}",
    )
    sizes = faces.values[faces.starts]
    faces.refuse(
        ~((sizes == np.floor(sizes)) & (sizes >= 1) & (sizes < faces.counts)),
        lambda row: f"a face of {sizes[row]:g} corners, and {faces.counts[row] - 1} numbers follow",
    )
    sizes = sizes.astype(np.int64)
    return _vertices(corners), _polygons(faces, faces.starts + 1, sizes, count, faces.values)


def _obj(content):
    """Lines ``v x y z`` and ``f i j k``, a corner may be ``i/texture/normal``; indices from 1 on, or from -1 back."""
    found, lines, seen = {b"v": [], b"f": []}, {b"v": [], b"f": []}, []
    text = _plain(content).replace(b"\\\n", b" ")
    for line, row in enumerate(text.split(b"\n"), start=1):
        key, _, rest = row.strip().replace(b"\t", b" ").partition(b" ")
        if key in found:
            found[key].append(re.sub(rb"/\S*", b"", rest).strip() or b"nothing")
            lines[key].append(line)
            if key == b"f":
                seen.append(len(found[b"v"]))
    if not found[b"v"]:
        raise MeshError("no line has a vertex, as in `v 0 1 0`.")
    vertices = _vertices(_rows(b"\n".join(found[b"v"]), lines[b"v"]))
    if not found[b"f"]:
        return vertices, np.empty((0, 3), np.int64)
    rows = _rows(b"\n".join(found[b"f"]), lines[b"f"])
    back = np.repeat(seen, rows.counts) + rows.values
    given = rows.values
    corners = np.where(given > 0, given - 1, np.where(given < 0, back, -1))
    rows = rows._replace(values=corners)
    return vertices, _polygons(rows, rows.starts, rows.counts, len(vertices), given)


def _ply(content):
    """Read by trimesh, whose header must declare what the file holds; binary polygons have to be of one size there."""
    header, found, body = content.partition(b"end_header")
    if not content.startswith(b"ply") or not found:
        raise MeshError("expected a PLY header, from a line `ply` to a line `end_header`.")
    elements = re.findall(rb"^\s*element\s+\S+\s+(\d{1,18})\s*$", header, re.MULTILINE)
    declared, body = sum(map(int, elements)), body.strip()
    if b"ascii" in b"".join(header.splitlines()[1:2]):
        held = body.count(b"\n") + bool(body)
        if held != declared:
            raise MeshError(f"the header declares {declared:,} lines, and {held:,} follow.")
    elif len(body) < declared:
        raise MeshError(f"the header declares {declared:,} items, and {len(body):,} bytes follow.")
    return _by_trimesh(content, "ply")


def _stl(content):
    facets = int.from_bytes(content[80:84], "little")
    if len(content) != 84 + 50 * facets:
        if not content.lstrip()[:5].lower() == b"solid":
            raise MeshError(f"neither text nor the {facets:,} facets that its header declares.")
        facets = content.lower().count(b"endfacet")
    vertices, faces = _by_trimesh(content, "stl")
    if not len(faces) or len(faces) != facets:
        raise MeshError(f"of {facets:,} facets {len(faces):,} could be read.")
    vertices, inverse = np.unique(vertices, axis=0, return_inverse=True)
    return vertices, inverse.reshape(-1)[faces]


def _by_trimesh(content, kind):
    """Vertices and triangles; trimesh is given the bytes and no place to look for further files."""
    import trimesh

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", "string or file could not be read to its end")
            stream = io.BytesIO(content)
            scene = trimesh.load_scene(stream, file_type=kind, process=False, skip_materials=True)
            parts = list(scene.geometry.values())
            starts = np.cumsum([0, *(len(part.vertices) for part in parts)])[:-1]
            vertices = [np.empty((0, 3)), *(part.vertices for part in parts)]
            filled = [pair for pair in zip(parts, starts, strict=True) if hasattr(pair[0], "faces")]
            faces = [part.faces + start for part, start in filled]
            vertices = np.concatenate(vertices).astype(np.float64)
            faces = np.concatenate([np.empty((0, 3), np.int64), *faces]).astype(np.int64)
    except Exception as error:  # whatever trimesh meets in a broken file
        raise MeshError(f"trimesh cannot read this {kind.upper()}: {error!r}.") from error
    _refuse_infinite(vertices)
    if faces.size and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise MeshError(f"a face has an index that is not one of the {len(vertices)} vertices.")
    return vertices, faces
