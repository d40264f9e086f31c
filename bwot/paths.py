"""Where files live: the data sets a reader has, what is made of them once, and the runs this package computes."""

import os
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
PROJECT = _CHECKOUT if (_CHECKOUT / "_config.yml").exists() else Path.cwd()
"""The checkout that holds the book; the current folder where ``bwot`` is installed without one."""


def data_root(given: str | Path | None = None) -> Path:
    """The folder with one subfolder a data set: ``given``, else ``$BWOT_DATA``, else ``data/`` of the project.

    Raises:
        NotADirectoryError: where something else has that name.
    """
    root = Path(given or os.environ.get("BWOT_DATA") or PROJECT / "data").expanduser()
    first = next(path for path in (root, *root.parents, Path()) if os.path.lexists(path))
    if not first.is_dir():  # a file, or a link that leads nowhere
        raise NotADirectoryError(
            f"{first} is no folder, so {root} cannot be the one that has a subfolder for each data set: name it with --data or in BWOT_DATA."
        )
    return root


def cache_root() -> Path:
    """The folder with views and features, one subfolder a data set: ``$BWOT_CACHE``, else ``cache/`` of the project."""
    return Path(os.environ.get("BWOT_CACHE") or PROJECT / "cache").expanduser()


def runs_root() -> Path:
    """The folder with one subfolder a finished or interrupted run: ``$BWOT_RUNS``, else ``runs/`` of the project."""
    return Path(os.environ.get("BWOT_RUNS") or PROJECT / "runs").expanduser()
