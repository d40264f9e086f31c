"""The passes of :mod:`bwot.cpu.scaling` and :mod:`bwot.cpu.pairs` over one large problem, in several threads that each have a block of its rows.

Scalings of all columns each thread computes for itself, from everybody's sums, and so meets the others once an iteration: what it
writes for the next one lies beside what they may still be reading. Sums over the threads are in their order, so as many threads
always give the same digits. Functions that other modules call are those of the same name there, by ``size`` threads of ``pool``.
"""

from typing import no_type_check

import numpy as np

from bwot.cpu.exponential import called, compiled, inlined
from bwot.cpu.pairs import kernel_of_rows, slopes_of_rows
from bwot.cpu.scaling import (
    FINE,
    NOT_FINITE,
    OTHERWISE,
    TOO_LARGE,
    extent,
    fill,
    in_range,
    spread,
    visit,
    weigh,
)
from bwot.cpu.team import edge, in_threads, meet


@inlined
@no_type_check
def _gather(parts, sums):
    """The sum over the threads, in their order."""
    for j in range(len(sums)):
        sums[j] = parts[0, j]
    for each in range(1, parts.shape[0]):
        part = parts[each]
        for j in range(len(sums)):
            sums[j] += part[j]


@inlined
@no_type_check
def _iterate(density, iterations, p, q, most, rows, columns, sums, rank, parts, left, met, before):
    """As ``scaling._iterate`` for the thread's block of ``density``, ``p`` and ``rows``; False in all threads where it is in one.

    Args:
        density: as there, and so are the others down to ``sums``, of which ``columns`` and ``sums`` are the thread's own.
        iterations: see there.
        p: see there.
        q: see there.
        most: see there.
        rows: see there.
        columns: see there.
        sums: see there.
        rank: of the thread.
        parts: (2, size, m) sums of columns by turn and thread.
        left: (2, size) whether a scaling has left its range, likewise.
        met: (1,) how many have arrived.
        before: how often all have met already.
    """
    zero, size = density.dtype.type(0), parts.shape[1]
    for taken in range(iterations):
        for j in range(len(q)):
            columns[j] = q[j] / sums[j] if q[j] > 0 else zero
        if not in_range(columns, q, most):
            return False
        turn = taken % 2
        visit(density, columns, p, rows, parts[turn, rank])
        left[turn, rank] = 0 if in_range(rows, p, most) else 1
        meet(met, (before + taken + 1) * size)
        for each in range(size):
            if left[turn, each] != 0:
                return False
        _gather(parts[turn], sums)
    return True


@called
@no_type_check
def _scale_block(rank, given):
    density, iterations, most, p, q, sums, rows, memory, parts, left, met, found = given
    first, last = edge(len(p), rank, len(found)), edge(len(p), rank + 1, len(found))
    own = memory[rank]
    for j in range(len(q)):
        own[1, j] = sums[j]
    found[rank, 0] = _iterate(density[first:last], iterations, p[first:last], q, most, rows[first:last], own[0], own[1],
                              rank, parts, left, met, 0)  # fmt: skip


_scale = in_threads(_scale_block)


@compiled
@no_type_check
def scalings(density, iterations, limits, p, q, rows, columns, pool, size):
    """:func:`bwot.cpu.scaling.scalings`."""
    m, kind = len(q), density.dtype
    parts, left, memory = np.empty((2, size, m), kind), np.zeros((2, size), np.int64), np.empty((size, 2, m), kind)  # fmt: skip
    met, found = np.zeros(1, np.int64), np.zeros((size, 1))
    for j in range(m):
        columns[1, j] = q[j]
    spread(p)
    spread(q)
    given = (density, iterations, limits[1], p, q, columns[1], rows, memory, parts, left, met, found)  # fmt: skip
    _all_came(_scale(pool, size, given), size)
    for j in range(m):
        columns[0, j] = memory[0, 0, j]
    return found.min() > 0


@called
@no_type_check
def _solve_block(rank, given):
    cost, lam, iterations, masked, p, q, limits, density, rows, memory, parts, left, met, found = given  # fmt: skip
    size, mine, own = len(found), found[rank], memory[rank]
    first, last = edge(len(p), rank, size), edge(len(p), rank + 1, size)
    block, plan, marginal = cost[first:last], density[first:last], p[first:last]
    mine[0], mine[1], bad = extent(block, masked, own[0], own[1])
    mine[2] = NOT_FINITE if bad else OTHERWISE
    meet(met, size)
    low, high = mine[0], mine[1]
    for each in range(size):
        if found[each, 2] == NOT_FINITE:
            return
        low, high = min(low, found[each, 0]), max(high, found[each, 1])
    least, extreme = cost.dtype.type(low), lam * cost.dtype.type(high - low)
    if not extreme < np.inf:
        mine[2] = TOO_LARGE
    elif iterations > 0 and extreme <= limits[0]:
        zeros, columns, sums = own[0], own[1], own[2]
        for j in range(len(q)):
            zeros[j] = 0
        for i in range(first, last):
            rows[0, i], rows[1, i] = 0, p[i] > 0
        fill(block, lam, least, rows[0, first:last], zeros, rows[1, first:last], plan, parts[1, rank])  # fmt: skip
        meet(met, 2 * size)
        _gather(parts[1], sums)
        scaled = rows[0, first:last]
        if _iterate(plan, iterations, marginal, q, limits[1], scaled, columns, sums, rank, parts, left, met, 2):  # fmt: skip
            # in the part that the last iteration has not used
            mine[3] = weigh(plan, scaled, columns, marginal, parts[iterations % 2, rank])
            mine[2] = FINE


