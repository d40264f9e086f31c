"""The tracks SHREC'13 and SHREC'14 of sketch-based retrieval: human sketches as queries, 3D models as what is found.

In ``<root>/shrec13`` lie, as the track's archives unpack,

- ``SHREC13_SBR_TRAINING_SKETCHES/<class>/train/<id>.png`` and ``SHREC13_SBR_TESTING_SKETCHES/<class>/test/<id>.png``,
- ``SHREC13_SBR_TARGET_MODELS/models/m<id>.off``,
- ``SHREC2013_Sketch_Evaluation/SHREC13_SBR_Model.cla``, the classes of the models, in the format of the Princeton benchmark.

In ``<root>/shrec14``: ``SHREC14LSSTB_SKETCHES/<class>/{train,test}/<id>.png``, ``SHREC14LSSTB_TARGET_MODELS/M<id>.off`` and
``SHREC14_SBR_Model.cla`` in a folder such as ``SHREC14_Sketch_Evaluation``. A folder that an unpacker put into another,
of its own name or not, is found too.

The tracks publish their data on a page, for research use: there is no address of a file that could be fetched, and no
check-sum, so no copy is official. What is not as published is named, not refused: public copies differ.
"""

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bwot.data.images import FileReport, checked_name
from bwot.data.psb import read_cla
from bwot.data.shapes import UNVERIFIED, judged, keep_first_seen
from bwot.data.sketches import Listed, Published, SketchSet, sketch_set
from bwot.paths import data_root


class Layout(NamedTuple):
    """Where the parts of a track lie, and what it has."""

    sketches: tuple[str, ...]  # folders
    models: str  # folder
    classes: str  # file
    published: Published
    pages: tuple[str, ...]


LAYOUTS = {
    13: Layout(
        ("SHREC13_SBR_TRAINING_SKETCHES", "SHREC13_SBR_TESTING_SKETCHES"),
        "SHREC13_SBR_TARGET_MODELS",
        "SHREC13_SBR_Model.cla",
        Published(90, 1258, 50, 30),
        (
            "http://www.itl.nist.gov/iad/vug/sharp/contest/2013/SBR/",
            "http://orca.st.usm.edu/~bli/sharp/sharp/contest/2013/SBR/data.html",
        ),
    ),
    14: Layout(
        ("SHREC14LSSTB_SKETCHES",),
        "SHREC14LSSTB_TARGET_MODELS",
        "SHREC14_SBR_Model.cla",
        Published(171, 8987, 50, 30),
        (
            "http://www.itl.nist.gov/iad/vug/sharp/contest/2014/SBR/",
            "http://orca.st.usm.edu/~bli/sharp/sharp/contest/2014/SBR/data.html",
        ),
    ),
}
"""The tracks, by their years."""
PICTURES = (".png", ".jpg", ".jpeg")


def load(root: Path | None = None, variant: str | None = None, year: int = 13) -> SketchSet:
    """A track: its split of the sketches, a fifth of the training part for validation, and all models.

    The fifth is stratified by class and always the same. Sketches are called ``<class>/<id>``, models as their files.
    Class names are compared without regard to case, and with ``_`` for blanks and hyphens.

    Args:
        root: the folder that has the folder ``shrec13`` or ``shrec14``; None is :func:`bwot.paths.data_root`.
        variant: a name for other files than the published ones. What differs in number is added to it in any case.
        year: 13 or 14.

    Raises:
        FileNotFoundError: for a folder or the ``.cla`` file that is not there, with the page that has them.
        DataError: for a ``.cla`` file that is none, a sketch that is in both parts, or nothing to train or to test with.
    """
    checked_name(variant)
    layout, folder = LAYOUTS[_checked(year)], data_root(root) / f"shrec{year}"
    classes = _classes_file(folder, layout, year)
    return sketch_set(
        f"shrec{year}",
        folder,
        variant or UNVERIFIED,
        _sketches(folder, layout, year),
        _models(folder, classes, layout, year),
        layout.published,
        [classes],
    )


def judge(root: Path, year: int = 13) -> list[FileReport]:
    """What the set below ``root`` is, in one report; whatever loads is a ``variant``, no copy is ``official``."""
    folder = root / f"shrec{_checked(year)}"
    return judged(folder, partial(load, root, year=year), _advice(folder, year))


def download(root: Path | None = None, year: int = 13) -> list[Path]:
    """Keep the fingerprint of what lies there as first seen; nothing can be fetched.

    Raises:
        FileNotFoundError: where the set is not there, with the page that has it and the folder to unpack it into.
        DataError: for a set that does not load.
    """
    root = data_root(root)
    found = load(root, year=year)
    keep_first_seen(root / f"shrec{year}", found.sha256)
    return [root / f"shrec{year}"]


def _checked(year):
    if year not in LAYOUTS:
        raise ValueError(f"year must be 13 or 14, not {year}.")
    return year


def _advice(folder, year):
    pages = " or ".join(LAYOUTS[year].pages)
    return f"Unpack the archives of SHREC'{year} into {folder}; the track's page has them, for research use: {pages}"


def _inside(folder, name, year):
    """The folder of this name in another, or one or two below it: unpackers make such."""
    for pattern in (f"{name}/{name}", name, f"*/{name}/{name}", f"*/{name}"):
        for found in _seen(folder, pattern):
            if found.is_dir():
                return found
    raise FileNotFoundError(f"{folder} has no folder {name}.\n{_advice(folder, year)}")


def _classes_file(folder, layout, year):
    for pattern in (layout.classes, f"*/{layout.classes}", f"*/*/{layout.classes}"):
        for found in _seen(folder, pattern):
            return found
    raise FileNotFoundError(f"{folder} has no file {layout.classes}.\n{_advice(folder, year)}")


def _sketches(folder, layout, year):
    found = []
    for name in layout.sketches:
        for home in sorted(_inside(folder, name, year).iterdir()):
            for part in ("train", "test"):
                found += [
                    Listed(f"{_plain(home.name)}/{path.stem}", _plain(home.name), path, part)
                    for path in _files(home / part)
                    if path.suffix.lower() in PICTURES
                ]
    return found


def _models(folder, classes, layout, year):
    home = _inside(folder, layout.models, year)
    pattern = re.compile(r"m(\d+)\.off", re.IGNORECASE)
    files = {
        int(match[1]): path
        for path in (*_files(home), *_files(home / "models"))
        if (match := pattern.fullmatch(path.name))
    }
    if not files:
        raise FileNotFoundError(f"{home} has no models m<id>.off.\n{_advice(folder, year)}")
    listed = []
    for node in read_cla(classes):
        for number in node.models:
            path = files.get(number)
            name = path.stem if path else f"m{number}"
            listed.append(Listed(name, _plain(node.name), path))
    return listed


def _files(folder):
    """The files of a folder that are meant to be seen; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _seen(folder, pattern):
    return [path for path in sorted(folder.glob(pattern)) if "__MACOSX" not in path.parts]


def _plain(name):
    return re.sub(r"[\s-]+", "_", name.strip().lower())
