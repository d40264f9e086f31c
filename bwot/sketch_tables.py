"""What drawings find: the nearest shapes of each, and a table class by class."""

from collections.abc import Sequence

import numpy as np
import pandas
import torch
from jaxtyping import Int64
from torch import Tensor

from bwot.cross_retrieval import Answers, class_scores
from bwot.data.sketches import SketchData
from bwot.metrics import rankings
from bwot.tables import markdown

NEAREST = 10


def nearest(answers: Answers, queries: Sequence[int], count: int = NEAREST) -> Int64[Tensor, "q k"]:
    """The nearest shapes of some queries, nearest first, as they are scored."""
    found = rankings(answers.queries[list(queries)], answers.gallery)
    return torch.from_numpy(np.stack([order[:count] for order, _ in found]))


def class_table(data: SketchData, answers: Answers) -> str:
    """Each class, the worst first: how much there is of it, three scores in percent, and what is found instead of it.

    That is the other class which fills most of the places among the ten nearest, with its share of them.
    """
    found = answers.gallery_labels[nearest(answers, range(len(answers.queries)))]
    rows = {}
    for label, scores in sorted(class_scores(answers).items(), key=lambda each: each[1][5]):
        mine = answers.query_labels == label
        rows[data.classes[label]] = {
            "models": int((answers.gallery_labels == label).sum()),
            "queries": int(mine.sum()),
            **{name: f"{100 * scores[k]:.1f}" for name, k in (("NN", 0), ("FT", 1), ("mAP", 5))},
            "found instead": _instead(found[mine], label, data.classes),
        }
    return markdown(pandas.DataFrame(rows).T, "class")


def _instead(found, label, classes):
    counts = found.flatten().bincount(minlength=len(classes))
    counts[label] = 0
    most = int(counts.argmax())
    return f"{classes[most]} ({100 * counts[most] / found.numel():.0f} %)" if counts[most] else "–"
