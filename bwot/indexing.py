"""From a finished run on sketches to what answers drawings: in this process, or an index in a folder."""

import hashlib
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8
from torch import nn

from bwot import training
from bwot.data.sketches import SketchData, Standard
from bwot.features import Network
from bwot.pipeline import DOWNLOADED, FROZEN, frozen_network, network_file
from bwot.ranklists import settings_and_data
from bwot.records import Record
from bwot.rendering import Broken
from bwot.runs import trained_network
from bwot.search import Content, Gallery, Query, refuse_taken, write_index
from bwot.search.gallery import given_of

PICTURE = 96
"""Most pixels a side of a picture in an index."""


class Models(NamedTuple):
    """Models as the shape side of a trained network takes them, and files that could not be drawn."""

    names: tuple[str, ...]
    paths: tuple[str, ...]  # empty for those without a file
    samples: Shaped[torch.Tensor, "n ..."]
    pictures: UInt8[np.ndarray, "n p p"]
    broken: tuple[Broken, ...] = ()


class Trained(NamedTuple):
    """A finished run and what its networks need."""

    record: Record
    data: SketchData
    network: nn.Module  # of two sides, drawings and shapes
    frozen: Network | None  # None where they take pictures
    root: str | Path | None  # the folder with the data sets


def trained_run(record: Record, root: str | Path | None = None) -> Trained:
    """The networks of a finished run on sketches; a run computed elsewhere is computed here first.

    Args:
        record: of the run.
        root: the folder with the data sets; see :func:`bwot.paths.data_root`.

    Raises:
        ValueError: for a record of another experiment or other data than those at hand, a diverged run, and one on
            features that were converted from text, which no drawing can be given.
    """
    settings, data = settings_and_data(record, root)
    if settings.network.endswith(".npz"):
        raise ValueError(
            f"the run has its features from {settings.network}, and what made those is not known: no drawing can be asked."
        )
    frozen = None if settings.end_to_end else frozen_network(settings.network, root)
    return Trained(record, data, trained_network(record, root).eval(), frozen, root)


def own_models(run: Trained) -> Models:
    """The shapes that the run was trained on and evaluated with."""
    data, names = run.data, run.data.names["shapes"]
    files = [""] * len(names) if data.look is None else data.look.found.shape_paths
    pictures = [small(picture) for picture in data.pictures("shapes", range(len(names)))]
    return Models(names, tuple(map(str, files)), data.shapes.images, np.stack(pictures))


def gallery_of(run: Trained, models: Models) -> Gallery:
    """What answers in this process, without a folder."""
    side, size = _DrawingSide(run), _size(run)

    @torch.no_grad()
    def embed(drawing):
        return side(torch.from_numpy(given_of(drawing, size, run.frozen)))[0].numpy()

    return Gallery(models.names, models.paths, _embeddings(run, models), models.pictures, embed)


def build_index(run: Trained, models: Models, folder: str | Path) -> None:
    """Write an index: see :mod:`bwot.search.files`.

    Raises:
        FileExistsError: where something is in the folder.
    """
    refuse_taken(folder)
    record, size = run.record, _size(run)
    example = torch.from_numpy(given_of(np.full((8, 8), 255, np.uint8), size, run.frozen))
    sketch = onnx_of(_DrawingSide(run), torch.cat([example, example]), "embedding")
    query = Query(size, sketch)
    if run.frozen is not None:
        output = run.frozen.settings.get("output", "feature")
        query = Query(size, sketch, _network(run), output, run.frozen.scaling)
    about = {
        "key": record.provenance["key"], "dataset": run.data.name, "data_sha256": run.data.sha256, "loss": record.loss["name"],
        "seed": record.seed, "network": record.settings["network"],
    }  # fmt: skip
    embeddings = _embeddings(run, models)
    write_index(
        folder, Content(models.names, models.paths, embeddings, models.pictures, query, about)
    )


def onnx_of(module: nn.Module, example: Shaped[torch.Tensor, "n ..."], output: str) -> bytes:
    """A module in evaluation mode as the content of an ONNX file, for any number of samples.

    Args:
        module: of one tensor to one tensor.
        example: samples that it takes, two at least: where there is one, that number would be taken as fixed.
        output: name of what comes out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own parts
        program = torch.onnx.export(
            module.eval(), (example,), dynamo=True, verbose=False, input_names=["given"], output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("n")},),
        )  # fmt: skip
    return program.model_proto.SerializeToString()


def small(picture: UInt8[np.ndarray, "s s"]) -> UInt8[np.ndarray, "p p"]:
    """A picture as an index has it, of :data:`PICTURE` pixels a side at most."""
    from PIL import Image

    if len(picture) <= PICTURE:
        return picture
    return np.asarray(Image.fromarray(picture).resize((PICTURE, PICTURE), Image.Resampling.BOX))


class _DrawingSide(nn.Module):
    """From what a drawing gives, a feature or ink, to its embedding."""

    def __init__(self, run: Trained):
        super().__init__()
        unchanged = Standard(np.zeros(1, np.float32), np.ones(1, np.float32))
        for name, values in run.data.standards.get("sketches", unchanged)._asdict().items():
            self.register_buffer(name, torch.from_numpy(values))
        self.network = run.network.drawings
        self.eval()

    def forward(self, given):
        return self.network((given - self.mean) / self.deviation)


def _embeddings(run, models) -> Float32[np.ndarray, "n e"]:
    return training.embed(run.network.shapes, models.samples).numpy()


def _size(run):
    """Side of the picture of a drawing, in pixels."""
    return run.data.train.images.shape[-1] if run.frozen is None else FROZEN


def _network(run):
    """The frozen network as the content of an ONNX file."""
    name = run.record.settings["network"]
    if name in DOWNLOADED:
        return onnx_of(run.frozen.module, torch.zeros(2, 3, FROZEN, FROZEN), "feature")
    content = network_file(name, run.root).read_bytes()
    if hashlib.sha256(content).hexdigest() != run.frozen.settings["sha256"]:
        raise ValueError(f"the file of the network {name} has just been changed: call again.")
    return content
