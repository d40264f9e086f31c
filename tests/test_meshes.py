"""Mesh files: the quirks of the real sets, every kind of damage, and a reader that was fuzzed.

The reference is the file read in loops, or trimesh for what trimesh writes.
"""

import os
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bwot.meshes import Mesh, MeshError, normalised, read_mesh, reading

CORNERS = [(0, 0, 0), (4, 0, 0), (4, 2, 0), (0, 2, 0), (2, 1, 3)]
SIDES = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)]
POLYGONS = [*SIDES, (3, 2, 1, 0)]
TRIANGLES = [*SIDES, (3, 2, 1), (3, 1, 0)]


def off(corners=CORNERS, polygons=POLYGONS, header="OFF\n{} {} 0"):
    lines = [header.format(len(corners), len(polygons))]
    lines += [" ".join(map(str, corner)) for corner in corners]
    lines += [" ".join(map(str, (len(polygon), *polygon))) for polygon in polygons]
    return "\n".join(lines) + "\n"


def obj(corners=CORNERS, polygons=POLYGONS):
    lines = ["v " + " ".join(map(str, corner)) for corner in corners]
    lines += ["f " + " ".join(str(index + 1) for index in polygon) for polygon in polygons]
    return "\n".join(lines) + "\n"


def ply(corners=CORNERS, polygons=TRIANGLES):
    header = f"""ply
format ascii 1.0
comment TextureFile secret.png
element vertex {len(corners)}
property float x
property float y
property float z
element face {len(polygons)}
property list uchar int vertex_indices
end_header
"""
    return header + off(corners, polygons).split("\n", 2)[2]


def binary_ply(corners=CORNERS, polygons=TRIANGLES, order="<", kind="uchar"):
    header = ply(corners, polygons).partition("end_header")[0] + "end_header\n"
    name = "binary_little_endian" if order == "<" else "binary_big_endian"
    content = header.replace("ascii", name).replace("list uchar", f"list {kind}").encode()
    content += np.array(corners, f"{order}f4").tobytes()
    return content + b"".join(struct.pack(f"{order}B{len(polygon)}i", len(polygon), *polygon) for polygon in polygons)  # fmt: skip


def stl(corners=CORNERS, polygons=TRIANGLES):
    facets = [[corners[index] for index in polygon] for polygon in polygons]
    lines = ["solid pyramid"]
    for facet in facets:
        lines += ["facet normal 0 0 0", "outer loop"]
        lines += ["vertex " + " ".join(map(str, corner)) for corner in facet]
        lines += ["endloop", "endfacet"]
    return "\n".join([*lines, "endsolid pyramid"]) + "\n"


def binary_stl(corners=CORNERS, polygons=TRIANGLES):
    content = b"solid by name only".ljust(80) + struct.pack("<I", len(polygons))
    for polygon in polygons:
        facet = [coordinate for index in polygon for coordinate in corners[index]]
        content += struct.pack("<12fH", 0, 0, 0, *facet, 0)
    return content


@pytest.fixture
def put(tmp_path):
    """Write a file; its path."""

    def write(content, suffix=".off"):
        path = tmp_path / f"shape{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def surface(mesh, decimals=6):
    """The triangles as points, each from its smallest corner on, whatever the order of vertices and faces."""
    found = []
    for face in mesh.faces:
        corners = [tuple(np.round(mesh.vertices[index], decimals) + 0.0) for index in face]
        first = corners.index(min(corners))
        found.append(tuple(corners[first:] + corners[:first]))
    return sorted(found)


def expected(corners=CORNERS, triangles=TRIANGLES):
    """In loops: centre of the bounding box to the origin, farthest corner to 1."""
    middle = [(min(axis) + max(axis)) / 2 for axis in zip(*corners, strict=True)]
    moved = [[c - m for c, m in zip(corner, middle, strict=True)] for corner in corners]
    radius = max(sum(c * c for c in corner) ** 0.5 for corner in moved)
    return Mesh(np.array(moved) / radius, np.array(triangles, np.int64).reshape(-1, 3))


