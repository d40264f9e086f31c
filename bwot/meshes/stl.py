"""STL: triangles with their corners written out, as text or as bytes; equal corners become one vertex."""

import io
from array import array

import numpy as np

from bwot.meshes.rows import MeshError, as_doubles, plain, refuse_infinite, rows_of, shown

FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
KEYWORDS = (b"solid", b"facet", b"outer", b"vertex", b"endloop", b"endfacet", b"endsolid")


def stl(content):
    """Vertices and triangles of an STL; what is as long as its header says is binary, whatever it begins with; blanks may follow."""
    facets = int.from_bytes(content[80:84], "little")
    end = 84 + FACET.itemsize * facets
    if len(content) >= end and not content[end:].strip():
        corners = as_doubles(np.frombuffer(content, FACET, facets, 84)["corners"])
        refuse_infinite(corners.reshape(-1, 9), "facet")
        corners = corners.reshape(-1, 3)
    elif content.lstrip()[:5].lower() == b"solid" and b"\0" not in content.rstrip(b"\0\x1a"):
        corners = _corners(plain(content))
    else:
        raise MeshError(
            f"neither text nor the {facets:,} facets that its header declares: it has {len(content):,} bytes, they take {end:,}."
        )
    if not len(corners):
        raise MeshError("there is no facet.")
    vertices, inverse = np.unique(corners, axis=0, return_inverse=True)
    return vertices, inverse.reshape(-1, 3)


def _corners(text):
    """The corners of a text, three a facet."""
    found, lines, keyword, closed, line = bytearray(), array("q"), b"solid", 0, 1
    for line, row in enumerate(io.BytesIO(text), start=1):
        first, *rest = row.split(None, 1) or [b""]
        if not first:
            continue
        keyword = first.lower()
        if keyword not in KEYWORDS:
            raise MeshError(f"line {line}: expected a line of an STL, found {shown(row)}.")
        if keyword == b"vertex":
            found += (b"".join(rest).strip() or b"nothing") + b"\n"
            lines.append(line)
        elif keyword == b"endfacet":
            if len(lines) != closed + 3:
                raise MeshError(f"line {line}: a facet of {len(lines) - closed} corners, not 3.")
            closed = len(lines)
    if keyword != b"endsolid" or len(lines) != closed:
        raise MeshError(f"line {line}: the text ends without `endsolid`: is it cut off?")
    if not found:
        return np.empty((0, 3))
    rows = rows_of(bytes(found[:-1]), lines)
    rows.refuse(rows.counts != 3, lambda row: f"a corner of {rows.counts[row]} numbers, not 3")
    corners = rows.values.reshape(-1, 3)
    refuse_infinite(corners, "line", rows.lines)
    return corners
