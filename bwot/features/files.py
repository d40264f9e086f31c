"""A finished file of features: an array, ``NAME.npy``, and ``NAME.json`` beside it that says what it is.

The array is an ordinary NumPy file (n, views, d) in float16 or float32. The other file holds the names of the shapes in
order, what made the features, and the SHA-256 of the array file and of its own content. Neither is a pickle.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from bwot.records import write_atomically

FORMAT = "bwot features 1"
BLOCK = 1 << 24  # numbers that are pooled at a time


class FeaturesError(ValueError):
    """A file of features is damaged or not the expected one; the message names expected, found and what to do."""


@dataclass(frozen=True)
class Features:
    """The features of every view of every shape, and where they come from."""

    values: Float[np.ndarray, "n views d"]  # memory-mapped, read only; float16 or float32
    names: tuple[str, ...]  # of the shapes, in the order of the values
    network: dict[str, str]  # its name and check-sum; of an ONNX file also which output
    preprocessing: dict  # size in pixels, mean and std of the scaling, way of resizing
    data_sha256: str  # of the data set the pictures show


def read_features(
    path: str | Path,
    names: Sequence[str] | None = None,
    data_sha256: str | None = None,
    verify: bool = True,
) -> Features:
    """The features in ``path``, memory-mapped.

    Args:
        path: of the array, ``NAME.npy``.
        names: what the caller expects, in order; None takes any.
        data_sha256: of the data set that the caller expects; None takes any.
        verify: compare the check-sum of the whole array, about half a second for 400 MB; its size and header are always
            compared.

    Raises:
        FileNotFoundError: where one of the two files is missing.
        FeaturesError: where one is damaged, or holds other shapes or data than expected.
    """
    path = Path(path)
    about = _read_sidecar(path)
    values = _read_array(path, about)
    if verify and (found := sha256_of(path)) != about["sha256"]:
        raise FeaturesError(f"{path} is damaged: its sha256 is {found}, expected {about['sha256']}.\n{_advice(path)}")  # fmt: skip
    settings = about["settings"]
    if names is not None:
        refuse_other_names(path, about["names"], names)
    if data_sha256 not in (None, settings["data_sha256"]):
        raise FeaturesError(f"{path} was made from data with sha256 {settings['data_sha256']}, expected {data_sha256}.")  # fmt: skip
    return Features(values, tuple(about["names"]), **settings)


def pooled(features: Features) -> Float32[np.ndarray, "n d"]:
    """The maximum over the views of each shape, as the authors' SHREC code takes it when it loads them (paper.md 2)."""
    n, views, d = features.values.shape
    out = np.empty((n, d), np.float32)
    step = max(1, BLOCK // (views * d))
    for start in range(0, n, step):
        part = features.values[start : start + step].astype(np.float32)
        out[start : start + step] = part.max(axis=1)
    return out


def sidecar_of(path: Path) -> Path:
    """The file beside an array that says what it is.

    Raises:
        ValueError: for an array whose name does not end in ``.npy``.
    """
    if path.suffix != ".npy":
        raise ValueError(f"a file of features is named NAME.npy, not {path.name}.")
    return path.with_suffix(".json")


def write_sidecar(path: Path, array: Path, shape: Sequence[int], dtype: str, names: Sequence[str], settings: dict) -> None:  # fmt: skip
    """Say what the array at ``array``, soon to be ``path``, is."""
    about = {
        "format": FORMAT, "shape": list(shape), "dtype": dtype, "sha256": sha256_of(array),
        "settings": settings, "names": list(names),
    }  # fmt: skip
    content = json.dumps(about | {"sidecar_sha256": _own_digest(about)}, indent=1, ensure_ascii=False)  # fmt: skip
    write_atomically(sidecar_of(path), content.encode())


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def refuse_other_names(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    """Refuse a file whose shapes are not those expected, in the same order."""
    if len(found) != len(expected):
        raise FeaturesError(f"{path} holds {len(found)} shapes, expected {len(expected)}.")
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one != other:
            raise FeaturesError(f"{path} holds other shapes: number {number} is {one!r}, expected {other!r}.")  # fmt: skip


def _own_digest(about):
    content = {key: value for key, value in about.items() if key != "sidecar_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_sidecar(path):
    sidecar = sidecar_of(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: its features were not computed, or not to the end.")  # fmt: skip
    if not sidecar.exists():
        raise FileNotFoundError(f"{sidecar} is missing, which says what {path.name} is.\n{_advice(path)}")  # fmt: skip
    try:
        about = json.loads(sidecar.read_bytes())
        whole = about["format"] == FORMAT and about["sidecar_sha256"] == _own_digest(about)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise FeaturesError(f"{sidecar} is damaged, or no description in the format {FORMAT!r}.\n{_advice(path)}")  # fmt: skip
    return about


def _read_array(path, about):
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, SyntaxError, EOFError) as error:
        raise FeaturesError(f"{path} is damaged: {error}.\n{_advice(path)}") from error
    found = (list(values.shape), values.dtype.name)
    if found != (about["shape"], about["dtype"]):
        raise FeaturesError(
            f"{path} holds {found[1]} of shape {found[0]}, expected {about['dtype']} of {about['shape']}.\n{_advice(path)}"
        )
    beyond = path.stat().st_size - values.offset - values.nbytes
    if beyond:
        raise FeaturesError(f"{path} is damaged: {beyond} bytes follow its array.\n{_advice(path)}")
    return values


def _advice(path):
    return f"Remove {path.name} and {sidecar_of(path).name} and compute them again."
