"""ModelNet10 and ModelNet40 in Princeton's layout, and ModelNet40 as twelve shaded images a shape.

Meshes lie at ``<root>/modelnet10/ModelNet10/<class>/{train,test}/<name>.off`` (and 40), with the official split into
3,991 + 908 and 9,843 + 2,468 shapes; z points up. A folder that an unpacker put into another of its name is found too,
and so are classes that lie in ``<root>/modelnet10`` itself. A class is a folder with a folder ``train``, ``test`` or
``val``; other files and folders, such as ``.DS_Store``, ``__MACOSX`` and README.txt, are not looked at.

Images lie at ``<root>/modelnet40-views/<class>/{train,test or val}/``, twelve a shape, numbered 001 to 012 at the end of
their names: ``chair_0001_001.png`` or, as in the archive shaded_images, ``chair_0001.obj.shaded_v001.png``.

No check-sum of these sets is published, so no copy is official: see :mod:`bwot.data.shapes`.
"""

import re
from collections import defaultdict
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

ADDRESSES = {
    10: (
        "http://3dvision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
        "http://vision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
    ),
    40: ("http://modelnet.cs.princeton.edu/ModelNet40.zip",),
}
SIZES = {10: (3_991, 908), 40: (9_843, 2_468)}
"""Training and test shapes of the official split."""
MOST_BYTES = 1 << 33  # of an archive; ModelNet40's is about 2 GB
VIEWS = 12
SHARE = 10
"""One in so many training shapes is for validation."""
VIEW = re.compile(r"(?P<name>.+?)(?:\.obj\.shaded_v|_)(?P<view>\d{3})\.(?:png|jpg)", re.IGNORECASE)


def load(root: Path | None = None, variant: str | None = None, classes: int = 10) -> ShapeSet:
    """ModelNet10 or ModelNet40 as meshes: the official split, a tenth of its training part for validation.

    The tenth is stratified by class and always the same. Names are ``<class>/<train or test>/<name>``.

    Args:
        root: the folder that has the folder ``modelnet10`` or ``modelnet40``; None is
            :func:`bwot.paths.data_root`.
        variant: None accepts the classes and the numbers of shapes of the official split, with faces. A name says what
            another set in the same layout is.
        classes: 10 or 40.

    Raises:
        FileNotFoundError: for a folder that is not there or has no class, with the command that fetches it.
        DataError: for a class without training or test shapes, and without ``variant`` for another set.
    """
    checked_name(variant)
    folder = data_root(root) / f"modelnet{_checked(classes)}"
    home, parts = _parts(folder, f"Run `bwot data download modelnet{classes}`.")
    shapes = [
        (name, part, file.stem, file)
        for name, part, where in parts
        for file in _files(where)
        if file.suffix.lower() == ".off"
    ]
    found = _shape_set(f"modelnet{classes}", variant, home, shapes)
    if variant is None:
        _refuse_others(found, folder, classes)
    return found


def load_views(root: Path | None = None, variant: str | None = None) -> ShapeSet:
    """ModelNet40 as images: ``paths`` holds twelve files a shape, in the order of their numbers; otherwise as :func:`load`.

    Raises:
        FileNotFoundError: for a folder ``modelnet40-views`` that is not there or has no class.
        DataError: as :func:`load`, and for a shape that has not the images 001 to 012.
    """
    checked_name(variant)
    folder = data_root(root) / "modelnet40-views"
    home, parts = _parts(folder, _view_advice(folder))
    shapes = [
        (name, part, stem, files)
        for name, part, where in parts
        for stem, files in _rings(where).items()
    ]
    found = _shape_set("modelnet40-views", variant, home, shapes)
    if variant is None:
        _refuse_others(found, folder, 40)
    return found


def judge_views(root: Path) -> list[FileReport]:
    """As :func:`judge`, of the images."""
    folder = root / "modelnet40-views"
    return judged(folder, partial(_load_any_views, root), _view_advice(folder))


def judge(root: Path, classes: int = 10) -> list[FileReport]:
    """What the set below ``root`` is, in one report; any set in the layout is a ``variant``, no copy is ``official``."""
    folder = root / f"modelnet{_checked(classes)}"
    return judged(folder, partial(_load_any, root, classes), _recovery(folder, classes))


def download(root: Path | None = None, classes: int = 10) -> list[Path]:
    """Fetch the archive where there is no set yet, unpack it beside itself, and keep the fingerprint as first seen.

    The archive has to hold the official numbers of shapes: that is all that can be checked. It is kept.

    Raises:
        DownloadError: where no address gives such an archive.
        DataError: for an archive that is there and is none, or is damaged, and for a set that does not load.
    """
    folder = data_root(root) / f"modelnet{_checked(classes)}"
    archive, recovery = folder / f"ModelNet{classes}.zip", _recovery(folder, classes)
    try:
        _parts(folder, "")
    except FileNotFoundError:
        fetch(ADDRESSES[classes], archive, partial(_contents, classes, recovery), MOST_BYTES)
        found = _contents(classes, recovery, archive)
        unpack(archive, found, folder / f"ModelNet{classes}", recovery)
        keep_first_seen(folder, load(root, classes=classes).sha256)
    return [folder]


