"""What every loss on pairs of two batches shares: their squared distances, and the error of each pair.

Notation (book, "Method"): ``d`` Euclidean distance of a pair, ``Y = 1`` for two samples of one class, ``G`` error of a
pair (0 when it is where it should be), ``W`` weight of a pair. Every loss on pairs is ``sum_ij W_ij G_ij``; what differs
is ``W``: in :mod:`bwot.losses` the transport plan, in :mod:`bwot.controls` other weights.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bwot.batches import NonFiniteError, allowed_pairs, check_batches, looks, nothing_mined

Form = Literal["sketches", "images", "shapes"]
TINY = 1e-12  # inside the square root of a distance, where its derivative would be infinite


class PairLoss(nn.Module):
    """Errors and weights of all pairs; a subclass says what the weights are.

    Args as in :class:`bwot.losses.BatchwiseOTLoss`.
    """

    def __init__(
        self, margin: float = 1.0, form: Form = "sketches", positive_margin: float | None = None
    ):
        super().__init__()
        if not 0 < margin < float("inf"):
            raise ValueError(f"margin must be positive and finite, not {margin}.")
        if form not in ("sketches", "images", "shapes"):
            raise ValueError(f"form must be 'sketches', 'images' or 'shapes', not {form!r}.")
        if positive_margin is not None and (form != "shapes" or not 0 <= positive_margin < margin):
            raise ValueError(
                "positive_margin belongs to form 'shapes' and lies in [0, margin), "
                f"not {positive_margin} with form {form!r} and margin {margin}."
            )
        self.margin, self.form, self.positive_margin = margin, form, positive_margin

    def forward(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Float[Tensor, "m d"] | None = None,
        ref_labels: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss of a batch against another one, or against itself without self-pairs.

        Args:
            embeddings: one row a sample.
            labels: class of each row.
            indices_tuple: four index tensors ``(a1, p, a2, n)`` as pytorch-metric-learning's miners give them: only the
                pairs ``(a1, p)`` and ``(a2, n)`` take part. Where a miner found none, all four empty, the loss is 0 and
                so is its gradient. Triplets are refused.
            ref_emb: the other batch; the same batch if not given.
            ref_labels: its classes.

        Raises:
            ValueError: for shapes or lengths that do not fit, an empty batch, one sample against itself, triplets.
            NonFiniteError: for embeddings that are NaN or infinite, or whose squares are (a ``ValueError`` too).
        """
        error, same, allowed = self._pairs(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        if nothing_mined(indices_tuple):
            return 0 * error.sum()
        return (self.weights(error, same, allowed) * self._paid(error)).sum()

    def plan(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Float[Tensor, "m d"] | None = None,
        ref_labels: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "rows columns"]:
        """The weights (n, m) of the pairs in :meth:`forward`, without gradient."""
        with torch.no_grad():
            pairs = self._pairs(embeddings, labels, indices_tuple, ref_emb, ref_labels)
            return (
                torch.zeros_like(pairs[0]) if nothing_mined(indices_tuple) else self.weights(*pairs)
            )

    def pair_errors(
        self, squared_distance: Float[Tensor, "*pairs"], same: Bool[Tensor, "*pairs"]
    ) -> Float[Tensor, "*pairs"]:
        """``G``: how far each pair is from where it should be (authors: ``calculateGroundMetricContrastive``).

        Raises:
            NonFiniteError: for distances that are NaN or infinite: embeddings so large that their squares overflow.
        """
        if looks(squared_distance) and not bool(squared_distance.isfinite().all()):
            raise NonFiniteError(
                f"squared distances must be finite, but the embeddings are too large for {squared_distance.dtype}: "
                "training has diverged."
            )
        if self.form == "shapes":  # authors' 3D code: optimal_transport, with the true distance
            distance = squared_distance.clamp_min(TINY).sqrt()
            positive = (distance - (self.positive_margin or 0.0)).relu().square()
            negative = (self.margin - distance).relu().square()
        else:
            positive, negative = squared_distance, (self.margin - squared_distance).relu()
        return torch.where(same, positive, negative)

    def _pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        others, other_labels = check_batches(embeddings, labels, ref_emb, ref_labels)
        same = labels[:, None] == other_labels[None, :]
        allowed = None
        if ref_emb is None:
            allowed = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        if indices_tuple is not None:
            allowed = allowed_pairs(
                indices_tuple, torch.ones_like(same) if allowed is None else allowed
            )
        return self.pair_errors(squared_distances(embeddings, others), same), same, allowed

    def _paid(self, error):
        # the authors' 2D code squares the error once more
        return error.square() if self.form == "images" else error

    def extra_repr(self) -> str:
        return ", ".join(
            f"{k}={v}" for k, v in vars(self).items() if not k.startswith("_") and k != "training"
        )


def squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Squared Euclidean distances, at least 0; computed in float32 at least, about a common centre.

    The centre is a constant of the backward pass (distances do not depend on it): it keeps the cancellation in
    ``|a|² - 2ab + |b|²`` small where the embeddings lie far from the origin.
    """
    wide = torch.promote_types(a.dtype, torch.float32)
    centre = a.detach().to(wide).mean(0)
    a, b = a.to(wide) - centre, b.to(wide) - centre
    with torch.autocast(a.device.type, enabled=False):
        squared = torch.addmm(a.square().sum(1)[:, None] + b.square().sum(1), a, b.T, alpha=-2)
    return squared.clamp_min(0)
