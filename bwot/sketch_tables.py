"""What drawings find: the nearest shapes of each, tables class by class and over the drawings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from bwot.comparison import CONFIDENCE, losses_in, of_loss, summarise
from bwot.cross_retrieval import WORST, Answers, class_scores
from bwot.data.sketches import SketchData
from bwot.figures import SCORE_NAMES, TITLES
from bwot.metrics import TIED_LIMIT, rankings
from bwot.paths import PROJECT
from bwot.published import SCORES
from bwot.records import Record, find_records, unpack
from bwot.tables import markdown, percent

NEAREST = 10
RESAMPLES = 4000
"""Of the drawings, for an interval."""
TRACKS = {"shrec13": "SHREC'13", "shrec14": "SHREC'14"}
"""What the authors give numbers for."""


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


def worst_table(records: Sequence[Record], zero_lines: Sequence[Record] = ()) -> str:
    """What a mean over drawings hides, a loss a row, in percent: the mAP of the worst class, and how many ranks are tied.

    A gallery that holds a model twice has ties whatever is learned: as many as the frozen features, the first of
    ``zero_lines``, have. Runs with more than :data:`~bwot.metrics.TIED_LIMIT` beyond that are counted as collapsed in part.
    """
    features = [each for each in zero_lines if each.loss["name"] == "features"]
    own = summarise(features, "tied").mean if features else 0.0
    rows = {
        TITLES[loss]: _worst(of_loss(group, loss), own)
        for group in (zero_lines, records)
        for loss in losses_in(group)
    }
    return markdown(pandas.DataFrame(rows).T, "loss")


def _worst(records, own):
    finished = [each for each in records if each.status == "finished"]
    collapsed = sum(each.history[-1]["tied"] > own + TIED_LIMIT for each in finished)
    return {
        "mAP, worst class": percent(summarise(records, WORST)),
        "tied neighbours": percent(summarise(records, "tied")),
        "collapsed in part": f"{collapsed} of {len(finished)}",
    }


class Interval(NamedTuple):
    """A mean over drawings and the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap_table(data: SketchData, records: Sequence[Record], reference: str) -> str:
    """``reference`` minus every other loss in mAP, in points, with intervals over other drawings of the same classes.

    The difference of a drawing is the mean over the seeds that both losses finished. These intervals say how far the
    result rests on the drawings that were asked, not on the seeds.
    """
    rows = {}
    for loss in losses_in(records):
        differences = _per_drawing(records, reference, loss)
        if loss == reference or differences is None:
            continue
        found = bootstrapped(differences, data.test.labels.numpy())
        low, high = (f"{100 * end:+.2f}" for end in (found.low, found.high))
        rows[TITLES[loss]] = {
            "points of mAP": f"{100 * found.mean:+.2f}",
            f"{100 * CONFIDENCE:.0f} % interval over drawings": f"{low} to {high}",
            "drawings better / worse": f"{(differences > 0).sum()} / {(differences < 0).sum()}",
        }
    return markdown(pandas.DataFrame(rows).T, f"{TITLES[reference]} minus") if rows else ""


def bootstrapped(
    differences: Float64[np.ndarray, " q"], labels: Int64[np.ndarray, " q"]
) -> Interval:
    """The mean of values of drawings with a percentile interval: drawings are drawn again within their classes.

    Args:
        differences: NaN for a drawing without a score, which is left out.
        labels: classes of the drawings.

    >>> bootstrapped(np.array([1.0, 1.0, 3.0]), np.array([0, 0, 1]))
    Interval(mean=1.6666666666666667, low=1.6666666666666667, high=1.6666666666666667)
    """
    scored = ~np.isnan(differences)
    values, labels = differences[scored], labels[scored]
    draw, sums = np.random.default_rng(0), np.zeros(RESAMPLES)
    for label in np.unique(labels):
        mine = values[labels == label]
        sums += mine[draw.integers(len(mine), size=(RESAMPLES, len(mine)))].sum(1)
    beyond = (1 - CONFIDENCE) / 2
    low, high = np.quantile(sums / len(values), [beyond, 1 - beyond])
    return Interval(float(values.mean()), float(low), float(high))


def _per_drawing(records, first, second):
    """Differences of the average precision, means over the seeds in common; None without one."""
    ours, theirs = (
        {each.seed: unpack(each.per_query_ap) for each in of_loss(records, loss) if each.status == "finished"}
        for loss in (first, second)
    )  # fmt: skip
    both = sorted(ours.keys() & theirs.keys())
    return np.mean([ours[seed] - theirs[seed] for seed in both], axis=0) if both else None


def tracks_table(dataset: str) -> str:
    """The authors' numbers for the whole tracks, apart from ours on other data: what was not run, and the commands.

    Args:
        dataset: of the page, which has its own numbers above; empty where nothing is left.
    """
    results = PROJECT / "book" / "results"
    left = [name for name in TRACKS if name != dataset and not find_records(results / name)]
    rows = {}
    for name in left:
        theirs = {score: each for (track, score), each in SCORES.items() if track == name}
        rows[TRACKS[name]] = {SCORE_NAMES[s]: f"{100 * each.value:.1f}" for s, each in theirs.items()}  # fmt: skip
        rows[TRACKS[name]] |= {"ours": "not run: data not at hand"}
    if not left:
        return ""
    commands = [f"bwot run sketches --dataset {name} --preset full --as-published" for name in left]
    return "\n".join(
        [
            "The authors' README, in percent, on the whole tracks. Nothing above is comparable with it:\n",
            markdown(pandas.DataFrame(rows).T, "track, authors"),
            "\nWith the files of the tracks in place, these commands run them:\n",
            "```bash",
            *commands,
            "```",
        ]
    )
