"""Sinkhorn's algorithm on a CPU, compiled by numba: one pass over the kernel an iteration.

Notation as in :mod:`bwot.sinkhorn`, and densities in place of masses: the plan is
``T_ij = p_i u_i D_ij v_j q_j`` with ``D = exp(f_i + g_j - lam (C_ij - min C))``. While row ``i`` is in the cache, ``u_i`` is
computed from it and its share added to the sums of the columns, from which the next ``v`` follows; so the marginal error
comes for free.

``D`` is right as long as ``u`` and ``v`` stay within ``1 / RANGE`` and ``RANGE`` of 1, for what underflows in it is then
below the last digit of every sum. When they leave that range, or ``lam (max C - min C)`` is too large to begin with,
the half-iteration is done by sums of exponentials about their largest term, and ``f`` and ``g`` take up ``u`` and ``v``.
"""

import math
from typing import no_type_check

import numpy as np

from bwot.cpu.anderson import accelerated
from bwot.cpu.exponential import compiled, exp, inlined

FINE, NOT_FINITE, TOO_LARGE, OTHERWISE = 0, 1, 2, 3
"""What became of a problem: a cost that is not finite, a ``lam (max C - min C)`` beyond the largest number, left to :func:`solve`."""


@inlined
@no_type_check
def _extent(cost):
    """Smallest and largest finite entry, whether any is NaN or minus infinity, and whether any is plus infinity (excluded)."""
    low, high = cost.dtype.type(np.inf), cost.dtype.type(-np.inf)
    bad, excluded = False, False
    for i in range(cost.shape[0]):
        row = cost[i]
        for j in range(cost.shape[1]):
            c = row[j]
            low = min(low, c)
            high = max(high, c if c < np.inf else high)
            bad |= not c > -np.inf
            excluded |= c == np.inf
    return low, high, bad, excluded


@inlined
@no_type_check
def _fill(cost, lam, low, f, g, weights, density, sums):
    """The densities, and their column sums weighted by ``weights`` (one a row)."""
    sums[:] = 0
    for i in range(cost.shape[0]):
        row, out, shift, weight = cost[i], density[i], f[i], weights[i]
        for j in range(cost.shape[1]):
            value = exp(shift + (g[j] - lam * (row[j] - low)))
            out[j] = value
            sums[j] += weight * value


@inlined
@no_type_check
def _pass(density, columns, p, rows, sums):
    """One update of ``rows`` (p u) from ``columns`` (q v), with the column sums of ``rows D``; smallest and largest 1 / u."""
    n, m = density.shape
    zero = density.dtype.type(0)
    low, high = density.dtype.type(np.inf), zero
    sums[:] = 0
    for first in range(0, n - n % 4, 4):
        k0, k1, k2, k3 = density[first], density[first + 1], density[first + 2], density[first + 3]
        s0, s1, s2, s3 = zero, zero, zero, zero
        for j in range(m):
            w = columns[j]
            s0 += k0[j] * w
            s1 += k1[j] * w
            s2 += k2[j] * w
            s3 += k3[j] * w
        for i, s in ((first, s0), (first + 1, s1), (first + 2, s2), (first + 3, s3)):
            rows[i] = p[i] / s if p[i] > 0 else zero
            low, high = (min(low, s), max(high, s)) if p[i] > 0 else (low, high)
        a0, a1, a2, a3 = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
        for j in range(m):
            sums[j] += (a0 * k0[j] + a1 * k1[j]) + (a2 * k2[j] + a3 * k3[j])
    for i in range(n - n % 4, n):
        k0, s = density[i], zero
        for j in range(m):
            s += k0[j] * columns[j]
        a = p[i] / s if p[i] > 0 else zero
        rows[i] = a
        low, high = (min(low, s), max(high, s)) if p[i] > 0 else (low, high)
        for j in range(m):
            sums[j] += a * k0[j]
    return low, high


@compiled
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


@compiled
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
def _plan(density, rows, columns, p, q, sums):
    """The plan in place of its density, and its marginal error."""
    row_error, column_error = 0.0, 0.0
    for j in range(density.shape[1]):
        sums[j] = 0
    for i in range(density.shape[0]):
        row, a, total = density[i], rows[i], density.dtype.type(0)
        for j in range(density.shape[1]):
            value = a * row[j] * columns[j]
            row[j] = value
            total += value
            sums[j] += value
        row_error += abs(total - p[i])
    for j in range(density.shape[1]):
        column_error += abs(sums[j] - q[j])
    return max(row_error, column_error)


@inlined
@no_type_check
def _uniform(cost, masked, p, q):
    """Uniform marginals over the rows and columns that have a pair, in place of those that begin with a negative number."""
    rows, columns = p[0] < 0, q[0] < 0
    for i in range(len(p)):
        p[i] = 1 - masked if rows else p[i]
    for j in range(len(q)):
        q[j] = 1 - masked if columns else q[j]
    if masked:
        for i in range(len(p)):
            for j in range(len(q)):
                if cost[i, j] < np.inf:
                    p[i] = 1 if rows else p[i]
                    q[j] = 1 if columns else q[j]
    for given, marginal in ((not rows, p), (not columns, q)):
        if not given:
            total = 0
            for i in range(len(marginal)):
                total += marginal[i] > 0
            for i in range(len(marginal)):
                marginal[i] /= total


