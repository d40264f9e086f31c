r"""The Triton kernels that :mod:`bwot.gpu.solver` launches; the notation is that of :mod:`bwot.sinkhorn`.

Exponents are base 2. ``L = -lam (C - min C) log2(e)``, -inf at excluded pairs; ``f`` and ``g`` are log2 of ``u`` and
``v``; ``p`` and ``q`` the marginals, 0 beyond the last row and column, where ``L`` is -inf. Sizes in capitals are powers
of two. What has no plan is NaN in ``L`` or infinite in ``g``, and NaN from there on in the whole problem, never a
number that looks right. Tensors are contiguous; ``cost`` and what derives from it share one type, float32 or float64.
"""

from typing import no_type_check  # a wrapped function is none that Triton can read

import triton
import triton.language as tl

from bwot.gpu.tiles import (
    change_of,
    exponents_of,
    log_sum,
    potential_of,
    read_costs,
    share_of,
    start_of,
    top_of,
)

# one program for a problem


@triton.jit(do_not_specialize=["iterations"])
@no_type_check
def whole_problem(
    cost, mask, row, column, plan, taken, error, status, n, m, scale: tl.float64, threshold: tl.float64, iterations,
    STOPS: tl.constexpr, LIMIT: tl.constexpr, LARGEST: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    problem = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, N), tl.arange(0, M)
    p = tl.load(row + problem * n + i, mask=i < n, other=0.0)
    q = tl.load(column + problem * m + j, mask=j < m, other=0.0)
    cells, inside = i[:, None] * m + j[None, :], (i < n)[:, None] & (j < m)[None, :]
    base = problem * n * m
    c, allowed = read_costs(cost, mask, base, cells, inside)
    low = tl.min(tl.where(allowed, c, float("inf")))
    L = exponents_of(c, allowed, low, scale)
    threshold = tl.full((), threshold, c.dtype)

    weights, count = L, iterations
    fits = tl.max(tl.where(L > float("-inf"), -L, 0.0)) <= LIMIT
    if fits:
        weights, count, largest = _with_kernel(L, p, q, iterations, threshold, STOPS)
        fits = largest <= LARGEST
    if not fits:  # read again rather than kept: registers are scarce
        c, allowed = read_costs(cost, mask, base, cells, inside)
        L = exponents_of(c, allowed, low, scale)
        weights, count = _with_logarithms(L, p, q, iterations, threshold, STOPS)

    tile = weights * share_of(p, tl.sum(weights, 1))[:, None]
    rows, columns = tl.sum(tl.abs(tl.sum(tile, 1) - p)), tl.sum(tl.abs(tl.sum(tile, 0) - q))
    worst = tl.maximum(rows, columns)
    bad = ~(tl.abs(low) + rows + columns < float("inf"))
    tl.store(plan + base + cells, tl.where(bad, float("nan"), tile), mask=inside)
    tl.store(taken + problem, tl.where(bad, 0, count).to(tl.int64))
    tl.store(error + problem, tl.where(bad, float("nan"), worst))
    tl.store(status + problem, bad.to(tl.int32))


@triton.jit
@no_type_check
def _with_kernel(L, p, q, iterations, threshold, STOPS: tl.constexpr):
    """``K v`` at the end, the iterations, and the largest scaling on the way."""
    K = tl.exp2(L)
    v = share_of(q, tl.sum(K * tl.exp2(start_of(p))[:, None], 0))
    u = share_of(p, tl.sum(K * v[None, :], 1))
    largest_u, largest_v = u, v
    it = 1
    going = it < iterations
    while going:
        sums = tl.sum(K * u[:, None], 0)
        if STOPS:
            going = tl.sum(tl.abs(v * sums - q)) > threshold
            v = tl.where(going, share_of(q, sums), v)
            it += going.to(tl.int32)
        else:
            v = share_of(q, sums)
            it += 1
        u = share_of(p, tl.sum(K * v[None, :], 1))
        largest_u, largest_v = tl.maximum(largest_u, u), tl.maximum(largest_v, v)
        going = going & (it < iterations)
    return K * v[None, :], it, tl.maximum(tl.max(largest_u), tl.max(largest_v))


