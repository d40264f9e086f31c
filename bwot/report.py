"""The parts of the book's prose that are made from records, and whether what is committed still is what they say.

A page marks such a part with ``% begin NAME`` and ``% end NAME``, comments that the book does not show. :func:`write` fills
the parts; :func:`faults` names every row that is missing, every number without a record and every record that is stale.
"""

import re
from collections.abc import Callable
from pathlib import Path

import torch

from bwot import answers, claims, deviations, front, ledger, sharpness
from bwot.front import RESULTS
from bwot.records import RecordError, find_records, read_record, validate
from bwot.runs import staleness
from bwot.scoreboard import ALL, DATASETS, folders, section

ROLE = re.compile(r"\{result\}`([\w/-]+)/([\w-]+) ")
AGAIN = "run `bwot report`"


def _from_records(make):
    return lambda root: make(front.records(root))


def _with_plans(make):
    return lambda root: make(front.records(root), sharpness.read(root))


def _numbers(root):
    everything = front.records(root)
    return "\n\n".join(section(dataset, everything[dataset]) for dataset in DATASETS)


def _state(root):
    return front.state(root, front.records(root))


PARTS: dict[str, dict[str, Callable[[Path], str]]] = {
    "book/index.md": {
        "verdicts": _with_plans(front.verdicts),
        "answers": _with_plans(answers.questions),
        "state": _state,
    },
    "book/scoreboard.md": {
        "numbers": _numbers,
        "outcomes": _from_records(answers.outcomes),
        "overview": _from_records(claims.overview),
        "details": _from_records(claims.details),
    },
    "book/records.md": {"ledger": lambda root: ledger.tables(root / RESULTS)},
    "book/deviations.md": {
        "diverged": _from_records(deviations.diverged_table),
        "sharpness": sharpness.table,
        "sketches": _from_records(deviations.sketches_table),
        "selection": _from_records(deviations.selection_table),
    },
}
"""Pages, and what makes each of their parts."""


def write(root: Path) -> list[str]:
    """Make every part of every page of a project again, and the record of :mod:`bwot.sharpness`; the pages that changed."""
    sharpness.write(root)
    changed = []
    for page, parts in PARTS.items():
        path = root / page
        text = before = path.read_text(encoding="utf-8")
        for name, make in parts.items():
            text = _marked(name).sub(lambda found, make=make: f"{found[1]}\n{make(root)}\n\n{found[3]}", _held(page, name, text))  # fmt: skip
        if text != before:
            path.write_text(text, encoding="utf-8")
            changed.append(page)
    return changed


def _marked(name):
    return re.compile(rf"(% begin {name}:[^\n]*\n)(.*?)(% end {name}\n)", re.DOTALL)


def _held(page, name, text):
    if not _marked(name).search(text):
        raise ValueError(
            f"{page} must hold the lines `% begin {name}: made by bwot report` and `% end {name}`, and does not."
        )
    return text


def faults(root: Path) -> list[str]:
    """What is wrong with the committed records and pages of a project, one sentence each; empty where all is well."""
    found = stale_records(root) + missing_records(root)
    if not sharpness.is_current(sharpness.read(root)):
        found.append(f"book/deviations.md: {sharpness.RECORD} is missing or stale: {AGAIN}.")
    for page, parts in PARTS.items():
        text = (root / page).read_text(encoding="utf-8")
        for name, make in parts.items():
            try:
                there = _marked(name).search(_held(page, name, text))[2]
                found += [f"{page}: {fault}" for fault in differences(there, make(root))]
            except ValueError as error:  # a stale record may be one that nothing can be made from
                found.append(str(error))
    return list(dict.fromkeys(found))


def differences(committed: str, expected: str) -> list[str]:
    """What a committed part has otherwise than the records, row by row."""
    if committed.strip() == expected.strip():
        return []
    there, should = _rows(committed), _rows(expected)
    found = [f"the row {_name(key)} is missing: {AGAIN}." for key in should if key not in there]
    found += [f"the row {_name(key)} has no record: {AGAIN}." for key in there if key not in should]
    found += [
        f"the row {_name(key)} says {there[key]}, the records say {line}: {AGAIN}."
        for key, line in should.items()
        if there.get(key, line) != line
    ]
    return found or [f"the text between the marks is not what the records say: {AGAIN}."]


def _rows(text):
    """(table, first cell, second cell) -> the rest of each line of all tables."""
    table, found = "", {}
    for line in text.splitlines():
        if line.startswith(":name:"):
            table = line.removeprefix(":name:").strip()
        elif line.startswith("| "):
            cells = line.strip("|").split("|")
            key = (table, *(cell.strip() for cell in cells[:2]))
            found[key] = "|".join(cells[2:]).strip()
    return found


def _name(key):
    return f"“{', '.join(key[1:])}” of the table {key[0]}"


def roles(root: Path) -> dict[str, set[tuple[str, str]]]:
    """Page to the (folder below ``book/results``, loss) of every number in its prose."""
    pages = sorted((root / "book").glob("*.md"))
    return {f"book/{path.name}": set(ROLE.findall(path.read_text(encoding="utf-8"))) for path in pages}  # fmt: skip


def missing_records(root: Path) -> list[str]:
    """The numbers in prose that no record stands behind."""
    return [
        f"{page}: the numbers of {folder}/{loss} have no record in {RESULTS / folder}."
        for page, used in roles(root).items()
        for folder, loss in sorted(used)
        if not list((root / RESULTS / folder).glob(f"{loss}-seed*.json"))
    ]


def stale_records(root: Path) -> list[str]:
    """Every record that is stale, by settings, data, schema or replay, after the pages that show it.

    Replayed with one thread, whatever the machine has: several add in another order, and small networks soon tell.
    """
    found, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    for path in find_records(root / RESULTS):
        try:
            record = read_record(path)
            validate(record)
            reason = staleness(record)
        except RecordError as error:
            reason = str(error)
        if reason:
            folder, loss = path.parent.relative_to(root / RESULTS), path.name.rpartition("-seed")[0]
            pages = ", ".join(pages_of(root, folder, loss))
            found.append(f"{pages}: {path.relative_to(root)} is stale: {reason}")
    torch.set_num_threads(threads)
    return found


def pages_of(root: Path, folder: Path, loss: str) -> list[str]:
    """The pages that show the records of a loss in a folder below ``book/results``."""
    dataset = folder.parts[0]
    pages = [page for page, used in roles(root).items() if (folder.as_posix(), loss) in used]
    chapter = f"book/pages/{dataset}.ipynb"
    pages += [chapter] if (root / chapter).exists() else []
    known = {Path(dataset, each) for each in folders(dataset).values()} if dataset in ALL else set()
    pages += list(PARTS) if folder in known else []
    return list(dict.fromkeys(pages)) or ["no page"]
