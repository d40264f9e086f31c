"""Losses of other papers that the batch-wise one is compared with on sketches and shapes, on the union of both.

Those of pytorch-metric-learning are taken as they are. Its lifted structure loss takes a few hundred times as long as a
step, so there is one here, and the tests hold it against the library's.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bwot.batches import check_batches
from bwot.pairs import TINY, squared_distances

NAMES = ("lifted", "npair", "multisimilarity", "supcon")
ANGULAR = ("npair", "multisimilarity", "supcon")
"""Those that look at products of embeddings, and so at their angles, and not at distances."""
BASE, TEMPERATURE, REGULARISATION = 0.5, 0.1, 0.002
"""Of multi-similarity, SupCon and N-pair at margin 1, the library's defaults and that of TensorFlow's N-pair loss."""


class LiftedStructureLoss(nn.Module):
    r"""Lifted structured embedding (Oh Song, Xiang, Jegelka and Savarese, CVPR 2016), of all samples with each other.

    .. math:: L = \frac{1}{2 |P|} \sum_{(i, j) \in P} \max\Big(0,\, d_{ij} + \log \Big[\sum_{k \in N_i} e^{m - d_{ik}}
        + \sum_{k \in N_j} e^{m - d_{jk}}\Big]\Big)^2

    ``P`` are the ordered pairs of one class, ``N_i`` the samples of other classes than that of i, ``d`` Euclidean
    distances of embeddings as they are. Without a pair of one class, or without one of two, the loss is 0.

    Args:
        margin: m, a distance.
    """

    def __init__(self, margin: float = 1.0):
        super().__init__()
        self.margin = _positive(margin)

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """The loss of a batch with itself."""
        same = labels[:, None] == labels
        positives = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        distances = squared_distances(embeddings, embeddings).clamp_min(TINY).sqrt()
        if not bool(positives.any()) or bool(same.all()):
            return 0 * distances.sum()
        negatives = (self.margin - distances).masked_fill(same, -torch.inf).logsumexp(1)
        first, second = positives.nonzero(as_tuple=True)
        hardness = torch.logaddexp(negatives[first], negatives[second])
        return (hardness + distances[first, second]).relu().square().mean() / 2


class UnionLoss(nn.Module):
    """A loss of one batch, called with two: of the union of both.

    Args:
        loss: of embeddings and labels, and of pairs of indices with ``across``.
        across: give the loss only pairs of a sample of the first batch with one of the second, of one class.
        margin: of the loss or what stands for it, to be told of.
    """

    def __init__(self, loss: nn.Module, margin: float, across: bool = False):
        super().__init__()
        self.loss, self.margin, self.across = loss, margin, across

    def forward(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        indices_tuple: None = None,
        ref_emb: Float[Tensor, "m d"] | None = None,
        ref_labels: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss of the union.

        Args:
            embeddings: of the first batch.
            labels: its classes.
            indices_tuple: must be None.
            ref_emb: of the second batch.
            ref_labels: its classes.

        Raises:
            ValueError: where the second batch is missing, shapes do not fit, or ``indices_tuple`` is given.
            NonFiniteError: for embeddings that are NaN or infinite.
        """
        if indices_tuple is not None or ref_emb is None:
            raise ValueError("a loss of a union needs ref_emb, the second batch, and no indices_tuple.")  # fmt: skip
        check_batches(embeddings, labels, ref_emb, ref_labels)
        union = torch.cat([embeddings, ref_emb]), torch.cat([labels, ref_labels])
        if not self.across:
            return self.loss(*union)
        first, second = (labels[:, None] == ref_labels).nonzero(as_tuple=True)
        nothing = first[:0]
        return self.loss(*union, (first, second + len(labels), nothing, nothing))


def baseline(name: str, margin: float = 1.0) -> UnionLoss:
    """A loss of :data:`NAMES`, on the union of sketches and shapes.

    Args:
        name: ``lifted``; ``npair`` (Sohn, NIPS 2016): a class has one pair of a sketch and a shape; ``multisimilarity``
            (Wang et al., CVPR 2019); ``supcon`` (Khosla et al., NeurIPS 2020).
        margin: of ``lifted`` a distance. What stands for it in the others, times the default of each: the base of
            ``multisimilarity``, a cosine; the temperature of ``supcon``; the weight of the mean squared length of the
            embeddings in ``npair``.

    Raises:
        ValueError: for another name, or a margin that is not positive.
    """
    _positive(margin)
    if name not in NAMES:
        raise ValueError(f"a baseline is one of {', '.join(NAMES)}, not {name!r}.")
    if name == "lifted":
        return UnionLoss(LiftedStructureLoss(margin), margin)
    from pytorch_metric_learning import distances, losses, regularizers

    if name == "npair":  # the library's default would bring the embeddings to length 1 first
        loss = losses.NPairsLoss(
            distance=distances.DotProductSimilarity(normalize_embeddings=False),
            embedding_regularizer=regularizers.LpRegularizer(p=2, power=2),
            embedding_reg_weight=REGULARISATION * margin,
        )
        return UnionLoss(loss, margin, across=True)
    if name == "supcon":
        return UnionLoss(losses.SupConLoss(temperature=TEMPERATURE * margin), margin)
    return UnionLoss(losses.MultiSimilarityLoss(base=BASE * margin), margin)


def _positive(margin):
    if not 0 < margin < float("inf"):
        raise ValueError(f"margin must be positive and finite, not {margin}.")
    return margin
