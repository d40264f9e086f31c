"""From the pictures of named shapes to a file of features, by a frozen network on several cores."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from bwot.features.files import (
    Features,
    FeaturesError,
    read_features,
    refuse_other_names,
)
from bwot.features.networks import Network
from bwot.features.partial import Partial
from bwot.features.pixels import network_input
from bwot.progress import progress

PICTURES_A_CALL = 16
"""About so many pictures go through the network at once; whole shapes, one at least."""


def compute_features(
    path: str | Path,
    names: Sequence[str],
    pictures: Callable[[str], UInt8[np.ndarray, "v h w *rgb"]],
    network: Network,
    views: int,
    data_sha256: str,
    dtype: Literal["float16", "float32"] = "float16",
    workers: int | None = None,
) -> Features:
    """The features of all views of all shapes, from ``path`` if they are there, computed otherwise.

    A killed call goes on where it was and ends with the same bytes, however many workers it has. An unfinished file of
    other settings or shapes is begun anew; a finished one is refused, never replaced.

    Args:
        path: of the array, ``NAME.npy``; ``NAME.json`` beside it says what it is (:mod:`bwot.features.files`).
        names: of the shapes, each once.
        pictures: gives a shape's pictures, 0 to 255, grey (v, h, w) or colour (v, h, w, 3); several threads call it.
        network: what they go through.
        views: pictures a shape.
        data_sha256: of the data set that the pictures show, kept with the features.
        dtype: of the file. float16 keeps three decimal digits and halves it.
        workers: threads that read, prepare and run the network; None is one a core.

    Raises:
        FeaturesError: where ``path`` is finished and of other settings, shapes or data, or damaged.
        ValueError: for pictures of other shapes, names that are not unique, features that are not finite or, in
            float16, above 65504.
        BlockingIOError: where another process computes the same file.
        OSError: where it cannot be written; what is finished is kept.
    """
    path, names, settings = Path(path), list(names), _settings(network, data_sha256)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"names must be one or more, each once, not {len(names)} with {len(set(names))} different ones.")  # fmt: skip
    if path.exists():
        return _finished(path, names, settings, views, dtype)

    def rows(start: int):
        return _rows(names[start : start + step], pictures, network, views, dtype)

    step, shape = max(1, PICTURES_A_CALL // views), (len(names), views, network.length)
    with Partial(path, shape, dtype, names, settings) as partial:
        starts = range(partial.done, len(names), step)
        done = _in_order(rows, progress(starts, f"features {path.stem}"), workers or os.cpu_count())
        for part in done:
            partial.append(part)
        partial.finish()
    return read_features(path, names, data_sha256)


def _settings(network, data_sha256):
    """What the features depend on, apart from the names, as JSON gives it back."""
    mean, std = network.scaling
    preprocessing = {"size": network.size, "mean": list(mean), "std": list(std), "resize": "bilinear, anti-aliased"}  # fmt: skip
    return {
        "network": dict(network.settings),
        "preprocessing": preprocessing,
        "data_sha256": data_sha256,
    }


def _finished(path, names, settings, views, dtype):
    features = read_features(path)
    refuse_other_names(path, features.names, names)
    found = {key: getattr(features, key) for key in settings}
    found |= {"views": features.values.shape[1], "dtype": features.values.dtype.name}
    for key, expected in (settings | {"views": views, "dtype": dtype}).items():
        if found[key] != expected:
            raise FeaturesError(
                f"{path} holds other features: {key} is {found[key]}, expected {expected}.\n"
                "Write these to another file, or remove that one."
            )
    return features


def _rows(names, pictures, network, views, dtype) -> Float[np.ndarray, "k v d"]:
    """The features of a few shapes, in one call of the network."""
    images = [_image(name, pictures(name), network, views) for name in names]
    features = network(images[0] if len(images) == 1 else np.concatenate(images))
    limit = np.finfo(dtype).max
    wrong = ~(np.abs(features) <= limit).reshape(len(names), -1).all(1)
    if wrong.any():
        raise ValueError(
            f"the features of {names[wrong.argmax()]!r} are not finite or above {limit:g}, the largest {dtype}."
        )
    return features.reshape(len(names), views, -1).astype(dtype)


def _image(name, given, network, views):
    if given.dtype != np.uint8 or given.ndim not in (3, 4) or len(given) != views:
        raise ValueError(
            f"the pictures of {name!r} must be uint8 of shape ({views}, h, w) or ({views}, h, w, 3), not {given.dtype} of {given.shape}."
        )
    try:
        return network_input(given, network.size, network.scaling)
    except ValueError as error:
        raise ValueError(f"the pictures of {name!r} cannot be used: {error}") from error


def _in_order(work: Callable, items: Iterable, workers: int) -> Iterator:
    """``work`` of each item, in their order, computed ahead by several threads; a few results wait at most."""
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