@triton.jit
@no_type_check
def _with_logarithms(L, p, q, iterations, threshold, STOPS: tl.constexpr):
    """``K v`` at the end, each row in a scale of its own, and the iterations."""
    g = potential_of(q, log_sum(L + start_of(p)[:, None], 0))
    it = 1
    going = it < iterations
    while going:
        f = potential_of(p, log_sum(L + g[None, :], 1))
        new = potential_of(q, log_sum(L + f[:, None], 0))
        if STOPS:
            going = tl.sum(change_of(q, g, new)) > threshold
            g = tl.where(going, new, g)
            it += going.to(tl.int32)
        else:
            g = new
            it += 1
        going = going & (it < iterations)
    x = L + g[None, :]
    return tl.exp2(x - top_of(x, 1)[:, None]), it


# groups of rows: a program visits ``visits`` times ``ROWS`` of them


@triton.jit
@no_type_check
def first_columns(
    cost, mask, row, plan, low, tops, sums, n, m, visits, scale: tl.float64, ROWS: tl.constexpr, M: tl.constexpr
):  # fmt: skip
    """``L``, kept where the plan will stand, and its column sums for ``u = 1``."""
    problem, group, at = _group()
    i, j = tl.arange(0, ROWS), tl.arange(0, M)
    cells = i[:, None] * m + j[None, :]
    low = tl.load(low + problem)
    kind = plan.dtype.element_ty
    top, total = tl.full((M,), float("-inf"), kind), tl.full((M,), 0.0, kind)
    for visit in range(visits):
        start = (group * visits + visit) * ROWS
        inside = (start + i < n)[:, None] & (j < m)[None, :]
        base = (problem * n + start) * m
        c, allowed = read_costs(cost, mask, base, cells, inside)
        L = exponents_of(c, allowed, low, scale)
        tl.store(plan + base + cells, L, mask=inside)
        p = tl.load(row + problem * n + start + i, mask=start + i < n, other=0.0)
        top, total = _add_rows(top, total, L + start_of(p)[:, None])
    tl.store(tops + at * m + j, top, mask=j < m)
    tl.store(sums + at * m + j, total, mask=j < m)


