"""What the Triton kernels of :mod:`bwot.gpu.kernels` do with a tile of a problem; the notation is theirs."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def read_costs(cost, mask, base, cells, inside):
    """Costs, and which pairs may carry mass."""
    c = tl.load(cost + base + cells, mask=inside, other=0.0)
    allowed = inside
    if mask is not None:
        allowed = inside & (tl.load(mask + base + cells, mask=inside, other=0) != 0)
    return c, allowed


@triton.jit
@no_type_check
def exponents_of(c, allowed, low, scale):
    """``L``; NaN where an allowed cost is too large or not finite."""
    L = (low - c) * tl.full((), scale, c.dtype)
    return tl.where(allowed, tl.where(L > float("-inf"), L, float("nan")), float("-inf"))


@triton.jit
@no_type_check
def share_of(mass, total):
    """``mass / total``, 0 where there is no mass."""
    return mass / tl.where(mass > 0, total, 1.0)


@triton.jit
@no_type_check
def start_of(mass):
    """The logarithm of 1 where there is mass, of 0 elsewhere."""
    return tl.where(mass > 0, mass * 0, float("-inf"))


@triton.jit
@no_type_check
def potential_of(mass, log_total):
    """The logarithm of ``mass / total``."""
    return tl.where(mass > 0, tl.log2(mass) - log_total, float("-inf"))


@triton.jit
@no_type_check
def change_of(q, old, new):
    """How far the column sums were from ``q`` with ``old``, where ``new`` makes them right."""
    return tl.where(q > 0, tl.abs(q * tl.exp2(old - new) - q), 0.0)


@triton.jit
@no_type_check
def top_of(x, axis: tl.constexpr):
    """The largest entry, 0 where all are -inf."""
    top = tl.max(x, axis)
    return tl.where(top > float("-inf"), top, 0.0)


@triton.jit
@no_type_check
def log_sum(x, axis: tl.constexpr):
    top = top_of(x, axis)
    return top + tl.log2(tl.sum(tl.exp2(x - tl.expand_dims(top, axis)), axis))
