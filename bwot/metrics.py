"""Retrieval scores: distances or embeddings, and labels, in; six scores and two curves out.

The gallery is ranked by increasing distance for each query, ties go to the lower gallery index, and rank 1
is the nearest item. C is the number of relevant items, those that have the query's class. A query with C = 0
has no scores: it is left out of every mean and counted in ``skipped``.

Definitions: the authors' RetrievalEvaluation.py, the same in their three folders; but a query is left out of
its own ranking by its index, where they drop the first rank. Embeddings on a GPU are ranked there, all else on the CPU.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from bwot.cpu import ranking as cpu_ranking
from bwot.cpu.ranking import E_CUTOFF
from bwot.gpu import ranking as gpu_ranking

TIED_LIMIT = 0.01  # above this share of tied neighbours an embedding counts as collapsed
SHUFFLE_SEED = 0
DISTANCES_PER_BLOCK = 2**22  # 32 MB in float64
MOST_THREADS = 8  # the few steps between the sorts run one at a time


@dataclass(frozen=True, eq=False)
class RetrievalScores:
    """Means over the queries that have a relevant item; every score is in [0, 1].

    Attributes:
        nn: share of queries whose nearest item is relevant.
        ft: first tier, relevant items among the first C, over C.
        st: second tier, relevant items among the first 2C, over C.
        e: E measure, 2PR / (P + R) of precision and recall at rank 32 or at the end of a shorter list.
        dcg: sum over relevant ranks r of 1 / max(1, log2 r), over its value when ranks 1 to C are relevant.
        map: mean of ``average_precision``.
        per_query: the six scores of each query, in this order; NaN for a skipped query.
        precision: at index r - 1, the mean over queries of the share of relevant items among the first r.
        recall: at index r - 1, the mean over queries of the share of the C relevant items among the first r.
            Precision against recall, rank by rank, is the authors' mean curve; nothing is interpolated.
        tied: share of neighbouring ranks with equal distances.
        skipped: number of queries without a relevant item.
    """

    nn: float
    ft: float
    st: float
    e: float
    dcg: float
    map: float
    per_query: Float[Tensor, "q 6"]
    precision: Float[Tensor, " r"]
    recall: Float[Tensor, " r"]
    tied: float
    skipped: int

    @property
    def average_precision(self) -> Float[Tensor, " q"]:
        """Per query, the mean over its C relevant items of the precision at their ranks, not interpolated."""
        return self.per_query[:, 5]

    @property
    def collapsed(self) -> bool:
        """Whether more than 1 % of neighbouring ranks are tied, so that the scores rest on the tie rule."""
        return self.tied > TIED_LIMIT


def retrieval_scores(
    distances: Float[Tensor, "q g"],
    query_labels: Int[Tensor, " q"],
    gallery_labels: Int[Tensor, " g"],
    exclude_self: bool = False,
) -> RetrievalScores:
    """Score the ranking of a gallery by a matrix of distances (any real numbers, smaller is nearer).

    Args:
        distances: from each query (row) to each gallery item (column); finite.
        query_labels: class of each query.
        gallery_labels: class of each gallery item.
        exclude_self: leave gallery item i out of the ranking of query i; needs q = g.

    Raises:
        ValueError: for shapes that do not fit, distances that are not finite, an empty gallery, or labels
            that give no query a relevant item.

    >>> distances = torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]])
    >>> scores = retrieval_scores(distances, torch.tensor([7, 7]), torch.tensor([7, 8, 7]))
    >>> scores.nn, scores.average_precision
    (0.5, tensor([0.8333, 0.5833], dtype=torch.float64))
    """
    if distances.ndim != 2:
        raise ValueError(f"distances must have shape (q, g), not {tuple(distances.shape)}")
    if not all(row.isfinite().all() for row in distances):  # a row at a time, to save memory
        raise ValueError("distances must be finite, but some are NaN or infinite")
    q_labels = checked_labels("query_labels", query_labels, distances.shape[0])
    g_labels = checked_labels("gallery_labels", gallery_labels, distances.shape[1])
    _check_gallery(*distances.shape, exclude_self)

    def block_of(rows: slice) -> np.ndarray:
        return distances[rows].detach().to("cpu", torch.float64, copy=True).numpy()

    return _scores(block_of, q_labels, g_labels, np.arange(len(q_labels)) if exclude_self else None)


def score_embeddings(
    queries: Float[Tensor, "q d"],
    gallery: Float[Tensor, "g d"],
    query_labels: Int[Tensor, " q"],
    gallery_labels: Int[Tensor, " g"],
    exclude_self: bool = False,
) -> RetrievalScores:
    """Score the ranking of a gallery by Euclidean distance between embeddings; the whole matrix is never held.

    The gallery is shuffled first, the same way every time, so that ties are broken by chance and an embedding
    that maps everything to one point scores as chance does. Distances are float64 and centred: rounding leaves
    about 1e-16 of the embeddings' squared spread, and equal gallery rows tie exactly.
    Labels, ``exclude_self`` and errors are those of `retrieval_scores`; embeddings are finite, one a row.
    """
    check_embeddings("queries", queries, "gallery", gallery)
    q_labels = checked_labels("query_labels", query_labels, len(queries))
    g_labels = checked_labels("gallery_labels", gallery_labels, len(gallery))
    _check_gallery(len(queries), len(gallery), exclude_self)
    shuffled = np.random.default_rng(SHUFFLE_SEED).permutation(len(gallery))
    products = _products(queries, gallery[torch.from_numpy(shuffled).to(gallery.device)])
    own_position = np.argsort(shuffled) if exclude_self else None
    labels = q_labels, g_labels[shuffled], own_position
    if queries.is_cuda:
        return _scores_on(queries.device, products, *labels)
    return _scores(_squared_distances(*products), *labels)


def rankings(
    queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"]
) -> Iterator[tuple[Int64[np.ndarray, " g"], Float64[np.ndarray, " g"]]]:
    """For each query the gallery's indices from near to far, and the distances; in the order that `score_embeddings` scores."""
    check_embeddings("queries", queries, "gallery", gallery)
    shuffled = np.random.default_rng(SHUFFLE_SEED).permutation(len(gallery))
    products = _products(queries, gallery[torch.from_numpy(shuffled).to(gallery.device)])
    block_of = _squared_distances(*products)
    for query in range(len(queries)):
        (squared,) = block_of(slice(query, query + 1))
        order = squared.argsort(kind="stable")
        yield shuffled[order], np.sqrt(squared[order])


