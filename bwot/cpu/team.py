"""Threads that share one large problem: those of the OpenMP pool with which torch multiplies matrices.

A pool beside it would have to wait for its threads, which keep their cores busy for milliseconds after each product in case there is
another. So a compiled function hands its parts to the pool that torch uses, through the library that torch has loaded.
"""

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import no_type_check

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from bwot.cpu.exponential import called, inlined, lent_value

PAIRS_A_THREAD = 2**15
"""Least share of a thread: with less, meeting the others takes as long as they save."""
MOST = 16
"""More would spend as long on each other's sums as on their own."""
SPINS = 2000
"""Looks at the others, a few microseconds, before the core is offered to whoever wants it."""


_in_child = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _in_child.append(True))


@functools.cache
def _openmp():
    """The library that torch computes with, and the addresses of what starts threads, of a thread's number and of their count."""
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    try:
        # looks into what the library of torch is linked with, too
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        places = [ctypes.cast(library[name], ctypes.c_void_p).value for name in names]
    except (OSError, AttributeError):
        return None
    return library, tuple(map(np.int64, places))


def size_of(n: int, m: int) -> int:
    """How many threads share a problem of n x m pairs: as many as torch uses, fewer where it is small, one where they cannot be had."""
    most = min(n * m // PAIRS_A_THREAD, MOST)
    if most < 2 or not hasattr(os, "sched_yield") or (found := _openmp()) is None:
        return 1
    library, _ = found
    # a fork has the memory of the pool and not its threads; in the other cases fewer than were asked for may come
    if (
        _in_child
        or library.omp_in_parallel()
        or library.omp_get_dynamic()
        or library.omp_get_max_active_levels() < 1
    ):
        return 1
    return max(1, min(most, torch.get_num_threads(), library.omp_get_thread_limit()))


def pool() -> tuple[np.int64, ...]:
    """What :func:`in_threads` starts threads with."""
    return _openmp()[1]


@inlined
@no_type_check
def edge(n, rank, size):
    """The first row of a thread: all begin at a multiple of four."""
    return n if rank == size else 4 * (n * rank // (4 * size))


def in_threads(body: Callable) -> Callable:
    """``body(rank, arguments)`` by ``size`` threads at once, as a part of compiled functions: ``(pool, size, arguments) -> threads``.

    Where other than ``size`` threads come, they do nothing, and their number tells.
    """

    @intrinsic
    @no_type_check
    def started(context, pool, size, arguments):
        def build(target, builder, signature, given):
            count, at = ir.IntType(32), cgutils.alloca_once(builder, ir.IntType(32))
            given = [*given[:2], lent_value(target, builder, signature.args[2], given[2])]
            slot = cgutils.alloca_once_value(builder, cgutils.make_anonymous_struct(builder, [*given, at]))  # fmt: skip
            entry = _entry(target, builder, signature.args, slot.type, body)
            kind = ir.FunctionType(ir.VoidType(), [entry.type, slot.type, count, count])
            start = builder.inttoptr(builder.extract_value(given[0], 0), kind.as_pointer())
            builder.call(start, [entry, slot, builder.trunc(given[1], count), count(0)])
            return builder.load(at)

        return types.int32(pool, types.int64, arguments), build

    return started


def _entry(target, builder, kinds, slot, body):
    """What a thread begins with: a function of the address of the arguments, that looks who and how many they are."""
    number = ir.IntType(32)
    entry = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [slot]), builder.module.get_unique_name("share"))  # fmt: skip
    entry.linkage = "internal"
    inner = ir.IRBuilder(entry.append_basic_block("entry"))
    pool, size, arguments, at = (inner.extract_value(inner.load(entry.args[0]), k) for k in range(4))  # fmt: skip
    rank, count = (inner.call(inner.inttoptr(inner.extract_value(pool, k), ir.FunctionType(number, []).as_pointer()), [])
                   for k in (1, 2))  # fmt: skip
    inner.store(count, at)
    body.compile((types.int32, kinds[2]))
    done = body.overloads[types.int32, kinds[2]]
    target.active_code_library.add_linking_library(done.library)
    with inner.if_then(inner.icmp_signed("==", count, inner.trunc(size, number))):
        # inlined: the copy for itself may have other last digits, and which of both runs would depend on what was compiled before
        target.call_conv.call_function(inner, target.declare_function(builder.module, done.fndesc), done.signature.return_type,
                                       done.signature.args, [rank, arguments], attrs=("alwaysinline",))  # fmt: skip
    inner.ret_void()
    return entry


@intrinsic
@no_type_check
def _arrive(context, met):
    """One more has arrived."""

    def build(target, builder, signature, given):
        place = target.make_array(signature.args[0])(target, builder, given[0]).data
        return builder.atomic_rmw("add", place, ir.IntType(64)(1), "seq_cst")

    return types.int64(met), build


@intrinsic
@no_type_check
def _arrived(context, met):
    """How many have, as of now."""

    def build(target, builder, signature, given):
        place = target.make_array(signature.args[0])(target, builder, given[0]).data
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(met), build


_yield = types.ExternalFunction("sched_yield", types.int32())


@called
@no_type_check
def meet(met, arrivals):
    """Wait until there have been so many ``arrivals``."""
    _arrive(met)
    spins = 0
    while _arrived(met) < arrivals:
        spins += 1
        if spins > SPINS:
            _yield()
