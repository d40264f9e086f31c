"""The state of a training run in a file: written whole or not at all, read without unpickling anything but tensors."""

import io
import zipfile
from pathlib import Path

import torch

from bwot.records import write_atomically


class CheckpointError(ValueError):
    """A checkpoint that cannot be read."""


def save_checkpoint(path: Path, parts: dict, history: list[dict]) -> None:
    """Write the states of ``parts`` (each has a ``state_dict``) and the rows of the history so far."""
    state = {name: part.state_dict() for name, part in parts.items()} | {"history": history}
    stream = io.BytesIO()
    torch.save(state, stream)
    write_atomically(path, stream.getvalue())


def load_checkpoint(path: Path) -> dict:
    """The state in a checkpoint: ``network``, ``loss``, ``optimiser``, ``history``; tensors and plain values only, on the CPU.

    Raises:
        CheckpointError: if the file is damaged or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the check-sums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} in it has another check-sum")
        state = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}")
        return state
    except Exception as error:  # what a damaged file leads to depends on its bytes
        raise CheckpointError(
            f"{path} is no readable checkpoint ({error}): delete it to start this run again."
        ) from error


def restore(path: Path, parts: dict) -> list[dict]:
    """Give ``parts`` the states in a checkpoint and return its history; without a file nothing, and an empty one.

    Raises:
        CheckpointError: for one that cannot be read or is that of another network.
    """
    if not path.exists():
        return []
    state = load_checkpoint(path)
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        if [row["epoch"] for row in state["history"]] != list(range(len(state["history"]))):
            raise ValueError("its history does not run from epoch 0 on")
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint of this run ({error}): delete it to start this run again."
        ) from error
    return state["history"]
