"""Torch tensors in, compiled functions called, torch tensors out."""

import math

import numpy as np
import torch
from torch import Tensor

from bwot.cpu import scaling

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
    given = [None if each is None else each.contiguous().numpy().reshape(-1, size)
             for each, size in ((row, n), (column, m))]  # fmt: skip
    memory = np.empty((2, n), kind), np.empty((3, m), kind)
    uniform = np.full(n, 1 / n, kind), np.full(m, 1 / m, kind)
    settings, solved = (kind.type(lam), iterations, tol, masked), []
    for k, (each, plan) in enumerate(zip(costs.reshape(-1, n, m), plans.reshape(-1, n, m), strict=True)):  # fmt: skip
        if masked and (row is None or column is None):
            scaling.uniform(each, *uniform)
        p, q = (u if of is None else of[k] for u, of in zip(uniform, given, strict=True))
        solved.append(_solve_one(each, *settings, p, q, plan, *memory))
    taken, errors, statuses = zip(*solved, strict=True)
    of_batch = [torch.from_numpy(np.array(each, of).reshape(costs.shape[:-2]))
                for each, of in ((taken, np.int64), (errors, kind))]  # fmt: skip
    return torch.from_numpy(plans), *of_batch, max(statuses)


def _solve_one(cost, lam, iterations, tol, masked, p, q, plan, rows, memory):
    """Iterations, marginal error and status of one problem."""
    kind, limits = cost.dtype.type, LIMITS[cost.dtype]
    if tol is None:
        low, high, status, error = scaling.solve(
            cost, lam, iterations, masked, p, q, limits, plan, rows, memory
        )
        if status == scaling.FINE:
            return iterations, error, status
    else:
        low, high, status = scaling.look(cost, lam, masked, memory)
    if status != scaling.OTHERWISE:
        return iterations, math.nan, status
    # compiled for seconds where it was not before, so only where it is needed
    from bwot.cpu import general
    from bwot.cpu.anderson import DEPTH

    memory = np.zeros((2 * DEPTH + 3, len(q)) if tol else (0, 0))
    taken, error = general.solve(cost, lam, kind(low), kind(high), iterations, tol or 0.0, p, q,
                                 limits, plan, memory, np.zeros(5))  # fmt: skip
    return taken, error, scaling.FINE
