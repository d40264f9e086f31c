"""The parts of the book's prose that are made from records, and whether what is committed still is what they say.

A page marks such a part with ``% begin NAME`` and ``% end NAME``, comments that the book does not show. :func:`write` fills
the parts; :func:`faults` names every row that is missing, every number without a record and every record that is stale.
"""

import re
from collections.abc import Callable
from pathlib import Path

from bwot import claims, front, sharpness
from bwot.comparison import losses_in, of_loss
from bwot.figures import TITLES
from bwot.records import RecordError, find_records, read_record, validate
from bwot.runs import staleness
from bwot.scoreboard import DATASETS, FOLDERS, Ways, records_of, section
from bwot.tables import captioned

RESULTS = Path("book/results")
ROLE = re.compile(r"\{result\}`([\w/-]+)/([\w-]+) ")
AGAIN = "run `bwot report`"


def _everything(root):
    return {dataset: records_of(root / RESULTS, dataset) for dataset in DATASETS}


def _numbers(root):
    return "\n\n".join(section(name, ways) for name, ways in _everything(root).items())


def _overview(root):
    return claims.overview(_everything(root))


def _details(root):
    return claims.details(_everything(root))


def _diverged(root):
    return diverged_table(_everything(root))


def _selection(root):
    return selection_table(_everything(root))


def _verdicts(root):
    return front.verdicts(front.records(root))


def _outcomes(root):
    return front.outcomes(front.records(root))


def _state(root):
    return front.state(root, front.records(root))


PARTS: dict[str, dict[str, Callable[[Path], str]]] = {
    "book/index.md": {"verdicts": _verdicts, "outcomes": _outcomes, "state": _state},
    "book/scoreboard.md": {"numbers": _numbers, "overview": _overview, "details": _details},
    "book/deviations.md": {"diverged": _diverged, "sharpness": sharpness.table, "selection": _selection},
}  # fmt: skip
"""Pages, and what makes each of their parts."""


def diverged_table(everything: dict[str, Ways]) -> str:
    """Where the runs with the authors' settings stopped, and how their losses grew on the way."""
    rows = []
    for ways in everything.values():
        mine = ways["as published"]
        lost = [record for record in mine if record.status == "diverged"]
        if mine:
            where = "; ".join(dict.fromkeys(record.diverged for record in lost)) or "–"
            losses = ", ".join(f"{value:.4g}" for value in mine[0].replay[:4])
            ratios = sorted(f"{record.history[0]['gradient_ratio']:.5f}" for record in mine)
            longer = " to ".join(dict.fromkeys((ratios[0], ratios[-1])))
            rows.append(f"| {_data(mine[0])} | {len(lost)} of {len(mine)} | {where} | {losses} | {longer} |")  # fmt: skip
    head = ["| data | diverged | where | losses of the replay | gradient over that of uniform weights |", "|---|---|---|---|---:|"]  # fmt: skip
    caption = (
        "Runs with the authors' settings. The replay takes the first steps of the same run on embedded digits and ends where the "
        "loss leaves the range. Last: length of the gradient before the first step over that of uniform weights on the same batches."
    )
    return captioned([*head, *rows], caption, "diverged") if rows else "No such run yet."


def selection_table(everything: dict[str, Ways]) -> str:
    """What the best epoch on the test data has over the last one."""
    rows = []
    for ways in everything.values():
        for way, records in ways.items():
            for loss in losses_in(records):
                curves = [
                    [row["map"] for row in record.history[1:]]
                    for record in of_loss(records, loss)
                    if record.status == "finished" and len(record.history) > 2
                ]
                if curves:
                    gains = [100 * (max(curve) - curve[-1]) for curve in curves]
                    rows.append(
                        f"| {_data(records[0])}, {way} | {TITLES[loss]} | {len(curves[0])} | {len(gains)} "
                        f"| {sum(gains) / len(gains):.2f} | {max(gains):.2f} |"
                    )
    head = ["| data, settings | loss | epochs | seeds | mean | largest |", "|---|---|---:|---:|---:|---:|"]  # fmt: skip
    caption = "Test mAP of the best epoch minus that of the last one, in points: what choosing the epoch on the test data would add."
    return captioned([*head, *rows], caption, "selection") if rows else "No finished run yet."


def _data(record):
    data = record.dataset
    variant = "" if data["official"] else f", {data['variant']}"
    return f"{DATASETS[data['name']]}{variant}"


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
    """Every record that is stale, by settings, data, schema or replay, after the pages that show it."""
    found = []
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
    return found


def pages_of(root: Path, folder: Path, loss: str) -> list[str]:
    """The pages that show the records of a loss in a folder below ``book/results``."""
    dataset = folder.parts[0]
    pages = [page for page, used in roles(root).items() if (folder.as_posix(), loss) in used]
    chapter = f"book/pages/{dataset}.ipynb"
    pages += [chapter] if (root / chapter).exists() else []
    known = {Path(dataset, each) for each in FOLDERS.values()} if dataset in DATASETS else set()
    pages += list(PARTS) if folder in known else []
    return list(dict.fromkeys(pages)) or ["no page"]
