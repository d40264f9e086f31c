"""What a set of records says: means over seeds, paired differences between losses, verdicts against the authors.

The seed fixes initialisation and batch order alike for every loss, so differences are taken seed by seed.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from bwot.records import Record

CONFIDENCE = 0.95
UNDECIDED_BEYOND = 0.03
"""A band that reaches farther than this to either side, in units of a score, decides nothing."""


class Summary(NamedTuple):
    """Mean and sample standard deviation over seeds (NaN for one seed), and how many seeds; diverged runs are counted."""

    mean: float
    sd: float
    n: int
    diverged: int


class Difference(NamedTuple):
    """Mean of paired differences with its confidence interval; ``p`` is Holm-corrected over the family it came with."""

    first: str
    second: str
    mean: float
    low: float
    high: float
    p: float
    n: int


def of_loss(records: Sequence[Record], loss: str) -> list[Record]:
    """The records of a loss, by seed."""
    return sorted(
        (record for record in records if record.loss["name"] == loss),
        key=lambda record: record.seed,
    )


def losses_in(records: Sequence[Record]) -> list[str]:
    """The losses there are, in the order of their first record."""
    return list(dict.fromkeys(record.loss["name"] for record in records))


def stopped(where: str, device: str) -> str:
    """Where training diverged, from what a record says; on a GPU it is noticed at the end of an epoch alone.

    >>> stopped("epoch 1, step 3", "cpu"), stopped("epoch 1, step 351", "cuda")
    ('at epoch 1, step 3', 'in epoch 1')
    """
    return f"at {where}" if device == "cpu" else f"in {where.partition(',')[0]}"


def at_epoch(record: Record, score: str, epoch: int) -> float | None:
    """A score of the history, or None where it was not taken or the run had diverged."""
    return next((row.get(score) for row in record.history if row["epoch"] == epoch), None)


def epochs_to(record: Record, score: str, target: float) -> int | None:
    """The first epoch of training after which a score is at least ``target``; None where it never is."""
    return next(
        (row["epoch"] for row in record.history[1:] if row.get(score, -1.0) >= target), None
    )


def _value(record, score, epoch):
    """See :func:`summarise`; None where the run diverged or the score was not taken."""
    if record.status != "finished":
        return None
    if epoch == "mean":
        return float(np.mean([row[score] for row in record.history[1:]]))
    return at_epoch(record, score, record.history[-1]["epoch"] if epoch is None else epoch)


def p_value(p: float) -> str:
    """With its sign, ``= 0.0031``; what lies below a ten-thousandth is said to."""
    return f"= {p:.2g}" if p >= 1e-4 else "< 0.0001"


def p_cell(difference: Difference) -> str:
    """The p-value in a table's column of its own, a dash where there is no interval."""
    shown = p_value(difference.p).removeprefix("= ").replace(" ", "\N{NO-BREAK SPACE}")
    return shown if difference.n > 1 else "–"


def summarise(
    records: Sequence[Record], score: str, epoch: int | Literal["mean"] | None = None
) -> Summary:
    """A score over seeds.

    Args:
        records: of one loss.
        score: its name in the history.
        epoch: after which; None: the last. ``"mean"``: the mean over all epochs of training, the area under the curve.
    """
    finished = [record for record in records if record.status == "finished"]
    values = [_value(record, score, epoch) for record in finished]
    values = np.array([value for value in values if value is not None])
    mean = float(values.mean()) if len(values) else math.nan
    return Summary(
        mean,
        float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        len(values),
        len(records) - len(finished),
    )


def paired_differences(
    records: Sequence[Record],
    reference: str,
    score: str,
    epoch: int | Literal["mean"] | None = None,
) -> list[Difference]:
    """``reference`` minus every other loss, seed by seed, with t-intervals and Holm's correction of the p-values.

    Args as in :func:`summarise`, ``records`` those of all losses.

    A seed at which one of the two diverged is in no difference, at no epoch: see :func:`summarise`.
    """
    family = [
        _paired(records, reference, other, score, epoch)
        for other in losses_in(records)
        if other != reference
    ]
    return corrected(family)


def corrected(family: Sequence[Difference]) -> list[Difference]:
    """The same differences, their p-values corrected for each other."""
    p_values = _holm([difference.p for difference in family])
    return [difference._replace(p=p) for difference, p in zip(family, p_values, strict=True)]


def by_seed(
    records: Sequence[Record], score: str, epoch: int | Literal["mean"] | None = None
) -> dict[int, float]:
    """Seed to score, args as in :func:`summarise`; without the seeds that diverged or where the score was not taken."""
    found = {record.seed: _value(record, score, epoch) for record in records}
    return {seed: value for seed, value in found.items() if value is not None}


def _paired(records, first, second, score, epoch):
    ours, theirs = (by_seed(of_loss(records, loss), score, epoch) for loss in (first, second))
    return difference_of(first, second, ours, theirs)


def difference_of(
    first: str, second: str, ours: dict[int, float], theirs: dict[int, float]
) -> Difference:
    """The mean of ``ours`` minus ``theirs`` over the seeds in common, with its t-interval; ``p`` is not corrected."""
    from scipy import stats

    differences = np.array(
        [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    )
    n = len(differences)
    if n < 2:
        return Difference(
            first,
            second,
            float(differences.mean()) if n else math.nan,
            math.nan,
            math.nan,
            math.nan,
            n,
        )
    error = differences.std(ddof=1) / math.sqrt(n)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * error
    mean = float(differences.mean())
    # equal differences leave nothing to hold the mean against: with few seeds shares of a test set repeat by chance
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error > 1e-12 else 1.0
    return Difference(first, second, mean, mean - half, mean + half, p, n)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm (1979): the i-th smallest of m times (m - i), never below the one before; NaN stays, and counts in m.

    What was to be compared is a family before anything diverges.
    """
    known = [i for i in np.argsort(p_values) if not math.isnan(p_values[i])]
    corrected, before = list(p_values), 0.0
    for rank, i in enumerate(known):
        before = max(before, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = before
    return corrected


def verdict(summary: Summary, theirs: float, reading_error: float = 0.0) -> str:
    """*reproduced*, *above* or *below* the authors' number, or *undecided*.

    The band around our mean is t(.975, n-1)·s·√(1 + 1/n), within which one more run of ours would fall, plus the
    reading error where it was read off a plot; one of more than 3 points to either side, or a single seed, decides nothing.
    """
    if summary.n < 2:
        return "undecided"
    from scipy import stats

    spread = (
        stats.t.ppf((1 + CONFIDENCE) / 2, summary.n - 1) * summary.sd * math.sqrt(1 + 1 / summary.n)
    )
    band = spread + reading_error
    if band > UNDECIDED_BEYOND:
        return "undecided"
    if abs(summary.mean - theirs) <= band:
        return "reproduced"
    return "above" if summary.mean > theirs else "below"
