"""Line drawings and the shapes that they ask for, drawn here: small stand-ins for SHREC'13 at the ``quick`` preset."""

import hashlib
from functools import cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from bwot.data.images import Split
from bwot.data.sketches import SketchData
from bwot.dice import dice
from bwot.families.chance import Chance
from bwot.meshes import Mesh
from bwot.solids import FAMILIES, solid

MODELS, VIEWS, VIEW = 8, 6, 32
"""Shapes a family to ask for, views of each, and pixels a side of a view."""
SKETCHED = {"train": 12, "validation": 4, "test": 8}
"""Sketches a family."""
PAPER, TREMOR = 64, 5
"""Pixels a side of a drawing before it is resized; the most that a stroke is off, in 128ths of that."""


@cache
def sketches() -> SketchData:
    """240 line drawings and 80 shapes of the ten families, in place of SHREC'13.

    A drawing shows a solid that is no shape of the set and in no other drawing, from a place of its own, with strokes by
    a hand that trembles: (n, 1, 1, 32, 32). A shape comes as six views from around it, (80, 6, 1, 32, 32).
    What is drawn is the same on every platform; single levels of pixels may differ, as rays are traced in floating point.
    """
    digest = hashlib.sha256(repr((MODELS, VIEWS, VIEW, SKETCHED, PAPER, TREMOR)).encode())
    members, first = {"shapes": range(MODELS)}, MODELS
    for part, count in SKETCHED.items():
        members[part], first = range(first, first + count), first + count
    parts, names = {}, {}
    for part, numbers in members.items():
        pictures = []
        drawn = [(family, number) for family in range(len(FAMILIES)) for number in numbers]
        for family, number in drawn:
            mesh = solid(FAMILIES[family], number)
            digest.update(_bytes(mesh))
            pictures.append(seen(mesh) if part == "shapes" else _sketched(mesh, family, number))
        images = torch.from_numpy(np.stack(pictures))[:, :, None]
        parts[part] = Split(images, torch.tensor([family for family, _ in drawn]))
        names[part] = tuple(f"{FAMILIES[family]}-{number:02}" for family, number in drawn)
    return SketchData(
        name="shrec13",
        variant="stand-in: drawn solids, and line drawings of others",
        official=False,
        sha256=digest.hexdigest(),
        classes=FAMILIES,
        names=names,
        **parts,
    )


def seen(mesh: Mesh, up: Literal["y", "z"] = "z") -> UInt8[np.ndarray, "v s s"]:
    """Views of a shape that points up along an axis, those of :func:`sketches`: from every other camera of the ring."""
    from bwot.rendering import camera_frames, render_from

    return render_from(mesh, camera_frames("ring", up)[:: 12 // VIEWS], VIEW)


def _sketched(mesh, *number):
    """A drawing (1, 32, 32) of a solid: a camera anywhere around it, a slight roll, strokes that waver."""
    import cv2

    from bwot.rendering import render_from

    chance = Chance(13, *number)
    azimuth, height, roll = np.radians(
        [chance.between(0, 360), chance.between(8, 40), chance.between(-8, 8)]
    )
    level = np.cos(height)
    back = np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(height)])
    side = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    above = np.cross(back, side)
    right = np.cos(roll) * side + np.sin(roll) * above
    frame = np.stack([right, np.cross(back, right), back])
    lines = render_from(mesh, frame[None], PAPER, "drawn")[0]
    off = dice((14, *number))(2, 5, 5, below=2 * TREMOR + 1) - TREMOR
    wave = [cv2.resize(each.astype(np.float32) * (PAPER / 128), (PAPER, PAPER), interpolation=cv2.INTER_CUBIC) for each in off]  # fmt: skip
    v, u = np.mgrid[:PAPER, :PAPER].astype(np.float32)
    shaken = cv2.remap(lines, u + wave[0], v + wave[1], cv2.INTER_LINEAR, borderValue=255)
    thick = cv2.erode(shaken, np.ones((2, 2), np.uint8))
    return cv2.resize(thick, (VIEW, VIEW), interpolation=cv2.INTER_AREA)[None]


def _bytes(mesh):
    return mesh.vertices.astype("<f8").tobytes() + mesh.faces.astype("<i8").tobytes()
