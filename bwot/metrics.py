"""Retrieval and classification scores: distances or embeddings, and labels, in; six scores and two curves out.

The gallery is ranked by increasing distance for each query, ties go to the lower gallery index, and rank 1
is the nearest item. C is the number of relevant items, those that have the query's class. A query with C = 0
has no scores: it is left out of every mean and counted in ``skipped``.

Definitions: the authors' RetrievalEvaluation.py, the same function in their three folders; a query is left out
of its own ranking by its index, where that function drops the first rank, whatever it is.
All sums are in float64. Tensors may be on any device; the ranking itself is done on the CPU.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

TIED_LIMIT = 0.01  # above this share of tied neighbours an embedding counts as collapsed
E_CUTOFF = 32
SHUFFLE_SEED = 0
DISTANCES_PER_BLOCK = 2**20  # 8 MB, and about three times that for each thread
MOST_THREADS = 8


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
        average_precision: per query, mean over its C relevant items of the precision at their ranks, not
            interpolated; NaN for a skipped query.
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
    average_precision: Float[Tensor, " q"]
    precision: Float[Tensor, " r"]
    recall: Float[Tensor, " r"]
    tied: float
    skipped: int

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
    if not all(row.isfinite().all() for row in distances):
        raise ValueError("distances must be finite, but some are NaN or infinite")
    classes = _labels(query_labels, gallery_labels, tuple(distances.shape), exclude_self)

    def block_of(rows: slice) -> np.ndarray:
        return distances[rows].detach().to("cpu", torch.float64, copy=True).numpy()

    return _scores(block_of, *classes, np.arange(len(classes[0])) if exclude_self else None)


def score_embeddings(
    queries: Float[Tensor, "q d"],
    gallery: Float[Tensor, "g d"],
    query_labels: Int[Tensor, " q"],
    gallery_labels: Int[Tensor, " g"],
    exclude_self: bool = False,
) -> RetrievalScores:
    """Score the ranking of a gallery by Euclidean distance between embeddings; the whole matrix is never held.

    The gallery is shuffled first, the same way every time, so that ties are broken by chance and an embedding
    that maps everything to one point scores as chance does. Distances are float64 and centred, so that what
    rounding leaves is about 1e-16 of the squared spread of the embeddings; equal gallery rows tie exactly.

    Args:
        queries: one embedding a row; finite.
        gallery: one embedding a row; finite.
        query_labels: class of each query.
        gallery_labels: class of each gallery item.
        exclude_self: queries and gallery are the same items in the same order; leave item i out of the
            ranking of query i.

    Raises:
        ValueError: for shapes that do not fit, embeddings that are not finite, an empty gallery, or labels
            that give no query a relevant item.
    """
    _check_embeddings("queries", queries, "gallery", gallery)
    q_labels, g_labels = _labels(
        query_labels, gallery_labels, (len(queries), len(gallery)), exclude_self
    )
    shuffled = np.random.default_rng(SHUFFLE_SEED).permutation(len(gallery))
    block_of = _squared_distances(queries, gallery[torch.from_numpy(shuffled).to(gallery.device)])
    own_position = np.argsort(shuffled) if exclude_self else None
    return _scores(block_of, q_labels, g_labels[shuffled], own_position)


def svc_accuracy(
    train_embeddings: Float[Tensor, "n d"],
    train_labels: Int[Tensor, " n"],
    test_embeddings: Float[Tensor, "m d"],
    test_labels: Int[Tensor, " m"],
) -> float:
    """Share of test items that a support vector classifier, fitted on the training embeddings, gets right.

    Radial basis functions with C = 1 and gamma = 1 / d, scikit-learn's defaults when the authors called
    it in run.py of their 2D code (today's default gamma is another one).

    Raises:
        ValueError: for shapes that do not fit, no items, embeddings that are not finite, or one training class.
    """
    from sklearn.svm import SVC

    _check_embeddings("train_embeddings", train_embeddings, "test_embeddings", test_embeddings)
    _check_length("train_labels", train_labels, len(train_embeddings))
    _check_length("test_labels", test_labels, len(test_embeddings))
    if not len(train_embeddings) or not len(test_embeddings):
        raise ValueError("svc_accuracy needs at least one item to train on and one to test on")
    classifier = SVC(kernel="rbf", C=1.0, gamma=1 / train_embeddings.shape[1])
    classifier.fit(_float64(train_embeddings), _integers(train_labels))
    return float(classifier.score(_float64(test_embeddings), _integers(test_labels)))


def _float64(values: Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.float64).numpy()


def _integers(labels: Tensor) -> np.ndarray:
    return labels.detach().cpu().numpy()


def _check_length(name: str, labels: Tensor, length: int) -> None:
    if labels.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), not {tuple(labels.shape)}")


def _check_embeddings(name: str, some: Tensor, other_name: str, others: Tensor) -> None:
    if some.ndim != 2 or others.ndim != 2 or some.shape[1] != others.shape[1]:
        raise ValueError(
            f"{name} and {other_name} must have shapes (n, d) and (m, d) with the same d, "
            f"not {tuple(some.shape)} and {tuple(others.shape)}"
        )
    for label, values in ((name, some), (other_name, others)):
        if not values.isfinite().all():
            raise ValueError(f"{label} must be finite, but some values are NaN or infinite")


def _labels(
    query_labels: Tensor, gallery_labels: Tensor, shape: tuple[int, int], exclude_self: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Both labels as arrays, after every check that does not need the distances."""
    _check_length("query_labels", query_labels, shape[0])
    _check_length("gallery_labels", gallery_labels, shape[1])
    if shape[1] == 0:
        raise ValueError("the gallery is empty: it needs at least one item")
    if exclude_self and shape[0] != shape[1]:
        raise ValueError(
            "exclude_self needs the queries to be the gallery, item by item, "
            f"not {shape[0]} queries and {shape[1]} gallery items"
        )
    return _integers(query_labels), _integers(gallery_labels)


def _squared_distances(queries: Tensor, gallery: Tensor) -> Callable[[slice], np.ndarray]:
    """The function from a slice of queries to its squared distances: they rank as the distances do."""
    origin = gallery.double().median(dim=0).values  # near all, and integers stay integers, so exact
    left, right = _float64(queries.double() - origin), _float64(gallery.double() - origin)
    left_squares, right_squares = np.square(left).sum(axis=1), np.square(right).sum(axis=1)
    # A matrix product may round equal columns differently: copy the first one's distances to its repeats.
    rows = np.ascontiguousarray(right + 0.0).view(np.dtype((np.void, right[0].nbytes))).ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    original = first[inverse]
    repeats = np.flatnonzero(original != np.arange(len(right)))

    def block_of(rows: slice) -> np.ndarray:
        block = left[rows] @ right.T
        block *= -2
        block += right_squares
        block += left_squares[rows, None]
        block[:, repeats] = block[:, original[repeats]]
        return block

    return block_of


def _scores(
    block_of: Callable[[slice], np.ndarray],
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    own_position: np.ndarray | None,
) -> RetrievalScores:
    """Rank block by block, in threads: NumPy lets go of the interpreter while it sorts."""
    length = len(gallery_labels) - (own_position is not None)
    step = max(1, DISTANCES_PER_BLOCK // len(gallery_labels))
    blocks = [slice(start, start + step) for start in range(0, len(query_labels), step)]

    def score(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        own = None if own_position is None else own_position[rows]
        return _score_block(block_of(rows), query_labels[rows], gallery_labels, own)

    per_query, curves = [], np.zeros((2, length))
    with ThreadPoolExecutor(min(MOST_THREADS, torch.get_num_threads())) as pool:
        for scores_of_block, curves_of_block in pool.map(score, blocks):
            per_query.append(scores_of_block)
            curves += curves_of_block
    return _summary(np.concatenate([np.empty((0, 7)), *per_query]), curves)


def _score_block(
    distances: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    own_position: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Per query nn, ft, st, e, dcg, average precision and tied share; per rank relevant items and their 1 / C."""
    length = len(gallery_labels) - (own_position is not None)
    discount = 1 / np.maximum(1, np.log2(np.arange(1, length + 1)))
    per_query, curves = np.full((len(distances), 7), np.nan), np.zeros((2, length))
    if own_position is not None:
        distances[np.arange(len(distances)), own_position] = np.inf  # ranked last, then cut off
    for query, row in enumerate(distances):
        ranks, tied_pairs = _relevant_ranks(row, gallery_labels == query_labels[query], length)
        if len(ranks):
            tied = tied_pairs / max(1, length - 1)
            per_query[query] = *_scores_of_ranks(ranks, discount), tied
            curves[:, ranks - 1] += [[1], [1 / len(ranks)]]
    return per_query, curves


def _relevant_ranks(
    distances: np.ndarray, relevant: np.ndarray, length: int
) -> tuple[np.ndarray, int]:
    """The ranks that relevant items take among the first ``length``, and the number of tied neighbours there.

    A stable argsort is right and slow. So the lowest bits of each distance make room for the item's index
    and relevance, and the keys are sorted as integers, which is how numbers that are not negative compare.
    Where neighbouring keys differ in the low bits alone, the distances may differ below that precision
    (37 of 52 bits for a gallery of 10,000), and are looked at again.
    """
    tag_bits = len(distances).bit_length() + 1
    keys = distances.view(np.int64) >> tag_bits << tag_bits
    keys |= np.arange(0, 2 * len(distances), 2) + relevant
    keys.sort()
    close = (keys[1:length] ^ keys[: length - 1]) >> tag_bits == 0
    if not close.any() and keys[0] >= 0:
        return np.flatnonzero(keys[:length] & 1) + 1, 0
    order = (keys & ((1 << tag_bits) - 1)) >> 1
    ranked = distances[order]
    if (ranked[1:] < ranked[:-1]).any():
        order = distances.argsort(kind="stable")
        ranked = distances[order]
    tied_pairs = np.count_nonzero(ranked[1:length] == ranked[: length - 1])
    return np.flatnonzero(relevant[order[:length]]) + 1, tied_pairs


def _scores_of_ranks(ranks: np.ndarray, discount: np.ndarray) -> tuple[float, ...]:
    """nn, ft, st, e, dcg and average precision from the ranks of the relevant items, in increasing order."""
    relevant, cutoff = len(ranks), min(E_CUTOFF, len(discount))
    in_ft, in_st, in_e = np.searchsorted(ranks, (relevant, 2 * relevant, cutoff), side="right")
    return (
        ranks[0] == 1,
        in_ft / relevant,
        in_st / relevant,
        2
        * in_e
        / (cutoff + relevant),  # = 2PR / (P + R) with P = in_e / cutoff, R = in_e / relevant
        discount[ranks - 1].sum() / discount[:relevant].sum(),
        (np.arange(1, relevant + 1) / ranks).mean(),
    )


def _summary(per_query: np.ndarray, curves: np.ndarray) -> RetrievalScores:
    scored = ~np.isnan(per_query[:, 0])
    count = np.count_nonzero(scored)
    if count == 0:
        raise ValueError(
            "no query has a relevant item in the gallery: no label of query_labels is in gallery_labels"
            " (the query itself does not count with exclude_self)"
        )
    *six_scores, tied = (float(mean) for mean in per_query[scored].mean(axis=0))
    hits, recall = curves.cumsum(axis=1) / count
    return RetrievalScores(
        *six_scores,
        average_precision=torch.from_numpy(per_query[:, 5].copy()),
        precision=torch.from_numpy(hits / np.arange(1, len(hits) + 1)),
        recall=torch.from_numpy(recall.clip(max=1)),  # a sum of 1 / C may end an ulp above
        tied=tied,
        skipped=len(per_query) - count,
    )
