"""From a folder of shapes to what a network takes: views, then features of a frozen network or the views themselves.

Views and features are kept under ``cache/``, in a folder for each copy of a data set. Both steps go on where a killed call
was, and both are done once for all runs.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8

from bwot.data.images import DataError, ImageSet, Split
from bwot.paths import cache_root, data_root

Network = Literal["small", "mobilenet", "resnet50", "alexnet", "vgg11"]
Step = Literal["views", "features"]
FROZEN, TRAINED, STANDIN = 224, 64, 32
"""Sides of the views in pixels; for a frozen network, for one that is trained on them, and of the stand-ins."""
PARTS = ("train", "validation", "test")
DOWNLOADED = ("resnet50", "alexnet", "vgg11")
"""Networks whose published weights are fetched where they are not there."""
MOBILENET = "weights/mobilenet_v1_075_224.onnx"
"""Below the folder of the data sets; ImageNet's MobileNet v1 of width 0.75, with an output ``feature`` of 768 numbers."""


class Views(NamedTuple):
    """Where the views of a data set are."""

    folder: Path
    arrangement: Literal["ring", "dodecahedron"]
    count: int

    @property
    def shown(self) -> int:
        """The view that stands for a shape in a figure, from above since shapes are mostly looked at so."""
        return {"ring": 0, "dodecahedron": 5}[self.arrangement]


ARRANGEMENTS = {
    "modelnet10": ("ring", 12, "z"),
    "modelnet40": ("ring", 12, "z"),
    "modelnet40-views": ("ring", 12, "z"),
    "psb": ("dodecahedron", 20, "y"),
    "shrec13": ("dodecahedron", 20, "y"),
    "shrec13-15": ("dodecahedron", 20, "y"),
    "shrec14": ("dodecahedron", 20, "y"),
}
"""Cameras, their number, and the axis that points up; the ring for sets whose shapes all stand upright, the dodecahedron
for those that promise no up axis."""


@dataclass(frozen=True)
class ShapeData(ImageSet):
    """Shapes as a network takes them, with their names and views to look at."""

    names: dict[str, tuple[str, ...]]  # of the shapes of each part, in order
    strips: Views | None  # None for the stand-ins, whose views are the samples

    def views(self, part: str, index: int) -> UInt8[np.ndarray, "v h w"]:
        """All views of a shape of a part, on white paper (255)."""
        from bwot.rendering import read_strip

        if self.strips is None:
            return getattr(self, part).images[index, :, 0].numpy()
        return read_strip(strip_of(self.strips, self.names[part][index]))

    def pictures(self, part: str, indices: Sequence[int]) -> UInt8[np.ndarray, "k h w"]:
        """One view of some shapes of a part, see :attr:`Views.shown`."""
        shown = self.strips.shown if self.strips else 0
        return np.stack([self.views(part, index)[shown] for index in indices])


def shape_data(
    dataset: str, network: str, root: str | Path | None = None, variant: str | None = None
) -> ShapeData:
    """The shapes of a data set as the samples of a run; what is missing under ``cache/`` is made first.

    Args:
        dataset: a key of :data:`ARRANGEMENTS`.
        network: ``small``: the views, (n, v, 1, h, w) of 0 to 255. Others: features (n, d), the maximum over the views,
            each number standardised by its mean and deviation over the training part.
        root: the folder with the data sets; see :func:`bwot.paths.data_root`.
        variant: see the loader of the data set.

    Raises:
        FileNotFoundError: where the data set or the network's file is missing.
        DataError: where they are damaged, or shapes cannot be drawn.
    """
    found = load_shapes(dataset, root, variant)
    _refuse_loners(found)
    if network != "small":
        frozen_network(network, root)  # one that is missing is told before hours of drawing
    size = TRAINED if network == "small" else FROZEN
    views = make_views(found, size)
    if network == "small":
        samples = torch.from_numpy(
            np.stack([read_views(views, name) for name in found.names])[:, :, None]
        )
        made = {"network": "small"}
    else:
        features, made = make_features(found, views, network, root)
        samples = torch.from_numpy(standardised(features, found.splits["train"]))
    labels = torch.from_numpy(found.labels)
    parts = {part: Split(samples[found.splits[part]], labels[found.splits[part]]) for part in PARTS}
    content = {"set": found.sha256, "views": views.arrangement, "size": size, **made}
    return ShapeData(
        name=found.name,
        variant=found.variant,
        official=found.official,
        sha256=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        classes=found.classes,
        names={part: tuple(found.names[i] for i in found.splits[part]) for part in PARTS},
        strips=views,
        **parts,
    )


def _refuse_loners(found):
    if len(found.classes) < 2:
        raise DataError(f"{found.name} has one class, expected two or more to tell apart.")
    for part in PARTS[1:]:
        if not (np.bincount(found.labels[found.splits[part]]) > 1).any():
            raise DataError(
                f"no two {part} shapes of {found.name} are of one class: a query needs another shape of its class to find."
            )


