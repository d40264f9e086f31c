"""The scores of a finished run on sketches, query by query, and its rankings in files that the SHREC tracks' tools read.

A track asks for one ASCII file a query, named after it without an extension: the query's name in the first line, then a
line for each target with its name and its distance, the most similar first.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bwot.cross_retrieval import Answers, class_scores, retrieval
from bwot.data.sketches import SketchData
from bwot.experiments import Sketches, settings_of
from bwot.metrics import rankings
from bwot.records import Record, write_atomically
from bwot.runs import trained_network

SCORES = ("nn", "ft", "st", "e", "dcg", "map")


def answers_of(record: Record, data_dir: str | Path | None = None) -> tuple[SketchData, Answers]:
    """The data of a finished run on sketches, and what its network answers; a run computed elsewhere is computed here first.

    Raises:
        ValueError: as :func:`settings_and_data`.
    """
    settings, data = settings_and_data(record, data_dir)
    return data, retrieval(settings, trained_network(record, data_dir), data, "test")


def settings_and_data(
    record: Record, data_dir: str | Path | None = None
) -> tuple[Sketches, SketchData]:
    """The settings of a finished run on sketches and its data.

    Raises:
        ValueError: for a record of another experiment, one that is diverged, or one of other data than those at hand.
    """
    settings = settings_of(record)
    if not isinstance(settings, Sketches) or record.status != "finished":
        raise ValueError(
            f"expected the record of a finished run on sketches, and this is one of {record.experiment}, {record.status}."
        )
    data = settings.load_data(data_dir)
    if data.sha256 != record.dataset["sha256"]:
        raise ValueError(
            f"the record is one of data with SHA-256 {record.dataset['sha256']}, those at hand have {data.sha256}."
        )
    return settings, data


def summary(data: SketchData, answers: Answers) -> list[str]:
    """The means over the queries, and those of the class with the lowest mAP, a line each."""
    by_class = class_scores(answers)
    worst = min(by_class, key=lambda label: by_class[label][5])
    rows = {
        "mean": [getattr(answers.scores, name) for name in SCORES],
        f"worst class, {data.classes[worst]}": by_class[worst].tolist(),
    }
    lines = [
        f"{title}: " + "  ".join(f"{name} {value:.4f}" for name, value in zip(SCORES, row, strict=True))
        for title, row in rows.items()
    ]  # fmt: skip
    if skipped := answers.scores.skipped:
        total = len(answers.query_labels)
        lines.append(
            f"{skipped} of {total} queries have no model of their class: they are in no mean."
        )
    return lines


def write_per_query(path: Path, data: SketchData, answers: Answers) -> None:
    """A CSV file with the six scores of each query; empty where no shape answers it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["query", "class", *SCORES])
    for name, label, row in zip(
        query_names(data, answers),
        answers.query_labels.tolist(),
        answers.scores.per_query.tolist(),
        strict=True,
    ):
        shown = ["" if value != value else f"{value:.6f}" for value in row]
        table.writerow([name, data.classes[label], *shown])
    write_atomically(path, text.getvalue().encode())


def write_rank_lists(folder: Path, data: SketchData, answers: Answers) -> int:
    """Write one file a query into ``folder``, and return how many; the ranking is that of the scores.

    Raises:
        ValueError: for names that are not ASCII or hold white space, which no rank list can have, and for a folder that
            holds other files than lists of these queries: a track's tool would score both.
    """
    queries, targets = track_names(query_names(data, answers)), track_names(data.names["shapes"])
    for name in (*queries, *targets):
        if not name.isascii() or len(name.split()) != 1:
            raise ValueError(f"a rank list takes ASCII names without white space, not {name!r}.")
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if others := sorted(present - set(queries)):
        raise ValueError(
            f"{folder} holds {len(others)} other files, such as {others[0]}: give an empty folder."
        )
    for name, (order, distances) in zip(
        queries, rankings(answers.queries, answers.gallery), strict=True
    ):
        lines = [f"{targets[i]} {far:.9g}" for i, far in zip(order, distances, strict=True)]
        write_atomically(folder / name, "\n".join([name, *lines, ""]).encode("ascii"))
    return len(queries)


def query_names(data: SketchData, answers: Answers) -> list[str]:
    """Names of the queries; a sketch that asks in several rotations is counted on, from 0."""
    names = data.names["test"]
    rotations = len(answers.queries) // len(names)
    if rotations == 1:
        return list(names)
    return [f"{name}-r{rotation}" for name in names for rotation in range(rotations)]


def track_names(names: Sequence[str]) -> list[str]:
    """The last part of each name, as the tracks number sketches and shapes; the whole, joined, where two would be equal.

    >>> track_names(["ant/train/12", "bee/train/13"]), track_names(["ant/1", "bee/1"])
    (['12', '13'], ['ant-1', 'bee-1'])
    """
    last = [PurePosixPath(name).name for name in names]
    if max(Counter(last).values()) == 1:
        return last
    return [name.replace("/", "-") for name in names]
