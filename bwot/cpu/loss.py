"""The batch-wise loss of two batches on a CPU, with its gradients, in four compiled steps and three matrix products."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bwot.cpu import scaling, solver
from bwot.cpu.pairs import ALL, NEGATIVE, PLAIN, POSITIVE, SHAPES, costs, slopes


class Terms(NamedTuple):
    """Settings of the loss, as in :class:`bwot.losses.BatchwiseOTLoss`."""

    margin: float
    lam: float
    gamma: float
    iterations: int
    tol: float | None
    form: str
    positive_margin: float
    kernel_gradient: bool
    balanced: bool


class Solved(NamedTuple):
    """The loss with its gradient, and what became of Sinkhorn's algorithm."""

    value: Tensor
    marginal_error: float
    iterations: int


def transport_loss(
    embeddings: Tensor,
    labels: Tensor,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
    allowed: Tensor | None,
    terms: Terms,
) -> Solved | None:
    """The loss of two checked batches; None where the distances are not finite or a plan cannot be had, for others to say why.

    ``ref_emb`` (m, d) and ``ref_labels`` are None for one batch against itself; ``allowed`` (n, m) are the pairs that take part.
    """
    others = embeddings if ref_emb is None else ref_emb
    wide = torch.promote_types(torch.promote_types(embeddings.dtype, others.dtype), torch.float32)
    with torch.autocast("cpu", enabled=False):
        pairs = _Pairs(
            labels.long().contiguous().numpy(),
            (labels if ref_labels is None else ref_labels).long().contiguous().numpy(),
            ref_emb is None,
            np.zeros((0, 0), bool) if allowed is None else allowed.numpy(),
        )
        told = []
        value = _Loss.apply(embeddings.to(wide), others.to(wide), pairs, terms, told)
    return Solved(value, *told) if told else None


class _Pairs(NamedTuple):
    labels: np.ndarray
    others: np.ndarray
    single: bool
    allowed: np.ndarray


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, pairs, terms, told):
        centre = a.mean(0)  # distances do not depend on it, and little is lost to rounding
        a, b = a - centre, b - centre
        squared = torch.addmm(a.square().sum(1)[:, None] + b.square().sum(1), a, b.T, alpha=-2)
        numbers = squared.numpy()
        kind = numbers.dtype.type
        form = SHAPES if terms.form == "shapes" else PLAIN
        case = (form, kind(terms.margin), kind(terms.positive_margin))
        weights, error, taken = _weights(numbers, pairs, case, terms)
        if weights is None:
            return squared.new_full((), torch.nan)
        told += [error, taken]
        steepness = kind(terms.lam * terms.gamma if terms.kernel_gradient else 0)
        rows, columns = (np.empty(size, numbers.dtype) for size in numbers.shape)
        loss = slopes(numbers, pairs.labels, pairs.others, form, terms.form == "images", *case[1:], steepness,
                      kind(terms.gamma), weights, rows, columns)  # fmt: skip
        ctx.save_for_backward(a, b, *map(torch.from_numpy, (weights, rows, columns)))
        return squared.new_tensor(loss)

    @staticmethod
    def backward(ctx, grad):
        if (
            torch.is_grad_enabled()
        ):  # create_graph: a gradient without its own graph would be lost in silence
            raise NotImplementedError(
                "the batch-wise loss compiled for the CPU has no second derivative."
            )
        a, b, slope, rows, columns = ctx.saved_tensors
        grad_a = grad_b = None
        twice = 2 * grad
        with torch.autocast("cpu", enabled=False):
            if ctx.needs_input_grad[0]:
                grad_a = torch.addmm(rows[:, None] * a, slope, b, alpha=-1).mul_(twice)
            if ctx.needs_input_grad[1]:
                grad_b = torch.addmm(columns[:, None] * b, slope.T, a, alpha=-1).mul_(twice)
        return grad_a, grad_b, None, None, None


def _weights(squared, pairs, case, terms):
    """The plan (n, m), or the mean of the plans over positives and negatives; the larger marginal error; iterations."""
    total, error, taken, parts = None, 0.0, 0, 0
    for part in (POSITIVE, NEGATIVE) if terms.balanced else (ALL,):
        cost = np.empty_like(squared)
        finite, some = costs(squared, *pairs, part, *case, squared.dtype.type(terms.gamma), cost)
        if not finite:
            return None, error, taken
        if not some:
            continue
        masked = terms.balanced or pairs.single or pairs.allowed.size > 0
        plan, steps, errors, status = solver.solve(
            torch.from_numpy(cost), terms.lam, terms.iterations, terms.tol, masked
        )
        if status != scaling.FINE:
            return None, error, taken
        total = plan.numpy() if total is None else total + plan.numpy()
        error, taken, parts = max(error, errors[0]), max(taken, steps[0]), parts + 1
    return (total / parts if parts > 1 else total), error, taken
