"""Classification scores: embeddings to predicted classes by support vectors; predicted classes and labels to scores.

The scores take any prediction, the support vectors' or a softmax head's ``logits.argmax(1)``.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from bwot.metrics import check_embeddings, checked_labels
from bwot.pairs import squared_distances

KERNEL_ROWS = 1000
"""Rows of a support vector classifier's kernel that are computed at once. They take 80 MB for 10,000 training embeddings."""


@dataclass(frozen=True, eq=False)
class ClassificationScores:
    """How well classes were predicted; both accuracies are in [0, 1].

    Attributes:
        instance: share of the items whose class was predicted, the accuracy of the authors' code.
        class_average: mean over the classes that occur of the share within the class.
        confusion: number of items of class i that were taken for class j, in row i and column j.
    """

    instance: float
    class_average: float
    confusion: Int64[Tensor, "c c"]


def classification_scores(
    predicted: Int[Tensor, " m"], labels: Int[Tensor, " m"], classes: int
) -> ClassificationScores:
    """Compare predicted classes with the true ones.

    Args:
        predicted: class of each item as predicted, from 0 on.
        labels: its true class, from 0 on.
        classes: how many classes there are; one that does not occur counts in no mean.

    Raises:
        ValueError: if there is no item, the lengths differ, or a class is not below ``classes``.

    >>> scores = classification_scores(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]), classes=2)
    >>> scores.instance, scores.class_average, scores.confusion.tolist()
    (0.75, 0.5, [[3, 0], [1, 0]])
    """
    checked_labels("labels", labels, len(predicted))
    if not len(labels):
        raise ValueError("classification_scores needs at least one item, and there is none")
    for name, values in (("predicted", predicted), ("labels", labels)):
        if not 0 <= (low := int(values.min())) <= (high := int(values.max())) < classes:
            raise ValueError(
                f"{name} must lie between 0 and {classes - 1}, not between {low} and {high}"
            )
    pairs = labels.cpu().long() * classes + predicted.cpu().long()
    confusion = pairs.bincount(minlength=classes * classes).view(classes, classes)
    right, of_class = confusion.diagonal().double(), confusion.sum(1)
    return ClassificationScores(
        instance=float(right.sum() / len(labels)),
        class_average=float((right / of_class)[of_class > 0].mean()),
        confusion=confusion,
    )


def svc_predictions(
    train_embeddings: Float[Tensor, "n d"],
    train_labels: Int[Tensor, " n"],
    test_embeddings: Float[Tensor, "m d"],
) -> Int64[Tensor, " m"]:
    """The class of each test item by a support vector classifier fitted on the training embeddings.

    Radial basis functions with C = 1 and gamma = 1 / d, scikit-learn's defaults when the authors called it in
    run.py of their 2D code; the kernel takes 8 n max(n, m) bytes, and is computed where the embeddings lie. A ValueError
    names bad shapes and values.
    """
    from sklearn.svm import SVC

    check_embeddings("train_embeddings", train_embeddings, "test_embeddings", test_embeddings)
    train_classes = checked_labels("train_labels", train_labels, len(train_embeddings))
    if not (len(train_classes) and len(test_embeddings)):
        raise ValueError("support vectors need at least one item to train on and one to test on")
    classifier = SVC(kernel="precomputed", C=1.0)
    classifier.fit(_kernel(train_embeddings, train_embeddings), train_classes)
    predicted = classifier.predict(_kernel(test_embeddings, train_embeddings))
    return torch.from_numpy(predicted).long()


def _kernel(left, right):
    right = right.detach().double()
    parts = [
        squared_distances(part.detach().double(), right).mul_(-1 / right.shape[1]).exp_().cpu()
        for part in left.split(KERNEL_ROWS)
    ]
    return torch.cat(parts).numpy()


def svc_accuracy(
    train_embeddings: Float[Tensor, "n d"],
    train_labels: Int[Tensor, " n"],
    test_embeddings: Float[Tensor, "m d"],
    test_labels: Int[Tensor, " m"],
) -> float:
    """Share of test items that :func:`svc_predictions` gets right; a ValueError names bad shapes and values."""
    test_classes = checked_labels("test_labels", test_labels, len(test_embeddings))
    predicted = svc_predictions(train_embeddings, train_labels, test_embeddings)
    return float((predicted.numpy() == test_classes).mean())
