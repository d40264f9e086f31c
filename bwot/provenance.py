"""Where a number comes from: the code, the versions and the machine."""

import ast
import hashlib
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from bwot.paths import PROJECT


@cache
def code_digest(modules: Iterable[str]) -> str:
    """SHA-256 of the syntax trees of modules of this package, without docstrings: comments and layout do not count."""
    digest = hashlib.sha256()
    for module in modules:
        source = Path(__file__).parent / (module.replace(".", "/") + ".py")
        tree = ast.parse(source.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                node.body = [part for part in node.body if not _is_text(part)]
        digest.update(f"{module}:{ast.dump(tree)}".encode())
    return digest.hexdigest()


def _is_text(node):
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def software() -> dict[str, str]:
    """Versions that a number may depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def commit() -> dict[str, str | bool | None]:
    """The commit of the checkout and whether tracked files differ from it; None outside a checkout."""
    head = _git("rev-parse", "HEAD")
    return {
        "commit": head,
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")) if head else None,
    }


def _git(*arguments):
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def device_name(device: str) -> str:
    """``cpu``, or the name of the accelerator.

    Raises:
        ValueError: for ``cuda`` where there is none.
    """
    if not device.startswith("cuda"):
        return device
    if not torch.cuda.is_available():
        raise ValueError(f"device {device} needs a GPU that torch can use, and there is none.")
    return torch.cuda.get_device_name(device)


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, in MB (10⁶ bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
