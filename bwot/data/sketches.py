"""What a loader of sketches and the shapes they ask for returns, and what the learning side takes.

A drawing is a query, 3D models are what is found. Both sides share one space of classes: a label is an index into
``classes`` whichever it labels. All models are trained on and all are the gallery; the sketches have a split.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from bwot.data.images import Split

PARTS = ("train", "validation", "test")
"""Those of the sketches."""


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

    def pictures(self, part: str, indices: Sequence[int]) -> UInt8[np.ndarray, "k h w"]:
        """Some samples to look at: drawings as they were drawn, or the first view of shapes.

        Args:
            part: ``train``, ``validation``, ``test`` or ``shapes``.
            indices: of the samples in it.
        """
        if self.look is not None:
            return np.stack([self.look(part, int(index)) for index in indices])
        return getattr(self, part).images[list(indices), 0, 0].numpy()