@inlined
@no_type_check
def _next(v, sums, q):
    """``v = 1 / sums``, and the smallest and the largest of it."""
    low, high = v.dtype.type(np.inf), v.dtype.type(0)
    for j in range(len(q)):
        if q[j] > 0:
            v[j] = 1 / sums[j]
            low, high = min(low, v[j]), max(high, v[j])
    return low, high


@inlined
@no_type_check
def _log_iteration(cost, lam, low, columns_too, f, g, p, q, rows, density, sums):
    """An iteration in the log domain, or the half of it that updates the rows, and the densities that it leads to."""
    if columns_too:
        _log_columns(cost, lam, low, f, rows, g)
    _log_rows(cost, lam, low, g, q, f)
    _fill(cost, lam, low, f, g, p, density, sums)


@compiled
@no_type_check
def solve(cost, lam, iterations, tol, p, q, limits, density, memory, state):
    """The plan of one problem at any ``lam`` and with any excluded pairs; returns its iterations and marginal error.

    Args:
        cost: (n, m) finite, or plus infinity where a pair is excluded.
        lam: inverse of the entropic regularisation, of the type of ``cost``, as ``limits`` are.
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
    low, high, _, _ = _extent(cost)
    span = lam * (high - low)
    f, rows = np.zeros(n, p.dtype), np.empty(n, p.dtype)
    g, sums, v, columns = (
        np.zeros(m, q.dtype),
        np.empty(m, q.dtype),
        np.ones(m, q.dtype),
        np.empty(m, q.dtype),
    )
    for i in range(n):
        rows[i] = p[i] > 0
    taken, error, direct = 0, np.inf, span <= limits[0]
    if direct:
        _fill(cost, lam, low, f, g, rows, density, sums)
    while True:
        columns_too = not direct
        if direct:
            if tol > 0 and taken:
                smallest, largest = accelerated(v, sums, q, error, memory, state)
            else:
                smallest, largest = _next(v, sums, q)
            direct = limits[1] * smallest > 1 and largest < limits[1]
            columns_too = not direct
            if direct:
                for j in range(m):
                    columns[j] = q[j] * v[j]
                smallest, largest = _pass(density, columns, p, rows, sums)
                direct = limits[1] * smallest > 1 and largest < limits[1]
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
            _pass(
                density, columns, p, rows, sums
            )  # large exponents have lost digits: rows exact again
            state[0] = state[1] = 0
            direct = True
        taken += 1
        error = 0.0
        for j in range(m):
            error += abs(v[j] * sums[j] - 1) * q[j] if q[j] > 0 else 0.0
        if taken >= iterations or error + 4 * limits[2] <= tol:
            break
    return taken, _plan(density, rows, columns, p, q, sums)


@inlined
@no_type_check
def _look(cost, lam, masked, p, q):
    """Smallest and largest cost and a status; uniform marginals where none were given."""
    low, high, bad, excluded = _extent(cost)
    if bad or (excluded and not masked):
        return low, high, NOT_FINITE
    if not lam * (high - low) < np.inf:
        return low, high, TOO_LARGE
    if p[0] < 0 or q[0] < 0:
        _uniform(cost, masked, p, q)
    return low, high, OTHERWISE


@compiled
@no_type_check
def prepare(cost, lam, masked, p, q):
    """What :func:`solve` takes for granted; returns the status. Args as in :func:`solve_simply`."""
    return _look(cost, lam, masked, p, q)[2]


@compiled
@no_type_check
def solve_simply(cost, lam, iterations, masked, p, q, limits, density):
    """As :func:`solve` for the usual case, a number of iterations on the kernel; returns marginal error and status.

    Args as there, but ``masked``: are there excluded pairs? ``p`` and ``q`` are filled with the uniform marginals if their
    first entries are negative. Status ``OTHERWISE`` asks for :func:`solve`, the others for an error.
    """
    n, m = cost.shape
    low, high, status = _look(cost, lam, masked, p, q)
    if status != OTHERWISE or lam * (high - low) > limits[0]:
        return np.nan, status
    f, rows = np.zeros(n, p.dtype), np.empty(n, p.dtype)
    g, sums, columns = np.zeros(m, q.dtype), np.empty(m, q.dtype), np.empty(m, q.dtype)
    for i in range(n):
        rows[i] = p[i] > 0
    _fill(cost, lam, low, f, g, rows, density, sums)
    for _ in range(iterations):
        smallest, largest = p.dtype.type(np.inf), p.dtype.type(0)
        for j in range(m):
            columns[j] = q[j] / sums[j] if q[j] > 0 else 0
            smallest = min(smallest, sums[j] if q[j] > 0 else smallest)
            largest = max(largest, sums[j] if q[j] > 0 else largest)
        if not (smallest * limits[1] > 1 and largest < limits[1]):
            return np.nan, OTHERWISE
        smallest, largest = _pass(density, columns, p, rows, sums)
        if not (smallest * limits[1] > 1 and largest < limits[1]):
            return np.nan, OTHERWISE
    return _plan(density, rows, columns, p, q, sums), FINE
