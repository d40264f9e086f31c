"""OFF and OBJ: a line a vertex, a line a face."""

import re

import numpy as np

from bwot.meshes.rows import MeshError, plain, polygons_of, rows_of, shown, vertices_of

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
    found, lines, seen = {b"v": [], b"f": []}, {b"v": [], b"f": []}, []
    text = _continued(plain(content))
    for line, row in enumerate(text.split(b"\n"), start=1):
        key, _, rest = row.strip().replace(b"\t", b" ").partition(b" ")
        if key in found:
            found[key].append(re.sub(rb"/\S*", b"", rest).strip() or b"nothing")
            lines[key].append(line)
            if key == b"f":
                seen.append(len(found[b"v"]))
    if not found[b"v"]:
        raise MeshError("no line has a vertex, as in `v 0 1 0`.")
    vertices = vertices_of(rows_of(b"\n".join(found[b"v"]), lines[b"v"]))
    if not found[b"f"]:
        return vertices, np.empty((0, 3), np.int64)
    rows = rows_of(b"\n".join(found[b"f"]), lines[b"f"])
    rows.refuse(rows.counts < 3, lambda row: f"a face of {rows.counts[row]} corners, expected 3")
    back = np.repeat(seen, rows.counts) + rows.values
    given = rows.values
    corners = np.where(given > 0, given - 1, np.where(given < 0, back, -1))
    rows = rows._replace(values=corners)
    return vertices, polygons_of(rows, rows.starts, rows.counts, len(vertices), given)


def _continued(text):
    """Each line that ends in a backslash together with the next, and empty lines after them, so that numbers of lines hold."""
    first, *others = text.split(b"\\\n")
    parts, owed = [first], 0
    for other in others:
        head, end, tail = other.partition(b"\n")
        owed += 1
        parts += [b" ", head]
        if end:
            parts += [end * (owed + 1), tail]
            owed = 0
    return b"".join(parts)
