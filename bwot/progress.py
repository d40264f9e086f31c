"""Progress bars for those who watch."""

import os
import sys
from collections.abc import Iterator, Sized


def watched() -> bool:
    """Does a person see a progress bar: in a terminal or a live notebook, unless ``BWOT_PROGRESS`` is ``off``?"""
    if os.environ.get("BWOT_PROGRESS") == "off":
        return False
    ipython = sys.modules.get("IPython")
    shell = type(ipython.get_ipython()).__name__ if ipython else None
    return sys.stderr.isatty() or shell == "ZMQInteractiveShell"


def progress(steps: Sized, description: str) -> Iterator:
    """``steps`` behind a bar where someone watches, and as they are otherwise."""
    if not watched():
        return iter(steps)
    from tqdm.auto import tqdm

    return iter(tqdm(steps, desc=description, leave=False))
