"""What is measured of a run on sketches: the test sketches ask in all shapes; diagnostics of the loss on training batches."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor, nn

from bwot import metrics, training
from bwot.controls import AllPairsLoss
from bwot.crossmodal import FourPartLoss, Modalities, TwoNetworks, as_views
from bwot.data.sketches import SketchData
from bwot.diagnosis import gradient_ratio
from bwot.evaluation import DIAGNOSED_STEPS, EMBEDDINGS, RETRIEVAL
from bwot.experiments import Sketches
from bwot.pairs import squared_distances
from bwot.records import pack, write_atomically

WORST = "worst_class_map"
CURVE_POINTS = 50
"""Ranks at which precision and recall are kept, at most."""


class Answers(NamedTuple):
    """Embeddings of queries and of the gallery, on the CPU, their classes, and the scores."""

    queries: Float32[Tensor, "q e"]
    query_labels: Int64[Tensor, " q"]
    gallery: Float32[Tensor, "g e"]
    gallery_labels: Int64[Tensor, " g"]
    scores: metrics.RetrievalScores


def retrieval(
    settings: Sketches,
    network: TwoNetworks,
    data: SketchData,
    part: str,
    device: torch.device | str = "cpu",
) -> Answers:
    """The sketches of a part ask for shapes: as they were drawn, or each of their rotations by itself, one after another."""
    drawings, labels = getattr(data, part).images, getattr(data, part).labels
    if settings.queries == "drawn":
        drawings = drawings[:, :1]
    labels = labels.repeat_interleave(drawings.shape[1])
    queries = training.embed(network.drawings, as_views(drawings).to(device)).cpu()
    gallery = training.embed(network.shapes, data.shapes.images.to(device)).cpu()
    scores = metrics.score_embeddings(queries, gallery, labels, data.shapes.labels)
    return Answers(queries, labels, gallery, data.shapes.labels, scores)


def average_precision(answers: Answers, sketches: int) -> Float64[np.ndarray, " sketches"]:
    """Of each sketch, the mean over its rotations where those are asked; NaN for one that no shape answers."""
    return answers.scores.average_precision.view(sketches, -1).mean(1).numpy()


def class_scores(answers: Answers) -> dict[int, Float64[np.ndarray, " 6"]]:
    """The six scores of each class, means over its queries; without classes that no shape answers."""
    per_query = answers.scores.per_query
    scored = ~per_query[:, 0].isnan()
    return {
        label: per_query[scored & (answers.query_labels == label)].mean(0).numpy()
        for label in answers.query_labels[scored].unique().tolist()
    }


def curve(scores: metrics.RetrievalScores) -> Float64[np.ndarray, "points 3"]:
    """Rank, precision and recall at some ranks, close together where ranks are low; means over the queries."""
    spread = np.geomspace(1, len(scores.precision), CURVE_POINTS).round()
    ranks = np.unique(spread.astype(int))
    values = (each.numpy()[ranks - 1].round(6) for each in (scores.precision, scores.recall))
    return np.column_stack([ranks, *values])


def evaluator(
    settings: Sketches,
    network: TwoNetworks,
    loss: nn.Module,
    train: Modalities,
    data: SketchData,
    folder: Path,
) -> Callable[[int], dict]:
    """What :func:`bwot.training.fit` calls after each epoch; the last one's embeddings are kept in ``folder``."""
    device = train.images.device
    steps = settings.sampler(train)(0)[:DIAGNOSED_STEPS].to(device)

    def evaluate(epoch: int) -> dict:
        start = time.perf_counter()
        answers = retrieval(settings, network, data, "test", device)
        row = _scores(answers)
        if epoch == settings.epochs:
            _keep(folder, answers, len(data.test.labels))
        if settings.epochs:
            row |= diagnose(network, loss, train, steps)
        return row | {"evaluation_seconds": time.perf_counter() - start}

    return evaluate


def final(row: dict, folder: Path) -> dict:
    """The scores of the last row of the history; curve and average precision of each sketch from the last evaluation's file."""
    with np.load(folder / EMBEDDINGS) as kept:
        average_precision, points = kept["average_precision"], kept["curve"]
    scores = {name: row[name] for name in (*RETRIEVAL, WORST)}
    return {
        "scores": scores | {"curve": [[int(rank), *rest] for rank, *rest in points.tolist()]},
        "per_query_ap": pack(average_precision),
    }


def _scores(answers):
    worst = min(scores[5] for scores in class_scores(answers).values())
    return {name: getattr(answers.scores, name) for name in RETRIEVAL} | {WORST: float(worst)}


def _keep(folder, answers, sketches):
    stream = io.BytesIO()
    np.savez(
        stream,
        ids=np.arange(len(answers.queries)),
        labels=answers.query_labels.numpy(),
        embeddings=answers.queries.numpy(),
        gallery=answers.gallery.numpy(),
        gallery_labels=answers.gallery_labels.numpy(),
        average_precision=average_precision(answers, sketches),
        curve=curve(answers.scores),
    )
    write_atomically(folder / EMBEDDINGS, stream.getvalue())


def diagnose(
    network: TwoNetworks,
    loss: nn.Module,
    train: Modalities,
    steps: Int64[Tensor, "steps 4 quarter"],
) -> dict[str, float]:
    """As :func:`bwot.diagnosis.diagnose`, of a loss of four parts: shares of its weighted weights, gradients of the whole.

    Nothing for a loss of another kind.
    """
    if not isinstance(loss, FourPartLoss):
        return {}
    plain = loss.with_pairs(AllPairsLoss(loss.pairs.margin, loss.pairs.form))
    rows = [
        _diagnose_step(network, loss, plain, training.embed_batches(network, train, index))
        for index in steps
    ]
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    return dict(zip(("mass_on_positives", "mass_on_active", "gradient_ratio"), means, strict=True))


def _diagnose_step(network, loss, plain, batches):
    parts = loss.parts(**batches)
    whole = sum(weight for weight, _ in parts)
    masses = sum(weight / whole * _masses(loss.pairs, part) for weight, part in parts)
    return *masses.tolist(), gradient_ratio(network, loss(**batches), plain(**batches))


@torch.no_grad()
def _masses(pairs, batches):
    """Shares of the weights on pairs of one class and on pairs with an error."""
    weights = pairs.plan(**batches)
    same = batches["labels"][:, None] == batches["ref_labels"]
    error = pairs.pair_errors(squared_distances(batches["embeddings"], batches["ref_emb"]), same)
    return torch.stack([(weights * same).sum(), (weights * (error > 0)).sum()])
