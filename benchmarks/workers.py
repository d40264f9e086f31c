"""Fair timing: a process for each family of methods, all held to the same cores, of which one works at a time.

A worker sleeps on its pipe until it has its turn. A turn is a few calls of one method, each with another batch of the pool,
each timed alone and, once the turn is over, held against the float64 reference.
"""

import ctypes
import multiprocessing
import os
import pickle
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.peers import FAMILIES, Family
from benchmarks.problems import Batch, Case, Reference, errors

TURN_SECONDS, TURN_CALLS = 0.02, 8  # a turn is about as long, and has at most as many calls
WARM_BELOW = (
    0.2  # seconds: to such a short call it matters that another process had the caches before
)
REST = 0.02  # seconds in which the idle threads of a worker with several fall asleep


class Worker:
    """The methods of one family with the batches of one case."""

    def __init__(self, family: Family):
        self.family = family

    def methods(self, case: Case) -> dict[str, tuple[bool, bool]]:
        """The methods that take part in a case, each with the reference that it needs: (columns first, unrolled)."""
        found = self.family.methods.items()
        return {name: (m.columns_first, m.unrolled) for name, m in found if m.applies(case)}

    def load(self, case: Case, pool: list[Batch], expected: dict[tuple, list[Reference]]) -> None:
        """Take a case with its batches and their references."""
        self.case, self.pool, self.expected = case, pool, expected
        self.order = _shuffled(len(pool))

    def turn(self, name: str, calls: int, warm: bool) -> tuple[list[float], dict[str, float]]:
        """Seconds of each of ``calls`` calls, and the largest error of each kind; ``warm``: after one without a clock."""
        method = self.family.methods[name]
        chosen = [next(self.order) for _ in range(calls + warm)]
        inputs = [self.family.prepare(self.case, self.pool[i]) for i in chosen]
        results, seconds = [], []
        for each in inputs:
            start = time.perf_counter()
            results.append(method.call(each))
            seconds.append(time.perf_counter() - start)
        worst = {}
        for i, result in zip(chosen, results, strict=True):
            batch = self.pool[i]
            expected = self.expected[method.columns_first, method.unrolled][i]
            output = self.family.collect(self.case, batch, result)
            keep_worst(worst, errors(self.case, batch, expected, output))
        return seconds[warm:], worst

    def extra_bytes(self, name: str) -> int:
        """Peak resident memory of a call above what was resident before it; Linux alone can say."""
        inputs = self.family.prepare(self.case, self.pool[next(self.order)])
        self.family.methods[name].call(inputs)
        self.family.release()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # pages kept for reuse would hide the peak
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        self.family.methods[name].call(inputs)
        return _resident("VmHWM") - before


def _shuffled(count: int) -> Iterator[int]:
    """All of ``count`` numbers in ever new orders, none twice in a row."""
    generator, last = np.random.default_rng(0), None
    while True:
        order = generator.permutation(count).tolist()
        if order[0] == last:
            order.reverse()
        yield from order
        last = order[-1]


def family_worker(family: str) -> Worker:
    """The worker of a family; ImportError where its library is not installed."""
    return Worker(FAMILIES[family]())


def keep_worst(worst: dict[str, float], found: dict[str, float]) -> None:
    for kind, error in found.items():
        worst[kind] = max(error, worst.get(kind, 0.0))


def _resident(kind):
    (line,) = re.findall(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(line)


def serve(pipe, make: Callable, threads: int) -> None:
    """Answer requests (name of a method, arguments) to what ``make`` makes until None comes; an exception is an answer too."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    worker = None
    while (request := pickle.loads(pipe.recv_bytes())) is not None:
        try:
            worker = worker or make()
            name, *arguments = request
            answer = getattr(worker, name)(*arguments)
        except Exception as error:
            answer = Failure(type(error).__name__, str(error))
        pipe.send_bytes(pickle.dumps(answer))


class Failure(NamedTuple):
    """What went wrong in a worker."""

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}".splitlines()[0][:160]


class Process:
    """A worker in a process of its own, held to the first ``threads`` cores that this one may use."""

    def __init__(self, make: Callable, threads: int):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, make, threads), daemon=True)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
            os.environ[name] = str(
                threads
            )  # read by the libraries of the child, here they are loaded
        with pinned(threads):  # the child has the cores of its parent
            self.process.start()
        theirs.close()

    def ask(self, *request):
        """The answer to a request; a :class:`Failure` where the worker raised or died."""
        try:
            self.pipe.send_bytes(pickle.dumps(request))
            return pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            self.process.join(10)
            return Failure("the process ended", f"exit status {self.process.exitcode}")

    def stop(self) -> None:
        if self.process.is_alive():
            self.pipe.send_bytes(pickle.dumps(None))
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()


@contextmanager
def pinned(threads: int):
    """Hold this process to ``threads`` cores for a while; nothing where the system has no such call."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Turns(NamedTuple):
    """What one side of a comparison did: seconds of a call by round (the median of a turn), calls, largest errors."""

    seconds: list[float]
    calls: list[int]
    errors: dict[str, float]


def alternate(sides: Sequence[tuple], rounds: int, rest: float = 0.0) -> list[Turns] | Failure:
    """Rounds of one turn of each side, the first to go changing from round to round.

    Args:
        sides: two of (worker, method, how long a call of it takes in seconds).
        rounds: how many.
        rest: seconds between turns.
    """
    done = [Turns([], [], {}) for _ in sides]
    for i in range(rounds):
        for side in (0, 1) if i % 2 else (1, 0):
            worker, method, seconds = sides[side]
            calls = min(TURN_CALLS, max(1, int(TURN_SECONDS / seconds)))
            answer = worker.ask("turn", method, calls, seconds < WARM_BELOW)
            if isinstance(answer, Failure):
                return answer
            times, found = answer
            done[side].seconds.append(statistics.median(times))
            done[side].calls.append(len(times))
            keep_worst(done[side].errors, found)
            time.sleep(rest)
    return done