_solve = in_threads(_solve_block)


@compiled
@no_type_check
def solve(cost, lam, iterations, masked, p, q, limits, density, pool, size):
    """Smallest and largest cost of one problem, a status and the marginal error: as :func:`bwot.cpu.scaling.solve` finds them.

    Args:
        cost: (n, m).
        lam: see there, as for all others but the marginals.
        iterations: see there.
        masked: see there.
        p: (n,) marginal of the rows.
        q: (m,) marginal of the columns.
        limits: see there.
        density: (n, m) filled with the plan.
        pool: of :func:`bwot.cpu.team.pool`.
        size: how many threads.
    """
    (n, m), kind = cost.shape, cost.dtype
    parts, left, memory = np.empty((2, size, m), kind), np.zeros((2, size), np.int64), np.empty((size, 3, m), kind)  # fmt: skip
    rows, met, found = np.empty((2, n), kind), np.zeros(1, np.int64), np.zeros((size, 4))
    given = (cost, lam, iterations, masked, p, q, limits, density, rows, memory, parts, left, met, found)  # fmt: skip
    _all_came(_solve(pool, size, given), size)
    row_error, column_error = found[:, 3].sum(), 0.0
    _gather(parts[iterations % 2], memory[0, 0])
    for j in range(m):
        column_error += abs(memory[0, 0, j] - q[j])
    return found[:, 0].min(), found[:, 1].max(), found[:, 2].min(), max(row_error, column_error)


@called
@no_type_check
def _kernel_block(rank, given):
    pairs, fresh, squared, part, form, settings, rows, out, p, parts, found = given
    first, last = edge(len(p), rank, len(found)), edge(len(p), rank + 1, len(found))
    finite, whole = kernel_of_rows(first, last, pairs, fresh, squared, part, form, settings, rows[rank], out, p, parts[rank])  # fmt: skip
    found[rank, 0], found[rank, 1] = finite, whole


_kernel = in_threads(_kernel_block)


@compiled
@no_type_check
def kernel(pairs, fresh, squared, part, form, settings, rows, out, p, sums, pool, size):
    """:func:`bwot.cpu.pairs.kernel`."""
    (count, m), kind, found = rows.shape, out.dtype, np.zeros((size, 2))
    working, parts = np.empty((size, count, m), kind), np.empty((size, m), kind)
    given = (pairs, fresh, squared, part, form, settings, working, out, p, parts, found)
    _all_came(_kernel(pool, size, given), size)
    _gather(parts, sums)
    return found[:, 0].min() > 0, found[:, 1].max() > 0


@called
@no_type_check
def _slopes_block(rank, given):
    pairs, squared, form, settings, square, steepness, alpha, beta, adds, density, u, v, p, rows, down, parts, out, found = given  # fmt: skip
    first, last = edge(len(u), rank, len(found)), edge(len(u), rank + 1, len(found))
    found[rank, 0], found[rank, 1] = slopes_of_rows(
        first, last, pairs, squared, form, settings, square, steepness, alpha, beta, adds, density, u, v, p, rows[rank], down,
        parts[rank], out)  # fmt: skip


_slopes = in_threads(_slopes_block)


@compiled
@no_type_check
def slopes(pairs, squared, form, settings, square, steepness, alpha, beta, adds, density, u, v, p, q, rows, down, across, out,
           pool, size):  # fmt: skip
    """:func:`bwot.cpu.pairs.slopes`."""
    (count, m), kind, found = rows.shape, out.dtype, np.zeros((size, 2))
    working, parts = np.empty((size, count, m), kind), np.zeros((size, m), kind)
    if adds:
        for j in range(m):
            parts[0, j] = across[j]
    given = (pairs, squared, form, settings, square, steepness, alpha, beta, adds, density, u, v, p, working, down, parts, out,
             found)  # fmt: skip
    _all_came(_slopes(pool, size, given), size)
    _gather(parts, across)
    _gather(working[:, 2], rows[2])
    column_error = 0.0
    for j in range(m):
        column_error += abs(rows[2, j] - q[j])
    return found[:, 0].sum(), max(found[:, 1].sum(), column_error)


@inlined
@no_type_check
def _all_came(threads, size):
    if threads != size:
        raise RuntimeError(
            "OpenMP started other than as many threads as it was asked for; torch.set_num_threads(1) does without"
        )
