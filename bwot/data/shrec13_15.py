"""SHREC'13 in small: its 15 classes that can be rebuilt from TU-Berlin's sketches and models of the Princeton Shape Benchmark.

SHREC'13 pairs just these two collections, in 90 classes. Here are 1,200 sketches, ``<root>/tu_berlin/png/<class>/<id>.png``,
and the 199 models of ``<root>/psb`` (see :mod:`bwot.data.psb`) in the classes of the same name, ``cat`` in ``feline`` and
``wine-bottle`` in ``bottle``, members of both parts of the base classification and of the classes below them.
Numbers on this set are comparable with each other, not with published ones.

The split is that of SHREC'14, which has 14 of the classes: 50 sketches of each for training, 30 for test. ``cat`` is not
among them; there the 50 lowest ids are for training.

No check-sum of either collection is published, so no copy is official: see :mod:`bwot.data.shapes`. The sketches are by
Eitz, Hays and Alexa (2012), CC BY 4.0; the models are for academic use.
"""

import re
from functools import partial
from pathlib import Path

from bwot.data import psb
from bwot.data.download import fetch
from bwot.data.images import DataError, FileReport, checked_name
from bwot.data.shapes import UNVERIFIED, judged, keep_first_seen, members, unpack
from bwot.data.sketches import Listed, Published, SketchSet, sketch_set
from bwot.paths import data_root

NAME = "shrec13-15"
ADDRESSES = (
    "https://cybertron.cg.tu-berlin.de/eitz/projects/classifysketch/sketches_png.zip",
    "http://cybertron.cg.tu-berlin.de/eitz/projects/classifysketch/sketches_png.zip",
)
SKETCHES = {
    "ant": (241, 0xD55A9DEF564CBE7BB2DE),
    "bicycle": (1681, 0x19FD07EB78AC7C9EEFF5),
    "butterfly": (2801, 0x19F312FB3F47D77CF23F),
    "cat": (3841, (1 << 80) - (1 << 30)),
    "dog": (5281, 0xFEB85B17C1179F6FFA7C),
    "dolphin": (5361, 0x8B3FBF0D95DDAC67FB17),
    "duck": (5761, 0x8EDD1E785FFEDE5E5B34),
    "eyeglasses": (6161, 0x3EEDA0EFBFEFF5C21663),
    "fish": (6561, 0x9D2C594EC6FFDE7AB97D),
    "guitar": (7601, 0x7D5B2BED0F36F29FF1D9),
    "helicopter": (8321, 0x79F17FAE297B3A3EB56B),
    "hourglass": (8721, 0xCE7D833EE5FD9E257D3B),
    "snake": (15441, 0xD6EE41D9F11AFDFBF65C),
    "tree": (18561, 0x4E29F5CFF96AADFAF56A),
    "wine-bottle": (19681, 0x85DFB96A5D97CDBEEB35),
}
"""Each class with the first of its 80 ids, which follow each other, and 80 bits, the first id's leftmost, 1 for training."""
MODELS = {"cat": "feline", "wine-bottle": "bottle"}
"""Classes of the Princeton Shape Benchmark where they are called otherwise."""
SIZE = 199
A_CLASS = 80
SIDES = 1111, 1111  # of a sketch in pixels
MOST_BYTES = 1 << 32  # of the archive of sketches
MEMBER = re.compile(rf"(?P<path>png/(?:{'|'.join(SKETCHES)})/\d{{1,5}}\.png)")
"""In the archive; the folder ``png`` in it has all 250 classes, of which these are unpacked."""
_ADVICE = f"Run `bwot data download {NAME}`."


