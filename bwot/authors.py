"""What the authors' code does and nobody else should: an image loss with a memory, a shape loss with its sign reversed."""

import torch

from bwot.losses import BatchwiseOTLoss, cost_of
from bwot.pairs import PairLoss

DIVISION = 1e-10  # added below each division (authors' inference.py, sinkhornIter)


class AuthorsImageLoss(BatchwiseOTLoss):
    """The loss of the authors' 2D code: Sinkhorn's ``u`` is not reset but goes on from the batch before.

    30 iterations ``v = p / (K^T u + eps)``, ``u = p / (K v + eps)`` on the kernel itself; the gradient passes through
    ``K`` with ``u`` and ``v`` constant; error squared in the loss (authors: inference.py, ``sinkhornIter`` and
    ``wassersteinContrastiveLoss``). ``u`` is a buffer, so a checkpoint keeps it; it moves in training mode only.

    Args:
        samples: in each of the two batches; always the same.
        margin: 5 as published. ``lam``: .01 as published, ``gamma``: 10. Others as in :class:`~bwot.losses.BatchwiseOTLoss`.
    """

    def __init__(self, samples: int, margin: float, lam: float, gamma: float, iterations: int):
        super().__init__(margin, lam, gamma, iterations, form="images", plan_gradient="kernel")
        self.register_buffer("u", torch.ones(samples))

    def weights(self, error, same, allowed):
        """``diag(u) K diag(v)``; arguments as for the batch-wise loss, ``allowed`` must be None."""
        if allowed is not None or error.shape != (len(self.u), len(self.u)):
            raise ValueError(
                f"the authors' loss takes two batches of {len(self.u)} samples and all their pairs, "
                f"not errors of shape {tuple(error.shape)} or a choice of pairs."
            )
        kernel = (-self.lam * cost_of(error, self.gamma)).exp()
        constant, u, marginal = kernel.detach(), self.u.to(kernel), 1 / len(self.u)
        for _ in range(self.iterations):
            v = marginal / (constant.T @ u + DIVISION)
            u = marginal / (constant @ v + DIVISION)
        if self.training:
            self.u.copy_(u)
        return u[:, None] * kernel * v


class AuthorsShapeLoss(PairLoss):
    """The loss of the authors' 3D code: the kernel is ``exp(+lam C)``, so that an *easy* pair weighs more.

    The code passes ``reg = -1 / lam`` to POT, whose kernel is ``exp(-C / reg)``. The batch meets itself and its self-pairs
    take part, with an error of 0. Iterations begin at ``u = 1 / n``; the plan is held constant in the backward pass
    (authors: mvcnn_optimal_transport.py, ``optimal_transport``). POT's stop at an error of 1e-9 is left out: all iterations
    are taken.

    Args:
        margin: 8 as published for ModelNet10, ``positive_margin``: 6, ``lam``: .01, ``gamma``: 10, ``iterations``: 50.
    """

    def __init__(
        self, margin: float, positive_margin: float, lam: float, gamma: float, iterations: int
    ):
        super().__init__(margin, "shapes", positive_margin)
        self.lam, self.gamma, self.iterations = lam, gamma, iterations

    def weights(self, error, same, allowed):
        """``diag(u) exp(+lam C) diag(v)`` over all pairs, ``allowed`` or not; arguments as for the batch-wise loss."""
        kernel = (self.lam * cost_of(error.detach(), self.gamma)).exp()
        n, m = kernel.shape
        u = kernel.new_full((n,), 1 / n)
        for _ in range(self.iterations):
            v = 1 / (m * (kernel.T @ u))
            u = 1 / (n * (kernel @ v))
        return u[:, None] * kernel * v
