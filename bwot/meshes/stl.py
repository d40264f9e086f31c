"""STL: triangles with their corners written out, as text or as bytes; equal corners become one vertex."""

import numpy as np

from bwot.meshes.rows import MeshError, plain, refuse_infinite, rows_of, shown

FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
KEYWORDS = (b"solid", b"facet", b"outer", b"vertex", b"endloop", b"endfacet", b"endsolid")


def stl(content):
    """Vertices and triangles of an STL; what is as long as its header says is binary, whatever it begins with."""
    facets = int.from_bytes(content[80:84], "little")
    if len(content) == 84 + FACET.itemsize * facets:
        corners = np.frombuffer(content, FACET, facets, 84)["corners"].astype(np.float64)
        refuse_infinite(corners.reshape(-1, 9), "facet")
        corners = corners.reshape(-1, 3)
    elif content.lstrip()[:5].lower() == b"solid":
        corners = _corners(plain(content))
    else:
        raise MeshError(f"neither text nor the {facets:,} facets that its header declares.")
    if not len(corners):
        raise MeshError("there is no facet.")
    vertices, inverse = np.unique(corners, axis=0, return_inverse=True)
    return vertices, inverse.reshape(-1, 3)


def _corners(text):
    """The corners of a text, three a facet."""
    found, lines, keyword, closed = [], [], b"solid", 0
    for line, row in enumerate(text.split(b"\n"), start=1):
        first, *rest = row.split(None, 1) or [b""]
        if not first:
            continue
        keyword = first.lower()
        if keyword not in KEYWORDS:
            raise MeshError(f"line {line}: expected a line of an STL, found {shown(row)}.")
        if keyword == b"vertex":
            found.append(b"".join(rest) or b"nothing")
            lines.append(line)
        elif keyword == b"endfacet":
            if len(found) != closed + 3:
                raise MeshError(f"line {line}: a facet of {len(found) - closed} corners, not 3.")
            closed = len(found)
    if keyword != b"endsolid" or len(found) != closed:
        raise MeshError(f"line {line}: the text ends without `endsolid`: is it cut off?")
    if not found:
        return np.empty((0, 3))
    rows = rows_of(b"\n".join(found), lines)
    rows.refuse(rows.counts != 3, lambda row: f"a corner of {rows.counts[row]} numbers, not 3")
    corners = rows.values.reshape(-1, 3)
    refuse_infinite(corners, "line", rows.lines)
    return corners
