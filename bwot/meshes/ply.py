"""PLY: a header that declares elements and their properties, then the elements as text or as bytes.

Read are ``x``, ``y`` and ``z`` of the element ``vertex`` and the list ``vertex_indices`` (or ``vertex_index``) of ``face``;
other properties and elements are passed over.
"""

import re
from typing import NamedTuple

import numpy as np

from bwot.meshes.rows import (
    MeshError,
    Rows,
    as_doubles,
    plain,
    polygons_of,
    refuse_infinite,
    refuse_many,
    rows_of,
    shown,
    spread,
)

KINDS = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
ORDERS = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
CORNERS = ("vertex_indices", "vertex_index")
END = re.compile(rb"[\r\n]end_header[ \t]*(?:\r\n|\n|\r|\Z)")
MOST_HEADER = 1 << 20  # bytes


class _Property(NamedTuple):
    name: str
    kind: str  # of NumPy, without the byte order
    size: str | None  # kind of a list's length; None for a single number


class _Element(NamedTuple):
    name: str
    count: int
    properties: list


def ply(content):
    """Vertices and triangles of a PLY."""
    end = END.search(content, 0, MOST_HEADER)
    if not content.startswith(b"ply") or not end:
        raise MeshError("expected a PLY header, from a line `ply` to a line `end_header`.")
    header = re.split(r"\r\n|\r|\n", content[: end.start()].decode("ascii", "backslashreplace"))
    order, elements = _header(header)
    corners, faces = _elements(elements)
    if order is None:
        return _from_text(content[end.end() :], len(header) + 2, elements, corners, faces)
    return _from_bytes(content[end.end() :], elements, corners, faces, order)


def _header(lines):
    order, elements = "", []
    for number, line in enumerate(lines[1:], start=2):
        words = line.split() or ["comment"]
        if words[0] == "format" and len(words) == 3 and words[1] in ORDERS:
            order = ORDERS[words[1]]
        elif words[0] == "element" and len(words) == 3 and re.fullmatch(r"\d{1,18}", words[2]):
            elements.append(_Element(words[1], int(words[2]), []))
        elif words[0] == "property" and elements and _is_property(words):
            size = KINDS[words[2]] if words[1] == "list" else None
            elements[-1].properties.append(_Property(words[-1], KINDS[words[-2]], size))
        elif words[0] not in ("comment", "obj_info"):
            raise MeshError(f"line {number}: no line of a PLY header: {shown(line.encode())}.")
    if order == "":
        raise MeshError("the header has no line `format`, as in `format ascii 1.0`.")
    return order, elements


def _is_property(words):
    if words[1:2] != ["list"]:
        return len(words) == 3 and words[1] in KINDS
    return len(words) == 5 and KINDS.get(words[2], "f")[0] != "f" and words[3] in KINDS


def _elements(elements):
    """The element of the vertices, and that of the faces or None."""
    named = {element.name: element for element in elements}
    corners, faces = named.get("vertex"), named.get("face")
    single = [each.name for each in corners.properties if not each.size] if corners else []
    if not {"x", "y", "z"} <= set(single) or len(single) < len(corners.properties):
        raise MeshError("the header has no element `vertex` of the numbers x, y and z.")
    if faces and faces.count and not any(_is_polygon(each) for each in faces.properties):
        raise MeshError("the element `face` has no list `vertex_indices`.")
    if "tristrips" in named and not (faces and faces.count):
        raise MeshError("its triangles lie in strips (`tristrips`), expected an element `face`.")
    return corners, faces


def _is_polygon(each):
    return each.size is not None and each.name in CORNERS


def _from_text(body, first_line, elements, corners, faces):
    rows = rows_of(plain(body), first_line)
    declared = sum(element.count for element in elements)
    if len(rows.lines) < declared:
        raise MeshError(
            f"the header declares {declared:,} lines, and {len(rows.lines):,} follow: is it cut off?"
        )
    rows.refuse(
        np.arange(len(rows.lines)) >= declared,
        lambda row: f"the header declares {declared:,} lines, and here is one more",
    )
    parts, at = {}, 0
    for element in elements:
        parts[element.name] = rows.part(at, at + element.count)
        at += element.count
    vertices = _text_vertices(parts["vertex"], [each.name for each in corners.properties])
    if not faces or not faces.count:
        return vertices, np.empty((0, 3), np.int64)
    return vertices, _text_faces(parts["face"], faces.properties, len(vertices))


def _text_vertices(rows, names):
    rows.refuse(
        rows.counts != len(names),
        lambda row: f"a vertex of {rows.counts[row]} numbers, expected {len(names)}",
    )
    vertices = rows.values[rows.starts[:, None] + [names.index(axis) for axis in "xyz"]]
    refuse_infinite(vertices, "line", rows.lines)
    return vertices


