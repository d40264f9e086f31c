"""What is met outdoors: aeroplanes, cars, trees, animals."""

import numpy as np

from bwot.families.chance import Chance
from bwot.families.parts import TURN, Part, arc, ball, box, lathe, moved, skin, tube, turned

# Of saloon, van, pick-up and estate: share of the length, place of the middle, taper, and how high.
CABINS = (
    (0.5, -0.06, 0.62, 1),
    (0.92, -0.02, 0.92, 1.6),
    (0.35, 0.12, 0.75, 1),
    (0.62, -0.16, 0.75, 1),
)


def aeroplane(draw: Chance) -> list[Part]:
    """A body, wings, a tail, and engines or none."""
    long, thick = draw.between(1.8, 2.8), draw.between(0.11, 0.2)
    stations = np.array([-0.5, -0.46, -0.25, 0.1, 0.32, 0.44, 0.5]) * long
    body = tube(
        [(x, 0, 0) for x in stations], thick * np.array([0.1, 0.3, 0.75, 1, 1, 0.65, 0.05]), 16
    )
    span, sweep, chord = draw.between(0.7, 1.4), draw.between(-0.05, 0.8), draw.between(0.3, 0.6)
    level, rise = thick * draw.between(-0.7, 0.9), draw.between(-0.05, 0.25)
    taper = draw.between(0.25, 0.9)
    parts, root = [body], 0.1 * long
    for lift in (0, 0.45) if draw.chance(18) else (0,):
        parts += _wings(root, level + lift, span, chord, sweep, rise, taper)
    tail = span * draw.between(0.25, 0.45), chord * draw.between(0.4, 0.65)
    high = draw.between(0.3, 0.55) if draw.chance(60) else 0.05
    back, behind = -0.42 * long, 0.5 * sweep + 0.1
    parts += _wings(back, high if draw.chance(30) else 0.05, *tail, behind, 0, taper)
    fin = _wings(back, 0, high + 0.25, tail[1], behind, 0, 0.6)[0]
    parts.append(turned(fin, TURN // 4, axis=0))
    for k in range(draw.whole(0, 2)):  # engines
        y = span * (0.35 + 0.3 * k)
        x, z = root + 0.25 * chord - sweep * y, level + rise * y - 0.1
        for side in (-y, y):
            path = [(x + ahead, side, z) for ahead in (-0.16, 0, 0.16)]
            parts.append(tube(path, (0.05, 0.09, 0.08), 12))
    return parts


def _wings(x, z, span, chord, sweep, rise, taper):
    """A left and a right wing from a root at (x, 0, z): to the second axis and against it."""
    outline = [(0.5, 0), (0.25, 0.06), (-0.1, 0.05), (-0.5, 0), (-0.1, -0.04), (0.25, -0.04)]
    wings = []
    for side in (1, -1):
        rings = []
        for out, width in ((0, chord), (0.5, chord * (1 + taper) / 2), (1, chord * taper)):
            far = out * span
            middle = (x - sweep * far, side * far, z + rise * far)
            ring = [(width * ahead, 0, width * up) for ahead, up in outline[::-side]]
            rings.append(np.array(ring) + np.array(middle))
        wings.append(skin(np.array(rings)))
    return wings


def car(draw: Chance) -> list[Part]:
    """A body, a cabin and wheels: saloon, van, pick-up or estate."""
    long, wide, low = draw.between(1.7, 2.5), draw.between(0.75, 0.95), draw.between(0.25, 0.42)
    wheel, ground = draw.between(0.16, 0.26), 0.12
    parts = [box((long, wide, low), (0, 0, ground + low / 2), draw.between(0.92, 1))]
    kind, cabin = draw.whole(0, 3), draw.between(0.22, 0.34)
    share, place, upper, rise = CABINS[kind]
    size, bonnet = (share * long, 0.94 * wide, rise * cabin), ground + low
    middle = (place * long, 0, bonnet + rise * cabin / 2)
    parts.append(box(size, middle, upper * draw.between(0.9, 1.05)))
    if kind == 2:
        for side in (-0.46 * wide, 0.46 * wide):
            parts.append(box((0.42 * long, 0.05, 0.12), (-0.28 * long, side, bonnet + 0.06)))
    elif draw.chance(25):  # a spoiler
        lip = draw.between(0.04, 0.14)
        parts.append(box((0.14, wide, lip), (-0.48 * long, 0, bonnet + lip / 2)))
    axles = [0.32, -0.3] if draw.chance(85) else [0.36, -0.18, -0.36]
    rim = [(0.6 * wheel, -0.08), (wheel, -0.08), (wheel, 0.08), (0.6 * wheel, 0.08)]
    tyre = turned(lathe(rim, 20), TURN // 4, axis=0)
    parts += [moved(tyre, x * long, side * wide, wheel) for x in axles for side in (-0.47, 0.47)]
    lights = [(0.5 * long, side * wide, ground + 0.6 * low) for side in (-0.35, 0.35)]
    return parts + [ball((0.04, 0.09, 0.06), light, 8) for light in lights]


def tree(draw: Chance) -> list[Part]:
    """A trunk under a fir's cones, a palm's leaves or round crowns."""
    height, thick = draw.between(0.5, 1.3), draw.between(0.05, 0.12)
    lean, wide = draw.between(-0.25, 0.25), draw.between(0.4, 0.8)
    trunk = [(lean * (level * level), 0, height * level) for level in (0, 0.25, 0.5, 0.75, 1)]
    parts = [tube(trunk, thick * np.array([1.5, 1, 0.9, 0.8, 0.6]), 12)]
    top = (_cones, _leaves, _crown, _crown)[draw.whole(0, 3)](draw, height, wide, thick)
    return parts + [moved(part, lean, 0, 0) for part in top]


def _cones(draw, height, wide, thick):
    """A fir's: one to four above each other."""
    count, tall = draw.whole(1, 4), draw.between(0.8, 1.8)
    peak, bend = 1.5 * tall / (count + 0.5), draw.between(0.35, 0.5)
    cones = []
    for k in range(count):
        radius = wide * (1 - 0.7 * k / count)
        profile = [(0, 0), (radius, 0), (0.5 * radius, bend * peak), (0, peak)]
        cones.append(moved(lathe(profile), 0, 0, height * 0.6 + tall * k / (count + 0.6)))
    return cones


def _leaves(draw, height, wide, thick):
    """A palm's: six to nine, bent down."""
    count, rise = draw.whole(6, 9), draw.between(0.15, 0.4)
    spine = arc((0.7 * wide, 0, height - 0.1), (0.7 * wide, rise), 114, -10, 9)
    leaf = tube(spine, (0.03, 0.06, 0.09, 0.1, 0.1, 0.09, 0.07, 0.05, 0.01), 6, flat=0.3)
    return [turned(leaf, TURN * k // count + draw.whole(0, 12)) for k in range(count)]


def _crown(draw, height, wide, thick):
    """One to three large ellipsoids or four to six small ones, each on a branch."""
    few = draw.chance(50)
    spread, scale = (0.3, 1.0) if few else (0.55, 0.6)
    parts = []
    for _ in range(draw.whole(1, 3) if few else draw.whole(4, 6)):
        size = [scale * wide * draw.between(0.5, most) for most in (1, 1, 1.3)]
        x, y, z = (spread * draw.between(low, 1) for low in (-1, -1, 0))
        middle = (x, y, height + z + 0.3)
        parts.append(ball(size, middle))
        parts.append(tube([(0, 0, 0.8 * height), middle], (0.7 * thick, 0.3 * thick), 6))
    return parts


def animal(draw: Chance) -> list[Part]:
    """Four legs, a neck, a head with a snout and ears, a tail."""
    long, thick, leg = draw.between(0.8, 1.5), draw.between(0.18, 0.36), draw.between(0.25, 0.9)
    level, ends = leg + 0.7 * thick, (-0.5, -0.46, -0.25, 0, 0.25, 0.46, 0.5)
    spine = [(x * long, 0, level + 0.06 * (x * x)) for x in ends]
    parts = [tube(spine, thick * np.array([0.2, 0.7, 0.95, 0.9, 1, 0.75, 0.2]), 14)]
    limb, step = draw.between(0.05, 0.1), draw.between(0, 0.15)
    for x, side, phase in ((0.38, 1, 1), (0.38, -1, -1), (-0.4, 1, -1), (-0.4, -1, 1)):
        hip, y, foot = x * long, side * 0.6 * thick, x * long + phase * step
        knee = (hip + 0.4 * phase * step - 0.05, y, 0.5 * leg)
        path = [(hip, y, level), knee, (foot, y, 0.03), (foot + 0.1, y, 0)]
        parts.append(tube(path, limb * np.array([1.5, 1, 0.8, 0.7]), 8))
    tail, up = draw.between(0.1, 0.7), draw.between(-1.2, 1)
    root, rise = level + 0.3 * thick, tail * up
    bend = [(-0.48 * long - tail * k, 0, root + rise * (k * k)) for k in (0, 0.4, 0.7, 1)]
    parts.append(tube(bend, (0.06, 0.045, 0.035, 0.02), 8))
    return parts + _head(draw, (0.4 * long, 0, level), thick)


def _head(draw, shoulder, thick):
    """Neck, skull, snout and ears."""
    neck, slope, skull = draw.between(0.15, 0.8), draw.between(0.2, 0.5), draw.between(0.13, 0.2)
    x, z = shoulder[0] + slope, shoulder[2] + 0.5 * thick + neck
    snout, ear, rise = draw.between(0.15, 0.4), draw.between(0.1, 0.35), draw.between(-0.5, 1)
    nose = (x + skull + snout, 0, z - 0.35 * snout)
    parts = [
        tube([shoulder, (x, 0, z)], (0.75 * thick, 0.75 * skull), 12),
        ball((1.2 * skull, skull, skull), (x, 0, z)),
        tube([(x, 0, z), nose], (0.8 * skull, 0.45 * skull), 10),
    ]
    for side in (-1, 1):
        root = (x - 0.3 * skull, side * 0.6 * skull, z + 0.6 * skull)
        tip = (root[0], side * (0.6 * skull + 0.5 * ear), root[2] + ear * rise)
        parts.append(tube([root, tip], (0.07, 0.02), 6))
    return parts
