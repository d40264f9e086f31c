r"""Entropic optimal transport: a cost in, a transport plan out (Cuturi 2013).

Notation: ``C`` cost, ``lam`` inverse of the entropic regularisation, ``K = exp(-lam C)`` kernel, ``p`` and ``q`` the
marginals of rows and columns, ``T = diag(u) K diag(v)`` plan. One iteration updates ``v = q / K^T u`` and then
``u = p / K v``, so the rows of the plan are exact and the columns approximate; ``u`` starts at a constant every call.

Three paths to the same plan, right at every ``lam``: compiled for the CPU (:mod:`bwot.cpu`; large problems in as many threads as torch uses), in Triton for a GPU
(:mod:`bwot.gpu`), and in plain torch (:mod:`bwot.sinkhorn_torch`), the reference, which runs where the others are absent. Each
works with ``K`` itself while its numbers are in range and with logarithms beyond. ``torch.compile`` sees one operation.

On the CPU what has no plan raises. On other devices and inside a compiled graph nothing waits for a look at the values: there
the plan, the marginal error and the loss become NaN.
"""

import functools
import math
import warnings
from numbers import Integral
from typing import NamedTuple, NoReturn

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bwot import sinkhorn_torch
from bwot.batches import looks


class Plan(NamedTuple):
    """What :func:`sinkhorn` returns."""

    plan: Float[Tensor, "*batch n m"]
    """Transport plan; sums to 1, zero at excluded pairs, without gradient."""
    iterations: Int[Tensor, "*batch"]
    """Iterations that each problem took."""
    marginal_error: Float[Tensor, "*batch"]
    """The larger of the rows' and the columns' sum of absolute differences from their marginals, measured on ``plan``."""


def sinkhorn(
    cost: Float[Tensor, "*batch n m"],
    lam: float = 10.0,
    iterations: int = 50,
    tol: float | None = None,
    *,
    mask: Bool[Tensor, "*batch n m"] | None = None,
    row_marginal: Float[Tensor, "*batch n"] | None = None,
    column_marginal: Float[Tensor, "*batch m"] | None = None,
) -> Plan:
    """Plan of ``min_T <T, cost> - h(T) / lam`` with given marginals (Cuturi 2013, Algorithm 1).

    Computed in float32 at least; half-precision costs are widened first.

    >>> sinkhorn(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), lam=2.0).plan
    tensor([[0.4404, 0.0596],
            [0.0596, 0.4404]])

    Args:
        cost: finite cost of moving row ``i`` to column ``j``; leading dimensions are separate problems. What stands at
            excluded pairs plays no part and need not be finite.
        lam: inverse of the entropic regularisation, in inverse units of ``cost``; large is sharp and slow to converge.
        iterations: how many to run, or at most how many where ``tol`` is given.
        tol: stop a problem as soon as its ``marginal_error`` is at most this; warns where that is not reached. On the CPU the
            iterations are accelerated then, and far fewer at large ``lam``.
        mask: pairs that may carry mass. A row or column with none gets no mass, and the default marginals are uniform
            over the others.
        row_marginal: mass of each row, summing to 1; uniform if not given.
        column_marginal: the same for the columns.

    Raises:
        ValueError: for a cost that is empty or not finite, ``lam``, ``iterations`` or ``tol`` not positive, marginals
            that are no distributions or put mass where the mask allows none, and a mask without any pair.
        TypeError: inside ``torch.func.vmap``.
    """
    check_settings(lam, iterations, tol)
    if cost.ndim < 2 or 0 in cost.shape:
        raise ValueError(
            f"cost must have shape (*batch, n, m) with no empty dimension, not {tuple(cost.shape)}."
        )
    if not torch.compiler.is_compiling() and torch._C._functorch.is_batchedtensor(cost):
        raise TypeError(
            "sinkhorn has no vmap rule: give the problems as leading dimensions of cost."
        )
    cost = cost.detach().to(torch.promote_types(cost.dtype, torch.float32))
    if mask is not None:
        _check_mask(mask, cost)
    row = _given(row_marginal, cost, -1, "row_marginal")
    column = _given(column_marginal, cost, -2, "column_marginal")
    if mask is not None and (row is not None or column is not None):
        _check_support(mask, row, column)
    result = Plan(*_solve(cost, lam, iterations, tol or 0.0, mask, row, column))
    if tol is not None and looks(cost):
        tell_of_tol(result.marginal_error.max().item(), result.iterations.max().item(), tol)
    return result


def tell_of_tol(marginal_error: float, iterations: int, tol: float) -> None:
    """Warn the caller's caller where ``tol`` was not reached."""
    if marginal_error > tol:
        warnings.warn(
            f"Sinkhorn stopped after {iterations} iterations with marginal_error {marginal_error:.2g}, above tol {tol:.2g}: "
            "raise iterations or lower lam.",
            stacklevel=3,
        )


