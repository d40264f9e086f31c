"""What the figures of batches, queries and classes show, in words: as :mod:`bwot.told`, of what a trained network was asked."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from bwot import image_figures, shape_figures
from bwot.looks import TITLES, as_weight
from bwot.told import counted, listed

RECALLS = (0.2, 0.5, 0.8)
FEW = 3
"""Classes, or pairs of classes, that are told from one end of an order."""


def precision(curves: Mapping[str, tuple[Float[Tensor, " r"], Float[Tensor, " r"]]]) -> str:
    """The picture of :func:`bwot.shape_figures.precision_recall_figure`."""
    told = []
    for name, (recall, values) in curves.items():
        ranks = torch.searchsorted(recall.contiguous(), torch.tensor(RECALLS, dtype=recall.dtype))
        read = values[ranks.clamp_max(len(values) - 1)].tolist()
        told.append(f"{TITLES.get(name, name)} {listed(f'{100 * value:.0f}' for value in read)}")
    at = listed(f"{100 * recall:.0f}" for recall in RECALLS)
    return (
        "Curves of mean precision against mean recall over all queries. "
        f"Precision in percent at recalls of {at} percent: {'; '.join(told)}."
    )


def hardest(
    plan: Float[Tensor, "n m"],
    same: Bool[Tensor, "n m"],
    labels: Int64[Tensor, " n"],
    others: Int64[Tensor, " m"],
    classes: Sequence[str],
) -> str:
    """The picture of :func:`bwot.image_figures.hardest_pairs`."""
    told = []
    for place, name, kind in (("Above", "positive", same), ("below", "negative", ~same)):
        pairs = image_figures.heaviest(plan, kind)
        what = _weighing(pairs, labels, others, classes)
        told.append(f"{place} {counted(len(pairs), f'{name} pair')}: {what}")
    return f"Pairs of images that weigh most; 1 is the weight in a uniform plan. {'; '.join(told)}."


def heaviest(
    plan: Float[Tensor, "n m"],
    labels: Int64[Tensor, " n"],
    others: Int64[Tensor, " m"] | None,
    classes: Sequence[str],
) -> str:
    """The picture of :func:`bwot.shape_figures.plan_with_shapes`; ``others`` is None where a batch meets itself."""
    pairs = shape_figures.heaviest(plan, others is None)
    others = labels if others is None else others
    one_class = sum(bool(labels[i] == others[j]) for i, j, _ in pairs)
    return (
        f"The {counted(len(pairs), 'pair')} that weigh most, {one_class} of one class; 1 is the weight in a uniform plan: "
        f"{_weighing(pairs, labels, others, classes)}."
    )


def _weighing(pairs, labels, others, classes):
    if not pairs:
        return "none"
    names = (sorted((classes[labels[i]], classes[others[j]])) for i, j, _ in pairs)
    kinds = Counter(" with ".join(pair) for pair in names).most_common()
    told = [f"{_times(count)} {name}" for name, count in kinds[:FEW]]
    left = sum(count for _, count in kinds[FEW:])
    told += [counted(left, "other pair")] * (left > 0)
    return f"weights from {as_weight(pairs[0][2])} to {as_weight(pairs[-1][2])}, {listed(told)}"


def _times(count):
    return "once" if count == 1 else f"{count} times"


def found(
    labels: Int64[Tensor, " q"], nearest: Int64[Tensor, "q k"], classes: Sequence[str]
) -> str:
    """Queries with what was found for them: how much of it is right, and of which class most of the rest is."""
    told = []
    for label, row in zip(labels.tolist(), nearest.tolist(), strict=True):
        wrong = Counter(classes[each] for each in row if each != label)
        instead = [f", {count} of class {name}" for name, count in wrong.most_common(1)]
        told.append(f"class {classes[label]}, {row.count(label)} right{''.join(instead)}")
    return (
        f"Row by row the query's class, how many of the {nearest.shape[1]} have it, and which other class most of the rest has: "
        f"{'; '.join(told)}."
    )


def modality_map(
    places: Mapping[str, tuple[Float[Tensor, "n 2"], Float[Tensor, "m 2"]]],
    sketch_labels: Int64[Tensor, " n"],
    shape_labels: Int64[Tensor, " m"],
    classes: Sequence[str],
) -> str:
    """The picture of :func:`bwot.sketch_figures.modality_map`: how often what lies nearest in it is right; in the last panel by class."""
    shares, of_class = [], {}
    for title, (sketches, shapes) in places.items():
        right = shape_labels[torch.cdist(sketches, shapes).argmin(1)] == sketch_labels
        shares.append(f"{100 * right.double().mean():.0f} percent of the dots {title}")
        for label in sketch_labels.unique().tolist():
            of_class[classes[label]] = right[sketch_labels == label].double().mean().item()
    ranked = sorted(of_class, key=of_class.get, reverse=True)
    apart, mixed = (
        listed(f"{name} {100 * of_class[name]:.0f}" for name in each)
        for each in (ranked[:FEW], ranked[: -FEW - 1 : -1])
    )
    return (
        f"Maps of test drawings, dots, and models, rings, of {counted(len(of_class), 'class')}. The nearest ring has the class of the dot for "
        f"{listed(shares)}. In the last map the classes most apart, by that percentage, are {apart}; the most mixed {mixed}."
    )


def confusion(matrix: Int64[Tensor, "c c"], classes: Sequence[str]) -> str:
    """The picture of :func:`bwot.shape_figures.confusion_figure`."""
    right, counts = matrix.diagonal(), matrix.sum(1)
    worst = int(torch.where(counts > 0, right / counts, 2.0).argmin())
    wrong = (matrix - right.diag()).flatten()
    most = wrong.argsort(descending=True, stable=True)[:FEW].tolist()
    pairs = [(*divmod(place, len(classes)), int(wrong[place])) for place in most if wrong[place]]
    taken = [f"{classes[i]} for {classes[j]} {_times(count)}" for i, j, count in pairs]
    return (
        f"Confusion matrix of {counted(len(classes), 'class')}: {int(right.sum())} of {int(counts.sum())} lie on the diagonal. "
        f"Recognised worst: {classes[worst]}, {int(right[worst])} of {int(counts[worst])}."
        + (f" Most often taken: {listed(taken)}." if taken else "")
    )
