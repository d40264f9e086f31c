"""What a page says came out: sentences and tables of paired differences.

Words follow the paired t-test over seeds: *higher* or *lower* where its Holm-corrected p-value is below .05, *no
difference shown* otherwise.
"""

import math
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
    p_value,
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
    "tuned": "each loss at the rate and margin that its tuning chose",
    "full length": "the rates and margins that the tuning chose, trained as long as in the authors' plot",
    "common": "all losses at one common rate and margin",
    "as published": "the authors' settings",
    "end to end": "a small network trained from the views on, all losses at the authors' rate and margins",
}


def headline(comparisons: Mapping[str, Sequence[Record]]) -> str:
    """The answer for a reader in a hurry, as Markdown: from the tuned comparison if there is one, and from longer runs of it."""
    how = "tuned" if "tuned" in comparisons else next(iter(comparisons))
    ways = dict.fromkeys((how, "full length"))
    told = [answer(way, comparisons.get(way, ())) for way in ways]
    if any(told):
        told.append(lost(comparisons.get("as published", ()), f"With {HOW['as published']}, of"))
    said = "\n\n".join(filter(None, told))
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
    ranking = f"the highest mAP is that of {TITLES[best]} ({percent(means[best])} %)"
    if best != "bwot":
        ranking += f", with {TITLES['bwot']} at {percent(means['bwot'])} % (difference {_short(ours[best])})"  # fmt: skip
    epochs, seeds = records[0].settings["epochs"], max(summary.n for summary in means.values())
    mean = f"{seeds} seeds" if seeds > 1 else "one seed"
    sentences = [f"With {HOW[how]}, after {epochs} epochs and over {mean}, {ranking}."]
    without = [loss for loss in WEIGHT_WITHOUT_TRANSPORT if loss in ours and loss != best]
    if without:
        told = "; ".join(f"{_short(ours[loss])} against {TITLES[loss]}" for loss in without)
        sentences.append(f"What transport adds to hard weighting, in points: {told}.")
    if "allpairs" in ours and best != "allpairs":
        sentences.append(f"Against the plain mean over all pairs: {_short(ours['allpairs'])}.")
    if "bwot-balanced" in ours and best != "bwot-balanced":
        end = percent(means["bwot-balanced"])
        name = TITLES["bwot-balanced"]
        sentences.append(f"{name[0].upper()}{name[1:]} ends at {end} %: {TITLES['bwot']} minus it is {_short(ours['bwot-balanced'])}.")  # fmt: skip
    sentences += filter(None, [_in_accuracy(records), lost(records)])
    if how == "common":
        sentences.append(
            "At one rate for all, the loss with the longer gradient takes the longer steps: this does not compare the losses "
            "at their best."
        )
    if max(summary.n for summary in means.values()) < 2:
        sentences.append("One seed decides nothing.")
    return " ".join(sentences)


def _in_accuracy(records):
    """The losses from which the batch-wise one differs in accuracy; empty where no difference is shown."""
    found: dict[str, list[str]] = {"lower": [], "higher": []}
    for each in paired_differences(records, "bwot", "accuracy"):
        if said(each) in found:
            found[said(each)].append(f"{TITLES[each.second]} ({100 * each.mean:+.2f})")
    told = [f"{word} than that of {', '.join(losses)}" for word, losses in found.items() if losses]
    return f"Its accuracy is {', and '.join(told)}." if told else ""


def ends_lower_tuned(tuned: Sequence[Record], common: Sequence[Record]) -> str:
    """Which losses end lower at the point that their tuning chose than at the common one, in a sentence; or nothing."""
    lower = []
    for loss in losses_in(tuned):
        found = difference_of("common", "tuned", *(by_seed(of_loss(each, loss), "map") for each in (common, tuned)))  # fmt: skip
        if found.n > 1 and round(100 * found.mean, 2) > 0:
            lower.append(f"{TITLES[loss]} ({-100 * found.mean:+.2f}, n = {found.n})")
    if not lower:
        return ""
    return (
        "Ends lower in mAP at the rate and margin that its tuning chose than at the common ones: "
        f"{', '.join(lower)}. One seed and few epochs do not find the best point of every loss."
    )


def lost(records: Sequence[Record], begin: str = "Of") -> str:
    """Which losses have fewer seeds than were run, and so have the differences with them; empty where all finished."""
    means = {loss: summarise(of_loss(records, loss), "map") for loss in losses_in(records)}
    return " ".join(
        f"{begin} {TITLES[loss]}, {end.diverged} of {end.n + end.diverged} runs diverged"
        + (f": n = {end.n} in what is said of it." if end.n else ".")
        for loss, end in means.items()
        if end.diverged
    )


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


def difference_table(records: Sequence[Record], reference: str, at: Sequence[int] = ()) -> str:
    """``reference`` minus every other loss in mAP, in points: after the epochs ``at``, after the last and as mean over all."""
    columns = {f"after epoch {epoch}": ("map", epoch) for epoch in at}
    columns |= {"after the last epoch": ("map", None), "mean over the epochs": ("map", "mean")}
    return _differences(records, reference, columns)


def _differences(records, reference, columns):
    """A row for each other loss, a column for each score and epoch."""
    found = {name: paired_differences(records, reference, *what) for name, what in columns.items()}
    most = max((len(of_loss(records, loss)) for loss in losses_in(records)), default=0)
    rows: dict[str, dict] = {}
    for name, column in found.items():
        for each in column:
            rows.setdefault(TITLES[each.second], {})[name] = _cell(each, most)
    return markdown(pandas.DataFrame(rows).T, f"{TITLES[reference]} minus")