def compiled_for(tensor: Tensor) -> bool:
    """Is there a compiled path for this tensor: on the CPU, with numba, outside torch's own compiler and transforms?"""
    return (
        looks(tensor)
        and _solver() is not None
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


@functools.cache
def _solver():
    try:
        from bwot.cpu import solver
    except ImportError:  # numba does not come for every machine
        return None
    return solver


@torch.library.custom_op("bwot::sinkhorn", mutates_args=())
def _sinkhorn(
    cost: Tensor,
    lam: float,
    iterations: int,
    tol: float,
    mask: Tensor | None,
    row: Tensor | None,
    column: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    return _solve(cost, lam, iterations, tol, mask, row, column)


@_sinkhorn.register_fake
def _(cost, lam, iterations, tol, mask, row, column):
    batch = cost.shape[:-2]
    return (
        cost.new_empty(cost.shape),
        cost.new_empty(batch, dtype=torch.long),
        cost.new_empty(batch),
    )


def _solve(cost, lam, iterations, tol, mask, row, column):
    """Plan, iterations and marginal error by the fastest path for this machine; ``tol`` 0 for none."""
    if torch.compiler.is_compiling():
        return _sinkhorn(cost, lam, iterations, tol, mask, row, column)
    if mask is not None:
        allowed = cost.masked_fill(
            cost == math.inf, math.nan
        )  # infinite means excluded from here on
        cost = torch.where(mask, allowed, math.inf)
    if not compiled_for(cost):
        if looks(cost) and not _has_plan(cost, lam, mask is not None):
            refuse(cost, lam, mask)
        if cost.is_cuda and _gpu_solver() is not None and _gpu_solver().fits(cost):
            return _on_gpu(cost, lam, iterations, tol or None, mask, row, column)
        with torch.autocast(cost.device.type, enabled=False):
            return sinkhorn_torch.solve(cost, lam, iterations, tol or None, row, column)
    plan, taken, errors, status = _solver().solve(
        cost, lam, iterations, tol or None, mask is not None, row, column
    )
    if status:
        refuse(cost, lam, mask)
    return plan, taken, errors


@functools.cache
def _gpu_solver():
    try:
        from bwot.gpu import solver
    except ImportError:  # triton comes with torch for CUDA on Linux alone
        return None
    return solver


def _on_gpu(cost, lam, iterations, tol, mask, row, column):
    """Triton's plan, a batch of problems at once; NaN where there is none, and nothing waits for the device."""
    pairs = cost < math.inf
    row = sinkhorn_torch.uniform(pairs, -1, cost.dtype) if row is None else row
    column = sinkhorn_torch.uniform(pairs, -2, cost.dtype) if column is None else column
    flat = [
        each if each is None else each.reshape(-1, *each.shape[cost.ndim - 2 :])
        for each in (cost, mask, row, column)
    ]
    plan, taken, error, _ = _gpu_solver().solve(flat[0], lam, iterations, tol, *flat[1:])
    return plan.view(cost.shape), taken.view(cost.shape[:-2]), error.view(cost.shape[:-2])


def _has_plan(cost, lam, masked):
    finite = cost.isfinite()
    excluded = (cost == math.inf) & masked
    span = cost.masked_fill(~finite, -math.inf).max() - cost.min()
    return bool((finite | excluded).all() & (lam * span < math.inf))


def refuse(cost: Tensor, lam: float, mask: Tensor | None) -> NoReturn:
    """The error for a cost that no plan can be had for."""
    allowed = torch.ones_like(cost, dtype=torch.bool) if mask is None else mask
    bad = int((~cost.isfinite() & allowed).sum())
    if bad:
        raise ValueError(
            f"cost must be finite; {bad} of {cost.numel()} entries are not. Exclude pairs by mask."
        )
    raise ValueError(
        f"lam * (largest - smallest cost) must be a finite {cost.dtype}: lam {lam} is too large."
    )


def check_settings(lam: float, iterations: int, tol: float | None = None, **others: float) -> None:
    """Refuse settings that are not positive and finite, by name; ``iterations`` must be an integer, ``tol`` may be None."""
    named = {"lam": lam, "iterations": iterations, **others} | ({} if tol is None else {"tol": tol})
    for name, value in named.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {value}.")
    if not isinstance(iterations, Integral):
        raise ValueError(f"iterations must be an integer, not {iterations}.")


def _given(given, cost, dim, name):
    """The checked marginal of the rows (``dim`` -1: what is summed away) or columns (-2), None if not given."""
    if given is None:
        return None
    shape = cost.shape[:-1] if dim == -1 else cost.shape[:-2] + cost.shape[-1:]
    if given.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}, not {tuple(given.shape)}.")
    given = given.detach().to(cost)
    if looks(given):
        off = (given.sum(-1) - 1).abs()
        if not bool((given >= 0).all()) or not bool((off <= 1e-4).all()):
            raise ValueError(
                f"{name} must be non-negative and sum to 1: its smallest entry is {given.min().item():.6g}, "
                f"its sum is off by {off.max().item():.6g}."
            )
    return given


def _check_mask(mask, cost):
    if mask.dtype != torch.bool or mask.shape != cost.shape:
        raise ValueError(
            f"mask must be boolean of shape {tuple(cost.shape)}, not {mask.dtype} of {tuple(mask.shape)}."
        )
    if looks(mask) and not bool(mask.any(-1).any(-1).all()):
        raise ValueError("mask must allow at least one pair; it excludes all of them.")


def _check_support(mask, row, column):
    """Mass that can go nowhere has no plan: rows (columns) with mass need an allowed column (row) with mass."""
    if not looks(mask):
        return
    rows = mask.any(-1) if row is None else row > 0
    columns = mask.any(-2) if column is None else column > 0
    support = mask & rows[..., :, None] & columns[..., None, :]
    for name, mass, reached in (
        ("row", rows, support.any(-1)),
        ("column", columns, support.any(-2)),
    ):
        if bool((mass & ~reached).any()):
            raise ValueError(
                f"{name}_marginal puts mass on a {name} whose pairs are all excluded or without mass."
            )
