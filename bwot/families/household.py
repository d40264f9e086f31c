"""What is held in a hand: mugs, bottles, umbrellas."""

from bwot.families.chance import Chance
from bwot.families.furniture import column, quarter
from bwot.families.parts import TURN, Part, arc, lathe, moved, tube, turned


def mug(draw: Chance) -> list[Part]:
    """A hollow wall and a handle."""
    height, lower, upper = draw.between(0.6, 1.6), draw.between(0.3, 0.55), draw.between(0.4, 0.6)
    belly = (lower + upper) / 2 * draw.between(0.9, 1.3)
    sides = (24, 24, 24, 12)[draw.whole(0, 3)]
    wall = [(lower, 0), (belly, 0.4 * height), (upper, height)]
    inside = [(0.88 * upper, height), (0.85 * belly, 0.4 * height), (0.8 * lower, 0.1)]
    parts = [lathe([(0, 0), *wall, *inside, (0, 0.1)], sides)]
    size = draw.between(0.22, 0.36), height * draw.between(0.2, 0.38)
    loop = arc((0.47 * (belly + upper), 0, 0.52 * height), size, -60, 60, 13)
    if draw.chance(30):  # an angular one
        loop = loop[[0, 4, 8, 12]]
    handle = tube(loop, draw.between(0.04, 0.08), flat=draw.between(0.7, 1.6))
    parts.append(turned(handle, draw.whole(0, TURN - 1)))
    if draw.chance(25):  # a saucer
        parts.append(lathe([(0.3, -0.06), (draw.between(0.7, 0.95), 0.06), (0.3, -0.02)]))
    if draw.chance(20):  # a lid
        lid = [(1.05 * upper, 0), (0.7 * upper, 0.15), (0.06, 0.2), (0.1, 0.3), (0, 0.33)]
        parts.append(moved(lathe(lid), 0, 0, height))
    return parts


def bottle(draw: Chance) -> list[Part]:
    """Body, shoulder, neck and stopper."""
    body, wide = draw.between(0.5, 1.7), draw.between(0.25, 0.55)
    neck, narrow = draw.between(0.15, 0.8), draw.between(0.08, 0.16)
    shoulder, waist = draw.between(0.1, 0.5), draw.between(0.75, 1.1)
    sides, stretch = ((24, 1.0), (24, draw.between(0.4, 0.7)), (4, 1.1), (8, 1.0))[draw.whole(0, 3)]
    top = body + shoulder + neck
    extra = wide - narrow
    curve = [(narrow + extra * out, body + shoulder * level) for level, out in quarter()]
    outline = [(0.85 * wide, 0), (wide, 0.06), (waist * wide, 0.5 * body), *curve, (narrow, top)]
    if draw.chance(60):
        cap = narrow * draw.between(1.05, 1.5)
        end = [(cap, -0.12), (cap, 0.08), (0.9 * cap, 0.1)]
    else:  # a lip
        end = [(narrow, -0.08), (1.3 * narrow, -0.06), (1.3 * narrow, 0), (0.8 * narrow, 0)]
    parts = [lathe(outline, sides, stretch), moved(lathe(end), 0, 0, top)]
    if draw.chance(25):  # a handle
        loop = arc((0.5 * wide, 0, body + 0.3 * shoulder), (0.3 + 0.5 * wide, 0.3 * body), -72, 60)
        parts.append(turned(tube(loop, 0.05), draw.whole(0, TURN - 1)))
    return parts


def umbrella(draw: Chance) -> list[Part]:
    """A canopy between ribs, more or less open, on a stick."""
    panels, wide = (6, 8, 10, 12)[draw.whole(0, 3)], draw.between(0.7, 1.1)
    open_, shaft = draw.between(0.35, 1), draw.between(1.0, 1.7)
    drop = draw.between(0.25, 0.5) + 0.9 * (1 - open_)
    rib = ((0, 0), (0.06, 0.25), (0.25, 0.55), (0.55, 0.8), (1, 1))
    dome = [(wide * open_ * out, shaft - drop * level) for level, out in rib]
    lining = [(0.97 * out, level - 0.02) for out, level in dome]
    points, faces = lathe([*lining, *dome[::-1]], 2 * panels)
    points[1::2, :2] *= draw.between(0.88, 0.96)  # every other meridian lies between two ribs
    stick, tip = draw.between(0.02, 0.04), shaft + draw.between(0.05, 0.2)
    parts = [(points, faces), lathe([(stick, 0), (stick, shaft), (0.5 * stick, tip)], 10)]
    kind = draw.whole(0, 3)
    if kind <= 1:  # a crook
        radius = draw.between(0.1, 0.18)
        parts.append(tube(arc((radius, 0, 0), (radius, radius), 120, 240 - 12 * kind), 1.4 * stick))
    elif kind == 2:
        parts.append(lathe([(1.8 * stick, -0.2), (1.8 * stick, 0.05)], 12))
    else:  # a parasol stands
        parts += column(draw, draw.between(0.2, 0.45), 0.2)
    return parts