def _text_faces(rows, properties, count):
    before = next(k for k, each in enumerate(properties) if _is_polygon(each))
    if any(each.size for each in properties[:before]):
        raise MeshError("the element `face` has another list before `vertex_indices`.")
    others = len(properties) - 1  # each at least one number
    rows.refuse(rows.counts <= others, lambda row: f"a face of {rows.counts[row]} numbers, too few")
    sizes = rows.values[rows.starts + before]
    left = rows.counts - 1 - others
    several = any(each.size for each in properties[before + 1 :])
    fits = (sizes <= left) if several else (sizes == left)
    rows.refuse(
        ~(fits & (sizes == np.floor(sizes)) & (sizes >= 0)),
        lambda row: f"a face of {sizes[row]:g} corners, and {left[row]} numbers follow",
    )
    first = rows.starts + before + 1
    return polygons_of(rows, first, sizes.astype(np.int64), count, rows.values)


def _from_bytes(body, elements, corners, faces, order):
    at, table, polygons = 0, None, ()
    for element in elements:
        if any(each.size for each in element.properties):
            found, at = _polygons(body, at, element, order)
            polygons = found if element is faces else polygons
        else:
            found, at = _table(body, at, element, order)
            table = found if element is corners else table
    if body[at:].strip():
        raise MeshError(f"{len(body) - at:,} bytes follow what the header declares.")
    refuse_infinite(table)
    if not polygons:
        return table, np.empty((0, 3), np.int64)
    values, sizes = polygons
    starts = np.cumsum(sizes) - sizes
    rows = Rows(values, starts, sizes, np.arange(len(sizes)), "face")
    return table, polygons_of(rows, starts, sizes, len(table), values)


def _refuse_short(body, at, needed, element):
    if at + needed > len(body):
        declared = f"the header declares {element.count:,} of the element `{element.name}`"
        raise MeshError(f"{declared}, and {max(0, len(body) - at):,} bytes follow: is it cut off?")


def _table(body, at, element, order):
    """x, y and z of an element of single numbers, where it has them, and where it ends."""
    kind = np.dtype([(f"{k}", order + each.kind) for k, each in enumerate(element.properties)])
    _refuse_short(body, at, element.count * kind.itemsize, element)
    end, names = at + element.count * kind.itemsize, [each.name for each in element.properties]
    if not {"x", "y", "z"} <= set(names):
        return None, end
    refuse_many(element.count, "vertices")
    values = np.frombuffer(body, kind, element.count, at)
    columns = [values[f"{names.index(axis)}"] for axis in "xyz"]
    return as_doubles(np.stack(columns, axis=1)), end


def _polygons(body, at, element, order):
    """The corners of all polygons of an element with lists, one after another, the size of each, and where it ends."""
    least = sum(_width(each.size or each.kind) for each in element.properties)
    _refuse_short(body, at, element.count * least, element)
    if not element.count:
        return (), at
    refuse_many(element.count * sum(each.size is not None for each in element.properties), "lists")
    found = _alike(body, at, element, order) or _walked(body, at, element, order)
    starts, sizes, end = found
    _refuse_short(body, end, 0, element)
    refuse_many(int(sizes.sum()), "corners")
    kind = next((each.kind for each in element.properties if _is_polygon(each)), None)
    return (_gathered(body, starts, sizes, order + kind), sizes) if kind else (), end


def _width(kind):
    return int(kind[1])


def _alike(body, at, element, order):
    """Where the polygons begin, their sizes, and where they end, if there is no other list and all are of one size."""
    lists = [k for k, each in enumerate(element.properties) if each.size]
    if len(lists) > 1 or not _is_polygon(element.properties[lists[0]]):
        return None
    own = element.properties[lists[0]]
    before, after = (
        sum(_width(each.kind) for each in part)
        for part in (element.properties[: lists[0]], element.properties[lists[0] + 1 :])
    )
    first = _gathered(body, np.array([at + before]), np.array([1]), order + own.size)
    step = before + _width(own.size) + int(first[0]) * _width(own.kind) + after
    if first[0] < 0 or at + element.count * step > len(body):
        return None
    rows = at + before + step * np.arange(element.count)
    sizes = _gathered(body, rows, np.ones(element.count, np.int64), order + own.size)
    if not (sizes == first[0]).all():
        return None
    return rows + _width(own.size), sizes.astype(np.int64), at + element.count * step


def _walked(body, at, element, order):
    """As :func:`_alike`, row by row, for lists of any sizes."""
    starts, sizes, byteorder = [], [], "little" if order == "<" else "big"
    for number in range(element.count):
        for each in element.properties:
            length = 1
            if each.size:
                wide, signed = _width(each.size), each.size[0] == "i"
                length = int.from_bytes(body[at : at + wide], byteorder, signed=signed)
                at += wide
            if not 0 <= length * _width(each.kind) <= len(body) - at:
                left = f"and {max(0, len(body) - at):,} bytes follow: is it cut off?"
                raise MeshError(f"{element.name} {number}: a list of {length:,} numbers, {left}")
            if _is_polygon(each):
                starts.append(at)
                sizes.append(length)
            at += length * _width(each.kind)
    return np.array(starts, np.int64), np.array(sizes, np.int64), at


def _gathered(body, starts, sizes, kind):
    """The numbers of lists that begin at ``starts``, one after another."""
    owners, within = spread(sizes)
    width = np.dtype(kind).itemsize
    places = (starts[owners] + width * within)[:, None] + np.arange(width)
    return as_doubles(np.frombuffer(body, np.uint8)[places].view(kind)[:, 0])
