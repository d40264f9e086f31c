"""Retrieval scores of a block of queries in NumPy; what they are says :mod:`bwot.metrics`."""

import numpy as np

DISTANCES_PER_SORT = 2**16  # what a cache holds with its keys
E_CUTOFF = 32


def score_rows(
    distances: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per query nn, ft, st, e, dcg, average precision and tied share; per rank relevant items and their 1 / C."""
    discount = 1 / np.maximum(1, np.log2(np.arange(1, length + 1)))
    per_query, curves = np.full((len(distances), 7), np.nan), np.zeros((2, length))
    step = max(1, DISTANCES_PER_SORT // len(gallery_labels))
    for start in range(0, len(distances), step):
        rows = slice(start, start + step)
        relevant = query_labels[rows, None] == gallery_labels
        found, tied_pairs = _ranked_relevance(distances[rows], relevant, length)
        queries, ranks = np.divmod(np.flatnonzero(found), length)  # five times as fast as nonzero
        counts = np.bincount(queries, minlength=len(found))
        scored = np.flatnonzero(counts)
        scores = _scores_of_ranks(ranks + 1, counts[scored], discount)
        tied = tied_pairs[scored] / max(1, length - 1)
        per_query[start + scored] = np.column_stack([*scores, tied])
        curves[0] += np.bincount(ranks, minlength=length)
        curves[1] += np.bincount(ranks, 1 / counts[queries], length)
    return per_query, curves


def _ranked_relevance(
    distances: np.ndarray, relevant: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the items at the first ``length`` ranks are relevant, and the number of tied neighbours there, row by row.

    A stable argsort is right and slow. So the lowest bits of each distance make room for the item's index
    and relevance, and the keys are sorted as integers, which is how numbers that are not negative compare.
    Where neighbouring keys differ in the low bits alone, the distances may differ below that precision
    (37 of 52 bits for a gallery of 10,000), and are looked at again.
    """
    size = distances.shape[1]
    tag_bits = size.bit_length() + 1
    keys = (distances + 0.0).view(np.int64)  # + 0.0 makes -0.0 equal to 0.0
    keys &= -1 << tag_bits
    keys |= np.arange(0, 2 * size, 2)
    keys |= relevant
    keys.sort(axis=1)
    found = (keys[:, :length] & 1).astype(bool)
    close = (keys[:, 1:length] ^ keys[:, : length - 1]).view(np.uint64) < 1 << tag_bits
    tags = (1 << tag_bits) - 1
    rows, ranks = np.divmod(np.flatnonzero(close), max(1, length - 1))
    nearer, farther = (
        distances[rows, (keys[rows, each] & tags) >> 1] for each in (ranks, ranks + 1)
    )
    tied_pairs = np.bincount(rows[nearer == farther], minlength=len(keys))
    unsure = keys[:, 0] < 0
    unsure[rows[nearer > farther]] = True
    for row in np.flatnonzero(unsure):
        order = distances[row].argsort(kind="stable")
        ranked = distances[row, order]
        tied_pairs[row] = (ranked[1:length] == ranked[: length - 1]).sum()
        found[row] = relevant[row, order[:length]]
    return found, tied_pairs


def _scores_of_ranks(
    ranks: np.ndarray, relevant: np.ndarray, discount: np.ndarray
) -> tuple[np.ndarray, ...]:
    """nn, ft, st, e, dcg and average precision from how many items are relevant to each query, one or more, and their ranks, query by query."""
    starts, cutoff = relevant.cumsum() - relevant, min(E_CUTOFF, len(discount))
    if not len(starts):
        return (starts,) * 6
    own = np.repeat(relevant, relevant)  # of the query that a rank belongs to
    places = np.arange(1, len(ranks) + 1) - np.repeat(starts, relevant)
    in_ft, in_st, in_e = (
        np.add.reduceat(ranks <= tier, starts, dtype=np.int64) for tier in (own, 2 * own, cutoff)
    )
    return (
        ranks[starts] == 1,
        in_ft / relevant,
        in_st / relevant,
        2 * in_e / (cutoff + relevant),  # 2PR / (P + R), P = in_e / cutoff, R = in_e / relevant
        np.add.reduceat(discount[ranks - 1], starts) / discount.cumsum()[relevant - 1],
        np.add.reduceat(places / ranks, starts) / relevant,
    )
