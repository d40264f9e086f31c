"""The data sets of this project that have a loader, and the state of a reader's copies.

A set is one entry of :data:`SETS`; its loader brings ``judge(root)`` and ``download(root)``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bwot.data import cifar10, mnist, modelnet, psb, shrec, shrec13_15
from bwot.data.images import FileReport
from bwot.paths import data_root


@dataclass(frozen=True)
class DataSet:
    """A set: its name on the command line, the publisher's terms, and what its loader offers."""

    name: str
    licence: str
    judge: (
        Callable[[Path], list[FileReport]] | None
    )  # root → one report a file; None: embedded, it has no files
    download: Callable[[Path | None], list[Path]] | None  # None: nothing to fetch


@dataclass(frozen=True)
class Status:
    """What a reader has of a set: ``official``, ``variant``, ``missing``, ``damaged`` or ``embedded``."""

    name: str
    state: str
    files: tuple[FileReport, ...]
    size: int  # bytes on disk
    licence: str
    detail: str  # of the files that are not as published, one paragraph each; empty where all are


SETS = (
    DataSet("mnist", "CC BY-SA 3.0", mnist.judge, mnist.download),
    DataSet("cifar10", "none stated", cifar10.judge, cifar10.download),
    *(
        DataSet(
            f"modelnet{classes}",
            "academic use",
            partial(modelnet.judge, classes=classes),
            partial(modelnet.download, classes=classes),
        )
        for classes in modelnet.SIZES
    ),
    DataSet("modelnet40-views", "none stated", modelnet.judge_views, None),
    DataSet("psb", "academic use, acknowledge", psb.judge, psb.download),
    *(
        DataSet(
            f"shrec{year}",
            "research use",
            partial(shrec.judge, year=year),
            partial(shrec.download, year=year),
        )
        for year in shrec.LAYOUTS
    ),
    DataSet(
        shrec13_15.NAME,
        "sketches CC BY 4.0, models academic use",
        shrec13_15.judge,
        shrec13_15.download,
    ),
    DataSet("digits (stand-in, in scikit-learn)", "CC BY 4.0 (UCI)", None, None),
)


def verify(root: Path | None = None) -> list[Status]:
    """The state of every set under ``root`` (None: :func:`bwot.paths.data_root`), in the order of :data:`SETS`.

    A set is what its worst file is: damaged before missing before variant before official.
    """
    return [_status(entry, data_root(root)) for entry in SETS]


def _status(entry, root):
    if entry.judge is None:
        return Status(entry.name, "embedded", (), 0, entry.licence, "")
    try:
        files = tuple(entry.judge(root))
    except (
        OSError
    ) as error:  # a folder that may not be read: the other sets are judged all the same
        return Status(entry.name, "damaged", (), 0, entry.licence, str(error))
    states = {file.state for file in files}
    return Status(
        name=entry.name,
        state=next(
            state for state in ("damaged", "missing", "variant", "official") if state in states
        ),
        files=files,
        size=sum(file.size for file in files),
        licence=entry.licence,
        detail="\n".join(file.detail for file in files if file.detail),
    )
