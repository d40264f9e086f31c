"""The experiments of the paper: frozen settings that know their data, network, loss and batches."""

from bwot.experiments.images import Images
from bwot.experiments.plan import EXPERIMENTS, campaign, experiment_of, grid, settings_of
from bwot.experiments.settings import LOSSES, Experiment
from bwot.experiments.shapes import Shapes
from bwot.experiments.sketches import Sketches

__all__ = [
    "EXPERIMENTS",
    "LOSSES",
    "Experiment",
    "Images",
    "Shapes",
    "Sketches",
    "campaign",
    "experiment_of",
    "grid",
    "settings_of",
]
