r"""Sinkhorn's algorithm in Triton, for costs on a GPU; the notation is that of :mod:`bwot.sinkhorn`.

Two ways, by size. A problem whose tile, padded to powers of two, has at most ``TILE_BYTES`` belongs to one program,
which keeps it in registers for all iterations: one launch for a whole batch. A larger problem is cut into groups of
rows, two launches an iteration: one visits each row once, updates its ``u`` and at once adds it to the group's column
sums; the other adds up the groups and updates ``v``.

Exponents are base 2, ``L = -lam (C - min C) log2(e)``, -inf at excluded pairs; ``f`` and ``g`` are log2 of ``u`` and
``v``. One program per problem computes with ``K = 2^L`` itself while the range of ``L`` is small, and starts again with
logarithms where a scaling grew beyond trust (a mask may do that); groups of rows always take logarithms. Which it is
depends on the problem alone and is decided on the device: nothing here waits for it, so a CUDA graph can hold it all.
Input that has no plan is NaN in ``L`` or ``g``, and from there in the whole plan, which the status then tells.

Tested by Triton's interpreter on a CPU and on an H200 and an H100, where both were timed (book, "How fast is it"). The sizes
of tiles and the numbers of warps follow from registers and instructions of the compiled code. One program with a second
copy of ``K``, transposed so that all its sums run along one axis, has a seventh of the instructions and was slower at
every size.
"""

import math
from contextlib import nullcontext

import torch
import triton
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bwot.gpu.kernels import (
    final_plan,
    first_columns,
    next_columns,
    next_rows,
    whole_problem,
)

TILE_BYTES = 65_536
"""Largest padded problem that one program takes, 128 x 128 or 32 x 512 in float32, and the longest row."""
VISIT_BYTES = 32_768
"""Rows that a program of a larger problem visits together, where they are not longer than that."""
PROGRAMS = 256
"""Programs that share the rows of a batch of larger problems, about two for each multiprocessor."""
KERNEL_RANGE = {torch.float32: (40.0, 1e25), torch.float64: (300.0, 1e250)}
"""Largest ``lam (max C - min C)`` for ``K`` itself, and the largest scaling that it may lead to.

Without a mask, scalings stay below. As long as they do, the terms of ``K v`` and ``K^T u`` that underflow are smaller
than the rounding of their sum, but for rows and columns whose mass is itself below rounding.
"""


def solve(
    cost: Float[Tensor, "b n m"],
    lam: float,
    iterations: int,
    tol: float | None,
    mask: Bool[Tensor, "b n m"] | None,
    row: Float[Tensor, "b n"],
    column: Float[Tensor, "b m"],
) -> tuple[Float[Tensor, "b n m"], Int[Tensor, " b"], Float[Tensor, " b"], Int[Tensor, " b"]]:
    """Plan, iterations taken, marginal error and status of each problem, without waiting for the device.

    Args:
        cost: float32 or float64, detached; what stands at excluded pairs plays no part.
        lam: inverse of the entropic regularisation, in inverse units of ``cost``.
        iterations: how many to run, or at most how many where ``tol`` is given; at least 1.
        tol: stop a problem as soon as its marginal error is at most this.
        mask: pairs that may carry mass.
        row: mass of each row, in the type of ``cost``, zero where the mask excludes the row; not checked here.
        column: the same for the columns.

    Returns:
        The plan; the iterations; the larger of the rows' and the columns' sum of absolute differences from their
        marginals, measured on the plan; the status, 0 for a problem that was solved and 1 for one that cannot be. That
        has an allowed cost that is not finite (or not after multiplication by ``lam``), no allowed pair at all, or mass
        that the mask lets go nowhere. Its plan and marginal error are NaN and its iterations 0.

    Raises:
        ValueError: for a cost of another type, and for rows longer than ``TILE_BYTES``.
    """
    if cost.dtype not in KERNEL_RANGE:
        raise ValueError(f"cost must be float32 or float64, not {cost.dtype}: convert it first.")
    longest = TILE_BYTES // cost.itemsize
    if not fits(cost):
        raise ValueError(
            f"cost may have at most {longest} columns in {cost.dtype}, not {cost.shape[-1]}: "
            "solve it without this kernel."
        )
    whole = _padded(cost.shape[-2]) * _padded(cost.shape[-1]) <= longest
    given = (cost, None if mask is None else mask.view(torch.uint8), row, column)
    given = [tensor if tensor is None else tensor.contiguous() for tensor in given]
    threshold = 0.0 if tol is None else tol - 4 * torch.finfo(cost.dtype).eps
    with torch.cuda.device(cost.device) if cost.is_cuda else nullcontext():
        solver = _by_problem if whole else _by_rows
        return solver(*given, lam * math.log2(math.e), iterations, threshold, tol is not None)


