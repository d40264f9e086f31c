"""What stands in a room: chairs, tables, lamps."""

import numpy as np

from bwot.families.chance import Chance
from bwot.families.parts import (
    TURN,
    Part,
    Point,
    arc,
    ball,
    box,
    joined,
    lathe,
    moved,
    tube,
    turned,
)


def chair(draw: Chance) -> list[Part]:
    """Seat, legs, back, and arms or none."""
    width, depth, seat = draw.between(0.8, 1.2), draw.between(0.8, 1.1), draw.between(0.7, 1.1)
    thick = draw.between(0.06, 0.2)
    if draw.chance(25):  # a round seat, legs and back within it
        parts = [moved(lathe([(0.6 * width, 0), (0.6 * width, thick)]), 0, 0, seat - thick / 2)]
        width = depth = 0.85 * width
    else:
        parts = [box((depth, width, thick), (0, 0, seat))]
    parts += _legs(draw, width, depth, seat)
    back = _chair_back(draw, width, draw.between(0.5, 1.4))
    parts.append(moved(turned(back, -draw.whole(0, 14), axis=1), 0.05 - depth / 2, 0, seat))
    if draw.chance(35):  # arms
        rise, front = draw.between(0.25, 0.4), depth / 2 - 0.1
        for side in (-width / 2, width / 2):
            parts.append(box((depth, 0.1, 0.07), (0, side, seat + rise)))
            parts.append(box((0.08, 0.08, rise), (front, side, seat + rise / 2)))
    return parts


def table(draw: Chance) -> list[Part]:
    """A top of some outline on legs, side panels or a column."""
    width, depth, height = draw.between(1.2, 2.4), draw.between(0.9, 1.3), draw.between(0.5, 1.4)
    thick = draw.between(0.04, 0.14)
    if draw.chance(40):
        depth = width = min(width, 1.7)
        top = lathe([(width / 2, 0), (width / 2, thick)], stretch=draw.between(0.8, 1.2))
        legs, parts = 0.62, [moved(top, 0, 0, height)]
    else:
        legs, parts = 0.95, [box((depth, width, thick), (0, 0, height + thick / 2))]
    if draw.chance(20):  # side panels
        panel = legs * depth * draw.between(0.7, 1), 0.09, height
        parts += [box(panel, (0, side * width, height / 2)) for side in (-0.42, 0.42)]
        level = height * draw.between(0.1, 0.9)
        parts.append(box((0.06, 0.84 * width, 0.12), (0.2 * depth * draw.whole(-1, 1), 0, level)))
    else:
        parts += _legs(draw, legs * width, legs * depth, height)
    if draw.chance(30):  # a shelf
        level = height * draw.between(0.15, 0.5)
        parts.append(box((0.85 * legs * depth, 0.85 * legs * width, 0.05), (0, 0, level)))
    if draw.chance(30):  # drawers
        parts.append(box((0.6 * depth, 0.5 * width, 0.2), (0, 0, height - 0.1)))
    if draw.chance(15):  # something to look at: a screen
        parts.append(box((0.05, 0.4 * width, 0.4), (0, 0, height + 0.3)))
    return parts


def lamp(draw: Chance) -> list[Part]:
    """A foot, a stem or an arm, and a shade."""
    height, reach = draw.between(1.0, 2.6), draw.between(0.0, 0.8) if draw.chance(45) else 0.0
    stem = draw.between(0.02, 0.06)
    parts = column(draw, draw.between(0.3, 0.5), 0.3)
    if reach:  # an arm
        bend = arc((reach / 2, 0, height), (reach / 2, draw.between(0.2, 0.5)), 120, 0)
        parts.append(tube(np.concatenate([[(0, 0, 0)], bend]), stem))
    else:
        bulge = draw.between(1, 6) if draw.chance(40) else 1.0
        shares = ((1.0, 0.0), (bulge, 0.3), (1.0, 0.6), (1.0, 1.0))
        parts.append(lathe([(stem * radius, height * level) for radius, level in shares], 16))
    wide, tall = draw.between(0.35, 0.6), draw.between(0.35, 0.7)
    kind = draw.whole(0, 2)
    if kind == 0:
        narrow = wide * draw.between(0.35, 1)
        shade = lathe([(narrow, tall), (wide, 0), (0.96 * wide, 0), (0.96 * narrow, tall)])
    elif kind == 1:
        shade = ball((0.7 * wide, 0.7 * wide, 0.7 * wide), (0, 0, 0.3 * tall))
    else:
        dome = [(wide * radius, 0.8 * tall * level) for level, radius in quarter()]
        shade = lathe([(0, 0.85 * tall), *dome[::-1], (0.95 * wide, 0)])
    shade = turned(shade, draw.whole(0, 24) if reach else 0, axis=1)
    return [*parts, moved(shade, reach, 0, height - 0.3 * tall)]


