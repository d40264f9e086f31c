"""The claims of the paper, each with a quantity that the records hold, its interval, and a verdict in words.

A quantity is a difference that would be zero if the claim were empty, taken seed by seed. It *supports* a claim where its
Holm-corrected p-value is below .05 and its mean is positive, and speaks against it where the mean is negative. Of a ratio it is that
of the logarithms, so that mean and interval, turned back, are those of a length and not below zero. A difference
between the curves of two losses is corrected for all other losses compared on that data set in that way, as in its chapter,
so that one difference has one p-value in the whole book; the other quantities for the rows of their claim.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bwot.comparison import (
    Difference,
    by_seed,
    corrected,
    difference_of,
    of_loss,
    p_cell,
    paired_differences,
)
from bwot.experiments import Shapes
from bwot.findings import WEIGHT_WITHOUT_TRANSPORT, points_of, ratio_of, said
from bwot.looks import TITLES
from bwot.records import Record
from bwot.scoreboard import FILLED, JUDGED, OURS, Ways, variant_of
from bwot.tables import captioned

WORDS = {
    "higher": "supported",
    "lower": "not supported",
    "no difference shown": "no difference shown",
    "no interval": "one seed, no interval",
}
"""Verdicts, unless a claim has words of its own, since what was measured may be less than what the claim says."""
LONG, (SHORT,) = 200, Shapes.ACCURACY_EPOCHS
"""Epochs of the networks that the paper says it beats, and of its own."""


class Quantity(NamedTuple):
    """A measured difference, shown in points, or of logarithms, shown as a ratio. One that does not decide stands beside."""

    label: str
    difference: Difference
    ratio: bool = False
    decides: bool = True


class Claim(NamedTuple):
    """What the paper says, how it is measured, and what that does not show."""

    name: str
    text: str
    measured: str
    silent: str
    measure: Callable[[Sequence[Record]], list[Quantity]]
    datasets: tuple[str, ...] = tuple(JUDGED)
    words: Mapping[str, str] = WORDS


def _minus(records, other, epoch=None):
    """In test mAP; the family is that of the chapters, every other loss."""
    label = f"{TITLES['bwot']} minus {TITLES[other]}"
    family = paired_differences(records, "bwot", "map", epoch)
    found = next((each for each in family if each.second == other), None)
    return Quantity(label, found or difference_of("bwot", other, {}, {}))


def _corrected(quantities):
    family = corrected([each.difference for each in quantities])
    return [q._replace(difference=d) for q, d in zip(quantities, family, strict=True)]


def _emphasis(records):
    ratios = by_seed(of_loss(records, "bwot"), "gradient_ratio")
    # both gradients are 0 where no pair has an error
    logarithms = {seed: math.log(ratio) for seed, ratio in ratios.items() if ratio}
    longer = difference_of("bwot", "allpairs", logarithms, dict.fromkeys(logarithms, 0.0))
    length = Quantity("length of the gradient over that of uniform weights", longer, ratio=True)
    return _corrected([length, *_share(records)])


def _share(records):
    """Of the weight on pairs with an error; nothing where the margins differ, for those decide which pairs have one."""
    both = [of_loss(records, loss) for loss in ("bwot", "allpairs")]
    margins = {record.settings["margin"] for mine in both for record in mine}
    if len(margins) != 1:
        return []
    ours, uniform = (by_seed(mine, "mass_on_active") for mine in both)
    label = f"share of the weight on pairs with an error, minus the uniform one, points (both with margin {margins.pop():g})"
    return [Quantity(label, difference_of("bwot", "allpairs", ours, uniform), decides=False)]


def _ahead(records, epoch=None):
    return [
        _minus(records, "pairwise", epoch),
        _minus(records, "allpairs", epoch)._replace(decides=False),
    ]


def _ahead_on_the_way(records):
    return _ahead(records, "mean")


def _five_epochs(records):
    ours = of_loss(records, "bwot")
    long = [r for r in of_loss(records, "cross-entropy") if r.settings["epochs"] >= LONG]
    return _corrected([
        Quantity(
            f"{name}, batch-wise OT after {SHORT} epochs minus softmax network after {LONG}",
            difference_of("bwot", "cross-entropy", by_seed(ours, score, SHORT), by_seed(long, score, LONG)),
        )
        for score, name in (("map", "mAP"), ("accuracy", "accuracy"))
    ])  # fmt: skip


def _together(records):
    ours = of_loss(records, "bwot")
    gained = difference_of("bwot", "untrained", by_seed(ours, "map"), by_seed(ours, "map", 0))
    return [Quantity("mAP after training minus mAP before it", gained)]


def _transport(records):
    return [_minus(records, other) for other in WEIGHT_WITHOUT_TRANSPORT]


CLAIMS = (
    Claim(
        "hard", "Hard pairs are emphasised",
        "Only the length of the gradient after the last epoch: how many times as long it is as that of uniform weights on the same network "
        "and batches (a geometric mean over the seeds, as it goes with the interval; the chapters have the plain one). Beside it, where both were trained with one margin, the share of the plan's weight on pairs that have an error, minus "
        "the share that uniform weights put there (all-pairs mean, same seed)",
        "The margin decides which pairs have an error: where each loss was tuned to a margin of its own, the shares are no one "
        "quantity, and there is no such row. They belong to two networks, each trained with its own loss. A longer gradient says that weight went to pairs which "
        "pull more, or cancel less; it does not say which, nor that this helps. A run in which no pair of those batches has an error left has no "
        "such ratio and is left out; in the mean over the batches of a run one of them without such a pair counts as 0. The controls that weigh pairs have longer gradients too",
        _emphasis,
        words=WORDS | {"higher": "longer gradient", "lower": "shorter gradient"},
    ),
    Claim(
        "faster", "Training converges faster than pair-wise",
        "The mean over all epochs of the test mAP, the area under the curve, minus that of the pair-wise loss; beside it the same "
        "against the mean over all pairs, which sees as many pairs as the plan does",
        "It does not say by which means: the gradient's length, the pairs that count and their weights differ at once. At one "
        "common rate the loss with the longer gradient also takes the longer steps",
        _ahead_on_the_way,
    ),
    Claim(
        "higher", "Scores end higher than pair-wise",
        "The test mAP after the last epoch, minus that of the pair-wise loss; beside it the same against the mean over all pairs",
        "The curves of ten epochs on images are not flat yet, so theirs is not the score that each loss would end with",
        _ahead,
    ),
    Claim(
        "epochs", f"On 3D shapes {SHORT} epochs beat {LONG}",
        f"Test mAP and accuracy of the batch-wise loss after {SHORT} epochs, minus those of the softmax network (cross-entropy on "
        f"the same network and head) after {LONG}",
        "The paper means other authors' networks, which are not trained here",
        _five_epochs, ("modelnet10", "modelnet40"),
    ),
    Claim(
        "together", "Network and metric are trained jointly",
        "The test mAP after the last epoch of training with the batch-wise loss, minus that of the same network before the first step",
        "It says that the mAP rises, not what the network or the head learned, nor that training both is better than training the head "
        "alone: no run here holds the network fixed",
        _together, ("mnist", "cifar10"), WORDS | {"higher": "mAP rises", "lower": "mAP falls"},
    ),
    Claim(
        "transport", "Transport adds to hard weighting",
        "The test mAP after the last epoch, minus that of each loss that weighs hard pairs without transport; supported where it is "
        "higher than all of them",
        "The paper compares with none of these. The plain plan is meant; the balanced one is ours and not in the paper",
        _transport,
    ),
)  # fmt: skip


class Finding(NamedTuple):
    """What one way of choosing the settings says of a claim on one data set."""

    dataset: str
    variant: str | None  # of the data, where they are not the published ones
    way: str
    quantities: list[Quantity]
    verdict: str


def findings(claim: Claim, everything: dict[str, Ways]) -> list[Finding]:
    """Of a claim: one for each data set and way that has any of its numbers, tuned before common."""
    found = []
    for dataset in claim.datasets:
        for way in OURS:
            records = everything[dataset][way]
            quantities = claim.measure(records)
            if any(each.difference.n for each in quantities):
                data = records[0].dataset
                variant = variant_of(data)
                said_so = _together_say(quantities)
                verdict = claim.words.get(said_so, said_so)
                found.append(Finding(dataset, variant, way, quantities, verdict))
    return found


def _together_say(quantities):
    """All that decide must be higher; one that is lower decides against; what was not run leaves it open."""
    family = [each.difference for each in quantities if each.decides]
    words = [said(difference) if difference.n else "not run" for difference in family]
    for word in ("lower", "not run", "no interval", "no difference shown"):
        if word in words:
            return word
    return "higher"


def judged(claim: Claim, found: Sequence[Finding]) -> dict[str, list[tuple[str, Finding | None]]]:
    """A claim's verdicts, and the data sets of each with the finding behind it: the tuned one where it says anything, else the common."""
    said_on: dict[str, list[tuple[str, Finding | None]]] = {}
    for dataset in claim.datasets:
        mine = [each for each in found if each.dataset == dataset]
        best = next((each for each in mine if each.verdict != "not run"), None)
        said_on.setdefault(best.verdict if best else "not run", []).append((dataset, best))
    return {word: said_on[word] for word in (*claim.words.values(), "not run") if word in said_on}


