"""What a loader of sketches and the shapes they ask for returns, and what the learning side takes.

A drawing is a query, 3D models are what is found. Both sides share one space of classes: a label is an index into
``classes`` whichever it labels. All models are trained on and all are the gallery; the sketches have a split.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from bwot.data.images import DataError, Split
from bwot.data.shapes import fingerprint, some, split_training

PARTS = ("train", "validation", "test")
"""Those of the sketches."""
SHARE = 5
"""One in so many training sketches is for validation, 10 of 50 in each class."""


@dataclass(frozen=True, eq=False)
class SketchSet:
    """A data set of sketches and shapes in files, and which copy of it."""

    name: str
    variant: str  # what the files are, in words
    official: bool  # the published bytes; never where no check-sum is published
    sha256: str  # of all files and lists, see the loader
    classes: tuple[str, ...]
    sketch_names: tuple[str, ...]  # unique in the set, such as airplane/train/12
    sketch_paths: tuple[Path, ...]
    sketch_labels: Int64[np.ndarray, " n"]
    splits: Mapping[
        str, Int64[np.ndarray, " part"]
    ]  # ascending indices of sketches for each of PARTS
    shape_names: tuple[str, ...]  # unique in the set
    shape_paths: tuple[Path, ...]
    shape_labels: Int64[np.ndarray, " m"]
    missing: tuple[str, ...] = ()  # names that the set lists and that have no file

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return self.sketch_paths + self.shape_paths

    @property
    def summary(self) -> str:
        """How much there is of what, in words."""
        parts = ", ".join(f"{len(self.splits[part]):,} {part}" for part in PARTS)
        return (
            f"{parts} sketches and {len(self.shape_paths):,} shapes in {len(self.classes)} classes"
        )


class Standard(NamedTuple):
    """How features were standardised: ``(feature - mean) / deviation``."""

    mean: Float32[np.ndarray, " d"]
    deviation: Float32[np.ndarray, " d"]


@dataclass(frozen=True, eq=False)
class SketchData:
    """Sketches and shapes as networks take them.

    A sketch comes in r rotations, the first as it was drawn, the next ones turned further by equal angles: features
    (n, r, d) or pictures (n, r, 1, h, w). A shape comes as one feature, the maximum over its views, (m, d), or as its
    views (m, v, 1, h, w). Pictures are ink on white paper (255). Features are standardised by mean and deviation of each
    number: those of sketches over all rotations of ``train``, those of shapes over all shapes.
    """

    name: str
    variant: str
    official: bool
    sha256: str  # of the files and of what was made of them
    classes: tuple[str, ...]
    train: Split
    validation: Split  # other sketches than those of train, never other rotations of theirs
    test: Split
    shapes: Split
    names: dict[str, tuple[str, ...]]  # of train, validation, test and shapes, in their order
    look: Callable[[str, int], UInt8[np.ndarray, "h w"]] | None = field(default=None, repr=False)
    """Part and index → a picture; None where the samples are pictures."""
    standards: dict[str, Standard] = field(default_factory=dict, repr=False)
    """Of features, those of ``sketches`` and ``shapes``; what is asked or found later is standardised alike."""

    def pictures(self, part: str, indices: Sequence[int]) -> UInt8[np.ndarray, "k h w"]:
        """Some samples to look at: drawings as they were drawn, or the first view of shapes.

        Args:
            part: ``train``, ``validation``, ``test`` or ``shapes``.
            indices: of the samples in it.
        """
        if self.look is not None:
            return np.stack([self.look(part, int(index)) for index in indices])
        return getattr(self, part).images[list(indices), 0, 0].numpy()


class Listed(NamedTuple):
    """A sketch or a shape that a set lists: its name, its class, its file (None: it has none), and a sketch's part."""

    name: str
    label: str
    path: Path | None
    part: str = ""  # train or test


class Published(NamedTuple):
    """What a set has as published."""

    classes: int
    shapes: int
    train: int  # sketches a class
    test: int


def sketch_set(
    name: str,
    folder: Path,
    variant: str,
    sketches: Sequence[Listed],
    shapes: Sequence[Listed],
    published: Published,
    lists: Sequence[Path] = (),
) -> SketchSet:
    """A set from what is listed, with everything named in its variant that differs from what is published.

    Classes are those of the shapes. A class of sketches that no shape has could find nothing and is left out.

    Args:
        name: of the set.
        folder: that all files lie in, for the fingerprint.
        variant: what the files are.
        sketches: in any order; names differ.
        shapes: in any order; names differ.
        published: what is expected.
        lists: files that say what belongs to what; part of the fingerprint.

    Raises:
        DataError: where no class has training sketches, test sketches and a shape; and for a name that occurs twice.
    """
    for listed in (sketches, shapes):
        if (twice := Counter(each.name for each in listed).most_common(1)) and twice[0][1] > 1:
            raise DataError(f"{folder} has {twice[0][0]} {twice[0][1]} times, expected once.")
    missing = tuple(each.name for each in (*sketches, *shapes) if each.path is None)
    shapes = sorted((each for each in shapes if each.path), key=lambda each: each.name)
    classes = tuple(sorted({shape.label for shape in shapes}))
    found = sorted((each for each in sketches if each.path), key=lambda each: each.name)
    known = [sketch for sketch in found if sketch.label in classes]
    parts = Counter(sketch.part for sketch in known)
    if parts["train"] < SHARE or not parts["test"]:
        raise DataError(
            f"{folder} has {parts['train']} training and {parts['test']} test sketches of classes with a model,"
            f" expected {SHARE} and 1 at least."
        )
    labels = np.array([classes.index(sketch.label) for sketch in known], np.int64)
    training = np.flatnonzero([sketch.part == "train" for sketch in known])
    test = np.flatnonzero([sketch.part == "test" for sketch in known])
    splits = split_training(labels, training, SHARE) | {"test": test}
    without = sorted({sketch.label for sketch in found} - set(classes))
    differences = _differences(known, shapes, classes, published)
    if without:
        differences.append(f"without {some(without)}, of which there is no model")
    return SketchSet(
        name=name,
        variant=", ".join([variant, *differences]),
        official=False,
        sha256=fingerprint(folder, [*lists, *(each.path for each in (*known, *shapes))]),
        classes=classes,
        sketch_names=tuple(sketch.name for sketch in known),
        sketch_paths=tuple(sketch.path for sketch in known),
        sketch_labels=labels,
        splits=splits,
        shape_names=tuple(shape.name for shape in shapes),
        shape_paths=tuple(shape.path for shape in shapes),
        shape_labels=np.array([classes.index(shape.label) for shape in shapes], np.int64),
        missing=missing,
    )


def _differences(sketches, shapes, classes, published):
    """What is not as published, in words."""
    counts = Counter((sketch.label, sketch.part) for sketch in sketches)
    uneven = [
        name
        for name in classes
        if (counts[name, "train"], counts[name, "test"]) != (published.train, published.test)
    ]
    sizes = (len(shapes), published.shapes, "models"), (len(classes), published.classes, "classes")
    told = [f"{found:,} of {most:,} {what}" for found, most, what in sizes if found != most]
    if uneven:
        told.append(f"other than {published.train} + {published.test} sketches of {some(uneven)}")
    return told
