r"""Entropic optimal transport: a cost in, a transport plan out (Cuturi 2013).

Notation: ``C`` cost, ``lam`` inverse of the entropic regularisation, ``K = exp(-lam C)`` kernel, ``p`` and ``q`` the
marginals of rows and columns, ``T = diag(u) K diag(v)`` plan. One iteration updates ``v = q / K^T u`` and then
``u = p / K v``, so the rows of the plan are exact and the columns approximate; ``u`` starts at a constant every call.

Two ways to compute the same thing. While ``lam * (max C - min C)`` is small, ``K`` itself is used (fast). Beyond, or
with excluded pairs, the logarithms of ``u`` and ``v`` are (right at every ``lam``).
"""

import math
import warnings
from numbers import Integral
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

KERNEL_RANGE = {torch.float32: 40.0, torch.float64: 300.0}
"""Largest ``lam * (max C - min C)`` at which no product ``u K v`` can leave the range of the type.

Scalings lie within ``exp(range)`` of each other, so ``exp(-2 range)`` must stay a normal number.
"""


class Plan(NamedTuple):
    """What :func:`sinkhorn` returns."""

    plan: Float[Tensor, "*batch n m"]
    """Transport plan; sums to 1, zero at excluded pairs, without gradient."""
    iterations: Int[Tensor, "*batch"]
    """Iterations that each problem took."""
    marginal_error: Float[Tensor, "*batch"]
    """The larger of the rows' and the columns' sum of absolute differences from their marginals, measured on ``plan``."""


def sinkhorn(
    cost: Float[Tensor, "*batch n m"],
    lam: float = 10.0,
    iterations: int = 50,
    tol: float | None = None,
    *,
    mask: Bool[Tensor, "*batch n m"] | None = None,
    row_marginal: Float[Tensor, "*batch n"] | None = None,
    column_marginal: Float[Tensor, "*batch m"] | None = None,
) -> Plan:
    """Plan of ``min_T <T, cost> - h(T) / lam`` with given marginals (Cuturi 2013, Algorithm 1).

    Computed in float32 at least; half-precision costs are widened first.

    >>> sinkhorn(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), lam=2.0).plan
    tensor([[0.4404, 0.0596],
            [0.0596, 0.4404]])

    Args:
        cost: finite cost of moving row ``i`` to column ``j``; leading dimensions are separate problems. What stands at
            excluded pairs plays no part and need not be finite.
        lam: inverse of the entropic regularisation, in inverse units of ``cost``; large is sharp and slow to converge.
        iterations: how many to run, or at most how many where ``tol`` is given.
        tol: stop a problem as soon as its ``marginal_error`` is at most this; warns where that is not reached.
        mask: pairs that may carry mass. A row or column with none gets no mass, and the default marginals are uniform
            over the others.
        row_marginal: mass of each row, summing to 1; uniform if not given.
        column_marginal: the same for the columns.

    Raises:
        ValueError: for a cost that is empty or not finite, ``lam``, ``iterations`` or ``tol`` not positive, marginals
            that are no distributions or put mass where the mask allows none, and a mask without any pair.
    """
    check_settings(lam, iterations, tol)
    cost = _checked_cost(cost, mask)
    row = _marginal(row_marginal, cost, mask, -1, "row_marginal")
    column = _marginal(column_marginal, cost, mask, -2, "column_marginal")
    if mask is not None:
        _check_support(mask, row, column)
    scaled = lam * (cost - cost.amin((-2, -1), keepdim=True))
    span = scaled.max().item()
    if span == math.inf:
        raise ValueError(
            f"lam * (largest - smallest cost) must be a finite {cost.dtype}: lam {lam} is too large."
        )
    with torch.autocast(cost.device.type, enabled=False):
        if mask is None and span <= KERNEL_RANGE[cost.dtype]:
            result = _kernel_domain(scaled, row, column, iterations, tol)
        else:
            result = _log_domain(scaled, row, column, iterations, tol, mask)
    if tol is not None and bool((result.marginal_error > tol).any()):
        worst = result.marginal_error.max().item()
        warnings.warn(
            f"Sinkhorn stopped after {result.iterations.max().item()} iterations with marginal_error {worst:.2g}, above tol {tol:.2g}: "
            "raise iterations or lower lam.",
            stacklevel=2,
        )
    return result


