"""The paper's third experiment: views of a 3D shape → network → max over the views → metric head → loss."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import nn

from bwot import standins
from bwot.authors import AuthorsShapeLoss
from bwot.backbones import MVCNN, SmallNet, glorot_
from bwot.controls import JointLoss
from bwot.data.images import ImageSet, Split
from bwot.data.sampling import single_batches
from bwot.experiments.settings import Experiment
from bwot.heads import SHAPE_HEADS, MetricHead
from bwot.published import SHAPE_SETTINGS, SHAPE_SETTINGS_40

_GRID = {
    "rates": (0.000625, 0.00125, 0.0025, 0.005),
    "margins": (3.2, 8.0, 20.0),
    "tuning_epochs": (5, 20),
}
FORTY = ("modelnet40", "modelnet40-views")
POSITIVE_SHARE, POSITIVE_SHARE_40 = 6 / 8, 8 / 12
"""Positive margin over margin, as the authors have it for ModelNet10 and, the second, for ModelNet40 (README)."""


@dataclass(frozen=True, kw_only=True)
class Shapes(Experiment):
    """A run on 3D shapes: one batch a step, whose shapes meet each other; objective and schedule of the authors' 3D code.

    The pair loss has a margin on either side (form ``shapes``) and a softmax cross-entropy beside it; the rate falls
    when the score that steers it stands still.
    """

    NAME: ClassVar = "shapes"
    DATASETS: ClassVar = ("modelnet10", "modelnet40", "modelnet40-views", "psb")
    PRESETS: ClassVar = {
        "quick": {
            "epochs": 3,
            "seeds": (0, 1),
            "data": "procedural stand-ins, no download",
            "rates": (0.0025, 0.005),
            "margins": (8.0,),
            "tuning_epochs": (1, 2),
        },
        "short": {"epochs": 200, "seeds": (0, 1, 2), "data": "the real data"} | _GRID,
        "full": {"epochs": 200, "seeds": (0, 1, 2, 3, 4), "data": "the real data"} | _GRID,
    }
    HEADS: ClassVar = SHAPE_HEADS
    ZERO_LINES: ClassVar = ("features", "untrained")
    ACCURACY_EPOCHS: ClassVar = (5,)
    """The paper compares five epochs with others' two hundred."""
    COMPARISONS: ClassVar = dict.fromkeys(DATASETS, ("tuned", "as published", "end to end")) | {
        "psb": ("tuned", "as published")
    }
    END_TO_END: ClassVar = {"network": "small", "epochs": 5}
    """What is changed where the network is trained too; rate and margins stay those of the authors' code, for every loss."""
    MODULES: ClassVar = (
        "authors", "data.modelnet", "data.psb", "rendering.cameras", "rendering.folders", "rendering.layers", "rendering.lines",
        "rendering.pictures", "rendering.shading", "rendering.splats", "rendering.surfaces", "rendering.tracing", "rendering.workers",
        "features.extraction", "features.files", "features.imagenet", "features.modules", "features.networks", "features.partial",
        "features.pixels", "albums", "pipeline", "experiments.shapes",
    )  # fmt: skip

    dataset: str = "modelnet10"
    epochs: int = 200
    learning_rate: float = 0.001
    decay: float = 0.8
    batch_size: int = 20
    head: str = "small"
    margin: float = 8.0
    form: Literal["shapes"] = "shapes"
    network: str | None = None
    """Whose cached features are learned from; ``small`` is a network that is trained on the views themselves.

    None: ``small`` at ``quick``, where there are no others, ``mobilenet`` otherwise.
    """
    weight_decay: float = 1e-4
    classifier_weight: float = 1.0
    """Of the softmax cross-entropy beside the pair loss; 1 for ModelNet10 in the authors' README, 0.2 for ModelNet40."""
    steered_by: Literal["validation_map", "map"] = "validation_map"
    """The score that lowers the rate when it stands still. The published code looks at the mAP of the test set, ``map``."""

    def __post_init__(self):
        if self.network is None:
            object.__setattr__(self, "network", "small" if self.preset == "quick" else "mobilenet")
        super().__post_init__()

    def _check(self):
        for name, known in (
            ("form", ("shapes",)),
            ("steered_by", ("validation_map", "map")),
        ):
            self._one_of(name, known)
        for name in ("weight_decay", "classifier_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}.")
        self._check_network()
        super()._check()

    @property
    def end_to_end(self) -> bool:
        """Is the network trained on the views, or are its features taken as they are?"""
        return self.network == "small"

    def published(self):
        """Those of the authors' 3D code for ModelNet40, and for ModelNet10 on all other data."""
        return SHAPE_SETTINGS_40 if self.dataset in FORTY else SHAPE_SETTINGS

    def load_data(self, data_dir=None):
        """Views or features of shapes; see :meth:`Experiment.load_data`."""
        from bwot.pipeline import shape_data, standin_data

        if self.preset == "quick":
            return standin_data()
        return shape_data(self.dataset, self.network, data_dir, self.variant)

    def fingerprint(self) -> None:
        """None: the publisher states none."""

    def batches(self, n, epoch):
        """One batch a step."""
        return single_batches(n, self.batch_size, self.seed, epoch)

    def replay_data(self):
        """The embedded digits: as one view each, or their pixels as features."""
        digits = standins.digits()
        if self.end_to_end:
            return _mapped(digits, lambda x: nn.functional.interpolate(x, scale_factor=4)[:, None])
        return _mapped(digits, lambda x: x.flatten(1).float() / 64 - 2)

    def build_loss(self, classes):
        """See :meth:`Experiment.build_loss`: the pair loss beside a classifier; as published, the authors' own."""
        if self.loss == "cross-entropy":
            return super().build_loss(classes)
        pairs = self._pair_loss()
        if self.as_published:
            pairs = AuthorsShapeLoss(
                self.margin, self._positive_margin(), self.lam, self.gamma, self.iterations
            )
        if self.classifier_weight == 0 or self.loss in self.ZERO_LINES:
            return pairs
        return JointLoss(pairs, self._classifier(classes), self.classifier_weight)

    def _pair_options(self):
        return {"positive_margin": self._positive_margin()}

    def _positive_margin(self):
        return (POSITIVE_SHARE_40 if self.dataset in FORTY else POSITIVE_SHARE) * self.margin

    def build_network(self, shape, bfloat16=False):
        """A head on features (length,), or a small network on views (views, channels, height, width) before it.

        The zero line ``features`` has no network: the input is its own embedding.
        """
        if self.loss == "features":
            return nn.Sequential(nn.Flatten())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if not self.end_to_end:
                return glorot_(MetricHead(shape[0], SHAPE_HEADS[self.head]))
            cnn = SmallNet(*shape[1:3])
            return glorot_(MVCNN(cnn, MetricHead(cnn.features, SHAPE_HEADS[self.head])))


def _mapped(data: ImageSet, change) -> ImageSet:
    parts = {
        name: Split(change(getattr(data, name).images), getattr(data, name).labels)
        for name in ("train", "validation", "test")
    }
    return replace(data, **parts)
