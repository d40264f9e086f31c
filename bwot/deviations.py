"""Tables of the page on deviations: what became of the authors' settings, of the last epoch, and of their two values of λ."""

from collections.abc import Iterator

from bwot.comparison import (
    by_seed,
    difference_of,
    losses_in,
    of_loss,
    p_cell,
    paired_differences,
    stopped,
)
from bwot.experiments import Sketches
from bwot.findings import points_of, said
from bwot.looks import TITLES
from bwot.records import Record
from bwot.scoreboard import ALL, FILLED, Ways, side_name, variant_of
from bwot.tables import captioned

REPLAYED = 4
"""Losses of a replay that are shown, at most."""


def diverged_table(everything: dict[str, Ways]) -> str:
    """Where the runs with the authors' settings stopped, and how the losses grew in the replays of those that did."""
    rows, replays = [], {}
    for ways in everything.values():
        mine = ways["as published"]
        lost = [record for record in mine if record.status == "diverged"]
        if mine:
            where = (
                "; ".join(dict.fromkeys(stopped(r.diverged, r.provenance["device"]) for r in lost))
                or "–"
            )
            for record in lost:
                losses = ", ".join(f"{value:.4g}" for value in record.replay[:REPLAYED])
                replays.setdefault(losses, {})[ALL[record.dataset["name"]]] = None
            ratios = sorted(f"{record.history[0]['gradient_ratio']:.5f}" for record in mine)
            longer = " to ".join(dict.fromkeys((ratios[0], ratios[-1])))
            rows.append(f"| {_data(mine[0])} | {len(lost)} of {len(mine)} | {where} | {longer} |")  # fmt: skip
    head = ["| data | diverged | where | gradient over that of uniform weights |", "|---|---|---|---:|"]  # fmt: skip
    caption = (
        "Runs with the authors' settings. Last: length of the gradient before the first step over that of uniform weights on the same batches, "
        "the lowest and the highest of the seeds."
    )
    if not rows:
        return "No such run yet."
    return "\n\n".join(
        [captioned([*head, *rows], caption, "diverged"), FILLED, *_replayed(replays)]
    )


def _replayed(replays):
    """What is kept of the losses on the way: not those of the data sets themselves."""
    together = {}
    for losses, on in replays.items():
        together.setdefault(" and ".join(on), []).append(losses)
    if together:
        told = "; ".join(f"of the runs on {on} they begin with {', or '.join(each)}" for on, each in together.items())  # fmt: skip
        yield (
            f"No record keeps the loss of each step. Kept is a replay, the first steps with the same settings on embedded digits, whatever the data of the run, "
            f"up to where the loss leaves the range: {told}."
        )


def selection_table(everything: dict[str, Ways]) -> str:
    """What the best epoch on the test data has over the last one."""
    rows = []
    for ways in everything.values():
        for way, records in ways.items():
            for loss, gains in _gains(records):
                rows.append(
                    f"| {_data(records[0])}, {way} | {TITLES[loss]} | {records[0].settings['epochs']} | {len(gains)} "
                    f"| {sum(gains) / len(gains):.2f} | {max(gains):.2f} |"
                )
    head = ["| data, settings | loss | epochs | seeds | mean | largest |", "|---|---|---:|---:|---:|---:|"]  # fmt: skip
    caption = "Test mAP of the best epoch minus that of the last one, in points: what choosing the epoch on the test data would add."
    return (
        f"{captioned([*head, *rows], caption, 'selection')}\n\n{FILLED}"
        if rows
        else "No finished run yet."
    )


def _gains(records) -> Iterator[tuple[str, list[float]]]:
    for loss in losses_in(records):
        curves = [
            [row["map"] for row in record.history[1:]]
            for record in of_loss(records, loss)
            if record.status == "finished" and len(record.history) > 2
        ]
        if curves:
            yield loss, [100 * (max(curve) - curve[-1]) for curve in curves]


def sketches_table(everything: dict[str, Ways]) -> str:
    """The batch-wise loss against the authors' rival in their logs, and with one λ of theirs against the other."""
    rows = []
    for dataset in Sketches.DATASETS:
        ways = everything.get(dataset, {})
        tuned = ways.get("tuned", [])
        rival = [each for each in paired_differences(tuned, "bwot", "map") if each.second == "lifted"]  # fmt: skip
        rows += [_line(tuned, f"{TITLES['bwot']} minus {TITLES['lifted']}", each) for each in rival if each.n]  # fmt: skip
        for side in Sketches.SIDES:
            name = side_name(dataset, side)
            both = [by_seed(of_loss(each, "bwot"), "map") for each in (tuned, ways.get(name, []))]
            difference = difference_of("bwot", side, *both)
            if difference.n:
                label = f"{TITLES['bwot']}, λ = {of_loss(tuned, 'bwot')[0].settings['lam']:g} minus {name}"
                rows.append(_line(tuned, label, difference))
    head = ["| data | compared | difference (95\N{NO-BREAK SPACE}% interval) | seeds | p | says |", "|---|---|---:|---:|---:|---|"]  # fmt: skip
    caption = (
        "Test mAP after the last epoch, in points, each at the rate and margin that its tuning chose. The first p is corrected for all other "
        "losses, as in the chapter; the second is of one comparison alone."
    )
    return (
        f"{captioned([*head, *rows], caption, 'sketches')}\n\n{FILLED}"
        if rows
        else "No such run yet."
    )


def _line(records, label, difference):
    return f"| {_data(records[0])} | {label} | {points_of(difference)} | {difference.n} | {p_cell(difference)} | {said(difference)} |"


def _data(record: Record) -> str:
    variant = variant_of(record.dataset)
    return ALL[record.dataset["name"]] + (f", {variant}" if variant else "")