def load_shapes(dataset: str, root: str | Path | None, variant: str | None):
    """The :class:`~bwot.data.shapes.ShapeSet` of a data set.

    Raises:
        ValueError: for a name that is no data set of shapes.
    """
    from bwot.data import modelnet, psb

    loaders = {
        "modelnet10": partial(modelnet.load, classes=10),
        "modelnet40": partial(modelnet.load, classes=40),
        "modelnet40-views": modelnet.load_views,
        "psb": psb.load,
    }
    if dataset not in loaders:
        raise ValueError(f"dataset must be one of {', '.join(loaders)}, not {dataset!r}.")
    return loaders[dataset](data_root(root), variant)


def make_views(found, size: int) -> Views:
    """Draw the shapes of a set from all sides, shaded, where that is not done yet; pictures that a set brings are collected.

    Raises:
        DataError: that names the shapes which cannot be drawn.
    """
    from bwot.albums import collect_folder
    from bwot.rendering import render_folder

    arrangement, count, up = ARRANGEMENTS[found.name]
    views = Views(cache_of(found) / f"{arrangement}-{size}", arrangement, count)
    if isinstance(found.paths[0], tuple):
        broken = collect_folder(found.paths, found.names, views.folder, size)
    else:
        broken = render_folder(found.paths, found.names, views.folder, arrangement, size, up=up)
    if broken:
        told = "\n".join(f"  {each.name}: {each.reason}" for each in broken)
        raise DataError(f"{len(broken)} of {len(found.paths)} shapes cannot be drawn:\n{told}")
    return views


def make_features(found, views: Views, network: str, root: str | Path | None = None):
    """Features of all views of a set by a frozen network, computed where they are not there; and what made them, for JSON.

    Args:
        found: the set.
        views: from :func:`make_views`.
        network: ``mobilenet``, the file :data:`MOBILENET` below ``root``; ``resnet50``, ``alexnet``, ``vgg11``,
            downloaded with their published weights; or an ONNX file with an output ``feature``.
        root: the folder with the data sets.
    """
    from bwot.features import compute_features

    frozen = frozen_network(network, root)
    path = cache_of(found) / f"{frozen.settings['name']}-{views.arrangement}-{FROZEN}.npy"
    features = compute_features(
        path, found.names, partial(read_views, views), frozen, views.count, found.sha256
    )
    return features, {"network": features.network, "preprocessing": features.preprocessing}


def frozen_network(network: str, root: str | Path | None = None):
    """A network by its name, see :func:`make_features`.

    Raises:
        FileNotFoundError: where its file is missing, with what to do.
    """
    from bwot.features import OnnxNetwork

    if network in DOWNLOADED:
        from bwot.features.imagenet import pretrained
        from bwot.features.modules import TorchNetwork

        return TorchNetwork(pretrained(network), network)
    return OnnxNetwork(network_file(network, root))


def network_file(network: str, root: str | Path | None = None) -> Path:
    """The ONNX file of a network by its name; see :func:`make_features`.

    Raises:
        FileNotFoundError: where it is missing, with what to do.
    """
    path = data_root(root) / MOBILENET if network == "mobilenet" else Path(network).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"the network {network} needs the file {path}, which is not there: put it there, name another ONNX file, or take "
            "resnet50, alexnet or vgg11, which are downloaded."
        )
    return path


def strip_of(views: Views, name: str) -> Path:
    """The file with the views of a shape."""
    return views.folder / PurePosixPath(f"{name}.png")


def read_views(views: Views, name: str) -> UInt8[np.ndarray, "v h w"]:
    """All views of a shape."""
    from bwot.rendering import read_strip

    return read_strip(strip_of(views, name))


def standardised(
    features, train: Int64[np.ndarray, " k"] | slice = slice(None)
) -> Float32[np.ndarray, "n d"]:
    """The maximum over the views, each number standardised by its mean and deviation over some shapes.

    Args:
        features: from :func:`make_features`.
        train: indices of these shapes; all of them unless given.
    """
    from bwot.features import pooled

    values = pooled(features)
    mean, deviation = values[train].mean(0), values[train].std(0)
    return ((values - mean) / np.maximum(deviation, 1e-6)).astype(np.float32)


def cache_of(found) -> Path:
    """The folder of this copy of a data set below ``cache/``."""
    return cache_root() / f"{found.name}-{found.sha256[:12]}"


@cache
def standin_data() -> ShapeData:
    """The drawn solids as views of :data:`STANDIN` pixels from the ring of twelve cameras."""
    from bwot.rendering import render
    from bwot.standins import solids

    found = solids()
    samples = torch.from_numpy(
        np.stack([render(mesh, "ring", STANDIN) for mesh in found.meshes])[:, :, None]
    )
    parts = {
        part: Split(samples[found.splits[part]], found.labels[found.splits[part]]) for part in PARTS
    }
    return ShapeData(
        name=found.name,
        variant=found.variant,
        official=False,
        sha256=found.sha256,
        classes=found.classes,
        names={part: tuple(found.names[i] for i in found.splits[part]) for part in PARTS},
        strips=None,
        **parts,
    )