def _kernel_domain(scaled, row, column, iterations, tol):
    kernel = (-scaled).exp()
    transposed = kernel.mT
    u = torch.ones_like(row)
    v = column / (transposed @ u[..., None])[..., 0]
    taken = torch.full(scaled.shape[:-2], iterations, device=scaled.device)
    open_ = None
    for i in range(1, iterations + 1):
        u = _update(u, row / (kernel @ v[..., None])[..., 0], open_)
        if i == iterations:
            break
        sums = (transposed @ u[..., None])[..., 0]
        if (
            tol is not None
        ):  # rows are exact after the update of u, so the columns' error is the marginal error
            open_, taken = _still_open((v * sums - column).abs().sum(-1), tol, taken, i)
            if not open_.any():
                break
        v = _update(v, column / sums, open_)
    return _measured(u[..., :, None] * kernel * v[..., None, :], row, column, taken)


def _log_domain(scaled, row, column, iterations, tol, mask):
    log_kernel = -scaled if mask is None else (-scaled).masked_fill(~mask, -math.inf)
    log_row, log_column = (
        row.log()[..., :, None],
        column.log()[..., None, :],
    )  # -inf where there is no mass
    f = torch.where(row > 0, 0.0, -math.inf).to(scaled)[..., :, None]
    g = _log_scaling(log_column, log_kernel + f, -2)
    taken = torch.full(scaled.shape[:-2], iterations, device=scaled.device)
    open_ = None
    for i in range(1, iterations + 1):
        f = _update(f, _log_scaling(log_row, log_kernel + g, -1), open_)
        if i == iterations:
            break
        update = _log_scaling(log_column, log_kernel + f, -2)
        if tol is not None:
            sums = torch.where(column > 0, column * (g - update)[..., 0, :].exp(), 0.0)
            open_, taken = _still_open((sums - column).abs().sum(-1), tol, taken, i)
            if not open_.any():
                break
        g = _update(g, update, open_)
    # the last update of f as a softmax: row sums are exact whatever the size of the exponents
    plan = row[..., :, None] * torch.where(row[..., :, None] > 0, log_kernel + g, 0.0).softmax(-1)
    return _measured(plan, row, column, taken)


def _log_scaling(log_marginal, exponents, dim):
    """``log_marginal - logsumexp(exponents)``, and -inf where there is no mass to place."""
    scaling = log_marginal - exponents.logsumexp(dim, keepdim=True)
    return torch.where(log_marginal == -math.inf, -math.inf, scaling)


def _update(old, new, open_):
    """``new`` for the problems that still iterate: a problem's plan does not depend on its neighbours in the batch."""
    if open_ is None:
        return new
    return torch.where(open_.reshape(open_.shape + (1,) * (new.ndim - open_.ndim)), new, old)


def _still_open(error, tol, taken, iteration):
    # measured on the plan, the error comes out larger by a few roundings
    open_ = ~(error + 4 * torch.finfo(error.dtype).eps <= tol) & (taken >= iteration)
    return open_, torch.where(open_, taken, taken.clamp(max=iteration))


def _measured(plan, row, column, taken):
    rows, columns = (plan.sum(-1) - row).abs().sum(-1), (plan.sum(-2) - column).abs().sum(-1)
    return Plan(plan, taken, torch.maximum(rows, columns))


def _checked_cost(cost, mask):
    """``cost`` in float32 at least, with the lowest allowed cost in place of the excluded ones."""
    if cost.ndim < 2 or 0 in cost.shape:
        raise ValueError(
            f"cost must have shape (*batch, n, m) with no empty dimension, not {tuple(cost.shape)}."
        )
    cost = cost.detach().to(torch.promote_types(cost.dtype, torch.float32))
    bad = ~cost.isfinite()
    if mask is not None:
        _check_mask(mask, cost)
        bad &= mask
    if bool(bad.any()):
        raise ValueError(
            f"cost must be finite; {int(bad.sum())} of {cost.numel()} entries are not. Exclude pairs by mask."
        )
    if mask is None:
        return cost
    return torch.where(mask, cost, cost.masked_fill(~mask, math.inf).amin((-2, -1), keepdim=True))