def _contents(classes, recovery, archive):
    pattern = re.compile(
        rf"ModelNet{classes}/(?P<path>(?!\.)[^/\\]+/(?P<part>train|test)/(?!\.)[^/\\]+\.off)"
    )
    found = members(archive, pattern, recovery)
    sizes = [sum(f"/{part}/" in path for path in found.values()) for part in ("train", "test")]
    if tuple(sizes) != SIZES[classes]:
        raise DataError(
            f"{archive} has {sizes[0]:,} training and {sizes[1]:,} test shapes in ModelNet{classes}/,"
            f" expected {SIZES[classes][0]:,} and {SIZES[classes][1]:,}.\n{recovery}"
        )
    return found


def _checked(classes):
    if classes not in SIZES:
        raise ValueError(f"classes must be 10 or 40, not {classes}.")
    return classes


def _view_advice(folder):
    return f"Unpack shaded_images.tar.gz of the multi-view CNN's authors into {folder}."


def _recovery(folder, classes):
    return f"Move {folder} away and run `bwot data download modelnet{classes}`."


def _load_any(root, classes):
    try:
        return load(root, classes=classes)
    except DataError:
        return load(root, "other than the official split of meshes", classes)


def _load_any_views(root):
    try:
        return load_views(root)
    except DataError:
        return load_views(root, "other than the official split of images")


def _parts(folder, advice):
    """The folder with the classes, and each class's folders of training and of test shapes: (class, part, folder)."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there.\n{advice}")
    home, seen = folder, set()
    while not (parts := list(_classes(home))):
        seen.add(home.resolve())
        below = [path for path in _files(home) if path.is_dir()]
        if len(below) != 1 or below[0].resolve() in seen:  # a link may lead back
            raise FileNotFoundError(
                f"{folder} has no class, that is no folder with folders `train` and `test`.\n{advice}"
            )
        home = below[0]
    return home, parts


def _classes(home):
    for path in _files(home):
        named = {"train": path / "train", "test": path / "test"}
        if not named["test"].is_dir():
            named["test"] = path / "val"
        there = {part: where for part, where in named.items() if where.is_dir()}
        yield from ((path.name, part, where) for part, where in there.items())


def _files(folder):
    """What is in a folder, by name, without what systems and unpackers leave there."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))


def _rings(folder):
    """The twelve images of each shape in a folder."""
    rings = defaultdict(dict)
    for file in _files(folder):
        if match := VIEW.fullmatch(file.name):
            rings[match["name"]][int(match["view"])] = file
    for name, ring in rings.items():
        if sorted(ring) != list(range(1, VIEWS + 1)):
            numbers = ", ".join(f"{number:03}" for number in sorted(ring))
            raise DataError(f"{folder / name} has the views {numbers}, expected 001 to {VIEWS:03}.")
    return {name: tuple(ring[number] for number in sorted(ring)) for name, ring in rings.items()}


def _shape_set(name, variant, home, shapes):
    parts = {(shape[0], shape[1]) for shape in shapes}
    for kind in sorted({path.name for path in _files(home) if path.is_dir()}):
        lacking = [part for part in ("train", "test") if (kind, part) not in parts]
        if lacking:
            raise DataError(f"{home / kind} has no shape in {' and in '.join(lacking)}.")
    classes = tuple(sorted({kind for kind, _ in parts}))
    labels = np.array([classes.index(shape[0]) for shape in shapes], np.int64)
    training = np.flatnonzero([shape[1] == "train" for shape in shapes])
    files = [shape[3] if isinstance(shape[3], tuple) else (shape[3],) for shape in shapes]
    return ShapeSet(
        name=name,
        variant=variant or UNVERIFIED,
        official=False,
        sha256=fingerprint(home, [file for group in files for file in group]),
        classes=classes,
        names=tuple("/".join(shape[:3]) for shape in shapes),
        paths=tuple(shape[3] for shape in shapes),
        labels=labels,
        splits=split_training(labels, training, SHARE, least=2)
        | {"test": np.setdiff1d(np.arange(len(shapes)), training)},
    )


def _refuse_others(found, folder, classes):
    """Refuse what is not the official split of meshes, or of views of them, where no variant was named."""
    tests = len(found.splits["test"])
    sizes = len(found.names) - tests, tests
    reason = None
    if sizes != SIZES[classes] or len(found.classes) != classes:
        reason = (
            f"{sizes[0]:,} training and {sizes[1]:,} test shapes in {len(found.classes)} classes,"
            f" expected {SIZES[classes][0]:,} and {SIZES[classes][1]:,} in {classes}"
        )
    elif isinstance(found.paths[0], Path) and _faceless(found.paths[0]):
        reason = f"points alone in {found.paths[0].name}, expected meshes"
    if reason:
        raise DataError(
            f'{folder} has {reason}.\nAre other data meant? Name them: `--variant NAME`, or load(variant="…").'
        )


def _faceless(path):
    with path.open("rb") as stream:
        header = stream.read(200)
    return re.match(rb"\s*OFF\s*\d+\s+0\s", header) is not None