def as_float64(values: Float[Tensor, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The values on the CPU, in double precision."""
    return values.detach().to("cpu", torch.float64).numpy()


def checked_labels(name: str, labels: Tensor, length: int) -> np.ndarray:
    """The labels on the CPU; a ValueError that calls them ``name`` if they are not ``length`` in one row."""
    if labels.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), not {tuple(labels.shape)}")
    return labels.cpu().numpy()


def _check_gallery(queries: int, gallery: int, exclude_self: bool) -> None:
    if gallery == 0:
        raise ValueError("the gallery is empty: it needs at least one item")
    if exclude_self and queries != gallery:
        raise ValueError(
            "exclude_self needs the queries to be the gallery, item by item, "
            f"not {queries} queries and {gallery} gallery items"
        )


def check_embeddings(name: str, some: Tensor, other_name: str, others: Tensor) -> None:
    """A ValueError that names them unless both are finite matrices of equally many columns, at least one."""
    if some.ndim != 2 or others.ndim != 2 or some.shape[1] != others.shape[1] or not some.shape[1]:
        raise ValueError(
            f"{name} and {other_name} must have shapes (n, d) and (m, d) with the same d > 0, "
            f"not {tuple(some.shape)} and {tuple(others.shape)}"
        )
    for label, values in ((name, some), (other_name, others)):
        if not values.isfinite().all():
            raise ValueError(f"{label} must be finite, but some values are NaN or infinite")


def _products(queries: Tensor, gallery: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two matrices whose product is the squared distances, and for each gallery row the first one equal to it."""
    # Near to all, so that little is lost to rounding; and a value that occurs, so integers stay integers.
    origin = as_float64(gallery.median(dim=0).values)
    left, right = as_float64(queries) - origin, as_float64(gallery) - origin
    original = _first_equal_row(right)
    # One product for all three terms: |a - b|^2 = (-2a, |a|^2, 1) . (b, 1, |b|^2)
    left = np.column_stack([-2 * left, np.square(left).sum(axis=1), np.ones(len(left))])
    right = np.column_stack([right, np.ones(len(right)), np.square(right).sum(axis=1)])
    return left, right, original


def _squared_distances(
    left: np.ndarray, right: np.ndarray, original: np.ndarray
) -> Callable[[slice], np.ndarray]:
    """The function from a slice of queries to its squared distances: they rank as the distances do."""
    # A matrix product may round equal columns differently: copy the first one's distances to its repeats.
    repeats = np.flatnonzero(original != np.arange(len(right)))

    def block_of(rows: slice) -> np.ndarray:
        block = left[rows] @ right.T
        block[:, repeats] = block[:, original[repeats]]
        return np.maximum(block, 0, out=block)

    return block_of


def _first_equal_row(values: np.ndarray) -> np.ndarray:
    """For each row the index of the first row equal to it."""
    values = np.ascontiguousarray(values + 0.0)  # -0.0 becomes 0.0: rows are compared as bytes
    rows = np.frombuffer(values, np.dtype((np.void, values[0].nbytes)))
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return first[inverse]


def _scores_on(device: torch.device, products, *labels: np.ndarray | None) -> RetrievalScores:
    """The scores ranked on a device."""
    given = [None if x is None else torch.from_numpy(x).to(device) for x in (*products, *labels)]
    return _summary(*(part.cpu().numpy() for part in gpu_ranking.score_products(*given, E_CUTOFF)))


def _scores(
    block_of: Callable[[slice], np.ndarray],
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    own_position: np.ndarray | None,
) -> RetrievalScores:
    """Rank block by block, its rows in threads: NumPy lets go of the interpreter while it sorts."""
    length = len(gallery_labels) - (own_position is not None)
    step = max(1, DISTANCES_PER_BLOCK // len(gallery_labels))
    threads = min(MOST_THREADS, torch.get_num_threads())
    per_query, curves = [np.empty((0, 7))], np.zeros((2, length))
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(query_labels), step):
            rows = slice(start, start + step)
            distances = block_of(rows)
            if own_position is not None:  # ranked last, then cut off
                distances[np.arange(len(distances)), own_position[rows]] = np.inf
            shares = np.array_split(distances, threads), np.array_split(query_labels[rows], threads)
            given = *shares, repeat(gallery_labels), repeat(length)
            mapped = map if threads == 1 else pool.map  # a new thread has no memory of its own yet
            for part in mapped(cpu_ranking.score_rows, *given):
                per_query.append(part[0])
                curves += part[1]
    return _summary(np.concatenate(per_query), curves)


def _summary(per_query: np.ndarray, curves: np.ndarray) -> RetrievalScores:
    scored = ~np.isnan(per_query[:, 0])
    if not (count := int(scored.sum())):
        raise ValueError("no query has a relevant item: gallery_labels lack every query's label")
    *six_scores, tied = (float(mean) for mean in per_query[scored].mean(axis=0))
    hits, recall = curves.cumsum(axis=1) / count
    return RetrievalScores(
        *six_scores,
        per_query=torch.from_numpy(per_query[:, :6].copy()),
        precision=torch.from_numpy(hits / np.arange(1, len(hits) + 1)),
        recall=torch.from_numpy(recall.clip(max=1)),  # a sum of 1 / C may end an ulp above
        tied=tied,
        skipped=len(per_query) - count,
    )
