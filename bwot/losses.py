r"""The batch-wise optimal-transport loss on batches of embeddings. Notation and what every loss on pairs shares: :mod:`bwot.pairs`."""

import warnings
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from bwot.batches import NonFiniteError as NonFiniteError
from bwot.batches import allowed_pairs, check_shapes, looks, nothing_mined
from bwot.implicit import CONVERGED, ExactPlan, tell_of_residual
from bwot.pairs import Form, PairLoss
from bwot.pairs import squared_distances as squared_distances
from bwot.ranks import gather_batches
from bwot.sinkhorn import check_settings, compiled_for, sinkhorn, tell_of_tol

PlanGradient = Literal["constant", "kernel", "exact"]
_COMPILED = ("weights", "pair_errors", "_paid")
"""What the compiled loss stands for: a subclass with one of its own takes the plain path."""


class BatchwiseOTLoss(PairLoss):
    r"""Batch-wise optimal-transport loss (Xu, Sun and Liu, CVPR 2019, Fig. 2; authors' three codes).

    .. math:: L = \sum_{ij} T_{ij} G_{ij}, \qquad T = \mathrm{Sinkhorn}(\exp(-\lambda C)), \qquad
        C_{ij} = \exp(-\gamma G_{ij})

    A pair with a large error costs little to transport, so the plan puts its mass on hard pairs. Defaults are those of
    the authors' SHREC run; their other published settings stand in the method chapter.

    >>> loss = BatchwiseOTLoss(margin=1.0)
    >>> images, others = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.5], [2.1]])
    >>> labels, their_labels = torch.tensor([0, 1]), torch.tensor([0, 0])
    >>> loss.plan(images, labels, ref_emb=others, ref_labels=their_labels)
    tensor([[0.4935, 0.0065],
            [0.0039, 0.4961]])

    The negative pair at 2.0 and 2.1 is hard and takes all of row 1; by the marginals row 0 is left with its first pair,
    though its second one is harder: that is what sets transport apart from weighting each pair by itself.

    Args:
        margin: from where on a negative pair has no error: a squared distance for the forms ``sketches`` and
            ``images``, a distance for ``shapes``.
        lam: inverse of the entropic regularisation; dimensionless, as the cost lies in (0, 1].
        gamma: steepness of the cost, per unit of pair error.
        iterations: of Sinkhorn's algorithm; at most so many with ``tol``.
        tol: stop at this ``marginal_error``.
        form: pair errors ``sketches``: d² and max(0, margin - d²); ``images``: the same, squared in the loss (not in
            the cost); ``shapes``: max(0, d - positive_margin)² and max(0, margin - d)².
        positive_margin: distance up to which a positive pair has no error; form ``shapes`` only, 0 if not given.
        plan_gradient: ``constant``: the plan is held fixed in the backward pass. ``kernel``: u and v are, the kernel
            is differentiated, as in the authors' TensorFlow codes. ``exact``: the plan is differentiated, for study;
            true where the iterations have converged (:data:`bwot.implicit.CONVERGED`), and warns once where not.
            It has no second derivative.
        balanced: two plans, one over the positive pairs and one over the negative pairs, each carrying half of the
            mass, so that the positives' share does not depend on how many the batch has (not in the paper). Rows and
            columns without such a pair get no mass. Where the classes of the two batches differ in number, no plan over
            the positives has uniform columns: its rows are exact, its columns follow. A batch that has pairs of one
            kind only has one plan. Not with ``exact``, whose marginals have to be met.
        gather: under torch.distributed (``torchrun``), one plan over the samples of all ranks, whose numbers may differ.
            Every rank calls ``forward`` and ``plan`` equally often, gets the same loss and the whole plan, and holds it
            in memory. Gradients of the embeddings are ``world size`` times those of one process on the whole batch;
            DistributedDataParallel's average makes the network's equal to them. See :mod:`bwot.ranks` for that factor and
            for the timeout that ends a wait for a rank. No ``indices_tuple``. Changes nothing in a single process.

    Raises:
        ValueError: for settings out of range, at construction.
    """

    def __init__(
        self,
        margin: float = 1.0,
        lam: float = 10.0,
        gamma: float = 10.0,
        iterations: int = 50,
        tol: float | None = None,
        form: Form = "sketches",
        positive_margin: float | None = None,
        plan_gradient: PlanGradient = "constant",
        balanced: bool = False,
        gather: bool = False,
    ):
        super().__init__(margin, form, positive_margin)
        check_settings(lam, iterations, tol, gamma=gamma)
        if plan_gradient not in ("constant", "kernel", "exact"):
            raise ValueError(
                f"plan_gradient must be 'constant', 'kernel' or 'exact', not {plan_gradient!r}."
            )
        if balanced and plan_gradient == "exact":
            raise ValueError(
                "balanced plans need not meet their marginals: plan_gradient 'exact' is not for them."
            )
        self.lam, self.gamma, self.iterations, self.tol = lam, gamma, iterations, tol
        self.plan_gradient, self.balanced, self.gather = plan_gradient, balanced, gather
        self._warned = self._warned_of_gradient = self._warned_of_tol = False

    def forward(self, embeddings, labels, indices_tuple=None, ref_emb=None, ref_labels=None):
        """The loss; arguments and errors as in :meth:`bwot.pairs.PairLoss.forward`.

        On a CPU with numba it is compiled, with the same value and gradient as the plain path.
        """
        batches = (embeddings, labels, indices_tuple, ref_emb, ref_labels)
        own = all(getattr(type(self), name) is getattr(BatchwiseOTLoss, name) for name in _COMPILED)
        if own and compiled_for(embeddings) and not nothing_mined(indices_tuple):
            value = self._compiled(*self._whole(*batches), indices_tuple)
            if value is not None:
                return value
        return super().forward(*batches)

    def _compiled(self, embeddings, labels, ref_emb, ref_labels, indices_tuple):
        """The compiled loss, or None for what the plain path has an error for."""
        from bwot.cpu.loss import Terms, transport_loss

        check_shapes(embeddings, labels, ref_emb, ref_labels)
        classes = [labels] if ref_labels is None else [labels, ref_labels]
        alone = ref_emb is None and len(labels) == 1
        if alone or any(each.is_floating_point() for each in classes):
            return None
        allowed = None
        if indices_tuple is not None:
            columns = len(classes[-1])
            among = torch.ones(len(labels), columns, dtype=torch.bool)
            allowed = allowed_pairs(
                indices_tuple, among.fill_diagonal_(False) if ref_emb is None else among
            )
        terms = Terms(
            self.margin, self.lam, self.gamma, self.iterations, self.tol, self.form, self.positive_margin or 0.0,
            self.plan_gradient, self.balanced,
        )  # fmt: skip
        solved = transport_loss(embeddings, labels, ref_emb, ref_labels, allowed, terms)
        if solved is None:
            return None
        if self.tol is not None and solved.marginal_error > self.tol and not self._warned_of_tol:
            self._warned_of_tol = True
            tell_of_tol(solved.marginal_error, solved.iterations, self.tol)
        if not self.balanced and (allowed is not None or ref_emb is None):
            self._warn_if_infeasible(solved.marginal_error)
        if self.plan_gradient == "exact" and solved.value.requires_grad:
            self._warn_if_not_converged(solved.marginal_error, solved.value.dtype)
            if solved.residual > 0:
                tell_of_residual(solved.residual, solved.value.dtype)
        return solved.value

    def _pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        whole = self._whole(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        return super()._pairs(*whole[:2], indices_tuple, *whole[2:])

    def _whole(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        """The batches of all ranks where they are gathered."""
        batches = embeddings, labels, ref_emb, ref_labels
        if self.gather:
            if indices_tuple is not None:
                raise ValueError(
                    "indices_tuple must be None with gather: its indices count one rank's rows, the plan spans all ranks."
                )
            # values are looked at once gathered, so that NaN on one rank ends all of them alike
            check_shapes(*batches)
            batches = gather_batches(*batches)
        return batches

    def weights(self, error, same, allowed):
        """``T`` (n, m) for pair errors ``G`` (n, m); ``allowed`` (n, m) or None says which pairs take part."""
        cost = cost_of(error, self.gamma)
        plan = (
            self._balanced_plan(cost, same, allowed) if self.balanced else self._plan(cost, allowed)
        )
        if self.plan_gradient == "constant" or not torch.is_grad_enabled():
            return plan
        if self.plan_gradient == "kernel":
            # the value of the plan, the derivative of u exp(-lam C) v with u and v constant
            return plan * (1 - self.lam * (cost - cost.detach()))
        return ExactPlan.apply(cost, plan, self.lam)

    def _plan(self, cost, allowed):
        result = sinkhorn(cost, self.lam, self.iterations, self.tol, mask=allowed)
        if allowed is not None and looks(allowed):
            self._warn_if_infeasible(result.marginal_error.item())
        if self.plan_gradient == "exact" and cost.requires_grad and looks(cost):
            self._warn_if_not_converged(result.marginal_error.item(), cost.dtype)
        return result.plan

    def _balanced_plan(self, cost, same, allowed):
        groups = torch.stack([same, ~same])
        if allowed is not None:
            groups = groups & allowed
        some = groups.any(-1).any(-1)[
            :, None, None
        ]  # a kind without any pair has no part in the mean
        costs = cost.expand(2, *cost.shape)
        plans = sinkhorn(costs, self.lam, self.iterations, self.tol, mask=groups | ~some).plan
        return (plans * some).sum(0) / some.sum()

    def _warn_if_infeasible(self, marginal_error):
        if not self._warned and marginal_error > 0.1:
            self._warned = True
            warnings.warn(
                f"the allowed pairs leave a marginal_error of {marginal_error:.2g}: no plan over them has uniform "
                "marginals, or it needs more iterations.",
                stacklevel=4,
            )

    def _warn_if_not_converged(self, marginal_error, dtype):
        limit = CONVERGED[dtype]
        if not self._warned_of_gradient and marginal_error > limit:
            self._warned_of_gradient = True
            warnings.warn(
                f"plan_gradient 'exact' is true at convergence, but {self.iterations} iterations at lam {self.lam:g} leave a "
                f"marginal_error of {marginal_error:.2g}, above {limit:.0g}: raise iterations or lower lam.",
                stacklevel=4,
            )


def cost_of(error: Float[Tensor, "n m"], gamma: float) -> Float[Tensor, "n m"]:
    """Transport cost ``exp(-gamma G)`` of pair errors, in float32 at least: a hard pair is cheap (Fig. 2)."""
    return (-gamma * error.to(torch.promote_types(error.dtype, torch.float32))).exp()
