"""Sinkhorn's algorithm on a CPU, compiled by numba: one pass over the kernel an iteration.

Notation as in :mod:`bwot.sinkhorn`, and densities in place of masses: the plan is
``T_ij = p_i u_i D_ij v_j q_j`` with ``D = exp(f_i + g_j - lam (C_ij - min C))``. While row ``i`` is in the cache, ``u_i`` is
computed from it and its share added to the sums of the columns, from which the next ``v`` follows; so the marginal error
comes for free.

``D`` is right as long as ``u`` and ``v`` stay within ``1 / RANGE`` and ``RANGE`` of 1, for what underflows in it is then
below the last digit of every sum. Here is the usual case, a number of iterations in which they do; the others are left to
:mod:`bwot.cpu.general`. Numbers are of the type of the cost throughout: one of another type would make a whole loop double.
"""

from typing import no_type_check

import numpy as np

from bwot.cpu.exponential import called, compiled, exp, inlined, lent

FINE, NOT_FINITE, TOO_LARGE, OTHERWISE = 0, 1, 2, 3
"""What became of a problem: a cost that is not finite, a ``lam (max C - min C)`` beyond the largest number, left to the general solver."""


@inlined
@no_type_check
def extent(cost, masked, lows, highs):
    """Smallest and largest finite entry, and whether one is not finite (plus infinity is, with ``masked``): columns first, in
    two (m,) arrays, as the least of a whole row would not be vectorised."""
    zero, infinite = cost.dtype.type(0), cost.dtype.type(np.inf)
    check = zero
    for j in range(len(lows)):
        lows[j], highs[j] = infinite, -infinite
    for i in range(cost.shape[0]):
        row = cost[i]
        for j in range(len(lows)):
            c = row[j]
            lows[j] = min(lows[j], c)
            highs[j] = max(highs[j], c if c < infinite else -infinite)
            check += zero * (zero if masked and c == infinite else c)
    low, high = infinite, -infinite
    for j in range(len(lows)):
        low, high = min(low, lows[j]), max(high, highs[j])
    return low, high, not check == 0


@inlined
@no_type_check
def fill(cost, lam, low, f, g, weights, density, sums):
    """The densities, and their column sums weighted by ``weights`` (one a row)."""
    for j in range(len(sums)):
        sums[j] = 0
    for i in range(cost.shape[0]):
        row, out, shift, weight = cost[i], density[i], f[i], weights[i]
        for j in range(len(sums)):
            value = exp(shift + (g[j] - lam * (row[j] - low)))
            out[j] = value
            sums[j] += weight * value


@inlined
@no_type_check
def visit(density, columns, p, rows, sums):
    """One update of ``rows`` (p u) from ``columns`` (q v), with the column sums of ``rows D``: four rows at a time."""
    n, m = density.shape
    zero = density.dtype.type(0)
    for j in range(m):
        sums[j] = 0
    for first in range(0, n - n % 4, 4):
        k0, k1, k2, k3 = density[first], density[first + 1], density[first + 2], density[first + 3]
        s0, s1, s2, s3 = zero, zero, zero, zero
        for j in range(m):
            w = columns[j]
            s0 += k0[j] * w
            s1 += k1[j] * w
            s2 += k2[j] * w
            s3 += k3[j] * w
        a0 = p[first] / s0 if p[first] > 0 else zero
        a1 = p[first + 1] / s1 if p[first + 1] > 0 else zero
        a2 = p[first + 2] / s2 if p[first + 2] > 0 else zero
        a3 = p[first + 3] / s3 if p[first + 3] > 0 else zero
        rows[first], rows[first + 1], rows[first + 2], rows[first + 3] = a0, a1, a2, a3
        for j in range(m):
            sums[j] += (a0 * k0[j] + a1 * k1[j]) + (a2 * k2[j] + a3 * k3[j])
    for i in range(n - n % 4, n):
        k0, s0 = density[i], zero
        for j in range(m):
            s0 += k0[j] * columns[j]
        a0 = p[i] / s0 if p[i] > 0 else zero
        rows[i] = a0
        for j in range(m):
            sums[j] += a0 * k0[j]


@called
@no_type_check
def in_range(scaled, marginal, most):
    """Are all scalings, ``scaled / marginal``, within ``1 / most`` and ``most``? Counted, as that is vectorised."""
    zero, one = scaled.dtype.type(0), scaled.dtype.type(1)
    out = zero
    for i in range(len(scaled)):
        mass, x = marginal[i], scaled[i]
        out += zero if (most * x > mass and x < most * mass) or not mass > 0 else one
    return out == 0


@inlined
@no_type_check
def _iterate(density, iterations, p, q, most, rows, columns, sums):
    """Iterations from the sums of the columns of ``D``; False as soon as a scaling leaves its range."""
    zero = density.dtype.type(0)
    for _ in range(iterations):
        for j in range(len(q)):
            columns[j] = q[j] / sums[j] if q[j] > 0 else zero
        if not in_range(columns, q, most):
            return False
        visit(density, columns, p, rows, sums)
        if not in_range(rows, p, most):
            return False
    return True


