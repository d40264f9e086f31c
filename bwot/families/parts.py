"""Parts of drawn solids: skins over closed rings of points, put in place and joined.

The same bits on every platform: angles are whole numbers of 240ths of a turn, whose sines and cosines stand in a table
of multiples of 2^-16, and all else is sums, products, quotients and square roots, number by number, which every platform
rounds alike. Lengths have no unit, the third axis points up.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

TURN = 240
"""Steps of a whole turn; it can be divided by 3, 4, 5, 6, 8, 10, 12, 15, 16, 20 and 24."""
_ANGLES = np.arange(TURN) * (2 * np.pi / TURN)
TURNS = np.round(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1) * 2**16) / 2**16
Number = float | int
Point = Sequence[Number]
Path = Sequence[Point] | Float64[np.ndarray, "_ 3"]
Part = tuple[Float64[np.ndarray, "_ 3"], Int64[np.ndarray, "_ 3"]]


def skin(rings: Float64[np.ndarray, "k n 3"]) -> Part:
    """Triangles between neighbouring rings, and a fan over the first and the last; what has no area is left out.

    Seen from where the rings come from, their points run clockwise: then the triangles' normals point outwards.
    """
    count, sides, _ = rings.shape
    ends = rings[[0, -1]].cumsum(axis=1)[:, -1] / sides  # cumsum adds in one order everywhere
    vertices = np.concatenate([rings.reshape(-1, 3), ends])
    a = np.arange(count * sides).reshape(count, sides)
    b = np.roll(a, -1, axis=1)
    bottom, top = (np.full(sides, count * sides + end) for end in (0, 1))
    quads = [(a[:-1], b[:-1], b[1:]), (a[:-1], b[1:], a[1:])]
    fans = [(bottom, b[0], a[0]), (top, a[-1], b[-1])]
    faces = np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in quads + fans])
    p, q, r = (vertices[faces[:, corner]] for corner in range(3))
    return vertices, faces[(np.cross(q - p, r - p) != 0).any(axis=1)]


def lathe(
    profile: Sequence[Point],
    sides: int = 24,
    stretch: Number = 1.0,
) -> Part:
    """A surface of revolution about the vertical axis, through (radius, height) from one end to the other.

    Args:
        profile: at least two points; upwards on the outside, downwards on the inside.
        sides: a divisor of 240.
        stretch: factor on the first axis.
    """
    radius, height = np.array(profile, dtype=np.float64).T[:, :, None]
    x, y = TURNS[:: TURN // sides].T
    rings = (stretch * radius * x, radius * y, height + np.zeros_like(x))
    return skin(np.stack(rings, axis=-1))


def ball(size: Point, middle: Point, sides: int = 16) -> Part:
    """An ellipsoid with half axes ``size`` (3,) around ``middle`` (3,)."""
    quarter = (
        TURNS[-TURN // 4 :: TURN // 16].tolist() + TURNS[: TURN // 4 + 1 : TURN // 16].tolist()
    )
    vertices, faces = lathe(quarter, sides)
    return vertices * np.array(size) + np.array(middle), faces


def box(size: Point, middle: Point, top: Number = 1.0) -> Part:
    """A block with edges ``size`` (3,), a little bevelled, around ``middle`` (3,); ``top`` scales its upper face."""
    half = np.array(size) / 2
    bevel = 0.15 * half.min()
    x, y = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]).T.repeat(2, axis=1)
    inset = np.array([(0, 1), (1, 0), (1, 0), (0, 1), (0, 1), (1, 0), (1, 0), (0, 1)]).T
    rings = []
    for out, height in ((1, -half[2]), (0, bevel - half[2]), (0, half[2] - bevel), (1, half[2])):
        factor = top if height > 0 else 1.0
        rings.append(
            (x * (half[0] * factor - bevel * (inset[0] + out)), y * (half[1] * factor - bevel * (inset[1] + out)),
             np.full(8, height))
        )  # fmt: skip
    return moved(skin(np.stack(rings).transpose(0, 2, 1)), *middle)


def tube(
    path: Path,
    radius: Number | Point | Float64[np.ndarray, " _"],
    sides: int = 10,
    flat: Number = 1.0,
) -> Part:
    """A tube along a path (k, 3) that does not turn back on itself; ``flat`` scales it along one of its axes."""
    points = np.array(path, dtype=np.float64)
    ahead = _unit(
        np.concatenate(
            [points[1:2] - points[:1], points[2:] - points[:-2], points[-1:] - points[-2:-1]]
        )
    )
    across = np.eye(3)[np.abs(ahead).max(axis=0).argmin()]
    u = _unit(np.cross(across, ahead))
    w = np.cross(ahead, u)
    x, y = TURNS[:: TURN // sides].T[:, None, :, None]
    thick = np.broadcast_to(np.array(radius, dtype=np.float64), len(points))[:, None, None]
    return skin(points[:, None] + thick * (flat * x * u[:, None] + y * w[:, None]))


def arc(
    middle: Point, radius: Point, start: int, stop: int, points: int = 13
) -> Float64[np.ndarray, "points 3"]:
    """Points on an ellipse in the plane of the first and third axis, from 240th ``start`` to 240th ``stop``."""
    steps = (start + (stop - start) * np.arange(points) // (points - 1)) % TURN
    cosine, sine = TURNS[steps].T
    return np.stack([radius[0] * cosine, 0 * cosine, radius[1] * sine], axis=-1) + np.array(middle)


def moved(part: Part, x: Number, y: Number, z: Number) -> Part:
    """The part shifted by (x, y, z)."""
    return part[0] + np.array((x, y, z)), part[1]


def turned(part: Part, steps: int, axis: int = 2) -> Part:
    """The part turned about a coordinate axis, 0 to 2, by ``steps`` 240ths of a turn; any whole number."""
    vertices = part[0].copy()
    (cosine, sine), (a, b) = TURNS[steps % TURN], ((axis + 1) % 3, (axis + 2) % 3)
    vertices[:, a] = cosine * part[0][:, a] - sine * part[0][:, b]
    vertices[:, b] = sine * part[0][:, a] + cosine * part[0][:, b]
    return vertices, part[1]


def joined(parts: Sequence[Part]) -> Part:
    """All parts as one; they may pass through each other."""
    firsts = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    faces = [each + first for (_, each), first in zip(parts, firsts, strict=False)]
    return np.concatenate([vertices for vertices, _ in parts]), np.concatenate(faces)


def _unit(vectors):
    x, y, z = vectors.T
    return vectors / np.sqrt(x * x + y * y + z * z)[:, None]
