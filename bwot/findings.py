"""What a page says came out: sentences and tables of paired differences.

Words follow the paired t-test over seeds: *higher* or *lower* where its Holm-corrected p-value is below .05, *no
difference shown* otherwise.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas

from bwot.comparison import (
    CONFIDENCE,
    Difference,
    by_seed,
    difference_of,
    epochs_to,
    losses_in,
    of_loss,
    paired_differences,
    summarise,
)
from bwot.experiments import experiment_of
from bwot.looks import TITLES
from bwot.records import Record, find_records, read_record
from bwot.tables import markdown, number, percent

WEIGHT_WITHOUT_TRANSPORT = ("active", "rowsoftmax", "softmax")
"""The controls that weigh hard pairs without transport. Only what is gained over all of them is credited to it."""
OURS = ("bwot", "bwot-balanced")
HOW = {
    "tuned": "each loss at its own best rate and margin",
    "full length": "each loss at its own best rate and margin, trained as long as in the authors' plot",
    "common": "all losses at one common rate and margin",
    "as published": "the authors' settings",
    "end to end": "a small network trained from the views on, all losses at the authors' rate and margins",
}


def headline(comparisons: Mapping[str, Sequence[Record]]) -> str:
    """The answer for a reader in a hurry, as Markdown: from the tuned comparison if there is one, and from longer runs of it."""
    how = "tuned" if "tuned" in comparisons else next(iter(comparisons))
    ways = dict.fromkeys((how, "full length"))
    said = "\n\n".join(filter(None, (answer(way, comparisons.get(way, ())) for way in ways)))
    return f":::{{admonition}} In a hurry\n:class: tip\n{said}\n:::" if said else ""


def answer(how: str, records: Sequence[Record]) -> str:
    """How the batch-wise loss compares with the others under settings chosen in one of ``HOW``, in sentences; empty without others."""
    losses = [loss for loss in losses_in(records) if summarise(of_loss(records, loss), "map").n]
    if "bwot" not in losses or len(losses) < 2:
        return ""
    means = {loss: summarise(of_loss(records, loss), "map") for loss in losses}
    least = min(2, means["bwot"].n)  # one run does not lead where others have several
    best = max(
        (loss for loss in losses if means[loss].n >= least), key=lambda loss: means[loss].mean
    )
    ours = {each.second: each for each in paired_differences(records, "bwot", "map")}
    ranking = f"{TITLES[best]} ends highest in mAP ({percent(means[best])} %)"
    if best != "bwot":
        ranking += (
            f", {TITLES['bwot']} at {percent(means['bwot'])} % (difference {_short(ours[best])})"
        )
    sentences = [f"With {HOW[how]}, after {records[0].settings['epochs']} epochs, {ranking}."]
    without = [loss for loss in WEIGHT_WITHOUT_TRANSPORT if loss in ours and loss != best]
    if without:
        told = "; ".join(f"{_short(ours[loss])} against {TITLES[loss]}" for loss in without)
        sentences.append(f"What transport adds to hard weighting, in points: {told}.")
    if "allpairs" in ours and best != "allpairs":
        sentences.append(f"Against the plain mean over all pairs: {_short(ours['allpairs'])}.")
    if how == "common":
        sentences.append(
            "At one rate for all, the loss with the longer gradient takes the longer steps: this does not compare the losses "
            "at their best."
        )
    if max(summary.n for summary in means.values()) < 2:
        sentences.append("One seed decides nothing.")
    return " ".join(sentences)


def _short(difference):
    return (
        f"{100 * difference.mean:+.2f}, {said(difference)}" if difference.n else "no seed in common"
    )


def said(difference: Difference) -> str:
    """*higher*, *lower* or *no difference shown*; *no interval* with fewer than two seeds in common."""
    if difference.n < 2:
        return "no interval"
    if (
        not difference.p < 1 - CONFIDENCE
    ):  # the corrected one: an interval alone says more than the family does
        return "no difference shown"
    return "higher" if difference.mean > 0 else "lower"


def difference_table(records: Sequence[Record], reference: str) -> str:
    """``reference`` minus every other loss in mAP, in points: after the last epoch and as mean over the epochs."""
    last, area = (paired_differences(records, reference, "map", epoch) for epoch in (None, "mean"))
    rows = {
        TITLES[end.second]: {
            "after the last epoch": points_of(end),
            "p": f"{end.p:.2g}" if end.n > 1 else "–",
            "says": said(end),
            "mean over the epochs": points_of(mean),
            "p ": f"{mean.p:.2g}" if mean.n > 1 else "–",
            "says ": said(mean),
        }
        for end, mean in zip(last, area, strict=True)
    }
    return markdown(pandas.DataFrame(rows).T, f"{TITLES[reference]} minus")


def points_of(difference: Difference) -> str:
    """The mean in points, with its interval where there is one."""
    mean = f"{100 * difference.mean:+.2f}" if difference.n else "–"
    return mean + (
        f" ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"
        if difference.n > 1
        else ""
    )


def speed_table(records: Sequence[Record], reference: str = "allpairs") -> str:
    """Epochs until the test mAP is what ``reference`` ends with, seed by seed, and the mean over the epochs."""
    plain = [r for r in of_loss(records, reference) if r.status == "finished"]
    if not plain:
        return ""
    target = summarise(plain, "map").mean
    rows = {}
    for loss in losses_in(records):
        mine = of_loss(records, loss)
        needed = [epochs_to(record, "map", target) for record in mine]
        rows[TITLES[loss]] = {
            f"epochs to {100 * target:.1f} %": ", ".join(
                "–" if each is None else str(each) for each in needed
            ),
            "mean mAP over the epochs": percent(summarise(mine, "map", "mean")),
        }
    return markdown(pandas.DataFrame(rows).T, "loss")


def points(records: Sequence[Record]) -> str:
    """What the records say about the batch-wise loss against the others, as a Markdown list; empty without it."""
    if "bwot" not in losses_in(records) or len(losses_in(records)) < 2:
        return ""
    last = max(record.settings["epochs"] for record in records)
    lines = [f"- **{_compared(d, 'mAP', epoch)}**" if epoch == last else f"- {_compared(d, 'mAP', epoch)}"
             for epoch in sorted({1, last}) for d in paired_differences(records, "bwot", "map", epoch)]  # fmt: skip
    if summarise(of_loss(records, "bwot"), "accuracy", last).n:
        lines += [
            f"- {_compared(d, 'accuracy', last)}"
            for d in paired_differences(records, "bwot", "accuracy", last)
        ]
    return "\n".join([*lines, *_weighting(records, last)])


def _compared(difference: Difference, score: str, epoch: int) -> str:
    name = f"{TITLES[difference.first]} minus {TITLES[difference.second]}"
    if not difference.n:
        return f"{score} after epoch {epoch}, {name}: no seed at which both finished."
    head = f"{score} after epoch {epoch}, {name}: {100 * difference.mean:+.2f} points"
    if difference.n < 2:
        return f"{head} (1 seed in common: no interval)."
    return (
        f"{head} (95\N{NO-BREAK SPACE}% interval {100 * difference.low:+.2f} to {100 * difference.high:+.2f}, n = {difference.n}, "
        f"Holm-corrected p = {difference.p:.2g}): {said(difference)}."
    )


def _weighting(records, last):
    ours, plain = of_loss(records, "bwot"), of_loss(records, "allpairs")
    share, ratio = summarise(ours, "mass_on_active", last), summarise(ours, "gradient_ratio", last)
    if not share.n:
        return []
    lines = [
        f"- The plan put {percent(share)} % of its weight on pairs with an error after epoch {last}"
    ]
    if summarise(plain, "mass_on_active", last).n and _one("margin", ours + plain):
        lines[0] += (
            f"; the uniform weights of the network trained with the all-pairs mean put {percent(summarise(plain, 'mass_on_active', last))} % there"
        )
    lines[0] += "."
    lines.append(
        f"- Its gradient was {number(ratio)} times as long as that of the all-pairs mean on the same batches"
        + (
            ", so at one learning rate the losses do not take steps of one size."
            if _one("learning_rate", records)
            else "."
        )
    )
    return lines


def _one(name, records):
    """Is a setting the same in all of them? With other margins other pairs have an error."""
    return len({record.settings[name] for record in records}) == 1


def side_text(records: Sequence[Record], results_dir: Path) -> str:
    """The batch-wise loss beside itself with other settings, tuned anew, where ``results_dir`` has such runs; or nothing."""
    dataset, lines = records[0].dataset["name"], []
    for side, settings in experiment_of(dataset).SIDES.items():
        paths = find_records(Path(results_dir) / dataset / side)
        pair = [
            of_loss(each, settings["loss"])
            for each in (records, [read_record(path) for path in paths])
        ]
        if all(pair):
            lam = [f"$\\lambda = {each[0].settings['lam']:g}$" for each in pair]
            found = difference_of("", side, *(by_seed(each, "map") for each in pair))
            lines.append(
                f"With {lam[1]}, tuned anew, {TITLES[settings['loss']]} has a mAP of {percent(summarise(pair[1], 'map'))} % (n = {len(pair[1])}): "
                f"{lam[0]} minus {lam[1]} is {points_of(found)} points, p = {found.p:.2g} of this one comparison."
            )
    return "\n\n".join(lines)