@called
@no_type_check
def spread(marginal):
    """Equal shares for all entries that are not zero."""
    count = 0
    for i in range(len(marginal)):
        count += marginal[i] > 0
    share = marginal.dtype.type(1) / marginal.dtype.type(count)
    for i in range(len(marginal)):
        marginal[i] = share if marginal[i] > 0 else marginal.dtype.type(0)


@compiled
@no_type_check
def count(cost, p, q):
    """Uniform marginals over the rows and columns that have a pair, in (n,) ``p`` and (m,) ``q``."""
    one, zero = cost.dtype.type(1), cost.dtype.type(0)
    for j in range(len(q)):
        q[j] = 0
    for i in range(len(p)):
        row, most = cost[i], zero
        for j in range(len(q)):
            pair = one if row[j] < np.inf else zero
            most += pair
            q[j] += pair
        p[i] = most
    spread(p)
    spread(q)


@compiled
@no_type_check
def scalings(density, iterations, limits, p, q, rows, columns):
    """``rows`` (p u) and ``columns`` (q v) of a kernel, uniform marginals; False where the general solver has to do it.

    Args:
        density: (n, m) kernel, 0 at excluded pairs.
        iterations: how many.
        limits: as in :func:`bwot.cpu.general.solve`.
        p: (n,) the sums of the rows of the kernel, filled with their marginal.
        q: (m,) the same of the columns.
        rows: (n,) filled.
        columns: (2, m) filled in its first row.
    """
    density, p, q, rows, columns = lent((density, p, q, rows, columns))
    sums = columns[1]
    for j in range(len(q)):
        sums[j] = q[j]
    spread(p)
    spread(q)
    return _iterate(density, iterations, p, q, limits[1], rows, columns[0], sums)


@inlined
@no_type_check
def weigh(density, rows, columns, p, sums):
    """The plan in place of its density, the sums of its columns, and how far those of the rows are off, summed."""
    zero, error = density.dtype.type(0), 0.0
    for j in range(len(sums)):
        sums[j] = 0
    for i in range(density.shape[0]):
        row, a, total = density[i], rows[i], zero
        for j in range(len(sums)):
            value = a * row[j] * columns[j]
            row[j] = value
            total += value
            sums[j] += value
        error += abs(total - p[i])
    return error


@inlined
@no_type_check
def into_plan(density, rows, columns, p, q, sums):
    """The plan in place of its density, and its marginal error."""
    row_error, column_error = weigh(density, rows, columns, p, sums), 0.0
    for j in range(len(sums)):
        column_error += abs(sums[j] - q[j])
    return max(row_error, column_error)


@inlined
@no_type_check
def _look(cost, lam, masked, memory):
    """Smallest and largest cost, and a status."""
    low, high, bad = extent(cost, masked, memory[0], memory[1])
    if bad:
        return low, high, NOT_FINITE
    return low, high, OTHERWISE if lam * (high - low) < np.inf else TOO_LARGE


@inlined
@no_type_check
def _solve_one(cost, lam, iterations, masked, p, q, limits, density, rows, memory):
    """Smallest and largest cost, a status, and the marginal error of the plan in ``density``."""
    low, high, status = _look(cost, lam, masked, memory)
    error = np.nan
    if status == OTHERWISE and iterations > 0 and lam * (high - low) <= limits[0]:
        zeros, columns, sums = memory[0], memory[1], memory[2]
        for j in range(len(q)):
            zeros[j] = 0
        for i in range(len(p)):
            rows[0, i], rows[1, i] = 0, p[i] > 0
        fill(cost, lam, low, rows[0], zeros, rows[1], density, sums)
        if _iterate(density, iterations, p, q, limits[1], rows[0], columns, sums):
            status, error = FINE, into_plan(density, rows[0], columns, p, q, sums)
    return low, high, status, error


@compiled
@no_type_check
def solve(
    costs, lam, iterations, masked, counted, given, uniform, limits, densities, rows, memory, found
):
    """A number of iterations on the kernels of all costs.

    Args:
        costs: (k, n, m).
        lam: as in :func:`bwot.cpu.general.solve`.
        iterations: exactly so many; 0 to look at the costs only.
        masked: are there excluded pairs?
        counted: are the uniform marginals over the rows and columns that have a pair?
        given: marginals of rows (k, n) and of columns (k, m); (0, n) and (0, m) for uniform ones.
        uniform: (n,) and (m,) uniform marginals, filled anew for each problem where they are counted.
        limits: as in :func:`bwot.cpu.general.solve`.
        densities: (k, n, m), filled with the plans.
        rows: (2, n) working memory.
        memory: (3, m) working memory.
        found: (k, 4) filled: smallest and largest cost, a status, and the marginal error. Status ``OTHERWISE`` asks for
            :func:`bwot.cpu.general.solve`, ``NOT_FINITE`` and ``TOO_LARGE`` for an error.
    """
    costs, densities, rows, memory, found = lent((costs, densities, rows, memory, found))
    given, uniform = lent((given, uniform))
    for k in range(costs.shape[0]):
        if counted:
            count(costs[k], uniform[0], uniform[1])
        p = given[0][k] if given[0].shape[0] else uniform[0]
        q = given[1][k] if given[1].shape[0] else uniform[1]
        found[k, 0], found[k, 1], found[k, 2], found[k, 3] = _solve_one(
            costs[k], lam, iterations, masked, p, q, limits, densities[k], rows, memory
        )