@triton.jit(do_not_specialize=["it"])
@no_type_check
def next_rows(
    row, plan, g, tops, sums, n, m, visits, taken, off, chunks, threshold: tl.float64, it,
    STOPS: tl.constexpr, CHUNKS: tl.constexpr, ROWS: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """``u`` row by row, and the column sums of ``u K``."""
    problem, group, at = _group()
    i, j = tl.arange(0, ROWS), tl.arange(0, M)
    cells = i[:, None] * m + j[None, :]
    if STOPS:
        done = _stopped(problem, taken, off, chunks, threshold, it, CHUNKS)
        visits = tl.where(done > 0, 0, visits)
    g = tl.load(g + problem * m + j, mask=j < m, other=float("-inf"))
    kind = plan.dtype.element_ty
    top, total = tl.full((M,), float("-inf"), kind), tl.full((M,), 0.0, kind)
    for visit in range(visits):
        start = (group * visits + visit) * ROWS
        inside = (start + i < n)[:, None] & (j < m)[None, :]
        L = tl.load(plan + (problem * n + start) * m + cells, mask=inside, other=float("-inf"))
        p = tl.load(row + problem * n + start + i, mask=start + i < n, other=0.0)
        f = potential_of(p, log_sum(L + g[None, :], 1))
        top, total = _add_rows(top, total, L + f[:, None])
    tl.store(tops + at * m + j, top, mask=j < m)
    tl.store(sums + at * m + j, total, mask=j < m)


@triton.jit
@no_type_check
def next_columns(
    column, old, new, tops, sums, taken, off, groups, m, GROUPS: tl.constexpr, COLUMNS: tl.constexpr, STOPS: tl.constexpr
):  # fmt: skip
    """``v`` from the groups' column sums; with ``STOPS`` how far the columns were off with the old one."""
    problem, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    k, j = tl.arange(0, GROUPS), chunk * COLUMNS + tl.arange(0, COLUMNS)
    cells, inside = k[:, None] * m + j[None, :], (k < groups)[:, None] & (j < m)[None, :]
    base, keep = problem * groups * m, j < m
    top = tl.load(tops + base + cells, mask=inside, other=float("-inf"))
    total = tl.load(sums + base + cells, mask=inside, other=0.0)
    best = top_of(top, 0)
    q = tl.load(column + problem * m + j, mask=j < m, other=0.0)
    g = potential_of(q, best + tl.log2(tl.sum(total * tl.exp2(top - best[None, :]), 0)))
    if STOPS:
        before = tl.load(old + problem * m + j, mask=j < m, other=0.0)
        tl.store(off + problem * tl.num_programs(1) + chunk, tl.sum(change_of(q, before, g)))
        keep = keep & (tl.load(taken + problem) == 0)
    tl.store(new + problem * m + j, g, mask=keep)


@triton.jit(do_not_specialize=["it"])
@no_type_check
def final_plan(
    row, plan, g, other, n, m, visits, taken, off, chunks, threshold: tl.float64, it,
    STOPS: tl.constexpr, CHUNKS: tl.constexpr, ROWS: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """The plan in place of ``L``; ``g`` belongs to iteration ``it``, ``other`` to the one before."""
    problem, group, _ = _group()
    i, j = tl.arange(0, ROWS), tl.arange(0, M)
    cells = i[:, None] * m + j[None, :]
    done = it
    if STOPS:
        done = _stopped(problem, taken, off, chunks, threshold, it, CHUNKS)
        done = tl.where(done > 0, done, it)
        g = tl.where((it - done) % 2 == 0, g, other)
    if group == 0:
        tl.store(taken + problem, done)
    g = tl.load(g + problem * m + j, mask=j < m, other=float("-inf"))
    for visit in range(visits):
        start = (group * visits + visit) * ROWS
        inside = (start + i < n)[:, None] & (j < m)[None, :]
        base = (problem * n + start) * m
        p = tl.load(row + problem * n + start + i, mask=start + i < n, other=0.0)
        x = tl.load(plan + base + cells, mask=inside, other=float("-inf")) + g[None, :]
        weights = tl.exp2(x - top_of(x, 1)[:, None])
        tile = weights * share_of(p, tl.sum(weights, 1))[:, None]
        tl.store(plan + base + cells, tile, mask=inside)


@triton.jit
@no_type_check
def _group():
    """The problem, the number of this group of rows in it and among all."""
    problem, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    return problem, group, problem * tl.num_programs(1) + group


@triton.jit
@no_type_check
def _stopped(problem, taken, off, chunks, threshold, it, CHUNKS: tl.constexpr):
    """The iteration at which the problem stopped, 0 if it goes on. All programs find it out, one writes it down."""
    k = tl.arange(0, CHUNKS)
    error = tl.sum(tl.load(off + problem * chunks + k, mask=k < chunks, other=0.0))
    done = tl.load(taken + problem)
    now = (done == 0) & (it > 1) & (error <= tl.full((), threshold, error.dtype))
    tl.store(taken + problem, it - 1, mask=now & (tl.program_id(1) == 0))
    return tl.where(now, it - 1, done)


@triton.jit
@no_type_check
def _add_rows(top, total, y):
    """``total 2^top`` plus the column sums of ``2^y``, in the same two parts."""
    best = tl.maximum(top, tl.max(y, 0))
    shift = tl.where(best > float("-inf"), best, 0.0)
    return best, total * tl.exp2(top - shift) + tl.sum(tl.exp2(y - shift[None, :]), 0)
