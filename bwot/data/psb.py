"""The Princeton Shape Benchmark: 1,814 models of 2003, half to train and half to test, in a tree of classes.

In ``<root>/psb``, or a folder ``benchmark`` in it, as the publisher's archive has it, lie ``classification/v1`` and the
models, ``db/<id // 100>/m<id>/m<id>.off`` or ``off/m<id>.off``. The base classification has 90 classes to train and 92
to test, of which 21 are shared: what is measured is retrieval among test models, mostly of classes never seen.
Three coarser ones merge classes; in the coarsest, natural and man-made things are left. Models have no common up axis.

No check-sum is published, so no copy is official: see :mod:`bwot.data.shapes`. For academic use only.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bwot.data.download import fetch
from bwot.data.images import DataError, FileReport, checked_name
from bwot.data.shapes import (
    UNVERIFIED,
    ShapeSet,
    fingerprint,
    judged,
    keep_first_seen,
    members,
    split_training,
    unpack,
)
from bwot.paths import data_root

ADDRESSES = (
    "https://shape.cs.princeton.edu/benchmark/download/psb_v1.zip",
    "https://shape.cs.princeton.edu/benchmark/download.cgi?file=download/psb_v1.zip",
)
CLASSIFICATIONS = {
    "base": ("base/train.cla", "base/test.cla"),
    **{f"coarse{n}": (f"coarse{n}/coarse{n}Train.cla", f"coarse{n}/coarse{n}Test.cla") for n in (1, 2, 3)},
}  # fmt: skip
"""Each classification with its files of training and of test models, below ``classification/v1``."""
SIZES = (907, 907)
MOST_BYTES = 1 << 32  # of the archive
MOST_CLA_BYTES = 1 << 24
SHARE = 3
"""One in so many training models is for validation; a tenth would leave a class of ten a single one."""
MEMBER = re.compile(
    r"(?:[^/\\]+/)?benchmark/(?P<path>db/\d+/m\d+/m\d+\.off|classification/v1/\w+/\w+\.cla)"
)


@dataclass(frozen=True)
class ClassNode:
    """A class of a ``.cla`` file: its name, its parent's (None at the top), and the numbers of its own models."""

    name: str
    parent: str | None
    models: tuple[int, ...]


def read_cla(path: Path) -> tuple[ClassNode, ...]:
    """The classes of a ``.cla`` file in its order, parents before children; those that only group others have no models.

    Line 1 is ``PSB 1``, line 2 has the numbers of classes and models, then each class is a line ``name parent count``,
    0 for no parent, and the numbers of its models; empty lines are not looked at.

    Raises:
        DataError: for what is no such file, with its name and line.
    """
    rows = _rows(path)
    if [row for _, row in rows[:1]] != [["PSB", "1"]]:
        raise DataError(f"{path}, line 1: expected `PSB 1`.")
    declared, nodes, owners, at = _numbers(path, *rows[1:2], size=2), {}, {}, 2
    while at < len(rows):
        line, row = rows[at]
        if len(row) != 3:
            raise DataError(
                f"{path}, line {line}: expected `name parent count`, found {_shown(row)}."
            )
        name, parent = row[:2]
        (count,) = _numbers(path, (line, row[2:]), size=1)
        if name in nodes or (parent != "0" and parent not in nodes):
            reason = (
                "stands here again"
                if name in nodes
                else f"has the parent {parent!r}, unknown so far"
            )
            raise DataError(f"{path}, line {line}: the class {name!r} {reason}.")
        models = [_numbers(path, entry, size=1)[0] for entry in rows[at + 1 : at + 1 + count]]
        if len(models) < count:
            raise DataError(
                f"{path}, line {line}: {name!r} has {len(models)} of {count} models, then the file ends."
            )
        for (where, _), model in zip(rows[at + 1 :], models, strict=False):
            if owners.setdefault(model, name) != name or models.count(model) > 1:
                raise DataError(
                    f"{path}, line {where}: model {model} is in {owners[model]!r} already."
                )
        nodes[name] = ClassNode(name, None if parent == "0" else parent, tuple(models))
        at += 1 + count
    if (len(nodes), len(owners)) != tuple(declared):
        raise DataError(
            f"{path} has {len(nodes)} classes and {len(owners)} models, its line {rows[1][0]} says {declared[0]} and {declared[1]}."
        )
    return tuple(nodes.values())


