"""Small data for the ``quick`` preset, without a network: what an installed package brings, or what is drawn here."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from bwot.data.images import ImageSet, Split
from bwot.data.sampling import parted, stratified_subset
from bwot.dice import dice
from bwot.meshes import Mesh
from bwot.solids import FAMILIES, solid

SIZE, TEST_SIZE, VALIDATION_SIZE = 1797, 500, 145  # of either set of images: scikit-learn's digits
MEMBERS, TEST_SOLIDS, VALIDATION_SOLIDS = 40, 120, 40  # solids a family; in each part

# What is drawn: whether a point is in a shape, u to the right of its centre and v below, in 16ths of its radius.
SHAPES = {
    "disc": lambda u, v: u * u + v * v < 200,
    "ring": lambda u, v: (u * u + v * v < 256) & (u * u + v * v > 90),
    "square": lambda u, v: np.maximum(abs(u), abs(v)) < 13,
    "frame": lambda u, v: (np.maximum(abs(u), abs(v)) < 14) & (np.maximum(abs(u), abs(v)) > 8),
    "triangle": lambda u, v: (v < 11) & (v + 15 > 2 * abs(u)),
    "diamond": lambda u, v: abs(u) + abs(v) < 17,
    "plus": lambda u, v: (np.minimum(abs(u), abs(v)) < 5) & (np.maximum(abs(u), abs(v)) < 15),
    "bars": lambda u, v: (abs(u) < 14) & ((abs(v) < 3) | (abs(abs(v) - 11) < 3)),
    "moon": lambda u, v: (u * u + v * v < 256) & ((u - 7) ** 2 + v * v > 150),
    "hourglass": lambda u, v: (abs(u) < abs(v) + 2) & (abs(v) < 14),
}
INKS = np.array(
    [(255, 107, 107), (255, 159, 67), (255, 221, 89), (123, 237, 159), (72, 219, 251), (255, 159, 243),
     (200, 182, 255), (250, 245, 232)]
)  # fmt: skip
PAPERS = np.array(
    [(45, 49, 66), (24, 62, 120), (74, 28, 112), (6, 84, 78), (104, 30, 50), (92, 56, 28)]
)
GRAIN = 24  # the most that is added to a channel of a pixel, or taken from it
FINE = 4  # points a side of a pixel, of which a shape covers some
SHIFT = 2 * FINE  # the most that a shape is off the middle, in points
TURNS = np.array([(15, -6), (16, -4), (16, -2), (16, 0), (16, 2), (16, 4), (15, 6)])
"""Cosine and sine of small angles, in 16ths."""


@cache
def digits() -> ImageSet:
    """The 1,797 scanned digits of scikit-learn, in place of MNIST.

    Images have the shape (n, 1, 8, 8) and values 0 to 255 (17 levels: 0 to 16 in the source). The split into 1,152
    training, 145 validation and 500 test images keeps the shares of the classes and never changes.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), its test part.
    """
    table = np.loadtxt(_digits_file(), dtype=np.int64, delimiter=",")
    levels = table[:, :-1].reshape(-1, 8, 8).astype(np.uint8)
    labels = np.ascontiguousarray(table[:, -1])
    scaled = torch.from_numpy((levels * (255 / 16)).round().astype(np.uint8))
    return _standin(
        name="mnist",
        variant="stand-in: scikit-learn digits, 8×8",
        sha256=hashlib.sha256(levels.tobytes() + labels.astype("<i8").tobytes()).hexdigest(),
        classes=tuple("0123456789"),
        images=scaled[:, None],
        labels=torch.from_numpy(labels),
    )


def _digits_file():
    """The file that ``load_digits`` reads; to import scikit-learn takes longer than a replay, which needs nothing else of it."""
    package = find_spec("sklearn")
    if package is None:
        raise ModuleNotFoundError("the digits lie in scikit-learn.", name="sklearn")
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if not file.exists():  # no promise of theirs
        raise FileNotFoundError(
            f"the digits of scikit-learn should lie in {file}, and do not: install the version of it that requirements.lock names."
        )
    return file


@cache
def colours() -> ImageSet:
    """1,797 drawings of ten shapes in colour, in place of CIFAR-10.

    Images have the shape (n, 3, 16, 16). Colour, size, place and turn of a shape, its background and the grain are
    drawn at random and tell nothing of its class. The same bits on every platform: whole numbers throughout, from a
    generator whose stream NumPy guarantees. The split has the sizes of :func:`digits`.
    """
    labels = np.arange(SIZE) % len(SHAPES)
    pixels = _painted(labels)
    return _standin(
        name="cifar10",
        variant="stand-in: drawn shapes in colour, 16×16",
        sha256=hashlib.sha256(pixels.tobytes() + labels.astype("<i8").tobytes()).hexdigest(),
        classes=tuple(SHAPES),
        images=torch.from_numpy(pixels),
        labels=torch.from_numpy(labels.astype(np.int64)),
    )


@dataclass(frozen=True, eq=False)
class SolidSet:
    """A data set of shapes as :class:`bwot.data.shapes.ShapeSet` is one, with the meshes themselves for their files.

    They are upright: ``[render(mesh, "ring", up="z") for mesh in solids().meshes]`` gives the views of each.
    """

    name: str
    variant: str
    official: bool
    sha256: str  # of all meshes and labels
    classes: tuple[str, ...]
    names: tuple[str, ...]
    meshes: tuple[Mesh, ...]
    labels: Int64[Tensor, " n"]
    splits: dict[str, Int64[Tensor, " part"]]  # train, validation and test: ascending indices


@cache
def solids() -> SolidSet:
    """400 drawn solids of ten families, in place of ModelNet10; see :mod:`bwot.solids`.

    The split into 240 training, 40 validation and 120 test solids has equally many of each family and never changes.
    The same bits on every platform.
    """
    drawn = [(family, member) for family in FAMILIES for member in range(MEMBERS)]
    meshes = tuple(solid(*each) for each in drawn)
    labels = torch.arange(len(drawn)) // MEMBERS
    digest = hashlib.sha256(labels.numpy().astype("<i8").tobytes())
    for vertices, faces in meshes:
        digest.update(vertices.astype("<f8").tobytes() + faces.astype("<i8").tobytes())
    return SolidSet(
        name="modelnet10",
        variant="stand-in: drawn solids",
        official=False,
        sha256=digest.hexdigest(),
        classes=FAMILIES,
        names=tuple(f"{family}-{member:02}" for family, member in drawn),
        meshes=meshes,
        labels=labels,
        splits=_parts(labels),
    )


def _parts(labels):
    """Indices of the three parts; test is drawn first, validation from what it left."""
    test = stratified_subset(labels, TEST_SOLIDS, seed=0)
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[test] = False
    rest = rest.nonzero()[:, 0]
    validation = rest[stratified_subset(labels[rest], VALIDATION_SOLIDS, seed=0)]
    train = rest[~torch.isin(rest, validation)]
    return {"train": train, "validation": validation, "test": test}


def _standin(images, labels, **named):
    rest, test = parted(Split(images, labels), TEST_SIZE)
    train, validation = parted(rest, VALIDATION_SIZE)
    return ImageSet(official=False, train=train, validation=validation, test=test, **named)


def _painted(labels):
    """Images (n, 3, 16, 16) of the shapes that the labels name: light ink on a dark ground that runs to another."""
    n, draw = len(labels), dice(seed=10)
    covered = _covered(labels, draw)[:, None]
    ink, near, far = (
        colours[draw(n, below=len(colours))][:, :, None, None] for colours in (INKS, PAPERS, PAPERS)
    )
    across = np.where(draw(n, 1, 1, below=2), *np.mgrid[:16, :16])[:, None]
    ground = (near * (15 - across) + far * across) // 15
    flat = (ink * covered + ground * (FINE**2 - covered)) // FINE**2
    grain = draw(n, 3, 16, 16, below=GRAIN + 1) - draw(n, 3, 16, 16, below=GRAIN + 1)
    return np.clip(flat + grain, 0, 255).astype(np.uint8)


def _covered(labels, draw):
    """How many of its points a shape covers of each pixel, (n, 16, 16)."""
    n = len(labels)
    radius = 5 * FINE + draw(n, 1, 1, below=2 * FINE)
    cosine, sine = TURNS[draw(n, below=len(TURNS))].T[:, :, None, None]
    v, u = np.mgrid[: 16 * FINE, : 16 * FINE].astype(np.int32) - 8 * FINE
    u, v = (axis + SHIFT - draw(n, 1, 1, below=2 * SHIFT + 1) for axis in (u, v))
    u, v = (cosine * u - sine * v) // radius, (sine * u + cosine * v) // radius
    inside = np.empty(u.shape, bool)
    for label, contains in enumerate(SHAPES.values()):
        mine = labels == label
        inside[mine] = contains(u[mine], v[mine])
    return inside.reshape(n, 16, FINE, 16, FINE).sum((2, 4), dtype=np.int32)
