"""The losses that the batch-wise one is compared with: other weights for the same pair errors, and a classifier.

Each is called as :class:`~bwot.losses.BatchwiseOTLoss` is. What it gains over :class:`ActiveLoss`, :class:`SoftmaxLoss`
and :class:`RowSoftmaxLoss`, which weigh hard pairs without transport, is what transport adds.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from bwot.batches import check_batches
from bwot.losses import cost_of
from bwot.pairs import Form, PairLoss
from bwot.sinkhorn import check_settings


class AllPairsLoss(PairLoss):
    """The plain mean of ``G`` over all pairs: the limit of the batch-wise loss for ``lam`` to 0.

    Args as in :class:`~bwot.losses.BatchwiseOTLoss`.
    """

    def weights(self, error, same, allowed):
        """The same weight for every allowed pair; arguments as in :meth:`~bwot.losses.BatchwiseOTLoss.weights`."""
        if allowed is None:
            return torch.full_like(error, 1 / error.numel(), requires_grad=False)
        return allowed.to(error.dtype) / allowed.sum()


class ActiveLoss(PairLoss):
    """Half the mean of ``G`` over the positives with an error plus half that over the negatives with an error.

    The usual reduction of pair losses, such as the contrastive loss of pytorch-metric-learning. A kind of pairs without
    any error has no weight, so that the weights sum to 1, a half or 0. Args as in :class:`~bwot.losses.BatchwiseOTLoss`.
    """

    def weights(self, error, same, allowed):
        """The same weight for every pair of a kind with an error; arguments as for the batch-wise loss."""
        active = error.detach() > 0
        if allowed is not None:
            active = active & allowed
        kinds = torch.stack([active & same, active & ~same]).to(error.dtype)
        return (kinds / kinds.sum((-2, -1), keepdim=True).clamp_min(1)).sum(0) / 2


class SoftmaxLoss(PairLoss):
    """Pairs weighted by the kernel of the batch-wise loss without transport: ``W = K / sum K``, ``K = exp(-lam C)``.

    Args as in :class:`~bwot.losses.BatchwiseOTLoss`; the weights are held constant in the backward pass.
    """

    def __init__(
        self,
        margin: float = 1.0,
        lam: float = 10.0,
        gamma: float = 10.0,
        form: Form = "sketches",
        positive_margin: float | None = None,
    ):
        super().__init__(margin, form, positive_margin)
        check_settings(lam, 1, gamma=gamma)
        self.lam, self.gamma = lam, gamma

    def weights(self, error, same, allowed):
        """Weights that sum to 1; arguments as for the batch-wise loss."""
        exponents = -self.lam * cost_of(error.detach(), self.gamma)
        if allowed is None:
            return self._normalised(exponents)
        shares = self._normalised(exponents.masked_fill(~allowed, -torch.inf))
        shares = torch.where(allowed, shares, 0.0)  # a row without pairs is NaN before
        return shares / shares.sum()

    def _normalised(self, exponents):
        return exponents.flatten().softmax(0).view_as(exponents)


class RowSoftmaxLoss(SoftmaxLoss):
    """As :class:`SoftmaxLoss`, each row of ``K`` normalised by itself: every sample of the first batch weighs the same.

    That is the plan with its rows met and its columns free, Sinkhorn's algorithm stopped before its first column.
    """

    def _normalised(self, exponents):
        return exponents.softmax(-1) / len(exponents)


class PairwiseLoss(PairLoss):
    """The mean of ``G`` over aligned pairs, row i of one batch with row i of the other: the classical pair-wise loss.

    A single batch is cut into halves (an odd last row is left out). With form ``shapes`` it is twice the contrastive loss
    of Hadsell, Chopra and LeCun (CVPR 2006), whose margin is a distance. Args as in :class:`~bwot.losses.BatchwiseOTLoss`.
    """

    def forward(self, embeddings, labels, indices_tuple=None, ref_emb=None, ref_labels=None):
        """The loss of aligned pairs only; arguments as for the other losses, ``indices_tuple`` must be None."""
        a, label_a, b, label_b = self._aligned(
            embeddings, labels, indices_tuple, ref_emb, ref_labels
        )
        wide = torch.promote_types(a.dtype, torch.float32)
        squared = (a.to(wide) - b.to(wide)).square().sum(1)
        return self._paid(self.pair_errors(squared, label_a == label_b)).mean()

    def plan(self, embeddings, labels, indices_tuple=None, ref_emb=None, ref_labels=None):
        """1 / n on the diagonal of (n, n), n the number of aligned pairs."""
        a, *_ = self._aligned(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        wide = torch.promote_types(a.dtype, torch.float32)
        return torch.eye(len(a), dtype=wide, device=a.device) / len(a)

    def _aligned(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        if indices_tuple is not None:
            raise ValueError(
                "the pair-wise loss pairs row i with row i: indices_tuple must be None."
            )
        others, other_labels = check_batches(embeddings, labels, ref_emb, ref_labels)
        if ref_emb is None:
            half = len(embeddings) // 2
            return (
                embeddings[:half],
                labels[:half],
                embeddings[half : 2 * half],
                labels[half : 2 * half],
            )
        if len(embeddings) != len(others):
            raise ValueError(
                f"aligned pairs need two batches of one size, not {len(embeddings)} and {len(others)}."
            )
        return embeddings, labels, others, other_labels


class ClassifierLoss(nn.Module):
    """Softmax cross-entropy of a linear classifier on the embeddings: no loss on pairs, the zero line of the tables.

    The classifier is trained with the network and plays no part in retrieval.

    Args:
        features: length of the embeddings.
        classes: number of classes; labels run from 0.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.classifier = nn.Linear(features, classes)

    def forward(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        indices_tuple: None = None,
        ref_emb: Float[Tensor, "m d"] | None = None,
        ref_labels: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean over the samples of both batches; ``indices_tuple`` must be None, for there are no pairs."""
        if indices_tuple is not None:
            raise ValueError("a classifier looks at no pairs: indices_tuple must be None.")
        others, other_labels = check_batches(embeddings, labels, ref_emb, ref_labels)
        if ref_emb is not None:
            embeddings, labels = torch.cat([embeddings, others]), torch.cat([labels, other_labels])
        return functional.cross_entropy(self.classifier(embeddings), labels)


class JointLoss(nn.Module):
    """A loss on pairs and a softmax cross-entropy beside it, as in the authors' 3D code.

    Args:
        pairs: the loss on pairs.
        classifier: of the embeddings.
        weight: of the cross-entropy.
    """

    def __init__(self, pairs: PairLoss, classifier: ClassifierLoss, weight: float):
        super().__init__()
        if not weight > 0:
            raise ValueError(f"weight must be positive, not {weight}.")
        self.pairs, self.classifier, self.weight = pairs, classifier, weight

    def forward(self, embeddings, labels, indices_tuple=None, ref_emb=None, ref_labels=None):
        """The sum of both; arguments as for the other losses, ``indices_tuple`` chooses among the pairs."""
        pairs = self.pairs(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        return pairs + self.weight * self.classifier(embeddings, labels, None, ref_emb, ref_labels)
