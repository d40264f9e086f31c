"""Sinkhorn's algorithm on a CPU for every ``lam``, every choice of pairs, and to a tolerance.

Notation and densities ``D`` as in :mod:`bwot.cpu.scaling`. When ``u`` and ``v`` leave their range, or ``lam (max C - min C)`` is too large
to begin with, the half-iteration is done by sums of exponentials about their largest term, and ``f`` and ``g`` take up
``u`` and ``v``.
"""

import math
from typing import no_type_check

import numpy as np

from bwot.cpu.anderson import accelerated
from bwot.cpu.exponential import compiled, exp, inlined
from bwot.cpu.scaling import fill, in_range, into_plan, visit


@inlined
@no_type_check
def _log_columns(cost, lam, low, f, weights, g):
    """``g_j = -log sum_i weights_i exp(f_i - lam (C_ij - low))``, about the largest exponent of the column."""
    n, m = cost.shape
    most = np.full(m, -np.inf, cost.dtype)
    total = np.zeros(m, cost.dtype)
    for i in range(n):
        if weights[i] > 0:
            row, shift = cost[i], f[i]
            for j in range(m):
                most[j] = max(most[j], shift - lam * (row[j] - low))
    for i in range(n):
        if weights[i] > 0:
            row, shift, weight = cost[i], f[i], weights[i]
            for j in range(m):
                if most[j] > -np.inf:
                    total[j] += weight * exp((shift - lam * (row[j] - low)) - most[j])
    for j in range(m):
        g[j] = -most[j] - math.log(total[j]) if most[j] > -np.inf else 0.0


@inlined
@no_type_check
def _log_rows(cost, lam, low, g, weights, f):
    """``f_i = -log sum_j weights_j exp(g_j - lam (C_ij - low))``, about the largest exponent of the row."""
    n, m = cost.shape
    infinite, zero = cost.dtype.type(np.inf), cost.dtype.type(0)
    for i in range(n):
        row, most, total = cost[i], -infinite, zero
        for j in range(m):
            most = max(most, g[j] - lam * (row[j] - low) if weights[j] > 0 else -infinite)
        if most > -np.inf:
            for j in range(m):
                total += weights[j] * exp(min((g[j] - lam * (row[j] - low)) - most, zero))
        f[i] = -most - math.log(total) if most > -np.inf else 0.0


@inlined
@no_type_check
def _log_iteration(cost, lam, low, columns_too, f, g, p, q, rows, density, sums):
    """An iteration in the log domain, or the half of it that updates the rows, and the densities that it leads to."""
    if columns_too:
        _log_columns(cost, lam, low, f, rows, g)
    _log_rows(cost, lam, low, g, q, f)
    fill(cost, lam, low, f, g, p, density, sums)


@compiled
@no_type_check
def solve(cost, lam, low, high, iterations, tol, p, q, limits, density, memory, state):
    """The plan of one problem at any ``lam`` and with any excluded pairs; returns its iterations and marginal error.

    Args:
        cost: (n, m) finite, or plus infinity where a pair is excluded.
        lam: inverse of the entropic regularisation, of the type of ``cost``, as ``limits`` are.
        low: smallest cost.
        high: largest cost that is not infinite.
        iterations: at most so many, exactly so many where ``tol`` is 0.
        tol: marginal error at which to stop.
        p: (n,) marginal of the rows.
        q: (m,) marginal of the columns.
        limits: largest ``lam (max C - min C)`` to begin with ``D = exp(-lam C)``, range of ``u`` and ``v``, smallest step of the type.
        density: (n, m), the plan on return; it may not be ``cost``.
        memory: (2 DEPTH + 3, m) zeros where ``tol`` is given.
        state: (5,) zeros.
    """
    n, m = cost.shape
    f, rows = np.zeros(n, p.dtype), np.empty(n, p.dtype)
    g, sums = np.zeros(m, q.dtype), np.empty(m, q.dtype)
    v, columns = np.ones(m, q.dtype), np.empty(m, q.dtype)
    for i in range(n):
        rows[i] = p[i] > 0
    taken, direct = 0, lam * (high - low) <= limits[0]
    if direct:
        fill(cost, lam, low, f, g, rows, density, sums)
    error = np.inf
    while True:
        columns_too = not direct
        if direct:
            if tol > 0 and taken:
                accelerated(v, sums, q, error, memory, state)
            else:
                for j in range(m):
                    v[j] = 1 / sums[j] if q[j] > 0 else 1
            for j in range(m):
                columns[j] = q[j] * v[j]
            direct = in_range(columns, q, limits[1])
            columns_too = not direct
            if direct:
                visit(density, columns, p, rows, sums)
                direct = in_range(rows, p, limits[1])
        if not direct:
            if columns_too and taken:
                for i in range(n):
                    f[i] += math.log(rows[i] / p[i]) if p[i] > 0 else 0
                    rows[i] = p[i]  # the weights of the rows in the sums of the columns
            elif not columns_too:
                for j in range(m):
                    g[j] += math.log(v[j])
            _log_iteration(cost, lam, low, columns_too, f, g, p, q, rows, density, sums)
            for j in range(m):
                v[j], columns[j] = 1, q[j]
            # large exponents have lost digits: rows exact again
            visit(density, columns, p, rows, sums)
            state[0] = state[1] = 0
            direct = True
        taken += 1
        error = 0.0
        for j in range(m):
            error += abs(v[j] * sums[j] - 1) * q[j] if q[j] > 0 else 0.0
        if taken >= iterations or error + 4 * limits[2] <= tol:
            break
    return taken, into_plan(density, rows, columns, p, q, sums)
