"""The scoreboard: every number of the authors' tables and curves beside ours, with a verdict.

A verdict is that of the runs with the authors' settings (``as-published``). Runs with settings of our own reproduce nothing, however near
they come: where there are no others the verdict says so, and a column of its own says where they lie.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from bwot.comparison import Summary, of_loss, summarise, verdict
from bwot.experiments import experiment_of, plan, settings_of
from bwot.looks import SCORE_NAMES, TITLES
from bwot.origins import listed_at
from bwot.published import CURVES, SCORES
from bwot.publishing import DATASET_TITLES
from bwot.records import Record, read_record
from bwot.tables import POSITION, captioned, percent

JUDGED = {
    name: DATASET_TITLES[name]
    for name in ("mnist", "cifar10", "shrec13", "shrec13-15", "shrec14", "modelnet10", "modelnet40")
}
"""What the claims are held against, the paper's data sets, and the part of one that can be rebuilt from other collections."""
DATASETS = {name: title for name, title in JUDGED.items() if name != "shrec13-15"}
"""Those of the paper, for which the authors have numbers."""
ALL = JUDGED | {"psb": DATASET_TITLES["psb"]}
"""One more with real shapes, which is not in the paper."""
SHORT = ALL | {"shrec13-15": "part of SHREC'13"}
"""What data sets are called in a list."""
FOLDERS = {
    "as published": plan.FOLDERS["as published"],
    "full length": plan.FOLDERS["full length"],
    "tuned": plan.FOLDERS["tuned"],
    "common rate": plan.FOLDERS["common"],
    "end to end": plan.FOLDERS["end to end"],
}
UNVERIFIED = ("as downloaded", "no check-sum is published")
"""What the variant of every copy says where the publisher states no check-sum; what else it says, says more."""
FILLED = "Filled by the records of the data and settings that a row begins with ({doc}`records`)."
"""For below a table with rows of several folders."""
SIGNS = {"lam": "λ", "gamma": "γ"}
OURS = ("full length", "tuned", "common rate")
"""Ways with settings of ours; the first one that has a number gives it."""
NEW = Path("runs/full")
"""Where new records are written, by the commands below the tables and by the re-run as a whole."""
HEAD = ("score", "epoch", "authors", "as published (n)", "verdict", "our settings (n)", "they lie")


class Target(NamedTuple):
    """A number of the authors': what a row of the scoreboard is about."""

    dataset: str
    loss: str
    score: str
    epoch: int | None  # None: of a table, after the whole training
    value: float
    reading_error: float
    source: str


def targets() -> list[Target]:
    """Every number of the authors' curves and tables, by data set."""
    found = [
        Target(dataset, loss, score, epoch, value, curve.reading_error, curve.source)
        for (dataset, loss, score), curve in CURVES.items()
        for epoch, value in zip(curve.epochs, curve.values, strict=True)
    ]
    found += [
        Target(dataset, "bwot", score, None, each.value, 0.0, each.source)
        for (dataset, score), each in SCORES.items()
    ]
    return sorted(found, key=lambda target: list(DATASETS).index(target.dataset))


Ways = dict[str, list[Record]]


def records_of(results: Path, dataset: str) -> Ways:
    """The records of a data set by the way in which their settings were chosen; see :func:`folders`.

    Without what was scored and not trained, which is in no comparison.

    Raises:
        ValueError: where the seeds of a loss have different settings, which no mean may mix.
    """
    kind, ways = experiment_of(dataset), {}
    for way, folder in folders(dataset).items():
        paths = sorted((results / dataset / folder).glob("*-seed*.json"))
        found = [read_record(path) for path in paths]
        ways[way] = [record for record in found if record.loss["name"] in kind.LOSSES]
        for record in ways[way]:
            first = of_loss(ways[way], record.loss["name"])[0]
            if _kind(record) != _kind(first):
                raise ValueError(
                    f"the records of {record.loss['name']} in {results / dataset / folder} must differ by seed alone, and "
                    f"seeds {first.seed} and {record.seed} differ in {_differing(record, first)}."
                )
    return ways


