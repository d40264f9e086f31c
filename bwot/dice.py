"""Whole numbers by chance, the same on every platform: what drawn stand-ins are made from."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int32


def dice(seed: int | Sequence[int]) -> Callable[..., Int32[np.ndarray, "..."]]:
    """A function ``draw(*shape, below)`` of whole numbers from 0 on, below a bound, in an array of the given shape.

    Its numbers come from PCG64, whose stream NumPy guarantees; NumPy's own ways from a stream to numbers may change.

    Args:
        seed: not negative; a sequence of several gives a stream of its own to each combination.

    >>> dice(0)(4, below=6).tolist()
    [3, 1, 0, 0]
    """
    stream = np.random.PCG64(seed)

    def draw(*shape: int, below: int) -> np.ndarray:
        raw = stream.random_raw(shape) >> np.uint64(32)
        return ((raw * np.uint64(below)) >> np.uint64(32)).astype(np.int32)

    return draw
