"""From files of sketches and shapes to what networks take: rotations of the sketches and views of the shapes, then features.

Views and features are kept under ``cache/`` and made once, as :mod:`bwot.pipeline` does it for shapes alone. Rotations are
drawn anew where they are needed: that is faster than to read them.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from bwot.data.feature_lists import read_converted
from bwot.data.images import Split
from bwot.data.sketches import PARTS, SketchData, SketchSet, Standard
from bwot.drawings import ROTATIONS, VERSION, read_drawing, rotations
from bwot.paths import data_root
from bwot.pipeline import (
    FROZEN,
    TRAINED,
    Views,
    cache_of,
    frozen_network,
    make_features,
    make_views,
    read_views,
)

DATASETS = ("shrec13", "shrec13-15", "shrec14")


def sketch_data(
    dataset: str, network: str, root: str | Path | None = None, variant: str | None = None
) -> SketchData:
    """The sketches and shapes of a data set as the samples of a run; what is missing under ``cache/`` is made first.

    Args:
        dataset: one of :data:`DATASETS`.
        network: ``small``: rotations and views, pictures of 64 × 64. Others: features of both by this network, see
            :func:`bwot.pipeline.make_features`; of shapes the maximum over the views. An array file, ``NAME.npz``, that
            :mod:`bwot.data.feature_lists` converted: its features; nothing else of the set is needed.
        root: the folder with the data sets; see :func:`bwot.paths.data_root`.
        variant: see the loader of the data set.

    Raises:
        FileNotFoundError: where the data set or the network's file is missing.
        DataError: where they are damaged, or shapes cannot be drawn.
        ValueError: for a sketch that cannot be read.
    """
    if network.endswith(".npz"):
        found = read_converted(Path(network).expanduser(), dataset)
        sketches, shapes = found.sketches, found.shapes
        standards = _standardise(found, sketches, shapes)
        return _data(found, sketches, shapes, {"network": "converted"}, _nothing_to_see, standards)
    from bwot.features import pooled

    found = load_sketches(dataset, root, variant)
    views = make_views(models(found), TRAINED if network == "small" else FROZEN)
    made = {"views": views.arrangement, "rotations": ROTATIONS, "drawings": VERSION}
    standards = {}
    if network == "small":
        sketches, shapes = _sketch_pictures(found), _shape_pictures(found, views)
        made |= {"network": "small", "size": TRAINED}
    else:
        turned, by = make_sketch_features(found, network, root)
        seen, _ = make_features(models(found), views, network, root)
        sketches, shapes = turned.values.astype(np.float32), pooled(seen)
        standards = _standardise(found, sketches, shapes)
        made |= by | {"size": FROZEN}
    return _data(found, sketches, shapes, made, Look(found, views), standards)


def _data(found, sketches, shapes, made, look, standards):
    labels = torch.from_numpy(found.sketch_labels)
    content = json.dumps({"set": found.sha256} | made, sort_keys=True)
    parts = {
        part: Split(torch.from_numpy(sketches[found.splits[part]]), labels[found.splits[part]])
        for part in PARTS
    }
    return SketchData(
        name=found.name,
        variant=found.variant,
        official=found.official,
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        classes=found.classes,
        shapes=Split(torch.from_numpy(shapes), torch.from_numpy(found.shape_labels)),
        names={part: tuple(found.sketch_names[i] for i in found.splits[part]) for part in PARTS}
        | {"shapes": found.shape_names},
        look=look,
        standards=standards,
        **parts,
    )


def load_sketches(dataset: str, root: str | Path | None, variant: str | None) -> SketchSet:
    """A data set of sketches by its name.

    Raises:
        ValueError: for a name that is no such set.
    """
    from bwot.data import shrec, shrec13_15

    loaders = {
        "shrec13": partial(shrec.load, year=13),
        "shrec13-15": shrec13_15.load,
        "shrec14": partial(shrec.load, year=14),
    }
    if dataset not in loaders:
        raise ValueError(f"dataset must be one of {', '.join(loaders)}, not {dataset!r}.")
    return loaders[dataset](data_root(root), variant)


class Models(NamedTuple):
    """The shapes of a set, for the steps of :mod:`bwot.pipeline`."""

    name: str
    sha256: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]


def models(found: SketchSet) -> Models:
    """The shapes of a set of sketches and shapes."""
    return Models(found.name, found.sha256, found.shape_names, found.shape_paths)


def make_sketch_features(found: SketchSet, network: str, root: str | Path | None = None):
    """Features of all rotations of all sketches by a frozen network, computed where they are not there; and what made them.

    Args:
        found: the set.
        network: as in :func:`bwot.pipeline.make_features`.
        root: the folder with the data sets.
    """
    from bwot.features import compute_features

    frozen = frozen_network(network, root)
    path = cache_of(found) / f"{frozen.settings['name']}-rotations{VERSION}-{FROZEN}.npy"
    paths = dict(zip(found.sketch_names, found.sketch_paths, strict=True))
    features = compute_features(
        path, found.sketch_names, lambda name: rotations(read_drawing(paths[name]), FROZEN),
        frozen, ROTATIONS, found.sha256,
    )  # fmt: skip
    return features, {"network": features.network, "preprocessing": features.preprocessing}


@dataclass(frozen=True)
class Look:
    """Part and index of a sketch or a shape → a picture of it of 224 × 224."""

    found: SketchSet
    views: Views

    def __call__(self, part: str, index: int) -> UInt8[np.ndarray, "h w"]:
        """A drawing as it was drawn, or one view of a shape."""
        if part == "shapes":
            return read_views(self.views, self.found.shape_names[index])[self.views.shown]
        path = self.found.sketch_paths[self.found.splits[part][index]]
        return rotations(read_drawing(path), FROZEN, count=1)[0]


def _sketch_pictures(found):
    turned = [rotations(read_drawing(path), TRAINED) for path in found.sketch_paths]
    return np.stack(turned)[:, :, None]


def _shape_pictures(found, views):
    return np.stack([read_views(views, name) for name in found.shape_names])[:, :, None]


def _standardise(found, sketches, shapes):
    """Standardise features (..., d) in place: of sketches by those of the training part, of shapes by all."""
    standards = {}
    for kind, values, by in (
        ("sketches", sketches, found.splits["train"]),
        ("shapes", shapes, slice(None)),
    ):
        over = tuple(range(values.ndim - 1))
        mean, deviation = values[by].mean(over), np.maximum(values[by].std(over), 1e-6)
        values -= mean
        values /= deviation
        standards[kind] = Standard(mean, deviation)
    return standards


def _nothing_to_see(part, index):
    raise ValueError("features that were converted from text have no pictures to look at.")