def check_settings(lam: float, iterations: int, tol: float | None = None, **others: float) -> None:
    """Refuse settings that are not positive and finite, by name; ``iterations`` must be an integer, ``tol`` may be None."""
    named = {"lam": lam, "iterations": iterations, **others} | ({} if tol is None else {"tol": tol})
    for name, value in named.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive and finite, not {value}.")
    if not isinstance(iterations, Integral):
        raise ValueError(f"iterations must be an integer, not {iterations}.")


def _marginal(given, cost, mask, dim, name):
    """The checked marginal of the rows (``dim`` -1: what is summed away) or columns (-2)."""
    shape = cost.shape[:-1] if dim == -1 else cost.shape[:-2] + cost.shape[-1:]
    if given is None:
        allowed = cost.new_ones(shape) if mask is None else mask.any(dim).to(cost.dtype)
        return allowed / allowed.sum(-1, keepdim=True)
    if given.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}, not {tuple(given.shape)}.")
    given = given.detach().to(cost)
    off = (given.sum(-1) - 1).abs()
    if not bool((given >= 0).all()) or not bool((off <= 1e-4).all()):
        raise ValueError(
            f"{name} must be non-negative and sum to 1: its smallest entry is {given.min().item():.6g}, "
            f"its sum is off by {off.max().item():.6g}."
        )
    return given


def _check_mask(mask, cost):
    if mask.dtype != torch.bool or mask.shape != cost.shape:
        raise ValueError(
            f"mask must be boolean of shape {tuple(cost.shape)}, not {mask.dtype} of {tuple(mask.shape)}."
        )
    if not bool(mask.any(-1).any(-1).all()):
        raise ValueError("mask must allow at least one pair; it excludes all of them.")


def _check_support(mask, row, column):
    """Mass that can go nowhere has no plan: rows (columns) with mass need an allowed column (row) with mass."""
    support = mask & (row > 0)[..., :, None] & (column > 0)[..., None, :]
    for name, marginal, reached in (
        ("row", row, support.any(-1)),
        ("column", column, support.any(-2)),
    ):
        if bool(((marginal > 0) & ~reached).any()):
            raise ValueError(
                f"{name}_marginal puts mass on a {name} whose pairs are all excluded or without mass."
            )


class ExactPlan(torch.autograd.Function):
    r"""``plan`` as a function of ``cost`` at convergence, by implicit differentiation.

    With ``W`` the gradient in the plan, the gradient in the cost is ``-lam T (W - alpha 1^T - 1 beta^T)``, where
    ``alpha`` and ``beta`` solve ``[diag(T 1), T; T^T, diag(T^T 1)] [alpha; beta] = [(T W) 1; (T W)^T 1]``, elementwise
    ``T W``: the marginals do not move. The system is singular (a constant can go from ``alpha`` to ``beta``; rows
    without mass), which its pseudo-inverse takes in its stride.
    """

    @staticmethod
    def forward(cost, plan, lam):
        return plan.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, plan, ctx.lam = inputs
        ctx.save_for_backward(plan)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_plan):
        (plan,) = ctx.saved_tensors
        n = plan.shape[-2]
        weighted = plan * grad_plan
        top = torch.cat([plan.sum(-1).diag_embed(), plan], -1)
        bottom = torch.cat([plan.mT, plan.sum(-2).diag_embed()], -1)
        system = torch.cat([top, bottom], -2).double()
        right = torch.cat([weighted.sum(-1), weighted.sum(-2)], -1).double()
        duals = (torch.linalg.pinv(system, hermitian=True) @ right[..., None])[..., 0].to(
            plan.dtype
        )
        alpha, beta = duals[..., :n, None], duals[..., None, n:]
        return -ctx.lam * plan * (grad_plan - alpha - beta), None, None
