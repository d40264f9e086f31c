"""What is measured after an epoch: scores on the test set, diagnostics of the loss on training batches."""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bwot import accuracy, diagnosis, metrics, training
from bwot.controls import ClassifierLoss, JointLoss
from bwot.data.images import ImageSet, Split
from bwot.data.sampling import stratified_subset
from bwot.experiments import Experiment
from bwot.records import pack, write_atomically

SVC_SAMPLES = 10_000
"""Training samples that the accuracy is fitted on. The authors fit it on all of them, which takes longer than to train."""
DIAGNOSED_STEPS = 4
RETRIEVAL = ("nn", "ft", "st", "e", "dcg", "map", "tied")
ACCURACIES = ("accuracy", "class_accuracy", "head_accuracy")
EMBEDDINGS = "embeddings.npz"


def retrieval(network: nn.Module, part: Split, device: torch.device | str):
    """Embeddings of a part, on the CPU, and the scores of every sample as a query among the others."""
    embeddings, labels = training.embed(network, part.images.to(device)), part.labels
    scores = metrics.score_embeddings(embeddings, embeddings, labels, labels, exclude_self=True)
    return embeddings.cpu(), scores


def evaluator(
    settings: Experiment,
    network: nn.Module,
    loss: nn.Module,
    train: Split,
    data: ImageSet,
    folder: Path,
) -> Callable[[int], dict]:
    """What :func:`bwot.training.fit` calls after each epoch; the last one's embeddings are kept in ``folder``."""
    device = train.images.device
    steps = settings.batches(len(train.labels), 0)[:DIAGNOSED_STEPS].to(device)
    fitted = stratified_subset(data.train.labels, min(SVC_SAMPLES, len(data.train.labels)), seed=0)
    known = bool(torch.isin(data.test.labels, data.train.labels).all())
    classifier = loss.classifier if isinstance(loss, JointLoss) else loss
    steered = training.schedule_of(settings).steered_by == "validation_map"

    def evaluate(epoch: int) -> dict:
        start = time.perf_counter()
        embeddings, scores = retrieval(network, data.test, device)
        row = {name: getattr(scores, name) for name in RETRIEVAL}
        if steered:
            row["validation_map"] = retrieval(network, data.validation, device)[1].map
        kept = {"labels": data.test.labels, "embeddings": embeddings, "average_precision": scores.average_precision}  # fmt: skip
        if known and (epoch == settings.epochs or epoch in settings.ACCURACY_EPOCHS):
            fit = training.embed(network, train.images[fitted.to(device)])
            classes = data.train.labels[fitted]
            guessed = accuracy.svc_predictions(fit, classes, embeddings.to(device))
            found = accuracy.classification_scores(guessed, data.test.labels, len(data.classes))
            row |= {"accuracy": found.instance, "class_accuracy": found.class_average}
            kept |= {"fit_embeddings": fit, "fit_labels": classes, "predicted": guessed}
        if known and isinstance(classifier, ClassifierLoss):
            ranked = _first_ranked(classifier, embeddings)
            row["head_accuracy"] = (ranked == data.test.labels).double().mean().item()
            kept["head_predicted"] = ranked
        if epoch == settings.epochs:
            keep(folder, kept)
        if settings.epochs:
            row |= diagnosis.diagnose(network, loss, train, steps)
        row["evaluation_seconds"] = time.perf_counter() - start
        return row

    return evaluate


@torch.no_grad()
def _first_ranked(classifier, embeddings):
    """The class that the softmax head ranks first for each embedding."""
    weight = classifier.classifier.weight
    return classifier.classifier(embeddings.to(weight.device)).argmax(1).cpu()


def keep(folder: Path, found: Mapping[str, torch.Tensor]) -> None:
    """What the last epoch's scores are computed from, in a file: an array of each name.

    Args:
        folder: that gets the file.
        found: of the test set ``labels``, ``embeddings``, ``average_precision`` of each query and the classes ``predicted`` by
            support vectors and by the softmax head; of the training samples that the former were fitted on
            ``fit_embeddings`` and ``fit_labels``.
    """
    stream = io.BytesIO()
    np.savez(stream, **{name: values.cpu().numpy() for name, values in found.items()})
    write_atomically(folder / EMBEDDINGS, stream.getvalue())


def final(row: dict, folder: Path) -> dict:
    """The scores of the last row of the history, and the average precision of each query from the last evaluation's file."""
    with np.load(folder / EMBEDDINGS) as kept:
        average_precision = kept["average_precision"]
    names = [name for name in (*RETRIEVAL, *ACCURACIES) if name in row]
    return {
        "scores": {name: row[name] for name in names},
        "per_query_ap": pack(average_precision),
    }
