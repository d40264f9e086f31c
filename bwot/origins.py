"""Where the numbers of a page come from: which data, which settings for each kind of run, which machines; as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bwot.experiments import settings_of
from bwot.experiments.plan import FOLDERS
from bwot.looks import TITLES
from bwot.paths import PROJECT
from bwot.publishing import DATASET_TITLES
from bwot.records import Record

Groups = Mapping[str, Sequence[Record]]
"""Records by the kind of run that they belong to."""
ZERO_LINES, NEXT_BEST = "scored without training", "next best point"
"""Kinds of runs that are no way of comparing."""
KINDS = {"common": "common rate"}
"""What a kind of run is called where its key says too little."""
NAMES = {
    "epochs": "epochs", "learning_rate": "learning rate", "margin": "margin", "lam": "λ", "gamma": "γ", "form": "form of the pair errors",
    "iterations": "Sinkhorn iterations", "plan_gradient": "gradient through the plan", "head": "metric head", "network": "network before the head",
    "momentum": "momentum", "decay": "factor by which the rate falls", "steered_by": "the rate falls with", "weight_decay": "weight decay",
    "batch_size": "batch size", "balanced_batches": "batches of equal classes", "classifier_weight": "weight of the classifier",
    "sketch_weight": "weight of the part drawings–drawings", "shape_weight": "weight of the part models–models",
    "across_weight": "weight of the parts drawings–models", "queries": "queries", "normalise_gradient": "gradients brought to one length",
    "preset": "preset",
}  # fmt: skip
"""What settings are called; those that are not here are told by the row (loss, seed, the authors' settings) or with the data."""
WORDS = {
    "plan_gradient": {
        "constant": "none, it is held constant",
        "kernel": "through its kernel alone",
    },
    "steered_by": {"validation_map": "the validation mAP", "map": "the test mAP"},
    "queries": {"drawn": "the drawings as drawn", "rotations": "all rotations"},
    "network": {"mobilenet": "a frozen MobileNet", "small": "a small one, trained too"},
}
"""What values of settings are called."""
OWN = "each loss its own, from the tuning"


def provenance(groups: Groups) -> str:
    """All of it: the data, what all runs share, what differs from kind to kind, and who ran what where."""
    groups = {KINDS.get(kind, kind): records for kind, records in groups.items() if records}
    records = [each for mine in groups.values() for each in mine]
    seconds = sum(each.provenance["seconds"] for each in records)
    begun = min(each.provenance["started"] for each in records)
    took = f"{seconds / 60:,.0f} minutes" if seconds > 120 else f"{seconds:.0f} seconds"
    took = f"The first of these {len(records)} runs began on {begun[:10]}; one after another they took {took}."
    return "\n\n".join([_data(groups), settings_table(groups), runs_table(groups), took])


def _data(groups):
    found: dict[str, dict] = {}
    for kind, records in groups.items():
        for data in (each.dataset for each in records):
            title = DATASET_TITLES.get(data["name"], data["name"])
            variant = [part for part in data["variant"].split(", ") if part not in title]
            files = "the published files" if data["official"] else ", ".join(variant)
            said = f"{title}, {files} (SHA-256 `{data['sha256'][:16]}…`)"
            found.setdefault(said, {})[kind] = None
    if len(found) == 1:
        return f"Data of all runs: {next(iter(found))}."
    return "Data: " + "; ".join(f"{said}: {', '.join(kinds)}" for said, kinds in found.items()) + "."  # fmt: skip


def settings_table(groups: Groups) -> str:
    """A row for each kind of run with the settings in which the kinds differ; above it those that all of them share.

    What was scored without training has no row: its settings play no part.
    """
    kinds = {kind: _settings(mine) for kind, mine in groups.items() if mine and kind != ZERO_LINES}
    if not kinds:
        return "Nothing was trained."
    names = [name for name in NAMES if any(name in each for each in kinds.values())]
    values = {name: {each.get(name) for each in kinds.values()} for name in names}
    shared = [name for name in names if len(values[name]) == 1 and OWN not in values[name]]
    first = next(iter(kinds.values()))
    lines = [f"All runs that were trained: {_listed(first, shared)}."]
    differ = [name for name in names if name not in shared]
    if differ:
        lines += ["", "| runs | settings in which they differ |", "|---|---|"]
        lines += [f"| {kind} | {_listed(each, [n for n in differ if n in each])} |" for kind, each in kinds.items()]  # fmt: skip
    return "\n".join(lines)


def _settings(records):
    """Each setting of some runs in words; of those in which their losses differ, that each has its own."""
    given = [asdict(known) if (known := settings_of(each)) else each.settings for each in records]
    values = {name: {each.get(name) for each in given} for name in given[0]}
    return {name: _word(name, *each) if len(each) == 1 else OWN for name, each in values.items()}


def _word(name, value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else WORDS.get(name, {}).get(value, str(value))


def _listed(settings, names):
    return "; ".join(f"{NAMES[name]}: {settings[name]}" for name in names)


def runs_table(groups: Groups) -> str:
    """Which runs of each kind were made on which machine, with which code; a row for each that differs."""
    rows: dict[tuple, dict] = {}
    for kind, records in groups.items():
        for record in records:
            key = (kind, _machine(record.provenance), _software(record.provenance))
            row = rows.setdefault(key, {"losses": {}, "commits": {}})
            row["losses"].setdefault(TITLES[record.loss["name"]], []).append(record.seed)
            row["commits"][_commit(record.provenance)] = None
    lines = [
        f"| {kind} | {_runs(row['losses'])} | {machine} | {', '.join(row['commits'])}; {software} |"
        for (kind, machine, software), row in rows.items()
    ]
    head = ["| runs | losses: seeds | device, convolutions, threads | commit; versions |", "|---|---|---|---|"]  # fmt: skip
    return "\n".join([*head, *lines])


def _machine(given):
    precision = given.get("precision", "precision not recorded")
    return f"{given['device']}, {precision}, {given['threads']}"


def _software(given):
    return f"Python {given['python']}, torch {given['torch']}, NumPy {given['numpy']}"


def _commit(given):
    if given["commit"] is None:
        return "not from a checkout"
    return f"`{given['commit'][:10]}`{' with changes' if given['dirty'] else ''}"


def _runs(losses: Mapping[str, list[int]]) -> str:
    """Losses with the same seeds together, all in the order of their titles."""
    together: dict[str, list[str]] = {}
    ranked = list(TITLES.values())
    for loss, seeds in sorted(losses.items(), key=lambda each: ranked.index(each[0])):
        together.setdefault(seeds_of(seeds), []).append(loss)
    return "; ".join(f"{', '.join(names)}: {seeds}" for seeds, names in together.items())


def seeds_of(seeds: Iterable[int]) -> str:
    """A list of seeds, or their range.

    >>> seeds_of([2, 0, 1]), seeds_of([0, 2])
    ('0 to 2', '0, 2')
    """
    ranked = sorted(seeds)
    whole = len(ranked) == ranked[-1] - ranked[0] + 1 > 2
    return f"{ranked[0]} to {ranked[-1]}" if whole else ", ".join(map(str, ranked))


def filled_by(
    kind: str,
    records: Sequence[Record],
    results_dir: str | Path | None,
    zero_lines: Sequence[Record] = (),
) -> str:
    """A line for below a table: the records that fill it; empty where they are not taken from a folder of finished ones."""
    if not (results_dir and records):
        return ""
    dataset = records[0].settings["dataset"]
    beside = f"; what is scored without training: {listed_at(dataset, '')}" if zero_lines else ""
    return f"From the records of {listed_at(dataset, FOLDERS[kind])}{beside}."


def listed_at(dataset: str, folder: str) -> str:
    """A folder of records as a link to where the book lists them, or its name where the book does not have them."""
    name = f"{dataset}/{folder}".rstrip("/")
    there = any((PROJECT / "book" / "results" / name).glob("*.json"))
    return f"{{ref}}`{name} <{label_of(name)}>`" if there else f"`{name}`"


def label_of(folder: str) -> str:
    """The label of the table that lists the records of a folder below ``book/results``.

    >>> label_of("mnist/tuned")
    'records-mnist-tuned'
    """
    return f"records-{folder.replace('/', '-')}"