def verdict(claim: Claim, found: Sequence[Finding]) -> str:
    """Of a claim over all its data sets, in words."""
    said_on = judged(claim, found)
    if list(said_on) == ["not run"]:
        return "*not run*"
    return "; ".join(f"*{word}* on {', '.join(map(_where, on))}" for word, on in said_on.items())


def _where(judged_on):
    dataset, finding = judged_on
    return f"{_data(finding)} ({finding.way})" if finding else JUDGED[dataset]


def _data(finding):
    variant = f", {finding.variant}" if finding.variant else ""
    return f"{JUDGED[finding.dataset]}{variant}"


def of_one(dataset: str, comparisons: Mapping[str, Sequence[Record]]) -> str:
    """The claims on one data set, a list item each with verdict and way; records by keys of :data:`bwot.findings.HOW`."""
    ways = {way: comparisons.get(way.removesuffix(" rate"), []) for way in OURS}
    everything = {name: ways if name == dataset else dict.fromkeys(OURS, []) for name in JUDGED}
    told = ["The paper's claims on these data, from the longest tuned comparison that says anything:", ""]  # fmt: skip
    for claim in CLAIMS:
        if dataset in claim.datasets:
            found = next((f for f in findings(claim, everything) if f.verdict != "not run"), None)
            told.append(f"- {claim.text}: " + (f"*{found.verdict}* ({found.way})" if found else "*not run*"))  # fmt: skip
    return "\n".join(told)


