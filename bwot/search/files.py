"""An index: a folder that is whole or not there, with all that answering needs.

===================  ==================================================================================================
``index.json``       what it is: the names and paths of the models, how a drawing is taken, the run whose heads it has,
                     size and SHA-256 of the other files, and of its own content
``embeddings.npy``   (n, e), float32, memory-mapped
``pictures.npy``     (n, p, p), 0 to 255, memory-mapped: a small picture of each model
``sketch.onnx``      the drawing side: a standardised head on features, or a network on pictures
``network.onnx``     the frozen network that makes the features; not there for a network on pictures
===================  ==================================================================================================
"""

import errno
import hashlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from bwot.drawings import VERSION as DRAWINGS
from bwot.features import UNIT, OnnxNetwork, Scaling
from bwot.features.networks import onnx_session
from bwot.records import partial_of, remove_leftovers
from bwot.search.gallery import Gallery, given_of

FORMAT = "bwot index"
VERSION = 1  # raised whenever an older index would be misread, or answer otherwise
ABOUT, EMBEDDINGS, PICTURES = "index.json", "embeddings.npy", "pictures.npy"
SKETCH, NETWORK = "sketch.onnx", "network.onnx"
MOST_BYTES = 1 << 30  # of index.json


class BadIndexError(ValueError):
    """A folder is no index, one of another version, or a damaged one; the message says which, and what to do."""


class Query(NamedTuple):
    """How a drawing gets its embedding."""

    size: int  # side of the picture of a drawing, in pixels
    sketch: bytes  # ONNX: from features (n, d), or from ink (n, 1, 1, size, size) in [0, 1], to embeddings
    network: bytes | None = (
        None  # ONNX, from scaled pictures to features; None where ``sketch`` takes ink
    )
    output: str = "feature"  # of the network
    scaling: Scaling = UNIT  # of what the network takes


class Content(NamedTuple):
    """What an index is made of."""

    names: tuple[str, ...]
    paths: tuple[str, ...]  # empty for models without a file
    embeddings: Float32[np.ndarray, "n e"]
    pictures: UInt8[np.ndarray, "n p p"]
    query: Query
    run: dict  # where the heads come from, for JSON