def fits(cost: Float[Tensor, "*batch n m"]) -> bool:
    """Are the rows short enough for these kernels?"""
    return cost.shape[-1] <= TILE_BYTES // cost.itemsize


def _padded(length):
    return triton.next_power_of_2(length)


def _by_problem(cost, mask, row, column, scale, iterations, threshold, stops):
    b, n, m = cost.shape
    limit, largest = KERNEL_RANGE[cost.dtype]
    height, width = _padded(n), _padded(m)
    plan, taken = torch.empty_like(cost), cost.new_empty(b, dtype=torch.int64)
    error, status = cost.new_empty(b), cost.new_empty(b, dtype=torch.int32)
    whole_problem[(b,)](
        cost, mask, row, column, plan, taken, error, status, n, m, scale, threshold, iterations,
        STOPS=stops, LIMIT=limit * math.log2(math.e), LARGEST=largest, N=height, M=width,
        num_warps=_warps(height * width * cost.itemsize, 8),
    )  # fmt: skip
    return plan, taken, error, status


def _by_rows(cost, mask, row, column, scale, iterations, threshold, stops):
    b, n, m = cost.shape
    height, groups, visits = _shares(cost)
    chunks = triton.cdiv(m, 32)
    low = (cost if mask is None else torch.where(mask != 0, cost, math.inf)).amin((-2, -1))
    plan, taken = torch.empty_like(cost), cost.new_zeros(b, dtype=torch.int64)
    g = [torch.empty_like(column) for _ in range(2)]  # of this iteration and of the next, in turns
    sums = [cost.new_empty(b, groups, m) for _ in range(2)]  # 2^first * second
    off = cost.new_empty(b, chunks)
    size = height * _padded(m) * cost.itemsize
    tile = {"ROWS": height, "M": _padded(m), "num_warps": _warps(size, 16)}
    fold = {"GROUPS": _padded(groups), "COLUMNS": 32, "STOPS": stops, "num_warps": 4}
    stop = {"STOPS": stops, "CHUNKS": _padded(chunks)}
    state = (taken, off, chunks, threshold)

    first_columns[(b, groups)](cost, mask, row, plan, low, *sums, n, m, visits, scale, **tile)
    next_columns[(b, chunks)](column, *g, *sums, taken, off, groups, m, **fold)
    for i in range(1, iterations):
        g.reverse()
        next_rows[(b, groups)](row, plan, g[0], *sums, n, m, visits, *state, i, **stop, **tile)
        next_columns[(b, chunks)](column, *g, *sums, taken, off, groups, m, **fold)
    g.reverse()
    final_plan[(b, groups)](row, plan, *g, n, m, visits, *state, iterations, **stop, **tile)
    return _measured(plan, taken, low, row, column)


def _shares(cost):
    """Rows that a program visits together, groups of rows, and visits that a group takes."""
    b, n, m = cost.shape
    fitting = VISIT_BYTES // (_padded(m) * cost.itemsize)
    height = max(1, min(fitting, _padded(n * b // PROGRAMS)))
    visits = triton.cdiv(triton.cdiv(n, height), max(1, PROGRAMS // b))
    return height, triton.cdiv(n, height * visits), visits


def _measured(plan, taken, low, row, column):
    rows, columns = (plan.sum(-1) - row).abs().sum(-1), (plan.sum(-2) - column).abs().sum(-1)
    error = torch.maximum(rows, columns)
    bad = ~(low + error).isfinite()
    plan.masked_fill_(bad[:, None, None], math.nan)
    return plan, taken.masked_fill_(bad, 0), error.masked_fill_(bad, math.nan), bad.int()


def _warps(tile_bytes, most):
    return min(most, max(1, tile_bytes // 4096))  # 32 floats a thread
