"""Torch tensors in, compiled functions called, torch tensors out."""

import numpy as np
import torch
from torch import Tensor

from bwot.cpu import scaling
from bwot.cpu.team import pool, size_of

LIMITS = {
    np.dtype(np.float32): np.array([40, 1e12, np.finfo(np.float32).eps], np.float32),
    np.dtype(np.float64): np.array([300, 1e100, np.finfo(np.float64).eps], np.float64),
}
"""Largest ``lam (max C - min C)`` to begin with ``exp(-lam C)``, range of the scalings, smallest step of the type."""


def solve(
    cost: Tensor,
    lam: float,
    iterations: int,
    tol: float | None,
    masked: bool,
    row: Tensor | None = None,
    column: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Plans ``(*batch, n, m)``, iterations and marginal errors ``(*batch)`` of all problems, and the worst status.

    Args:
        cost: ``(*batch, n, m)`` in float32 or float64, plus infinity at excluded pairs.
        lam: inverse of the entropic regularisation.
        iterations: how many, at most so many with ``tol``.
        tol: marginal error at which to stop.
        masked: may there be excluded pairs?
        row: ``(*batch, n)`` marginal of the rows; uniform over those that have a pair if not given.
        column: ``(*batch, m)``, of the columns.
    """
    costs = cost.contiguous().numpy()
    n, m = costs.shape[-2:]
    kind, plans = costs.dtype, np.empty_like(costs)
    given = tuple(np.empty((0, size), kind) if each is None else each.contiguous().numpy().reshape(-1, size)
                  for each, size in ((row, n), (column, m)))  # fmt: skip
    uniform = np.full(n, 1 / n, kind), np.full(m, 1 / m, kind)
    each, out = costs.reshape(-1, n, m), plans.reshape(-1, n, m)
    counted = masked and (row is None or column is None)
    limits, found = LIMITS[kind], np.empty((len(each), 4))
    fixed, size = iterations if tol is None else 0, size_of(n, m)
    if size == 1:
        scaling.solve(each, kind.type(lam), fixed, masked, counted, given, uniform, limits,
                      out, np.empty((2, n), kind), np.empty((3, m), kind), found)  # fmt: skip
    else:
        from bwot.cpu import shared  # compiled where it is needed

        for k, one in enumerate(each):
            p, q = _marginals(k, one, counted, given, uniform)
            found[k] = shared.solve(
                one, kind.type(lam), fixed, masked, p, q, limits, out[k], pool(), size
            )
    taken, status = np.full(len(each), iterations), found[:, 2]
    for k in (status == scaling.OTHERWISE).nonzero()[0]:
        p, q = _marginals(k, each[k], counted, given, uniform)
        taken[k], found[k, 3] = _in_general(each[k], lam, *found[k, :2], iterations, tol, p, q, out[k])  # fmt: skip
        # beyond what the potentials' type resolves: rather an error than a plan of NaN
        status[k] = scaling.TOO_LARGE if np.isnan(found[k, 3]) else scaling.FINE
    of_batch = [torch.from_numpy(found.reshape(costs.shape[:-2])) for found in (taken, found[:, 3].astype(kind))]  # fmt: skip
    return torch.from_numpy(plans), *of_batch, int(status.max())


def _marginals(k, cost, counted, given, uniform):
    """Of problem ``k``, the uniform ones counted anew where it has excluded pairs."""
    if counted:
        scaling.count(cost, *uniform)
    return (one[k] if len(one) else same for one, same in zip(given, uniform, strict=True))


def _in_general(cost, lam, low, high, iterations, tol, p, q, plan):
    """Iterations and marginal error of one problem at any ``lam`` or to a tolerance."""
    # compiled for seconds where it was not before, so only where it is needed
    from bwot.cpu import general
    from bwot.cpu.anderson import DEPTH

    kind = cost.dtype.type
    memory = np.zeros((2 * DEPTH + 3, len(q)) if tol else (0, 0))
    return general.solve(cost, kind(lam), kind(low), kind(high), iterations, tol or 0.0, p, q,
                         LIMITS[cost.dtype], plan, memory, np.zeros(5))  # fmt: skip