def folders(dataset: str) -> dict[str, str]:
    """Way to folder: those of all data sets, and what is tuned beside the losses, by the setting that differs."""
    return FOLDERS | {side_name(dataset, side): f"{side}/" for side in experiment_of(dataset).SIDES}


def side_name(dataset: str, side: str) -> str:
    """The setting that a side differs in.

    >>> side_name("shrec13", "lam5")
    'λ = 5'
    """
    given = experiment_of(dataset).SIDES[side]
    return ", ".join(f"{SIGNS.get(name, name)} = {value:g}" for name, value in given.items() if name != "loss")  # fmt: skip


def variant_of(data: dict) -> str | None:
    """What the data of a record are where they are not the published files: the short form, without what their title says."""
    if data["official"]:
        return None
    parts = [part.partition(" instead of ")[0] for part in data["variant"].split(", ")]
    parts = [part for part in parts if part not in ALL[data["name"]]]
    return ", ".join([part for part in parts if part not in UNVERIFIED] or parts)


def named(dataset: str, records: Sequence[Record]) -> str:
    """A data set with what its files are, where they are not the published ones."""
    variant = variant_of(records[0].dataset) if records else None
    return ALL[dataset] + (f" ({variant})" if variant else "")


def _kind(record):
    understood = settings_of(record)  # what a later version added has its default in older records
    settings = asdict(understood) if understood else record.settings
    return settings | {"seed": None, "variant of the data": record.dataset["variant"]}


def _differing(record, first):
    one, other = _kind(record), _kind(first)
    return ", ".join(name for name in one | other if one.get(name) != other.get(name))


def row(target: Target, ways: Ways) -> dict[str, str]:
    """The cells of a number's row, by ``HEAD``."""
    mine = {way: of_loss(records, target.loss) for way, records in ways.items()}
    given = {way: summarise(each, target.score, target.epoch) for way, each in mine.items()}
    published = given["as published"]
    own = next((way for way in OURS if given[way].n), None)
    lies = _position(target, mine[own], given[own]) if own else "–"
    cells = (
        SCORE_NAMES[target.score],
        "last" if target.epoch is None else str(target.epoch),
        f"{100 * target.value:.2f}",
        _cell(published),
        _verdict(target, mine, given, own),
        _cell(given[own]) if own else "–",
        f"{lies} ({own})" if own else "–",
    )
    return dict(zip(HEAD, cells, strict=True))


def _cell(summary):
    return f"{percent(summary)} ({summary.n})" if summary.n else "–"


def _verdict(target: Target, mine: Ways, given: dict[str, Summary], own: str | None) -> str:
    published = mine["as published"]
    if published:
        words = _judged(target, published, given["as published"])
        if lost := given["as published"].diverged:
            diverged = f"diverged ({lost} of {len(published)})"
            words = f"{words}; {diverged}" if words != "not run" else diverged
            return words if _same_data(published) else f"not comparable; {diverged}"
        return words
    if not own:
        return "not run"
    return f"only {own}" if _same_data(mine[own]) else "not comparable"


def _judged(target, records, summary):
    if not summary.n:
        return "not run"
    if not _same_data(records):
        return "not comparable"
    return verdict(summary, target.value, target.reading_error)


def _same_data(records):
    return all(record.dataset["official"] for record in records)


def _position(target, records, summary):
    judged = _judged(target, records, summary)
    return POSITION.get(judged, judged)


def _origin(records: Sequence[Record]) -> str:
    """Variant of the data, frozen network whose features are learned from, and device."""
    variants = dict.fromkeys(
        "official" if r.dataset["official"] else r.dataset["variant"] for r in records
    )
    features = [f"features of {name}" for name in dict.fromkeys(map(frozen, records)) if name]
    devices = dict.fromkeys(record.provenance["device"] for record in records)
    return ", ".join([*variants, *features, *devices]) or "–"


def frozen(record: Record) -> str | None:
    """The network whose features a run learns from; None where the network is trained too."""
    network = record.settings.get("network")
    return None if network == "small" else network


