"""The paper's first experiment: images → LeNet-5 → metric head → loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bwot import standins
from bwot.authors import AuthorsImageLoss
from bwot.backbones import LeNet5, glorot_
from bwot.data import cifar10, mnist
from bwot.data.images import check_retrieval
from bwot.data.sampling import batch_pairs
from bwot.experiments.settings import Experiment
from bwot.heads import LENET_HEADS, MetricHead
from bwot.paths import data_root
from bwot.published import IMAGE_SETTINGS, PLOTTED_EPOCHS

_GRID = {"rates": (0.005, 0.01, 0.02, 0.04), "margins": (2.0, 5.0, 12.5), "tuning_epochs": (1, 3)}
_LOADERS = {"mnist": mnist, "cifar10": cifar10}
_STANDINS = {"mnist": standins.digits, "cifar10": standins.colours}


@dataclass(frozen=True, kw_only=True)
class Images(Experiment):
    """A run on images: two batches a step; the schedule is that of the authors' 2D code (run.py), save for the rate."""

    NAME: ClassVar = "images"
    DATASETS: ClassVar = tuple(_LOADERS)
    PRESETS: ClassVar = {
        "quick": {
            "epochs": 4,
            "seeds": (0, 1),
            "data": "embedded stand-ins, no download",
            "rates": (0.01, 0.02, 0.04),
            "margins": (5.0,),
            "tuning_epochs": (1, 2),
        },
        "short": {"epochs": 10, "seeds": (0, 1, 2), "data": "the real data"} | _GRID,
        "full": {"epochs": 50, "seeds": (0, 1, 2, 3, 4), "data": "the real data"} | _GRID,
    }
    """The authors' plots show 50 epochs."""
    HEADS: ClassVar = LENET_HEADS
    ZERO_LINES: ClassVar = ("pixels", "untrained")
    ACCURACY_EPOCHS: ClassVar = PLOTTED_EPOCHS
    COMPARISONS: ClassVar = dict.fromkeys(DATASETS, ("tuned", "common", "as published"))
    MODULES: ClassVar = ("authors", "data.mnist", "data.cifar10", "experiments.images")

    dataset: str = "mnist"
    normalise_gradient: bool = False

    def _check(self):
        super()._check()
        if self.batch_size % 2:
            raise ValueError(f"batch_size must be even (two batches), not {self.batch_size}.")
        if self.normalise_gradient and self.loss in ("cross-entropy", *self.ZERO_LINES):
            raise ValueError(
                f"the gradient of {self.loss} is not one of pairs: it has no length to be normalised to."
            )

    def published(self):
        """Those of the authors' 2D code."""
        return IMAGE_SETTINGS

    def load_data(self, data_dir=None):
        """Images; see :meth:`Experiment.load_data`."""
        if self.preset == "quick":
            return _STANDINS[self.dataset]()
        return check_retrieval(_LOADERS[self.dataset].load(data_root(data_dir), self.variant))

    def fingerprint(self) -> str:
        """Of the published files of the data set."""
        return _LOADERS[self.dataset].FINGERPRINT

    def batches(self, n, epoch):
        """Two batches of half of ``batch_size`` a step."""
        return batch_pairs(n, self.batch_size, self.seed, epoch)

    def replay_data(self):
        """The embedded digits."""
        return standins.digits()

    def build_loss(self, classes):
        """See :meth:`Experiment.build_loss`; as published, the authors' own."""
        if not self.as_published:
            return super().build_loss(classes)
        return AuthorsImageLoss(
            self.batch_size // 2, self.margin, self.lam, self.gamma, self.iterations
        )

    def build_network(self, shape, bfloat16=False):
        """LeNet-5 and its head for images (channels, height, width).

        The zero line ``pixels`` has no network: the image is its own embedding.
        """
        if self.loss == "pixels":
            return nn.Sequential(nn.Flatten())
        channels, size, _ = shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            backbone = LeNet5(channels, size, bfloat16)
            network = nn.Sequential(backbone, MetricHead(backbone.features, LENET_HEADS[self.head]))
            glorot_(network)
        return network.to(memory_format=torch.channels_last)  # convolutions on a CPU are faster so