def _cell(difference, most):
    """The mean in points, what is known of it and what it says; how many seeds where others have more."""
    if not difference.n:
        return "no seed at which both finished"
    if difference.n > 1 and difference.low == difference.high:
        return f"{100 * difference.mean:+.2f} with each of {difference.n} seeds: no interval"
    parts = [points_of(difference)]
    parts += [f"p {p_value(difference.p)}"] if difference.n > 1 else []
    parts += [f"n = {difference.n}"] if difference.n < most else []
    return f"{', '.join(parts)}: {said(difference)}"


def points_of(difference: Difference) -> str:
    """The mean in points, with its interval where there is one."""
    mean = f"{100 * difference.mean:+.2f}" if difference.n else "–"
    return mean + (
        f" ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"
        if difference.n > 1
        else ""
    )


def ratio_of(difference: Difference) -> str:
    """The ratio whose logarithm a difference is, with its interval where there is one: neither is below zero."""
    mean, low, high = map(_times, (difference.mean, difference.low, difference.high))  # fmt: skip
    if not difference.n:
        return "–"
    return f"× {mean} ({low} to {high})" if difference.n > 1 else f"× {mean}"


def _times(logarithm):
    value = math.exp(logarithm)
    if value < 1e-3:
        return "less than 0.001"
    return f"{value:#.3g}" if value < 100 else f"{value:,.0f}"


def speed_table(records: Sequence[Record], reference: str = "allpairs") -> str:
    """Epochs until the test mAP is what ``reference`` ends with, seed by seed, and the mean over the epochs."""
    plain = summarise(of_loss(records, reference), "map")
    if not plain.n:
        return ""
    rows = {}
    for loss in losses_in(records):
        mine = of_loss(records, loss)
        rows[TITLES[loss]] = {
            "epochs": ", ".join(_epochs_to(record, plain.mean) for record in mine),
            "mean mAP over the epochs": percent(summarise(mine, "map", "mean")),
        }
    ran = f"mean of {plain.n} runs" if plain.n > 1 else "one run"
    told = (
        f"Epochs, seed by seed, until the test mAP is that with which {TITLES[reference]} ends, {100 * plain.mean:.2f} % ({ran}); "
        "–: never in these epochs."
    )
    return f"{told}\n\n{markdown(pandas.DataFrame(rows).T, 'loss')}"


def _epochs_to(record, target):
    needed = epochs_to(record, "map", target)
    return "diverged" if record.status != "finished" else "–" if needed is None else str(needed)


def points(records: Sequence[Record]) -> str:
    """What the records say about the batch-wise loss against the others, as Markdown; empty without it."""
    if "bwot" not in losses_in(records) or len(losses_in(records)) < 2:
        return ""
    last = max(record.settings["epochs"] for record in records)
    columns = {f"mAP, epoch {epoch}": ("map", epoch) for epoch in sorted({1, last})}
    if summarise(of_loss(records, "bwot"), "accuracy", last).n:
        columns[f"accuracy, epoch {last}"] = ("accuracy", last)
    seeds = max(len(of_loss(records, loss)) for loss in losses_in(records))
    head = f"Points of difference, seed by seed (n = {seeds} where no other number stands): mean, 95\N{NO-BREAK SPACE}% interval, Holm-corrected p of its column, for which all of its losses count, those without an interval too."
    parts = [head, _differences(records, "bwot", columns), " ".join(_weighting(records, last))]
    return "\n\n".join(filter(None, parts))


def _weighting(records, last):
    ours, plain = of_loss(records, "bwot"), of_loss(records, "allpairs")
    share, ratio = summarise(ours, "mass_on_active", last), summarise(ours, "gradient_ratio", last)
    if not share.n:
        return []
    lines = [
        f"The plan put {percent(share)} % of its weight on pairs with an error after epoch {last}"
    ]
    if summarise(plain, "mass_on_active", last).n and _one("margin", ours + plain):
        lines[0] += (
            f"; the uniform weights of the network trained with the all-pairs mean put {percent(summarise(plain, 'mass_on_active', last))} % there"
        )
    lines[0] += "."
    lines.append(
        f"Its gradient was {number(ratio)} times as long as that of the all-pairs mean on the same batches, as mean over the seeds"
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


def below(records: Sequence[Record], results_dir: str | Path | None, folder: str) -> list[Record]:
    """What a folder of ``results_dir`` has of the data set of a page's records; none without either."""
    if not (results_dir and records):
        return []
    paths = find_records(Path(results_dir) / records[0].dataset["name"] / folder)
    return [read_record(path) for path in paths]


def sides(records: Sequence[Record], results_dir: str | Path | None) -> dict[str, list[Record]]:
    """What is tuned beside the losses of a page, by the λ that differs; of those that ``results_dir`` has."""
    folders = experiment_of(records[0].settings["dataset"]).SIDES
    found = [below(records, results_dir, side) for side in folders]
    return {f"tuned, λ = {mine[0].settings['lam']:g}": mine for mine in found if mine}


def side_text(records: Sequence[Record], results_dir: Path) -> str:
    """The batch-wise loss beside itself with other settings, tuned anew, where ``results_dir`` has such runs; or nothing."""
    lines = []
    for side, others in sides(records, results_dir).items():
        loss = others[0].loss["name"]
        pair = [of_loss(each, loss) for each in (records, others)]
        if all(pair):
            lam = [f"$\\lambda = {each[0].settings['lam']:g}$" for each in pair]
            found = difference_of("", side, *(by_seed(each, "map") for each in pair))
            lines.append(
                f"With {lam[1]}, tuned anew, {TITLES[loss]} has a mAP of {percent(summarise(pair[1], 'map'))} % (n = {len(pair[1])}): "
                f"{lam[0]} minus {lam[1]} is {points_of(found)} points, p {p_value(found.p)} of this one comparison."
            )
    return "\n\n".join(lines)
