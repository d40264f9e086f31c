"""The authors' numbers and settings, each with its source; nothing here was computed by this project.

The tables of the paper could not be read when this was written: numbers come from the authors' public repository
(gxdai/Batch-wise-Optimal-Transport-Metric, also IAAI-CVResearchGroup/BOT-Learning), where named "plot" read off a picture by eye.
"""

from typing import NamedTuple


class Curve(NamedTuple):
    """Points read off a plot."""

    epochs: tuple[int, ...]
    values: tuple[float, ...]  # in [0, 1]
    reading_error: float  # half of what the eye can tell apart, same unit
    source: str


class Score(NamedTuple):
    """A number of a table."""

    value: float  # in [0, 1]
    source: str


_PLOT = "authors' repository, 2D-Optimal-Transport-Metric/imgs/Convergence_Rate.jpg, read by eye"
PLOTTED_EPOCHS = (1, 2, 5, 10, 20, 30, 50)
"""Where points were read off the plots."""


def _curve(percent: tuple[float, ...], reading_error: float) -> Curve:
    return Curve(
        PLOTTED_EPOCHS, tuple(round(value / 100, 6) for value in percent), reading_error, _PLOT
    )


IMAGE_SETTINGS = {
    "form": "images", "margin": 5.0, "lam": 0.01, "gamma": 10.0, "iterations": 30, "plan_gradient": "kernel",
    "learning_rate": 0.2, "decay": 0.95, "momentum": 0.9, "batch_size": 128, "head": "code",
    "normalise_gradient": False,
}  # fmt: skip
"""Settings of the authors' 2D code (run.py, inference.py); the pixels are in [0, 1]."""

SHAPE_SETTINGS = {
    "margin": 8.0, "lam": 0.01, "gamma": 10.0, "iterations": 50, "learning_rate": 1e-3, "decay": 0.8, "momentum": 0.9,
    "weight_decay": 1e-4, "batch_size": 20, "classifier_weight": 1.0, "steered_by": "map",
}  # fmt: skip
"""Settings of the authors' 3D code for ModelNet10 (mvcnn_optimal_transport.py, main loop and global_args; README).

Their network, AlexNet trained from end to end, is none of them: what is learned from are the features of another.
"""
SHAPE_SETTINGS_40 = SHAPE_SETTINGS | {"margin": 12.0, "classifier_weight": 0.2}
"""Those for ModelNet40."""


SKETCH_SETTINGS = {
    "form": "sketches", "margin": 1.0, "lam": 10.0, "gamma": 10.0, "iterations": 20, "plan_gradient": "kernel",
    "learning_rate": 5e-4, "decay": 1.0, "momentum": 0.9, "batch_size": 120, "head": "code", "balanced_batches": False,
    "sketch_weight": 1.0, "shape_weight": 1.0, "across_weight": 1.0, "queries": "rotations",
}  # fmt: skip
"""Settings of the SHREC'14 run whose scores stand in the authors' README (its log, train_ours_PAMI.log; model.py, main.py).

λ is that of the log, not that of the script; the queries are all rotations of the test sketches, as far as the code and the
time that an evaluation took tell. Their features, fc7 of CaffeNet, are none of the settings.
"""

CURVES = {
    ("mnist", "bwot", "map"): _curve((96.0, 97.4, 98.5, 99.0, 99.2, 99.3, 99.35), 0.001),
    ("mnist", "pairwise", "map"): _curve((90.9, 95.4, 97.8, 98.7, 99.15, 99.3, 99.4), 0.001),
    ("mnist", "bwot", "accuracy"): _curve(
        (98.37, 98.74, 99.10, 99.26, 99.33, 99.38, 99.41), 0.0003
    ),
    ("mnist", "pairwise", "accuracy"): _curve(
        (97.72, 98.34, 98.75, 99.04, 99.26, 99.32, 99.41), 0.0003
    ),
    ("cifar10", "bwot", "map"): _curve((20.7, 22.9, 27.9, 33.3, 40.5, 45.4, 50.4), 0.004),
    ("cifar10", "pairwise", "map"): _curve((16.6, 17.0, 19.7, 22.5, 26.0, 29.0, 34.0), 0.004),
    ("cifar10", "bwot", "accuracy"): _curve((48.8, 51.8, 56.3, 61.0, 66.0, 69.4, 71.7), 0.005),
    ("cifar10", "pairwise", "accuracy"): _curve((45.0, 46.2, 49.2, 51.7, 55.0, 57.9, 61.5), 0.005),
}
"""Test curves of batch-wise and pair-wise training; (data set, loss, score) leads to the points."""

BENCHMARK_DESCRIPTOR = {"nn": 0.657, "ft": 0.380, "st": 0.487, "e": 0.280, "dcg": 0.643}
"""Of the light field descriptor on the test models of the Princeton Shape Benchmark, in the benchmark's own paper (Shilane et al.,
SMI 2004): written down from memory, unverified."""

_README = "authors' repository, 3D-Shape-Recognition/README.md, September 2019"
_SKETCH_README = "authors' repository, shrec14/README.md"


def _scores(dataset: str, source: str, **values: float) -> dict[tuple[str, str], Score]:
    return {(dataset, name): Score(value, source) for name, value in values.items()}


SCORES = {
    **_scores("shrec13", _SKETCH_README, nn=0.713, ft=0.728, st=0.788, e=0.366, dcg=0.818, map=0.754),
    **_scores("shrec14", _SKETCH_README, nn=0.536, ft=0.564, st=0.629, e=0.305, dcg=0.712, map=0.591),
    **_scores("modelnet10", _README, accuracy=0.942, map=0.900),
    **_scores("modelnet40", _README, accuracy=0.931, map=0.892),
}  # fmt: skip
"""Test scores of the batch-wise loss; (data set, score) leads to the number. Those of ModelNet changed after the paper was published."""

_LOG = "authors' repository, commit 6fc1b60, shrec14/mixed, training logs"
LOGGED = {
    "bwot": Curve(
        (1, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 75, 120, 150, 170),
        (0.123, 0.218, 0.311, 0.369, 0.405, 0.443, 0.462, 0.480, 0.494, 0.506, 0.515, 0.550, 0.578, 0.585, 0.5905),
        0.0005, _LOG,
    ),
    "lifted": Curve(
        (1, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50),
        (0.112, 0.305, 0.426, 0.481, 0.512, 0.535, 0.549, 0.558, 0.563, 0.568, 0.574),
        0.0005, _LOG,
    ),
}  # fmt: skip
"""Test mAP on SHREC'14 by epoch, a loss each. The batch-wise run, with λ = 10 and a constant rate, began at a network of one epoch, and is
the one whose end stands in the README; the lifted one has margin 1 and a falling rate."""
