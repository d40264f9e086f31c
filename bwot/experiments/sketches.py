"""The paper's second experiment: a drawing asks for 3D shapes; a head for either, one space of embeddings, a loss of four parts."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import nn

from bwot import baselines, standins
from bwot.backbones import MVCNN, SmallNet, glorot_
from bwot.crossmodal import FourPartLoss, Modalities, TwoNetworks, modalities
from bwot.data.images import Split
from bwot.data.sampling import balanced_modality_batches, modality_batches
from bwot.data.sketches import SketchData
from bwot.experiments.settings import LOSSES, Experiment
from bwot.heads import SKETCH_HEADS, MetricHead, UnitLength, authors_normal_, sketch_heads
from bwot.published import SKETCH_SETTINGS

_GRID = {
    "rates": (0.005, 0.01, 0.02, 0.04),
    "margins": (0.4, 1.0, 2.5),
    "tuning_epochs": (2, 5),
}


@dataclass(frozen=True, kw_only=True)
class Sketches(Experiment):
    """A run on sketches and shapes: two batches of either a step; schedule and objective of the authors' SHREC code.

    Every rotation of a sketch is a training sample of its own. All shapes are trained on and all are the gallery that
    the test sketches are asked in.
    """

    NAME: ClassVar = "sketches"
    DATASETS: ClassVar = ("shrec13-15", "shrec13", "shrec14")
    PRESETS: ClassVar = {
        "quick": {
            "epochs": 12,
            "batch_size": 40,
            "seeds": (0, 1),
            "data": "procedural stand-ins, no download",
            "rates": (0.01, 0.02),
            "margins": (1.0,),
            "tuning_epochs": (1, 2),
        },
        "short": {"epochs": 15, "seeds": tuple(range(10)), "data": "the real data"} | _GRID,
        "full": {"epochs": 170, "seeds": (0, 1, 2, 3, 4), "data": "the real data"} | _GRID,
    }
    """The run of the authors' README had 170 epochs. Six steps are an epoch of the stand-ins, and after four epochs nothing has been learned."""
    LOSSES: ClassVar = (*LOSSES, *baselines.NAMES)
    COMPARISONS: ClassVar = dict.fromkeys(DATASETS, ("tuned", "as published"))
    SIDES: ClassVar = {"lam5": {"loss": "bwot", "lam": 5.0}}
    """λ is 10 in the log of the authors' run and 5 in their script."""
    HEADS: ClassVar = SKETCH_HEADS
    ZERO_LINES: ClassVar = ("features", "untrained")
    MODULES: ClassVar = (
        "data.feature_lists", "data.modelnet", "data.psb", "data.shrec", "data.shrec13_15", "drawings", "rendering.cameras", "rendering.folders", "rendering.layers",
        "rendering.lines", "rendering.pictures", "rendering.shading", "rendering.splats", "rendering.surfaces", "rendering.tracing",
        "rendering.workers", "features.extraction", "features.files", "features.imagenet", "features.modules", "features.networks", "features.partial",
        "features.pixels", "albums", "pipeline", "sketch_pipeline", "sketch_standins", "experiments.sketches",
    )  # fmt: skip

    dataset: str = "shrec13-15"
    epochs: int = 15
    learning_rate: float = 0.01
    decay: float = 1.0
    batch_size: int = 120
    """Samples a step, in four batches, two of sketches and two of shapes."""
    head: str = "scaled"
    margin: float = 1.0
    network: str | None = None
    """Whose cached features are learned from; ``small`` are two networks that are trained on drawings and views themselves.

    None: ``small`` at ``quick``, where there are no others, ``mobilenet`` otherwise.
    """
    balanced_batches: bool = False
    """All classes equally often in a batch; as published, batches are random."""
    sketch_weight: float = 1.0
    """Of the pairs of sketches in a loss on pairs; the losses of other papers have one part, the union of both kinds."""
    shape_weight: float = 1.0
    """Of the pairs of shapes."""
    across_weight: float = 1.0
    """Of either pairing of sketches with shapes."""
    queries: Literal["drawn", "rotations"] = "drawn"
    """Whether test sketches are asked as they were drawn, or in all rotations too, as the authors' code seems to do."""

    def __post_init__(self):
        if self.network is None:
            object.__setattr__(self, "network", "small" if self.preset == "quick" else "mobilenet")
        super().__post_init__()

    def _check(self):
        self._one_of("queries", ("drawn", "rotations"))
        if self.batch_size < 8 or self.batch_size % 4:
            raise ValueError(
                f"batch_size must be a multiple of 4 (four batches), at least 8, not {self.batch_size}."
            )
        self._check_network()
        super()._check()

    @property
    def end_to_end(self) -> bool:
        """Are the networks trained on drawings and views, or are features taken as they are?"""
        return self.network == "small"

    def published(self):
        """Those of the authors' SHREC code."""
        return SKETCH_SETTINGS

    def load_data(self, data_dir=None) -> SketchData:
        """Sketches and shapes; see :meth:`Experiment.load_data`."""
        from bwot.sketch_pipeline import sketch_data
        from bwot.sketch_standins import sketches

        if self.preset == "quick":
            return sketches()
        return sketch_data(self.dataset, self.network, data_dir, self.variant)

    def fingerprint(self) -> None:
        """None: the publisher states none."""

    def training_samples(self, data, device="cpu") -> Modalities:
        """All rotations of the training sketches, and all shapes."""
        return modalities(data.train, data.shapes, device)

    def sampler(self, train):
        """Two batches of sketches and two of shapes a step; an epoch is a walk over all rotations of all sketches."""
        sides = train.drawings.labels.cpu(), train.shapes.labels.cpu()
        if self.balanced_batches:
            return partial(balanced_modality_batches, *sides, self.batch_size, self.seed)
        return partial(modality_batches, *map(len, sides), self.batch_size, self.seed)

    def dimensions(self, data):
        """The shape of one rotation of a sketch (as a shape's view, if it is a picture), and that of a shape."""
        drawing = data.train.images.shape[2:]
        return {
            "image": [1, *drawing] if len(drawing) > 1 else list(drawing),
            "shape": list(data.shapes.images.shape[1:]),
        }

    def replay_data(self):
        """The embedded digits: half of them are the drawings, in one rotation, half the shapes."""
        digits = standins.digits()
        images, labels = digits.train.images, digits.train.labels
        if self.end_to_end:
            larger = nn.functional.interpolate(255 - images, scale_factor=4)
            samples = larger[:, None]
        else:
            samples = (images.flatten(1).float() / 64 - 2)[:, None]
        drawings, shapes = Split(samples[::2], labels[::2]), Split(samples[1::2], labels[1::2])
        if not self.end_to_end:
            shapes = Split(shapes.images[:, 0], shapes.labels)
        parts = dict.fromkeys(("train", "validation", "test"), drawings)
        return SketchData(
            name="digits", variant=digits.variant, official=False, sha256=digits.sha256, classes=digits.classes,
            shapes=shapes, names={}, **parts,
        )  # fmt: skip

    def build_loss(self, classes):
        """See :meth:`Experiment.build_loss`: the loss on pairs in four parts, or one of the union of both kinds."""
        if self.loss in baselines.NAMES:
            return baselines.baseline(self.loss, self.margin)
        if self.loss == "cross-entropy":
            return self._classifier(classes)
        return FourPartLoss(
            self._pair_loss(), self.sketch_weight, self.shape_weight, self.across_weight
        )

    def network_for(self, dimensions, bfloat16=False):
        """Heads on features (length,), or small networks on views (views, channels, height, width) before them.

        The zero line ``features`` has no networks: a feature is its own embedding, and so are pixels where there are none.
        """
        shapes = tuple(dimensions["image"]), tuple(dimensions["shape"])
        if self.loss == "features":
            return TwoNetworks(*map(self._unchanged, shapes))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return TwoNetworks(*map(self._network, ("sketch", "shape"), shapes))

    def _unchanged(self, shape):
        return MVCNN(nn.Flatten(), nn.Identity()) if len(shape) > 1 else nn.Flatten()

    def _network(self, kind, shape):
        if len(shape) == 1:
            return self._head(kind, shape[0])
        cnn = glorot_(SmallNet(*shape[1:3]))
        return MVCNN(cnn, self._head(kind, cnn.features))

    def _head(self, kind, features):
        pair = sketch_heads(self.head, features)
        head = MetricHead(features, getattr(pair, kind), pair.activation, pair.linear)
        # Else torch's own start: embeddings about as far apart as the margin. Glorot's are ten times that, and collapse.
        if self.head == "code":
            authors_normal_(head)
        last = [UnitLength()] if self.loss in baselines.ANGULAR else []
        return nn.Sequential(head, *last)
