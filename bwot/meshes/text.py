"""OFF and OBJ: a line a vertex, a line a face."""

import io
import re
from array import array

import numpy as np

from bwot.meshes.rows import MeshError, plain, polygons_of, rows_of, shown, vertices_of

NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1f]")

OFF_HEADER = re.compile(
    rb"\s*(?:ST)?C?N?OFF\s*(\d{1,18})[^\S\n]+(\d{1,18})(?:[^\S\n]+\d{1,18})?[^\S\n]*(?:\n|$)",
    re.IGNORECASE,
)


def off(content):
    """The keyword ``OFF`` (COFF, NOFF, STOFF), the counts of vertices, faces and edges, a line a vertex, a line a face."""
    text = plain(content)
    header = OFF_HEADER.match(text)
    if not header:
        line = 1 + text.count(b"\n", 0, len(text) - len(text.lstrip()))
        raise MeshError(f"line {line}: expected OFF and counts, found {shown(text)}.")
    count, polygons = (int(number) for number in header.groups())
    rows = rows_of(text[header.end() :], 1 + text.count(b"\n", 0, header.end()))
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
    return vertices_of(corners), polygons_of(faces, faces.starts + 1, sizes, count, faces.values)


def obj(content):
    """Lines ``v x y z`` and ``f i j k``, a corner may be ``i/texture/normal``; indices from 1 on, or from -1 back."""
    text = plain(content)
    if rubbish := NO_TEXT.search(text):
        line = 1 + text.count(b"\n", 0, rubbish.start())
        raise MeshError(f"line {line}: the byte {rubbish[0][0]}, which no text has.")
    found, seen = {b"v": bytearray(), b"f": bytearray()}, array("q")
    lines = {key: array("q") for key in found}
    for line, row in _whole_lines(text):
        key, _, rest = row.strip().replace(b"\t", b" ").partition(b" ")
        if key in found:
            found[key] += (re.sub(rb"/\S*", b"", rest).strip() or b"nothing") + b"\n"
            lines[key].append(line)
            if key == b"f":
                seen.append(len(lines[b"v"]))
    if not found[b"v"]:
        raise MeshError("no line has a vertex, as in `v 0 1 0`.")
    vertices = vertices_of(rows_of(bytes(found[b"v"][:-1]), lines[b"v"]))
    if not found[b"f"]:
        return vertices, np.empty((0, 3), np.int64)
    rows = rows_of(bytes(found[b"f"][:-1]), lines[b"f"])
    rows.refuse(rows.counts < 3, lambda row: f"a face of {rows.counts[row]} corners, expected 3")
    back = np.repeat(seen, rows.counts) + rows.values
    given = rows.values
    corners = np.where(given > 0, given - 1, np.where(given < 0, back, -1))
    rows = rows._replace(values=corners)
    return vertices, polygons_of(rows, rows.starts, rows.counts, len(vertices), given)


def _whole_lines(text):
    """Each line with its number; one that ends in a backslash goes on in the next, and has the number of its first part."""
    parts, first = [], 1
    for line, row in enumerate(io.BytesIO(text), start=1):
        row = row.removesuffix(b"\n")
        if row.endswith(b"\\"):
            first = first if parts else line
            parts.append(row[:-1])
        elif parts:
            yield first, b" ".join((*parts, row))
            parts.clear()
        else:
            yield line, row
    if parts:
        yield first, b" ".join(parts)
