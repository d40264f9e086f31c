"""Retrieval scores of many queries at once in torch, for embeddings on a GPU; what they are says :mod:`bwot.metrics`."""

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

DISTANCES_PER_BLOCK = 2**22  # 34 MB in float64, and some twenty times that to sort and score them


def score_products(
    left: Float64[Tensor, "q k"],
    right: Float64[Tensor, "g k"],
    equal_row: Int64[Tensor, " g"],
    query_labels: Int64[Tensor, " q"],
    gallery_labels: Int64[Tensor, " g"],
    own_position: Int64[Tensor, " q"] | None,
    e_cutoff: int,
) -> tuple[Float64[Tensor, "q 7"], Float64[Tensor, "2 r"]]:
    """The scores of every query and the curves' sums, as :mod:`bwot.metrics` has them from its own sorting.

    Args:
        left: squared distances are ``left @ right.T``.
        right: see ``left``.
        equal_row: for each gallery row the first one equal to it, whose distances it takes.
        query_labels: class of each query.
        gallery_labels: class of each gallery row.
        own_position: the gallery row of each query, which is left out of its ranking.
        e_cutoff: rank of the E measure.

    Returns:
        nn, ft, st, e, dcg, average precision and tied share of each query, NaN where nothing is relevant; per rank
        the relevant items, and their sum of 1 / C.
    """
    step = max(1, DISTANCES_PER_BLOCK // len(right))
    length = len(right) - (own_position is not None)
    scores, curves = [], left.new_zeros(2, length)
    for rows in torch.arange(len(left), device=left.device).split(step):
        distances = (left[rows] @ right.T)[:, equal_row].clamp_min_(0)
        if own_position is not None:  # ranked last, then cut off
            distances.scatter_(1, own_position[rows, None], torch.inf)
        ranked, order = distances.sort(dim=1, stable=True)
        relevant = gallery_labels[order[:, :length]] == query_labels[rows, None]
        tied = (ranked[:, 1:length] == ranked[:, : length - 1]).double().sum(1)
        scores.append(_scores_of_ranks(relevant, tied / max(1, length - 1), e_cutoff))
        curves += _curves(relevant)
    return torch.cat(scores), curves


def _scores_of_ranks(
    relevant: Bool[Tensor, "q r"], tied: Float64[Tensor, " q"], e_cutoff: int
) -> Float64[Tensor, "q 7"]:
    length = relevant.shape[1]
    rank = torch.arange(1, length + 1, device=relevant.device, dtype=torch.float64)
    gain, found = 1 / rank.log2().clamp_min(1), relevant.cumsum(1)
    count, cutoff = found[:, -1], min(e_cutoff, length)

    def until(last):
        return found.gather(1, (last.clamp(1, length) - 1)[:, None])[:, 0].double()

    ideal = gain.cumsum(0)[count.clamp_min(1) - 1]
    six = (
        relevant[:, 0].double(),
        until(count) / count,
        until(2 * count) / count,
        2 * found[:, cutoff - 1].double() / (cutoff + count),
        (relevant * gain).sum(1) / ideal,
        (relevant * found / rank).sum(1) / count,
        tied,
    )
    return torch.stack(six, 1).masked_fill_((count == 0)[:, None], torch.nan)


def _curves(relevant):
    share = relevant / relevant.sum(1, keepdim=True).clamp_min(1).double()
    return torch.stack([relevant.sum(0).double(), share.sum(0)])
