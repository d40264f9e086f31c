"""Solids of ten families, drawn by chance: small stand-ins for the shapes of ModelNet and the Princeton Shape Benchmark.

A solid is a union of parts (blocks, surfaces of revolution, ellipsoids, tubes) that may pass through each other, as in
those collections. Proportions, numbers of parts, bends and details come from the seed. Families share forms on purpose:
lamps, umbrellas and trees are a stem with something wide above it, a low-backed chair is nearly a table.
"""

import numpy as np

from bwot.families.chance import Chance
from bwot.families.furniture import chair, lamp, table
from bwot.families.household import bottle, mug, umbrella
from bwot.families.outdoors import aeroplane, animal, car, tree
from bwot.families.parts import joined, turned
from bwot.meshes import Mesh

_DRAWN = (chair, table, lamp, mug, bottle, aeroplane, car, tree, animal, umbrella)
FAMILIES = tuple(family.__name__ for family in _DRAWN)


def solid(family: str, seed: int) -> Mesh:
    """Member number ``seed`` of a family: the same bits on every platform, in milliseconds.

    Its third axis points up and its front looks along the first, but for a turn of up to 18 degrees. The middle of its
    bounding box is the origin, its farthest vertex at distance 1. It has 200 to 3,000 triangles.

    Args:
        family: one of :data:`FAMILIES`.
        seed: not negative.

    Raises:
        ValueError: for a family that there is not, or a negative seed.

    >>> mesh = solid("chair", seed=7)
    >>> mesh.vertices.shape[1], mesh.faces.shape[1]
    (3, 3)
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}.")
    if seed < 0:
        raise ValueError(f"seed must not be negative, and is {seed}.")
    number = FAMILIES.index(family)
    draw = Chance(number, seed)
    vertices, faces = joined(_DRAWN[number](draw))
    vertices, _ = turned((vertices * [draw.between(0.85, 1.15), 1, 1], faces), draw.whole(-12, 12))
    vertices -= (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    x, y, z = vertices.T
    return Mesh(vertices / np.sqrt((x * x + y * y + z * z).max()), faces)