def test_vertices_and_faces_are_those_of_the_file_in_its_order(put):
    mesh = read_mesh(put(off()))
    assert np.allclose(mesh.vertices, expected().vertices, atol=1e-15)
    assert mesh.faces.tolist() == [list(triangle) for triangle in TRIANGLES]
    assert mesh.vertices.dtype == np.float64 and mesh.faces.dtype == np.int64


FORMATS = {
    "OFF": (off(), ".off"),
    "OFF, capital suffix": (off(), ".OFF"),
    "OBJ": (obj(), ".obj"),
    "PLY": (ply(), ".ply"),
    "binary PLY": (binary_ply(), ".ply"),
    "PLY of polygons": (ply(polygons=POLYGONS), ".ply"),
    "binary PLY of polygons": (binary_ply(polygons=POLYGONS), ".ply"),
    "binary PLY, most significant byte first": (binary_ply(order=">"), ".ply"),
    "STL": (stl(), ".stl"),
    "binary STL": (binary_stl(), ".stl"),
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_surface(put, form):
    mesh = read_mesh(put(*FORMATS[form]))
    assert surface(mesh) == surface(expected())
    assert len(mesh.vertices) == len(CORNERS)


@pytest.mark.parametrize("kind", ["off", "obj", "ply", "stl"])
def test_what_trimesh_writes_is_read_as_it_was(put, kind):
    trimesh = pytest.importorskip("trimesh")
    shape = trimesh.creation.annulus(r_min=0.4, r_max=1.0, height=0.5)
    content = shape.export(file_type=kind)
    mesh = read_mesh(put(content, f".{kind}"))
    reference = normalised(np.array(shape.vertices), np.array(shape.faces, np.int64))
    assert surface(mesh, 4) == surface(reference, 4)


def recoloured(text, colour):
    lines = text.splitlines()
    return "\n".join([*lines[: 2 + len(CORNERS)], *(f"{line} {colour}" for line in lines[2 + len(CORNERS) :])])  # fmt: skip


QUIRKS = {
    "counts glued to the keyword": off(header="OFF{} {} 0"),
    "counts behind the keyword": off(header="OFF {} {} 0"),
    "counts without edges": off(header="OFF\n{} {}"),
    "comments": "# made by hand\n" + off().replace("4 0 0", "# a corner\n\n4 0 0 # here") + "# end",
    "a comment beside the keyword": off(header="OFF # pyramid\n# counts\n{} {} 0"),
    "CRLF": off().replace("\n", "\r\n"),
    "CR": off().replace("\n", "\r"),
    "a byte order mark": b"\xef\xbb\xbf" + off().encode(),
    "blanks and empty lines": "\n  " + off().replace("\n", " \t \n\n") + "  \n\n",
    "no line end at the end": off().rstrip(),
    "the end-of-file sign of DOS": off() + "\x1a",
    "faces with three numbers of colour": recoloured(off(), "255 0 127"),
    "faces with a colour between 0 and 1": recoloured(off(), "0.5 0.25 1.0 1"),
    "faces with the index of a colour": recoloured(off(), "7"),
    "vertices with colours": off([(*c, 255, 0, 0, 255) for c in CORNERS], header="COFF\n{} {} 0"),
    "vertices with normals": off([(*c, 0, 0, 1) for c in CORNERS], header="NOFF\n{} {} 0"),
    "exponents and signs": off().replace("4 0 0", "+4.0e0 -0. .0E-3"),
    "a polygon of two corners and of one": off(polygons=[*POLYGONS, (0, 1), (2,)]),
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_the_quirks_of_real_off_files_change_nothing(put, quirk):
    mesh = read_mesh(put(QUIRKS[quirk]))
    assert np.allclose(mesh.vertices, expected().vertices, atol=1e-15)
    assert mesh.faces.tolist() == [list(triangle) for triangle in TRIANGLES]


@pytest.mark.parametrize(
    "rows",
    [
        "f 1/1/1 2/2/2 5/3/3\nf 2//1 3//1 5//1\nf 3/1 4/1 5/1\nf 4 1 5\nf 4 3 2 1",
        "f -5 -4 -1\nf 2 3 -1\nf -3 4 5\nf 4 1 5\nf 4 3 \\\n2 1\nv 9 9 9",
        "o part\ng side\nusemtl red\ns off\nf 1 2 5\nf 2 3 5\nl 1 2\nf 3 4 5\ng\nf\t4 1 5\nf 4 3 2 1",
    ],
    ids=["textures and normals", "indices from the end, a line that goes on", "groups"],
)
def test_the_quirks_of_obj_files_change_nothing(put, rows):
    head = "mtllib ../../secret.mtl\n" + obj(polygons=[]).replace("4 0 0", "4 0 0 0.5 0.5 1")
    assert surface(read_mesh(put(head + "vt 0 0\nvn 0 0 1\n" + rows, ".obj"))) == surface(
        expected()
    )


RICH = """ply
format {} 1.0
obj_info of a scanner
element vertex 5
property uchar red
property double z
property float32 x
property float y
element material 2
property int shine
property list uint8 float colours
element face 5
property uchar flags
property list uchar uint vertex_index
property list uchar float texcoord
end_header
"""


def rich(binary):
    """A PLY with properties in another order, an element of another kind, and lists of further numbers."""
    rows = [[("B", 7), ("d", z), ("f", x), ("f", y)] for x, y, z in CORNERS]
    rows += [[("i", 9), ("B", length), *[("f", 0.5)] * length] for length in (0, 3)]
    for polygon in POLYGONS:
        corners = [("B", len(polygon)), *(("I", index) for index in polygon)]
        rows.append([("B", 1), *corners, ("B", 2), ("f", 0.5), ("f", 1)])
    header = RICH.format("binary_little_endian" if binary else "ascii").encode()
    if binary:
        return header, b"".join(struct.pack(f"<{kind}", value) for row in rows for kind, value in row)  # fmt: skip
    return header, "\n".join(" ".join(f"{value:g}" for _, value in row) for row in rows).encode()


@pytest.mark.parametrize("binary", [False, True], ids=["text", "bytes"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_other_properties_and_elements_of_a_ply_are_passed_over(put, binary, end):
    header, body = rich(binary)
    body = body if binary else body.replace(b"\n", end)
    mesh = read_mesh(put(header.replace(b"\n", end) + body, ".ply"))
    assert np.allclose(mesh.vertices, expected().vertices, atol=1e-6)
    assert mesh.faces.tolist() == [list(triangle) for triangle in TRIANGLES]


@pytest.mark.parametrize("solids", [1, 2])
def test_the_quirks_of_stl_texts_change_nothing(put, solids):
    text = stl().replace("\n", " \r\n").replace("vertex ", "\tvertex\t").upper()
    assert surface(read_mesh(put(text * solids, ".stl"))) == sorted(surface(expected()) * solids)


def test_no_file_that_a_mesh_names_is_opened(put, tmp_path, monkeypatch):
    (tmp_path / "secret.png").write_bytes(b"not to be read")
    read_mesh(put(ply(), ".ply"))
    paths = [put("mtllib secret.png\nusemtl a\n" + obj(), ".obj"), put(ply(), ".ply")]
    opened = []
    real = type(tmp_path).open
    monkeypatch.setattr(
        type(tmp_path), "open", lambda self, *rest: opened.append(self) or real(self, *rest)
    )
    monkeypatch.setattr("builtins.open", lambda path, *rest: pytest.fail(f"{path} was opened"))
    for path in paths:
        read_mesh(path)
    assert opened == paths


@pytest.mark.parametrize(
    ("content", "suffix"),
    [(off(polygons=[]), ".off"), (obj(polygons=[]), ".obj"), (ply(polygons=[]), ".ply")],
)
def test_points_alone_are_a_mesh_without_faces(put, content, suffix):
    mesh = read_mesh(put(content, suffix))
    assert np.allclose(mesh.vertices, expected().vertices, atol=1e-6)
    assert mesh.faces.shape == (0, 3)


def test_a_polygon_is_a_fan_around_its_first_corner(put):
    ring = [(np.cos(a), np.sin(a), 0.0) for a in np.arange(7)]
    mesh = read_mesh(put(off(ring, [(2, 3, 4, 5, 6, 0, 1), (0, 1, 2)])))
    fan = [[2, 3, 4], [2, 4, 5], [2, 5, 6], [2, 6, 0], [2, 0, 1], [0, 1, 2]]
    assert mesh.faces.tolist() == fan


@pytest.mark.parametrize("shift", [0, 1e5, -3e-4])
@pytest.mark.parametrize("scale", [1, 1e-200, 1e200, 3e-5])
def test_place_and_size_do_not_matter(shift, scale):
    vertices = (np.array(CORNERS, np.float64) + shift) * scale
    mesh = normalised(vertices, np.array(TRIANGLES))
    assert np.allclose(mesh.vertices, expected().vertices, atol=1e-9)
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1, abs=1e-15)


def test_a_stray_vertex_that_no_triangle_uses_moves_nothing(put):
    corners = [(900, 900, 900), *CORNERS[:2], (-7, 0, 0), *CORNERS[2:]]
    new = [1, 2, 4, 5, 6]
    polygons = [tuple(new[index] for index in polygon) for polygon in POLYGONS]
    mesh = read_mesh(put(off(corners, polygons)))
    assert np.allclose(mesh.vertices, expected().vertices, atol=1e-15)
    assert surface(mesh) == surface(expected())


def test_coordinates_at_the_ends_of_the_range_do_not_overflow():
    vertices = np.array([[-1.7e308, 0, 0], [1.7e308, 0, 0], [0, 1.7e308, 1e300]])
    mesh = normalised(vertices, np.empty((0, 3), np.int64))
    assert np.isfinite(mesh.vertices).all() and np.linalg.norm(mesh.vertices, axis=1).max() <= 1 + 1e-15  # fmt: skip


def changed(line, text, content=None):
    """The file with its line (from 1) replaced."""
    lines = (content or off()).split("\n")
    lines[line - 1] = text
    return "\n".join(lines)


BROKEN = {
    "no bytes": (b"", ".off", "the file is empty"),
    "blanks alone": ("\n \n", ".off", "the file is empty"),
    "another format": ("solid x\nendsolid", ".off", "line 1: expected OFF and counts, found 'solid x"),
    "a web page": ("<!DOCTYPE html>\n<html>", ".off", "found '<!DOCTYPE html>"),
    "binary rubbish": (bytes(range(256)), ".off", "line 1: expected OFF"),
    "binary OFF": (b"OFF BINARY\n\0\0\0\5\0\0\0\5", ".off", "line 1: expected OFF and counts, found 'OFF BINARY"),
    "four dimensions": (off(header="4OFF\n{} {} 0"), ".off", "line 1: expected OFF"),
    "keyword alone": ("OFF", ".off", "expected OFF and counts"),
    "no counts": ("OFF\n\n\n", ".off", "expected OFF and counts"),
    "counts that are words": (changed(2, "five six"), ".off", "expected OFF and counts"),
    "negative counts": (changed(2, "-5 5 0"), ".off", "expected OFF and counts"),
    "fractions as counts": (changed(2, "5.5 5 0"), ".off", "expected OFF and counts"),
    "a count of thousands of digits": (changed(2, "9" * 9000 + " 5 0"), ".off", "expected OFF and counts"),
    "a million million vertices": (changed(2, f"{10**12} 5 0"), ".off", "declares 1,000,000,000,000 vertices and 5 faces, and only 10 lines"),
    "a million million faces": (changed(2, f"5 {10**12} 0"), ".off", "1,000,000,000,000 faces, and only 10 lines"),
    "as many as 18 digits say": (changed(2, f"{10**18 - 1} {10**18 - 1} 0"), ".off", "and only 10 lines"),
    "cut off": (off()[: len(off()) // 2], ".off", "is it cut off"),
    "cut off in a face": (off().rstrip()[:-2], ".off", "line 12: a face of 4 corners, and 3 numbers follow"),
    "one vertex too few": (changed(2, "4 5 0"), ".off", "line 12: the header declares 4 vertices and 5 faces, and here is more"),
    "one vertex too many": (changed(2, "6 4 0"), ".off", "line 8: a vertex of 4 numbers, the first has 3"),
    "one face too few": (changed(2, "5 4 0"), ".off", "line 12: the header declares"),
    "a vertex of two": (changed(5, "4 2"), ".off", "line 5: a vertex of 2 numbers, the first has 3"),
    "a word as coordinate": (changed(5, "4 two 0"), ".off", "line 5: expected a number, found 'two'"),
    "a comma as point": (changed(5, "4,0 2 0"), ".off", "line 5: expected a number, found '4,0'"),
    "NaN": (changed(5, "4 nan 0"), ".off", "line 5: a coordinate is not finite"),
    "infinity": (changed(5, "4 -inf 0"), ".off", "line 5: a coordinate is not finite"),
    "too large for a number": (changed(5, "4 1e999 0"), ".off", "line 5: a coordinate is not finite"),
    "NaN as another system writes it": (changed(5, "4 0 1.#QNAN"), ".off", "line 5: expected a number, found '1.#QNAN'"),
    "a NUL in a number": (changed(5, "4 2\0 0"), ".off", "line 5: expected a number"),
    "index out of range": (changed(9, "3 1 2 5"), ".off", "line 9: the index 5 is none of the 5 vertices"),
    "negative index": (changed(9, "3 1 2 -1"), ".off", "line 9: the index -1 is none"),
    "fraction as index": (changed(9, "3 1 2 2.5"), ".off", "line 9: the index 2.5 is none"),
    "NaN as index": (changed(9, "3 1 2 nan"), ".off", "line 9: the index nan is none"),
    "a huge index": (changed(9, "3 1 2 1e300"), ".off", "line 9: the index 1e+300 is none"),
    "no corner": (changed(9, "0"), ".off", "line 9: a face of 0 corners"),
    "a million million corners": (changed(9, f"{10**12} 1 2"), ".off", "line 9: a face of 1e+12 corners, and 2 numbers follow"),
    "half a corner": (changed(9, "2.5 1 2 3"), ".off", "line 9: a face of 2.5 corners"),
    "an index out of range behind comments": ("# one\n" + changed(9, "\n\n3 1 2 5"), ".off", "line 12: the index 5"),
    "no vertex": ("OFF\n0 0 0\n", ".off", "there is no vertex"),
    "one vertex": ("OFF\n1 0 0\n1 2 3\n", ".off", "no extent"),
    "all at one point": (off([(7, 7, 7)] * 5), ".off", "no extent"),
    "all as good as at one point": (off([(1e9 + i * 1e-6, 0, 0) for i in range(5)]), ".off", "no extent"),
    "triangles at one point": (off([*[(7, 7, 7)] * 3, (0, 0, 0)], [(0, 1, 2)]), ".off", "no extent"),
    "OBJ without vertices": ("o empty\n", ".obj", "no line has a vertex"),
    "OBJ of rubbish": (bytes(range(256)), ".obj", "line 1: the byte 0, which no text has"),
    "OBJ, rubbish behind a whole shape": (obj().encode() + b"g x\n\x9c\x07\n", ".obj", "line 12: the byte 7, which no text has"),
    "OBJ, index 0": (obj() + "f 0 1 2", ".obj", "line 11: the index 0 is none of the 5"),
    "OBJ, index out of range": (obj() + "f 1 2 6", ".obj", "line 11: the index 6 is none"),
    "OBJ, index too far back": (obj() + "f 1 2 -6", ".obj", "line 11: the index -6 is none"),
    "OBJ, a word": (changed(2, "v 4 zero 0", obj()), ".obj", "line 2: expected a number, found 'zero'"),
    "OBJ, NaN": (changed(2, "v 4 nan 0", obj()), ".obj", "line 2: a coordinate is not finite"),
    "OBJ, a vertex of two": (changed(2, "v 4 0", obj()), ".obj", "line 2: a vertex of 2 numbers"),
    "OBJ, a vertex of nothing": (changed(2, "v", obj()), ".obj", "line 2: expected a number"),
    "OBJ, cut off in a face": (obj()[:-5], ".obj", "line 10: a face of 2 corners, expected 3"),
    "OBJ, behind lines that go on": (obj() + "f 1 \\\n2 \\\n3\nv 1 two 3\n", ".obj", "line 14: expected a number, found 'two'"),
    "OBJ, a face of slashes": (obj() + "f / / /", ".obj", "line 11: expected a number"),
    "PLY of rubbish": (bytes(range(256)), ".ply", "expected a PLY header"),
    "PLY, header alone": ("ply\nformat ascii 1.0\nelement vertex 5\n", ".ply", "expected a PLY header"),
    "PLY, no format": (ply().replace("format ascii 1.0\n", ""), ".ply", "no line `format`"),
    "PLY, a strange format": (ply().replace("ascii", "base64"), ".ply", "line 2: no line of a PLY header: 'format base64 1.0'"),
    "PLY, a strange kind": (ply().replace("float y", "quaternion y"), ".ply", "line 6: no line of a PLY header"),
    "PLY, a list as long as a fraction": (ply().replace("list uchar", "list float"), ".ply", "line 9: no line of a PLY header"),
    "PLY, a property of nothing": (ply().replace("property float y", "property"), ".ply", "line 6: no line of a PLY header: 'property'"),
    "PLY without z": (ply().replace("float z", "float w"), ".ply", "no element `vertex` of the numbers x, y and z"),
    "PLY, faces without corners": (ply().replace("vertex_indices", "corners"), ".ply", "no list `vertex_indices`"),
    "PLY, cut off": (ply()[:-20], ".ply", "declares 11 lines, and 9 follow: is it cut off?"),
    "PLY, cut off in a face": (ply()[:-3], ".ply", "line 21: a face of 3 corners, and 2 numbers follow"),
    "PLY, a million million corners": (ply().replace("3 2 3 4", f"{10**12} 2 3 4"), ".ply", "line 18: a face of 1e+12 corners, and 3 numbers follow"),
    "PLY, too many lines": (ply() + "3 0 1 2\n", ".ply", "line 22: the header declares 11 lines, and here is one more"),
    "PLY, one vertex too many": (ply().replace("vertex 5", "vertex 6").replace("face 6", "face 5"), ".ply", "line 16: a vertex of 4 numbers, expected 3"),
    "PLY, a million million vertices": (ply().replace("vertex 5", f"vertex {10**12}"), ".ply", "declares 1,000,000,000,006 lines, and 11 follow"),
    "PLY, index out of range": (ply(polygons=[(0, 1, 9)]), ".ply", "line 16: the index 9 is none of the 5"),
    "PLY, NaN": (ply().replace("4 2 0", "4 nan 0"), ".ply", "line 13: a coordinate is not finite"),
    "PLY, a word": (ply().replace("4 2 0", "4 two 0"), ".ply", "line 13: expected a number, found 'two'"),
    "PLY of strips": (ply(polygons=[]).replace("element face", "element tristrips"), ".ply", "its triangles lie in strips"),
    "binary PLY, cut off": (binary_ply()[:-5], ".ply", "face 5: a list of 3 numbers, and 7 bytes follow: is it cut off?"),
    "binary PLY, cut off before a length": (binary_ply()[:-13], ".ply", "face 5: a list of 0 numbers, and 0 bytes follow"),
    "binary PLY, more than it says": (binary_ply() + b"more", ".ply", "4 bytes follow what the header declares"),
    "binary PLY, a negative length": (binary_ply(kind="char")[:-13] + b"\xff" * 13, ".ply", "face 5: a list of -1 numbers"),
    "binary PLY, NaN": (binary_ply([(0, np.nan, 0), *CORNERS[1:]]), ".ply", "vertex 0: a coordinate is not finite"),
    "binary PLY, a million million faces": (binary_ply().replace(b"face 6", b"face %d" % 10**12), ".ply", "declares 1,000,000,000,000 of the element `face`, and 78 bytes follow"),
    "binary PLY, a million million vertices": (binary_ply().replace(b"vertex 5", b"vertex %d" % 10**12), ".ply", "declares 1,000,000,000,000 of the element `vertex`, and"),
    "binary PLY, index out of range": (binary_ply(polygons=[(0, 1, 2), (0, 1, -2)]), ".ply", "face 1: the index -2 is none of the 5"),
    "STL of rubbish": (bytes(range(256)), ".stl", "neither text nor the"),
    "STL, cut off": (stl()[:-60], ".stl", "is it cut off?"),
    "STL, cut off behind a facet": (stl().partition("endfacet")[0] + "endfacet\n", ".stl", "without `endsolid`: is it cut off?"),
    "STL, cut off in a word": (stl()[:-13], ".stl", "line 44: expected a line of an STL, found 'ends'"),
    "STL, a facet of two": (stl().replace("vertex 4 0 0\n", "", 1), ".stl", "line 7: a facet of 2 corners, not 3"),
    "STL, a facet of four": (stl().replace("vertex 4 0 0\n", "vertex 4 0 0\n" * 2, 1), ".stl", "line 9: a facet of 4 corners"),
    "STL, a corner of two numbers": (stl().replace("4 2 0", "4 2", 1), ".stl", "line 12: a corner of 2 numbers, not 3"),
    "STL, a corner of nothing": (stl().replace("vertex 4 2 0", "vertex", 1), ".stl", "line 12: expected a number"),
    "STL without facets": ("solid x\nendsolid x\n", ".stl", "there is no facet"),
    "STL, a word": (stl().replace("4 2 0", "4 two 0"), ".stl", "line 12: expected a number, found 'two'"),
    "STL, NaN": (stl().replace("4 2 0", "4 nan 0"), ".stl", "line 12: a coordinate is not finite"),
    "binary STL, cut off": (binary_stl().replace(b"solid", b"other")[:-1], ".stl", "neither text nor the 6 facets"),
    "binary STL that begins like a text, cut off": (binary_stl()[:-1], ".stl", "the 6 facets that its header declares: it has 383 bytes, they take 384"),
    "binary STL, four thousand million facets": (bytes(80) + b"\xff" * 4, ".stl", "4,294,967,295 facets"),
    "binary STL, infinity": (binary_stl([*CORNERS[:3], (np.inf, 0, 0), CORNERS[4]]), ".stl", "facet 2: a coordinate is not finite"),
    "another suffix": (off(), ".dae", "the suffix is '.dae', expected .off, .obj, .ply, .stl"),
    "no suffix": (off(), "", "the suffix is ''"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_name_line_and_reason(put, case):
    content, suffix, found = BROKEN[case]
    path = put(content, suffix)
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(MeshError) as error:
        read_mesh(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(error.value).startswith(f"{path}: ") and found in str(error.value), str(error.value)
    assert len(str(error.value)) < len(str(path)) + 300
    assert peak < 1e6 and time.process_time() - started < 2


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.off"):
        read_mesh(tmp_path / "nowhere.off")
    (tmp_path / "folder.off").mkdir()
    with pytest.raises(MeshError, match="folder.off: this is no plain file"):
        read_mesh(tmp_path / "folder.off")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.off")
    with pytest.raises(MeshError, match="pipe.off: this is no plain file"):
        read_mesh(tmp_path / "pipe.off")


def test_a_file_that_is_too_large_is_refused(put, monkeypatch):
    monkeypatch.setattr(reading, "MOST_BYTES", 50)
    with pytest.raises(MeshError, match=f"holds {len(off())} bytes, at most 50"):
        read_mesh(put(off()))


@pytest.mark.parametrize(
    ("content", "suffix", "what"),
    [
        ("#\n" * 90, ".off", "90 lines"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n90" + " 1" * 90, ".off", "100 numbers"),
        ("v\n" * 90, ".obj", "90 lines"),
        ("v 0 0 0\nv 1 0 0\nf" + " 1 2" * 45, ".obj", "90 numbers"),
        ("solid\n" + "vertex\n" * 90, ".stl", "91 lines"),
        (binary_ply([(0, 0, 0)] * 90), ".ply", "90 vertices"),
        (binary_ply(polygons=[()] * 90), ".ply", "90 lists"),
        (binary_ply(polygons=[(0,) * 90]), ".ply", "90 corners"),
    ],
)
def test_a_file_of_too_many_small_things_is_refused(put, monkeypatch, content, suffix, what):
    monkeypatch.setattr("bwot.meshes.rows.MOST", 80)
    with pytest.raises(MeshError, match=f"the file has {what}, at most 80 are read"):
        read_mesh(put(content, suffix))


@pytest.mark.parametrize(
    ("row", "suffix"), [("#\n", ".off"), ("v\n", ".obj"), ("\\\n", ".obj"), ("vertex\n", ".stl")]
)
def test_a_text_of_nothing_takes_little_memory(put, row, suffix):
    path = put(row * 100_000, suffix)
    tracemalloc.start()
    with pytest.raises(MeshError):
        read_mesh(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * 100_000, "bytes a line, of which there is a largest number"


@pytest.mark.filterwarnings("error")
def test_a_signalling_nan_is_told_by_the_error_alone(put):
    nan = b"\x01\0\x80\x7f"
    content = binary_stl()
    with pytest.raises(MeshError, match="facet 0: a coordinate is not finite"):
        read_mesh(put(content[:96] + nan + content[100:], ".stl"))
    head, end, body = binary_ply().partition(b"end_header\n")
    with pytest.raises(MeshError, match="vertex 0: a coordinate is not finite"):
        read_mesh(put(head + end + nan + body[4:], ".ply"))


def test_blanks_may_follow_a_binary_stl(put):
    np.testing.assert_array_equal(
        read_mesh(put(binary_stl() + b"\r\n ", ".stl")).faces,
        read_mesh(put(binary_stl(), ".stl")).faces,
    )


def test_reading_takes_a_few_times_the_size_of_the_file(put):
    rng = np.random.default_rng(0)
    corners = [tuple(row) for row in rng.normal(size=(20_000, 3)).round(6).tolist()]
    faces = [tuple(row) for row in rng.integers(0, 20_000, (40_000, 3)).tolist()]
    path = put(off(corners, faces))
    tracemalloc.start()
    mesh = read_mesh(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(mesh.faces) == 40_000 and peak < 16 * path.stat().st_size


SEEDS = [
    (content if isinstance(content, bytes) else content.encode(), suffix.lower())
    for content, suffix in [*FORMATS.values(), *((text, ".off") for text in QUIRKS.values())]
]
WORDS = [
    b"",
    b"\n",
    b" ",
    b"-1",
    b"nan",
    b"1e999",
    b"0",
    b"999999999999",
    b"#",
    b"\0",
    b"\xff",
    b"/",
    b"OFF",
    b"3",
]


@st.composite
def damaged(draw):
    """A valid file of some format in which pieces were cut out, doubled, or written over."""
    content, suffix = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 12)))
        piece = draw(
            st.sampled_from(WORDS) | st.binary(max_size=6) | st.just(content[start:stop] * 2)
        )
        content = content[:start] + piece + content[stop:]
    return content, suffix


def read_or_refuse(path):
    """What any file must give: a mesh that keeps its promises, or the one error that names it."""
    try:
        mesh = read_mesh(path)
    except MeshError as error:
        assert str(error).startswith(f"{path}: ")
        return
    assert mesh.vertices.dtype == np.float64 and mesh.vertices.shape[1:] == (3,)
    assert mesh.faces.dtype == np.int64 and mesh.faces.shape[1:] == (3,)
    assert np.isfinite(mesh.vertices).all() and ((mesh.faces >= 0) & (mesh.faces < len(mesh.vertices))).all()  # fmt: skip
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1, abs=1e-9)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(file=damaged())
def test_a_damaged_file_gives_a_whole_mesh_or_the_one_error(tmp_path_factory, file):
    content, suffix = file
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(content)
    read_or_refuse(path)
