"""Torch tensors in, compiled functions called, torch tensors out."""

import math

import numpy as np
import torch
from torch import Tensor

from bwot.cpu import scaling
from bwot.cpu.anderson import DEPTH

_TYPES = {torch.float32: np.float32, torch.float64: np.float64}
_LIMITS = {
    torch.float32: np.array([40, 1e12, np.finfo(np.float32).eps], np.float32),
    torch.float64: np.array([300, 1e100, np.finfo(np.float64).eps], np.float64),
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
) -> tuple[Tensor, list[int], list[float], int]:
    """Plans ``(*batch, n, m)``, iterations and marginal errors of all problems, and the worst status.

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
    plans = np.empty_like(costs)
    kind, limits = _TYPES[cost.dtype], _LIMITS[cost.dtype]
    p, q = (_marginal(given, costs, size) for given, size in ((row, n), (column, m)))
    taken, errors, worst = [], [], scaling.FINE
    costs, flat = costs.reshape(-1, n, m), plans.reshape(-1, n, m)
    for k in range(len(costs)):
        case = (costs[k], kind(lam), iterations)
        error, status, done = math.nan, scaling.OTHERWISE, iterations
        if tol is None:
            error, status = scaling.solve_simply(*case, masked, p[k], q[k], limits, flat[k])
        else:
            status = scaling.prepare(*case[:2], masked, p[k], q[k])
        if status == scaling.OTHERWISE:
            memory = np.zeros((2 * DEPTH + 3, m) if tol else (0, 0))
            done, error = scaling.solve(
                *case, tol or 0.0, p[k], q[k], limits, flat[k], memory, np.zeros(5)
            )
            status = scaling.FINE
        taken.append(done)
        errors.append(error)
        worst = max(worst, status)
    return torch.from_numpy(plans), taken, errors, worst


def _marginal(given, costs, size):
    if given is None:  # the compiled function fills in the uniform one
        return np.full((costs[..., 0, 0].size, size), -1, costs.dtype)
    return given.contiguous().numpy().reshape(-1, size)
