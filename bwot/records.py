"""The record of a run: one JSON file that holds its settings, its history, its scores and where they come from.

``record.schema.json`` beside this module is its JSON Schema. A finished record has scores; a diverged one says where it
diverged and has none. Non-finite numbers never enter a record, save NaN in the packed per-query values: there it marks a
query that has nothing to find.
"""

import base64
import json
import os
import platform
import re
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float

SCHEMA_VERSION = 1
SCHEMA_FILE = Path(__file__).with_name("record.schema.json")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run was and what came out; the fields are described in ``record.schema.json``."""

    experiment: str
    dataset: dict
    loss: dict
    seed: int
    preset: str
    settings: dict
    tuning: dict | None
    history: list[dict]
    scores: dict | None
    per_query_ap: str | None
    replay: list[float]
    provenance: dict
    status: str = "finished"
    diverged: str | None = None
    schema: int = SCHEMA_VERSION


class RecordError(ValueError):
    """A file that is no record, or one of another schema."""


def read_record(path: str | Path) -> Record:
    """The record in a file.

    Raises:
        RecordError: for a file that is no JSON, has another schema version, or misses fields; the file is named.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_refuse_constant)
        version = content["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path} is no record of a run ({type(error).__name__}: {error})."
        ) from error
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{path} has schema {version}, this version reads {SCHEMA_VERSION}: run it again."
        )
    names = {field.name for field in fields(Record)}
    if names != content.keys():
        raise RecordError(
            f"{path} differs from a record in the fields {sorted(names ^ content.keys())}."
        )
    return Record(**content)


def find_records(folder: Path) -> list[Path]:
    """The files of all records below a folder: their names end in ``-seed`` and a number."""
    return sorted(folder.rglob("*-seed*.json"))


def _refuse_constant(name):
    raise ValueError(f"{name} is no finite number")


def validate(record: Record) -> None:
    """Hold a record against the JSON Schema.

    Raises:
        RecordError: that says which field is wrong and why.
    """
    import jsonschema

    try:
        jsonschema.validate(asdict(record), json.loads(SCHEMA_FILE.read_text()))
    except jsonschema.ValidationError as error:
        raise RecordError(f"field {error.json_path} of the record: {error.message}") from error


def write_record(record: Record, path: str | Path) -> None:
    """Write a record, whole or not at all.

    Raises:
        ValueError: for a number that is not finite.
    """
    text = json.dumps(asdict(record), indent=1, allow_nan=False) + "\n"
    write_atomically(Path(path), text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and move it in place: readers see the old file or the new one.

    What a killed process left of the same file goes; what another one is still writing stays.

    Raises:
        OSError: that names the file, where it cannot be written, such as on a full disk.
    """
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:  # a failed write names no file of its own
        reason = f"cannot be written ({error.strerror or error})"
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        if (
            partial.exists()
        ):  # also said of a place below a file, where unlink(missing_ok=True) raises
            partial.unlink()


def partial_of(path: Path) -> Path:
    """The temporary name, of this process, of a file or folder that is being written."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.part")


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of a file or folder under :func:`partial_of`; what another one still writes stays."""
    # Of this machine alone: whether a process of another one on the same disk still writes cannot be seen from here.
    left = re.compile(rf"\.{re.escape(f'{path.name}.{platform.node()}')}\.(\d+)\.part")
    for name in os.listdir(path.parent):
        if (match := left.fullmatch(name)) and not _alive(int(match[1])):
            found = path.with_name(name)
            if found.is_dir():
                shutil.rmtree(found, ignore_errors=True)
            else:
                found.unlink(missing_ok=True)


def _alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's; no number of a process
        pass
    return True


def pack(values: Float[np.ndarray, " n"]) -> str:
    """Per-query values in [0, 1] as base64 of little-endian float16 (error below 0.0003).

    NaN stands for a query without a score, one that has nothing to find; it is the only other value there may be.

    Raises:
        ValueError: for a value outside [0, 1].
    """
    wrong = np.asarray(values)[~(np.isnan(values) | ((values >= 0) & (values <= 1)))]
    if len(wrong):
        raise ValueError(f"per-query values must lie in [0, 1] or be NaN, not {wrong[0]}.")
    return base64.b64encode(np.asarray(values).astype("<f2").tobytes()).decode()


def unpack(packed: str) -> Float[np.ndarray, " n"]:
    """What :func:`pack` packed, as float64; NaN for a query without a score.

    >>> unpack(pack(np.array([0.25, 1.0])))
    array([0.25, 1.  ])
    """
    return np.frombuffer(base64.b64decode(packed), "<f2").astype(np.float64)