def overview(everything: dict[str, Ways]) -> str:
    """A row for every claim: what is measured and the verdict."""
    rows = [
        f"| {claim.text} | {claim.measured} | {verdict(claim, findings(claim, everything))} |"
        for claim in CLAIMS
    ]
    head = ["| claim | measured | verdict |", "|---|---|---|"]
    return captioned([*head, *rows], "The claims of the paper.", "claims")


def details(everything: dict[str, Ways]) -> str:
    """For every claim its numbers and what they do not show."""
    parts = []
    for claim in CLAIMS:
        found = findings(claim, everything)
        parts.append(f"**{claim.text}.** {claim.measured}. {claim.silent}.")
        rows = [_line(each, quantity) for each in found for quantity in each.quantities]
        head = ["| data, settings | compared | measured (95\N{NO-BREAK SPACE}% interval) | seeds | p | says |",
                "|---|---|---:|---:|---:|---|"]  # fmt: skip
        if rows:
            caption = f"{claim.text}: what was measured."
            parts += [captioned([*head, *rows], caption, f"claim-{claim.name}"), FILLED]
        else:
            parts.append("No committed record has these numbers yet.")
    return "\n\n".join(parts)


def _line(finding, quantity):
    d = quantity.difference
    cells = (
        f"{_data(finding)}, {finding.way}",
        quantity.label,
        ratio_of(d) if quantity.ratio else points_of(d),
        d.n,
        p_cell(d),
        said(d) if d.n else "not run",
    )
    return f"| {' | '.join(map(str, cells))} |"
