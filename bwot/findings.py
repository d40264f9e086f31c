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
    sentences += filter(None, [lost(records)])
    if how == "common":
        sentences.append(
            "At one rate for all, the loss with the longer gradient takes the longer steps: this does not compare the losses "
            "at their best."
        )
    if max(summary.n for summary in means.values()) < 2:
        sentences.append("One seed decides nothing.")
    return " ".join(sentences)


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
    columns = {f"after epoch {epoch}": epoch for epoch in at}
    columns |= {"after the last epoch": None, "mean over the epochs": "mean"}
    rows: dict[str, dict] = {}
    for place, (name, epoch) in enumerate(columns.items()):
        for each in paired_differences(records, reference, "map", epoch):
            blanks = " " * place  # columns of one name are one column
            rows.setdefault(TITLES[each.second], {}).update({
                name: points_of(each),
                f"says (p){blanks}": said(each) + (f" ({_short_p(each.p)})" if each.n > 1 else ""),
            })  # fmt: skip
    return markdown(pandas.DataFrame(rows).T, f"{TITLES[reference]} minus")


def _short_p(p):
    """So short that no cell breaks in it; the lists below the tables have all of it."""
    return f"{p:.2g}" if not p < 1e-3 else "< 0.001"


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
                f"{lam[0]} minus {lam[1]} is {points_of(found)} points, p = {found.p:.2g} of this one comparison."
            )
    return "\n\n".join(lines)
