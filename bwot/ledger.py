"""The list of the committed records: a table for each folder, which numbers of the book link to."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bwot.comparison import losses_in, of_loss
from bwot.experiments import Sketches
from bwot.experiments.plan import FOLDERS
from bwot.findings import HOW
from bwot.longer import NEXT_BEST
from bwot.looks import TITLES
from bwot.origins import label_of, seeds_of
from bwot.records import Record, find_records, read_record
from bwot.scoreboard import ALL
from bwot.tables import captioned

KINDS = {FOLDERS[way].rstrip("/"): how for way, how in HOW.items()}
KINDS |= {
    NEXT_BEST: "losses that diverged at their chosen point, at the next best point of their grids"
}
KINDS |= {side: "tuned and run beside the losses, with another λ" for side in Sketches.SIDES}
"""What the runs in a folder are."""


def tables(results: Path) -> str:
    """A heading for each data set and a table for each of its folders."""
    parts = []
    for dataset, title in ALL.items():
        found = list(_of(results, dataset))
        parts += [f"## {title}", *found] if found else []
    return "\n\n".join(parts) or "There is no record yet."


def _of(results: Path, dataset: str) -> Iterator[str]:
    top = results / dataset
    folders = {path.parent for path in find_records(top)}
    for folder in sorted(folders):
        records = [read_record(path) for path in sorted(folder.glob("*-seed*.json"))]
        yield _table(folder.relative_to(results).as_posix(), folder.relative_to(top).as_posix(), records)  # fmt: skip


def _table(name: str, below: str, records: Sequence[Record]) -> str:
    rows = [f"| {TITLES[loss]}, `{loss}` | {' | '.join(_cells(of_loss(records, loss)))} |" for loss in sorted(losses_in(records), key=TITLES.get)]  # fmt: skip
    head = ["| loss | seeds | diverged | epochs | minutes a run | device | commit |", "|---|---|---:|---:|---:|---|---|"]  # fmt: skip
    kind = KINDS[""] if below == "." else KINDS[below]
    if all(record.settings["epochs"] == 0 for record in records):
        kind = "scored without training"
    elif below == ".":
        kind += ", and what is scored without training"
    caption = f"`book/results/{name}/`: {kind}."
    return captioned([*head, *rows], caption, label_of(name), "compact")


def _cells(mine: Sequence[Record]) -> tuple[str, ...]:
    minutes = [f"{value / 60:.1f}" for value in sorted(r.provenance["seconds"] for r in mine)]
    return (
        seeds_of(record.seed for record in mine),
        str(sum(record.status == "diverged" for record in mine)),
        _each(record.settings["epochs"] for record in mine),
        " to ".join(dict.fromkeys((minutes[0], minutes[-1]))),
        _each(record.provenance["device"] for record in mine),
        _each(f"`{(record.provenance['commit'] or 'none')[:10]}`" for record in mine),
    )


def _each(values) -> str:
    return ", ".join(map(str, dict.fromkeys(values)))