def _minutes(records):
    minutes = sum(record.provenance["seconds"] for record in records) / len(records) / 60
    return f"{minutes:.1f}" if minutes < 10 else f"{minutes:.0f}"


def command(target: Target, tuned: bool = False) -> str:
    """What runs the number of a row, with one seed; its record lies apart from the committed ones, which may be shorter runs.

    The authors' code has their settings for their own loss alone: others, and ``tuned`` ones, take what the tuning chose.
    """
    as_published = target.loss == "bwot" and not tuned
    folder = FOLDERS["as published" if as_published else "tuned"]
    output = Path(NEW, target.dataset, folder, f"{target.loss}-seed0.json")
    tuning = Path("book/results", target.dataset, "tuning", f"{target.loss}.json")
    how = "--as-published" if as_published else f"--loss {target.loss} --tuned {tuning}"
    kind = experiment_of(target.dataset)
    return f"bwot run {kind.NAME} --dataset {target.dataset} --preset full {how} --output {output}"


def line(cells: dict[str, str]) -> str:
    """A row as a line of Markdown."""
    return f"| {' | '.join(cells[name] for name in HEAD)} |"


def section(dataset: str, ways: Ways) -> str:
    """The tables of a data set, one for each loss, with heading and source, and the commands for what was not run."""
    mine = [target for target in targets() if target.dataset == dataset]
    sources = "; ".join(dict.fromkeys(target.source for target in mine))
    parts = [f"### {DATASETS[dataset]}", f"The authors' numbers: {sources}."]
    missing = {}
    for loss in dict.fromkeys(target.loss for target in mine):
        rows = {target: row(target, ways) for target in mine if target.loss == loss}
        missing |= {command(t): t for t, cells in rows.items() if cells["verdict"] == "not run"}
        if any(ways[way] for way in OURS):  # a plot may go on where our runs end
            missing |= {command(t, True): t for t, cells in rows.items() if cells["they lie"] == "–"}  # fmt: skip
        parts += _table(dataset, loss, list(rows.values()), ways)
    if missing:
        parts.append(_to_run(missing))
    return "\n\n".join(parts)


def _table(dataset, loss, rows, ways):
    """The table, and a line on what fills it where anything does."""
    caption = f"{DATASETS[dataset]}, {TITLES[loss]}, test scores in percent: {_counted(rows)}."
    used = [way for way in OURS if any(f"({way})" in cells["they lie"] for cells in rows)]
    if used:
        caption += f" Our settings: {' or '.join(used)}."
    if len(used) == 1:  # said once, it need not stand in every row
        rows = [r | {"they lie": r["they lie"].removesuffix(f" ({used[0]})")} for r in rows]
    head = [f"| {' | '.join(HEAD)} |", "|---" + "|---:" * 3 + "|---|---:|---|"]
    table = captioned([*head, *map(line, rows)], caption, f"scoreboard-{dataset}-{loss}", "compact")
    mine = {way: of_loss(ways[way], loss) for way in ("as published", *used)}
    told = [_filled(dataset, way, records) for way, records in mine.items() if records]
    return [table, f"Filled by {'; '.join(told)}."] if told else [table]


def _filled(dataset, way, records):
    """Of one way that fills a table: its records, their data, device and minutes."""
    several = f"{len(records)} records" if len(records) > 1 else "one record"
    return f"*{way}*: {several} of {listed_at(dataset, FOLDERS[way])}, {_origin(records)}, {_minutes(records)} minutes a run"


def _to_run(commands):
    said = (
        f"What was not run, one seed a command. The records go below `{NEW}`: a mean takes runs of one length. Tuned ones stand beside "
        f"the shorter ones, in the folder `{FOLDERS['full length']}` of the data set; of others all seeds take the place of those that are here, or none.\n"
    )
    return "\n".join([said, "```bash", *commands, "```"])


def _counted(rows):
    """How often each verdict was given."""
    verdicts = [cells["verdict"] for cells in rows]
    return ", ".join(f"{verdicts.count(each)} × {each}" for each in dict.fromkeys(verdicts))
