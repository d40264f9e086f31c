"""Sinkhorn's algorithm in plain torch: the reference for every faster path, and what other devices run.

Notation as in :mod:`bwot.sinkhorn`. Arguments of both domains: ``scaled`` ``(*batch, n, m)``, ``lam (C - min C)``; ``row`` ``(*batch, n)`` and
``column`` ``(*batch, m)``, marginals; ``mask`` ``(*batch, n, m)``, pairs that may carry mass. Results: the plan, the iterations and
the marginal error of each problem.
"""

import math

import torch
from torch import Tensor

Solved = tuple[Tensor, Tensor, Tensor]
KERNEL_RANGE = {torch.float32: 40.0, torch.float64: 300.0}
"""Largest ``lam * (max C - min C)`` at which no product ``u K v`` can leave the range of the type.

Scalings lie within ``exp(range)`` of each other, so ``exp(-2 range)`` must stay a normal number.
"""


def solve(
    cost: Tensor,
    lam: float,
    iterations: int,
    tol: float | None,
    row: Tensor | None = None,
    column: Tensor | None = None,
) -> Solved:
    """Plan, iterations and marginal error of each problem; on the CPU in the kernel domain where that is safe.

    Elsewhere a look at the cost would wait for the device: there it is the log domain, and a cost that is not finite
    gives NaN, in the plan and in the marginal error.

    Args:
        cost: ``(*batch, n, m)``, plus infinity at excluded pairs.
        lam: inverse of the entropic regularisation.
        iterations: how many, at most so many with ``tol``.
        tol: marginal error at which to stop.
        row: ``(*batch, n)`` marginal of the rows; uniform over those that have a pair if not given.
        column: ``(*batch, m)``, of the columns.
    """
    if tol is not None and cost.is_cuda and torch.cuda.is_current_stream_capturing():
        raise ValueError("tol must be None while a CUDA graph is captured: give iterations alone.")
    mask = cost < math.inf
    row = uniform(mask, -1, cost.dtype) if row is None else row
    column = uniform(mask, -2, cost.dtype) if column is None else column
    scaled = lam * (cost - cost.amin((-2, -1), keepdim=True))
    if cost.device.type == "cpu":
        span = scaled.max().item()  # infinite with a mask
        if span <= KERNEL_RANGE[cost.dtype]:
            return kernel_domain(scaled, row, column, iterations, tol)
    return log_domain(scaled, row, column, iterations, tol, mask)


def uniform(mask: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """The uniform marginal over the rows (``dim`` -1) or columns (-2) that have a pair in ``mask`` ``(*batch, n, m)``."""
    has_pair = mask.any(dim).to(dtype)
    return has_pair / has_pair.sum(-1, keepdim=True)


def kernel_domain(
    scaled: Tensor, row: Tensor, column: Tensor, iterations: int, tol: float | None
) -> Solved:
    """Iterations on ``K = exp(-scaled)`` itself: fast, and right where ``scaled`` is below ``KERNEL_RANGE``."""
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


def log_domain(
    scaled: Tensor,
    row: Tensor,
    column: Tensor,
    iterations: int,
    tol: float | None,
    mask: Tensor | None,
) -> Solved:
    """Iterations on the logarithms of ``u`` and ``v``: right at every ``lam``, and finite whatever the mask."""
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
    return plan, taken, torch.maximum(rows, columns)