def write_index(folder: str | Path, content: Content) -> None:
    """Write an index under a temporary name, and move it in place.

    Raises:
        ValueError: for embeddings that are not finite, and parts of other lengths.
        FileExistsError: for a folder that has something in it; it stays as it is.
    """
    folder = Path(folder)
    refuse_taken(folder)
    if not len(content.names) == len(content.paths) == len(content.embeddings) == len(content.pictures) > 0:  # fmt: skip
        raise ValueError(f"an index needs one embedding, path and picture for each of its {len(content.names)} models.")  # fmt: skip
    if not np.isfinite(content.embeddings).all():
        raise ValueError("embeddings must be finite, and some are not.")
    partial = partial_of(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        shutil.rmtree(partial, ignore_errors=True)  # of a killed process of the same number
        partial.mkdir()
        _fill(partial, content)
        if folder.exists():
            folder.rmdir()  # empty: see above
        os.rename(partial, folder)
    except OSError as error:
        # NumPy says how much it could not write, and not why.
        number, reason = (
            error.errno or errno.ENOSPC,
            error.strerror or f"{error}: is the disk full?",
        )
        raise OSError(number, f"the index cannot be written ({reason})", str(folder)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_taken(folder: str | Path) -> None:
    """Refuse to write an index where something is.

    Raises:
        FileExistsError: that names it.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: name a folder that is new or empty, or remove that one.")  # fmt: skip


def read_index(folder: str | Path) -> Gallery:
    """The models in an index and what answers for them. Everything but the pictures is held against its check-sum.

    Raises:
        FileNotFoundError: where there is no index.
        BadIndexError: for one that is damaged or of another version.
    """
    folder = Path(folder)
    about = _read_about(folder)
    try:
        for name in about["files"]:
            _check(folder, name, about["files"][name])
        embeddings, pictures = (_array(folder / name, about) for name in (EMBEDDINGS, PICTURES))
        embed = _embedder(folder, about)
        return Gallery(tuple(about["names"]), tuple(about["paths"]), embeddings, pictures, embed)
    except BadIndexError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, SyntaxError, EOFError) as error:
        raise BadIndexError(
            f"{folder} holds an index that cannot be used: {error}\n{_ADVICE}"
        ) from error


_ADVICE = "Remove it and build it again: bwot index --help."


def _fill(folder, content):
    np.save(folder / EMBEDDINGS, np.asarray(content.embeddings, np.float32))
    np.save(folder / PICTURES, np.asarray(content.pictures, np.uint8))
    query = content.query
    (folder / SKETCH).write_bytes(query.sketch)
    if query.network is not None:
        (folder / NETWORK).write_bytes(query.network)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.iterdir())
    }
    about = {
        "format": FORMAT, "version": VERSION, "drawings": DRAWINGS,
        "query": {"size": query.size, "output": query.output, "scaling": [list(each) for each in query.scaling]},
        "shapes": {EMBEDDINGS: list(content.embeddings.shape), PICTURES: list(content.pictures.shape)},
        "run": content.run, "files": files, "names": list(content.names), "paths": list(content.paths),
    }  # fmt: skip
    text = json.dumps(about | {"sha256": _own_digest(about)}, indent=1, ensure_ascii=False)
    (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def _read_about(folder):
    path = folder / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"there is no index in {folder}: {ABOUT} is missing. Build one: bwot index MESHES --head RECORD --output {folder}")  # fmt: skip
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        about = json.loads(path.read_bytes())
        found = about["format"], about["version"], about.get("drawings")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadIndexError(f"{path} is no description of an index ({type(error).__name__}: {error}).\n{_ADVICE}") from error  # fmt: skip
    if found != (FORMAT, VERSION, DRAWINGS):
        raise BadIndexError(
            f"{folder} is an index of another version: {found[0]} {found[1]}, drawings {found[2]}; this bwot reads {FORMAT} "
            f"{VERSION}, drawings {DRAWINGS}.\n{_ADVICE}"
        )
    if about.get("sha256") != _own_digest(about) or not _is_complete(about):
        raise BadIndexError(f"{path} is damaged: its content has another check-sum.\n{_ADVICE}")
    return about


def _is_complete(about):
    """Does it name the files that there have to be, and only those?"""
    files = about.get("files")
    return isinstance(files, dict) and {*files, NETWORK} == {EMBEDDINGS, PICTURES, SKETCH, NETWORK}


def _check(folder, name, expected):
    """Hold a file against its size and its check-sum."""
    path = folder / name
    if not path.is_file():
        raise BadIndexError(f"{folder} is half an index: {name} is missing.\n{_ADVICE}")
    if (size := path.stat().st_size) != expected["bytes"]:
        raise BadIndexError(
            f"{path} has {size:,} bytes, at indexing it had {expected['bytes']:,}.\n{_ADVICE}"
        )
    if name == PICTURES:
        return  # they answer for nothing, and those of many models take long to read
    if (found := _sha256(path)) != expected["sha256"]:
        raise BadIndexError(
            f"{path} has other bytes than at indexing: sha256 {found}, expected {expected['sha256']}.\n{_ADVICE}"
        )


def _array(path, about):
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    kind = np.float32 if path.name == EMBEDDINGS else np.uint8
    expected = tuple(about["shapes"][path.name])
    if values.dtype != kind or values.shape != expected or len(values) != len(about["names"]):
        raise ValueError(f"{path.name} holds {values.dtype} of shape {values.shape}, expected {np.dtype(kind)} of {expected}.")  # fmt: skip
    if len(about["paths"]) != len(values):
        raise ValueError(f"it has {len(about['paths'])} paths for {len(values)} models.")
    return np.asarray(values)  # a view of the mapped file: np.memmap itself is slow to cut


def _embedder(folder, about):
    query, network = about["query"], None
    head = onnx_session(folder / SKETCH, (folder / SKETCH).read_bytes())
    if NETWORK in about["files"]:
        scaling = Scaling(*(tuple(each) for each in query["scaling"]))
        network = OnnxNetwork(folder / NETWORK, query["output"], scaling)
    embed = partial(_embed, head, network, query["size"])
    length = len(embed(np.full((8, 8), 255, np.uint8)))  # empty paper: do the files fit together?
    if length != about["shapes"][EMBEDDINGS][1]:
        raise ValueError(
            f"{SKETCH} gives embeddings of length {length}, expected {about['shapes'][EMBEDDINGS][1]}."
        )
    return embed


def _embed(head, network, size, drawing):
    given = given_of(drawing, size, network)
    try:
        return head.run(None, {head.get_inputs()[0].name: given})[0][0]
    except Exception as error:  # ONNX Runtime's exceptions have no common class
        raise ValueError(
            f"{SKETCH} does not take {given.shape}, which the drawing gives: {error}"
        ) from error


def _own_digest(about):
    content = {key: value for key, value in about.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