def _chair_back(draw, width, height):
    """Panel, upright slats, cross rails or a bow, in the plane of the second and third axis."""
    kind, half = draw.whole(0, 3), width / 2 - 0.04
    if kind == 0:
        size = draw.between(0.06, 0.18), width, height
        return box(size, (0, 0, height / 2), top=draw.between(0.6, 1))
    if kind == 1:
        bow = turned(tube(arc((0, 0, 0), (half, height), 0, 120, 21), 0.05, 8), 60)
        places = _between(-half, half, draw.whole(3, 6))
        slats = [tube([(0, y, 0), (0, y, 0.8 * height)], 0.025, 6) for y in places]
        return joined([bow, *slats])
    posts = [box((0.08, 0.08, height), (0, side, height / 2)) for side in (-half, half)]
    count = draw.whole(2, 5)
    if kind == 2:
        rails = [box((0.05, width, 0.12), (0, 0, height * (k + 0.7) / count)) for k in range(count)]
    else:
        places = _between(-half, half, count)
        rails = [box((0.04, 0.06, height), (0, y, height / 2)) for y in places]
        rails.append(box((0.07, width, 0.14), (0, 0, height)))
    return joined(posts + rails)


def _between(low, high, count):
    """Even places between two ends, without them."""
    return [low + (high - low) * k / (count + 1) for k in range(1, count + 1)]


def _legs(draw, width, depth, height):
    """Four legs under a seat or top of this size: blocks or tubes, straight or splayed, or a foot on a column."""
    kind, thick = draw.whole(0, 3), draw.between(0.03, 0.07)
    if kind == 0:
        return column(draw, 0.45 * min(width, depth) * draw.between(0.7, 1.1), height)
    splay = 1 + (draw.between(0.1, 0.35) if kind == 1 else 0)
    x, y = depth / 2 - thick, width / 2 - thick
    corners = [(x, y), (x, -y), (-x, y), (-x, -y)]
    if kind == 3:
        return [box((2 * thick, 2 * thick, height), (i, j, height / 2)) for i, j in corners]
    paths = [[(splay * i, splay * j, 0), (i, j, height)] for i, j in corners]
    feet = [tube(path, (0.7 * thick, thick)) for path in paths]
    if draw.chance(50):  # rungs
        level = height * draw.between(0.2, 0.5)
        feet += [tube([(s * x, -y, level), (s * x, y, level)], 0.6 * thick, 6) for s in (-1, 1)]
    return feet


def column(draw: Chance, reach: float, height: float) -> list[Part]:
    """A column on a disc or on three to six feet."""
    thick = draw.between(0.03, 0.08)
    parts = [lathe([(thick, 0.04), (thick, height)], 16)]
    if draw.chance(40):
        return [*parts, lathe([(reach, 0), (reach, 0.04), (thick, 0.12)])]
    feet = draw.whole(3, 6)
    foot = tube([(0, 0, 0.14), (reach, 0, 0.03)], (0.05, 0.03), 8)
    return parts + [turned(foot, TURN * k // feet) for k in range(feet)]


def quarter() -> list[Point]:
    """Points of a quarter of the unit circle: (sine, cosine) from (0, 1) to (1, 0)."""
    return [(float(z), float(x)) for x, _, z in arc((0, 0, 0), (1, 1), 0, TURN // 4, 7)]