def under(nodes: tuple[ClassNode, ...], name: str) -> tuple[int, ...]:
    """The models of a class and of the classes below it, in the order of the file.

    Raises:
        ValueError: if no class has this name.

    >>> under((ClassNode("tree", None, (3,)), ClassNode("palm", "tree", (1,))), "tree")
    (3, 1)
    """
    if name not in {node.name for node in nodes}:
        raise ValueError(f"no class is called {name!r}.")
    family = {name}
    for node in nodes:  # parents come first
        if node.parent in family:
            family.add(node.name)
    return tuple(model for node in nodes if node.name in family for model in node.models)


def load(
    root: Path | None = None, variant: str | None = None, classification: str = "base"
) -> ShapeSet:
    """The models that have a file, with the classes of both parts together, sorted by name; names are ``m<id>``.

    A third of the training models, stratified by class and always the same, is for validation. The benchmark's own
    protocol takes the split ``test`` alone, each model as query among the others.

    Args:
        root: the folder that has the folder ``psb``; None is :func:`bwot.paths.data_root`.
        variant: None accepts 907 + 907 models that all have files. A name says what other files are; how many models
            have one is added to it where some have not, and :attr:`~bwot.data.shapes.ShapeSet.missing` names those.
        classification: ``base``, ``coarse1``, ``coarse2`` or ``coarse3``.

    Raises:
        FileNotFoundError: for a folder, a ``.cla`` file or all models that are not there.
        DataError: for a ``.cla`` file that is none, a model in both parts, and without ``variant`` for another set.
    """
    checked_name(variant)
    if classification not in CLASSIFICATIONS:
        raise ValueError(
            f"classification must be one of {', '.join(CLASSIFICATIONS)}, not {classification!r}."
        )
    home = home_of(data_root(root) / "psb")
    sources = [home / "classification" / "v1" / name for name in CLASSIFICATIONS[classification]]
    parts = [{m: node.name for node in read_cla(path) for m in node.models} for path in sources]
    if both := parts[0].keys() & parts[1].keys():
        raise DataError(f"{sources[1]}: model {min(both)} is in {sources[0].name} too.")
    listed = parts[0] | parts[1]
    files = {model: path for model in sorted(listed) if (path := file_of(home, model))}
    missing = tuple(f"m{model}" for model in sorted(listed.keys() - files.keys()))
    if not any(model in files for model in parts[0]) or not any(
        model in files for model in parts[1]
    ):
        raise FileNotFoundError(
            f"{home} has no models to train or to test in db/ or off/.\n{_ADVICE}"
        )
    if variant is None:
        _refuse_others(home, parts, missing)
    classes = tuple(sorted(set(listed.values())))
    labels = np.array([classes.index(listed[model]) for model in files], np.int64)
    training = np.flatnonzero([model in parts[0] for model in files])
    some = f", {len(files):,} of {len(listed):,} models" if missing else ""
    return ShapeSet(
        name="psb",
        variant=(variant or UNVERIFIED) + some,
        official=False,
        sha256=fingerprint(home, [*sources, *files.values()]),
        classes=classes,
        names=tuple(f"m{model}" for model in files),
        paths=tuple(files.values()),
        labels=labels,
        splits=split_training(labels, training, SHARE, least=2)
        | {"test": np.setdiff1d(np.arange(len(files)), training)},
        missing=missing,
    )


