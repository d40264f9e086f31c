"""Functions that numba compiles: how, and an exponential that a loop over an array vectorises.

``no_type_check`` stands on each of them: what checks types in the tests cannot be compiled.
"""

import math
from collections.abc import Callable
from typing import no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

FAST = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order, but NaN and infinity as they are


_OPTIONS = {"fastmath": FAST, "error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}


def compiled(function: Callable) -> Callable:
    """Compiled at the first call for each type of its arguments, and kept beside the source for other processes.

    What is kept is compiled again when the file of the function changes, not when a file that it imports does:
    whoever changes a part removes the folders ``__pycache__``.
    """
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder to keep the compiled code in
        return njit(**_OPTIONS)(function)


def called(function: Callable) -> Callable:
    """A part that compiled functions call, in more than one place: compiled once for all of them, for nobody else to call."""
    return njit(no_cpython_wrapper=True, **_OPTIONS)(function)


def inlined(function: Callable) -> Callable:
    """A part of a compiled function, compiled with it and not by itself: half of the time of the first call."""
    return njit(inline="always")(function)


@no_type_check
def lent_value(target, builder, kind, value):
    """Code for a value in which arrays, also in tuples of tuples, keep no count of references."""
    if isinstance(kind, types.Array):
        array = target.make_array(kind)(target, builder, value)
        array.meminfo, array.parent = (
            cgutils.get_null_value(each.type) for each in (array.meminfo, array.parent)
        )
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for k, each in enumerate(kind):
            value = builder.insert_value(
                value, lent_value(target, builder, each, builder.extract_value(value, k)), k
            )
    return value


@intrinsic
@no_type_check
def lent(context, value):
    """Arrays, one or a tuple, that their caller keeps alive: views of a row count no reference, atomically, at every row."""

    def build(target, builder, signature, given):
        return lent_value(target, builder, signature.args[0], given[0])

    return value(value), build


@intrinsic
@no_type_check
def _of_bits(context, bits):
    """The float of as many bits as an integer has, with these bits."""
    single = bits == types.int32

    def build(_, builder, __, arguments):
        return builder.bitcast(arguments[0], ir.FloatType() if single else ir.DoubleType())

    return (types.float32 if single else types.float64)(bits), build


# exp(x) for x up to about 80, and 0 where that is below the smallest normal number: 2^k exp(r), r = x - k log 2 with log 2 in
# two parts. Callers that sum in any order may join the parts: an error of |x| / 6 roundings, e^-40 still to 1e-15.
_SINGLE, _DOUBLE = (
    tuple(kind(1 / math.factorial(power)) for power in range(terms))
    for kind, terms in ((np.float32, 8), (np.float64, 14))
)
_SINGLE_LOG2 = tuple(np.float32(part) for part in (1 / math.log(2), 0.693359375, -2.12194440e-4))
_DOUBLE_LOG2 = (1 / math.log(2), 0.693145751953125, 1.42860682030941723212e-6)


@njit
@no_type_check
def _exp_single(x):
    c, bound = _SINGLE, max(x, np.float32(-87.3))
    k = np.int32(bound * _SINGLE_LOG2[0] + np.float32(127.5)) - np.int32(127)  # to the nearest
    r = bound - np.float32(k) * _SINGLE_LOG2[1]
    r = r - np.float32(k) * _SINGLE_LOG2[2]
    y = ((((c[7] * r + c[6]) * r + c[5]) * r + c[4]) * r + c[3]) * r + c[2]
    y = (y * r + c[1]) * r + c[0]
    y *= _of_bits(np.int32((k + np.int32(127)) << np.int32(23)))  # a shift makes it wider
    return y if x > np.float32(-87.3) else np.float32(0)


@njit
@no_type_check
def _exp_double(x):
    d, bound = _DOUBLE, max(x, -708.0)
    k = np.int64(bound * _DOUBLE_LOG2[0] + 1023.5) - np.int64(1023)
    r = bound - k * _DOUBLE_LOG2[1]
    r = r - k * _DOUBLE_LOG2[2]
    y = ((((d[13] * r + d[12]) * r + d[11]) * r + d[10]) * r + d[9]) * r + d[8]
    y = ((((y * r + d[7]) * r + d[6]) * r + d[5]) * r + d[4]) * r + d[3]
    y = ((y * r + d[2]) * r + d[1]) * r + d[0]
    y *= _of_bits((k + np.int64(1023)) << np.int64(52))
    return y if x > -708.0 else 0.0


@no_type_check
def exp(x: float) -> float:
    """``e^x`` for x up to about 80, and 0 where that is below the smallest normal number; inside compiled functions only."""
    raise NotImplementedError("exp is for functions that numba compiles")


@overload(exp)
@no_type_check
def _(x):
    return (lambda x: _exp_single(x)) if x == types.float32 else (lambda x: _exp_double(x))
