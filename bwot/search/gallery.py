"""Models that can be found, and the nearest ones to a drawing: exact neighbours by Euclidean distance, in NumPy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from bwot.drawings import rotations
from bwot.features import Network, network_input

BLOCK = (
    1 << 18
)  # numbers whose differences are taken at a time, so that they stay in a core's cache


class Found(NamedTuple):
    """A model that answers."""

    index: int  # in the gallery
    name: str
    path: str  # of its file; empty for one that has none
    distance: float  # of the embeddings, Euclidean


@dataclass(frozen=True, eq=False)
class Gallery:
    """Models by their embeddings, and how a drawing gets one."""

    names: tuple[str, ...]
    paths: tuple[str, ...]  # of their files; empty for those that have none
    embeddings: Float32[np.ndarray, "n e"]
    pictures: UInt8[np.ndarray, "n p p"]  # a small one of each, on white paper (255)
    embed: Callable[[UInt8[np.ndarray, "s s"]], Float32[np.ndarray, " e"]]
    """From a drawing, ink on white paper as :func:`bwot.drawings.read_drawing` gives it, to its embedding."""

    def find(self, drawing: UInt8[np.ndarray, "s s"], top: int = 10) -> list[Found]:
        """The models nearest to a drawing, the nearest first.

        Args:
            drawing: ink on white paper (255).
            top: how many, at least 1; all of a gallery that has fewer.
        """
        order, distances = nearest(self.embeddings, self.embed(drawing), top)
        return [
            Found(index, self.names[index], self.paths[index], distance)
            for index, distance in zip(order.tolist(), distances.tolist(), strict=True)
        ]


def given_of(
    drawing: UInt8[np.ndarray, "s s"], size: int, network: Network | None
) -> Float32[np.ndarray, "1 ..."]:
    """What the drawing side of a trained network takes.

    Args:
        drawing: ink on white paper (255).
        size: side of the picture of a drawing, in pixels.
        network: frozen; None for a drawing side that takes ink.

    Returns:
        The feature of the drawing, (1, d), or its ink, (1, 1, 1, size, size), 1 where it is black.
    """
    picture = rotations(drawing, size, count=1)
    if network is None:
        return 1 - picture[:, None, None].astype(np.float32) / 255
    return network(network_input(picture, network.size, network.scaling))


def nearest(
    embeddings: Float32[np.ndarray, "n e"], query: Float32[np.ndarray, " e"], top: int
) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, " k"]]:
    """Indices and Euclidean distances of the ``top`` nearest rows, the nearest first; the lower index first among equals.

    Distances come from differences, not from products, which would round off what sets near neighbours apart.

    Args:
        embeddings: also memory-mapped ones.
        query: what they are near to.
        top: how many, at least 1; all where there are fewer.

    Raises:
        ValueError: for ``top`` below 1, and a query that is not finite.

    >>> nearest(np.float32([[3, 4], [0, 1], [0, -1]]), np.zeros(2, np.float32), top=2)
    (array([1, 2]), array([1., 1.], dtype=float32))
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, not {top}.")
    if not np.isfinite(query).all():
        raise ValueError("the embedding of the query must be finite, and it is not.")
    squared = np.empty(len(embeddings), np.float32)
    step = max(1, BLOCK // embeddings.shape[1])
    for start in range(0, len(embeddings), step):
        away = embeddings[start : start + step] - query
        np.einsum("ij,ij->i", away, away, out=squared[start : start + step])
    top = min(top, len(embeddings))
    limit = np.partition(squared, top - 1)[top - 1]
    candidates = np.flatnonzero(squared <= limit)
    order = candidates[np.argsort(squared[candidates], kind="stable")][:top]
    return order, np.sqrt(squared[order])