def load(root: Path | None = None, variant: str | None = None) -> SketchSet:
    """The 15 classes; a fifth of the training sketches of each, always the same, is for validation.

    Sketches are called ``<class>/<id>``, models ``m<id>``.

    Args:
        root: the folder that has the folders ``tu_berlin`` and ``psb``; None is :func:`bwot.paths.data_root`.
        variant: a name for files that are not as published. What is missing is added to it in any case.

    Raises:
        FileNotFoundError: for a folder that is not there, or has none of the sketches or models.
        DataError: for a damaged ``.cla`` file.
    """
    root = data_root(root)
    sketches = [
        Listed(f"{name}/{first + k}", name, _file(root, name, first + k), ("test", "train")[bits >> (A_CLASS - 1 - k) & 1])
        for name, (first, bits) in SKETCHES.items()
        for k in range(A_CLASS)
    ]  # fmt: skip
    if not any(sketch.path for sketch in sketches):
        raise FileNotFoundError(
            f"{root / 'tu_berlin' / 'png'} has none of the sketches.\n{_ADVICE}"
        )
    home = psb.home_of(root / "psb")
    lists = [home / "classification" / "v1" / name for name in psb.CLASSIFICATIONS["base"]]
    return sketch_set(
        NAME,
        root,
        f"15-class subset, {checked_name(variant) or UNVERIFIED}{_other_sizes(sketches)}",
        sketches,
        _models(home, lists),
        Published(len(SKETCHES), SIZE, 50, 30),
        lists,
    )


def _file(root, name, number):
    path = root / "tu_berlin" / "png" / name / f"{number}.png"
    return path if path.is_file() else None


def _other_sizes(sketches):
    """The sizes of sketches in pixels that are not the published one, in words."""
    sizes = {_size(sketch.path) for sketch in sketches if sketch.path} - {SIDES}
    if not sizes:
        return ""
    told = ", ".join(f"{width} × {height}" for width, height in sorted(sizes)[:3])
    return f", sketches of {told} pixels instead of {SIDES[0]} × {SIDES[1]}"


def _size(path):
    """Width and height in the head of a PNG file; what is damaged is found out where it is read."""
    with path.open("rb") as stream:
        head = stream.read(24)
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def _models(home, lists):
    parts = [psb.read_cla(path) for path in lists]
    models = []
    for name in SKETCHES:
        called = MODELS.get(name, name)
        numbers = [
            number
            for nodes in parts
            if called in {node.name for node in nodes}
            for number in psb.under(nodes, called)
        ]
        models += [
            Listed(f"m{number}", name, psb.file_of(home, number)) for number in sorted(numbers)
        ]
    return models


def judge(root: Path) -> list[FileReport]:
    """What the set below ``root`` is; whatever loads is a ``variant``, no copy is ``official``."""
    return judged(root / "tu_berlin", partial(load, root), _recovery(root))


def download(root: Path | None = None) -> list[Path]:
    """Fetch what is missing of the two collections, and keep the fingerprint as first seen.

    Of the archive of 20,000 sketches, which is kept, those of the 15 classes are unpacked.

    Raises:
        DownloadError: where no address gives such an archive.
        DataError: for an archive that is there and is none, or is damaged, and for a set that does not load.
    """
    root = data_root(root)
    folder, recovery = root / "tu_berlin", _recovery(root)
    archive = folder / "sketches_png.zip"
    psb.download(root)
    try:
        load(root)
    except FileNotFoundError:
        fetch(ADDRESSES, archive, partial(_contents, recovery), MOST_BYTES)
        found = {name: path[4:] for name, path in _contents(recovery, archive).items()}
        unpack(archive, found, folder / "png", recovery)
    keep_first_seen(folder, load(root).sha256)
    return [folder, root / "psb"]


def _contents(recovery, archive):
    found = members(archive, MEMBER, recovery)
    if len(found) != A_CLASS * len(SKETCHES):
        raise DataError(
            f"{archive} has {len(found):,} sketches of the {len(SKETCHES)} classes below png/, expected"
            f" {A_CLASS * len(SKETCHES):,}.\n{recovery}"
        )
    return found


def _recovery(root):
    return f"Move {root / 'tu_berlin'} away and run `bwot data download {NAME}`."