def judge(root: Path) -> list[FileReport]:
    """What the set below ``root`` is, with its base classification; any set is a ``variant``, no copy is ``official``."""
    return judged(root / "psb", partial(_load_any, root), _recovery(root / "psb"))


def download(root: Path | None = None) -> list[Path]:
    """Fetch the archive where there is no set yet, unpack its models and classes, and keep the fingerprint as first seen.

    The archive has to hold 1,814 models and the eight ``.cla`` files: that is all that can be checked. It is kept.

    Raises:
        DownloadError: where no address gives such an archive.
        DataError: for an archive that is there and is none, or is damaged, and for a set that does not load.
    """
    folder = data_root(root) / "psb"
    archive = folder / "psb_v1.zip"
    try:
        home_of(folder)
    except FileNotFoundError:
        fetch(ADDRESSES, archive, _contents, MOST_BYTES)
        unpack(archive, _contents(archive), folder / "benchmark", _recovery(folder))
        keep_first_seen(folder, load(root).sha256)
    return [folder]


_ADVICE = "Run `bwot data download psb`, or place the benchmark's folders classification and db there by hand."


def _recovery(folder):
    return f"Move {folder} away and run `bwot data download psb`."


def _contents(archive):
    recovery = _recovery(archive.parent)
    found = members(archive, MEMBER, recovery)
    lists = {path for path in found.values() if path.endswith(".cla")}
    models = len(found) - len(lists)
    wanted = {f"classification/v1/{name}" for pair in CLASSIFICATIONS.values() for name in pair}
    if models != sum(SIZES) or wanted - lists:
        raise DataError(
            f"{archive} has {models:,} models and {len(wanted & lists)} of the {len(wanted)} .cla files below benchmark/,"
            f" expected {sum(SIZES):,} and all.\n{recovery}"
        )
    return found


def _load_any(root):
    try:
        return load(root)
    except DataError:
        return load(root, "other than the published set")


def home_of(folder: Path) -> Path:
    """The folder with ``classification/v1`` and the models, in ``<root>/psb``.

    Raises:
        FileNotFoundError: where there is none, with what to do.
    """
    for home in (folder, folder / "benchmark", folder / "psb_v1" / "benchmark", folder / "psb"):
        if (home / "classification" / "v1").is_dir():
            return home
    raise FileNotFoundError(f"{folder} has no folder classification/v1.\n{_ADVICE}")


def file_of(home: Path, model: int) -> Path | None:
    """Where a model lies in such a folder; None where it has no file."""
    for path in (home / "db" / str(model // 100) / f"m{model}", home / "off"):
        if (path / f"m{model}.off").is_file():
            return path / f"m{model}.off"
    return None


def _refuse_others(home, parts, missing):
    sizes = tuple(len(part) for part in parts)
    if sizes != SIZES:
        reason = f"lists {sizes[0]} training and {sizes[1]} test models, expected {SIZES[0]} and {SIZES[1]}"
    elif missing:
        reason = (
            f"has no file for {len(missing)} of {sum(sizes):,} models: {', '.join(missing[:10])}"
        )
    else:
        return
    raise DataError(
        f'{home} {reason}.\nAre other data meant? Name them: `--variant NAME`, or load(variant="…").'
    )


def _rows(path):
    """The lines that are not empty, each with its number and words."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_CLA_BYTES)
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise DataError(f"{path}, line {line}: a byte that is no ASCII character.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder.") from error
    return [(line, row.split()) for line, row in enumerate(text.split("\n"), 1) if row.strip()]


def _numbers(path, row=(2, ()), size=1):
    line, words = row
    if len(words) != size or not all(re.fullmatch(r"\d{1,9}", word) for word in words):
        expected = "a number" if size == 1 else f"{size} numbers"
        raise DataError(f"{path}, line {line}: expected {expected}, found {_shown(words)}.")
    return [int(word) for word in words]


def _shown(words):
    return repr(" ".join(words)[:40]) if words else "nothing"
