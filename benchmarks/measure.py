"""Rows of the record: one method on one case against ours, or why there is none."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from benchmarks.problems import Case, is_correct, make_pool, reference
from benchmarks.workers import REST, Failure, Process, Turns, alternate, family_worker


class Workers:
    """The processes of the families, started when they are first needed; one number of threads at a time."""

    def __init__(self, families: Sequence[str]):
        self.families, self.threads, self.running, self.missing = families, None, {}, set()

    def ready(self, threads: int) -> dict[str, Process]:
        """The running workers by family, ours first; those whose library is missing are named once and left out."""
        if threads != self.threads:
            self.stop()
            self.threads = threads
        for family in self.families:
            alive = family in self.running and self.running[family].process.is_alive()
            if not alive and family not in self.missing:
                self._start(family)
        return self.running

    def _start(self, family):
        process = Process(partial(family_worker, family), self.threads)
        answer = process.ask("methods", Case(2, 2))
        if isinstance(answer, Failure):
            print(f"{family} is left out. {answer}", flush=True)
            self.missing.add(family)
            self.running.pop(family, None)
            process.stop()
        else:
            self.running[family] = process

    def stop(self) -> None:
        for process in self.running.values():
            process.stop()
        self.running = {}


def compare(case: Case, workers: dict, rounds: int, slow: float) -> list[dict]:
    """Every method on one case, each in alternating rounds with ours; ours last.

    Args:
        case: the problem.
        workers: by family, with ``ours`` among them.
        rounds: of a pair of turns.
        slow: seconds of a call from which on a method is not timed.
    """
    methods = _loaded(case, workers)
    ours = workers["ours"]
    first = ours.ask("turn", "bwot", 1, True)
    if isinstance(first, Failure):
        return [is_left_out(asdict(case), "bwot", str(first))]
    rows, mine = [], Turns([], [], {})
    for family, method in methods:
        row, turns = _against(case, (workers[family], method), (ours, "bwot", first[0][0]), rounds, slow)  # fmt: skip
        rows.append(row)
        for kept, new in zip(mine[:2], turns[:2], strict=True):
            kept.extend(new)
        mine.errors.update({k: max(e, mine.errors.get(k, 0.0)) for k, e in turns.errors.items()})
    return [*rows, _row(case, "bwot", mine)] if mine.seconds else rows


def _loaded(case, workers):
    """(family, method) of all peers that take part; the workers hold the case with the references that they need."""
    pool, references, methods = make_pool(case), {}, []
    for family, worker in workers.items():
        needed = worker.ask("methods", case)
        for key in needed.values():
            if key not in references:
                references[key] = [reference(case, batch, *key) for batch in pool]
        worker.ask("load", case, pool, {key: references[key] for key in needed.values()})
        methods += [(family, method) for method in needed if family != "ours"]
    return methods


def _against(case, peer, ours, rounds, slow):
    worker, method = peer
    trial = worker.ask("turn", method, 1, False)
    if (
        not isinstance(trial, Failure) and trial[0][0] < 10 * slow
    ):  # the first call may have compiled
        trial = worker.ask("turn", method, 1, False)
    if isinstance(trial, Failure):
        return is_left_out(asdict(case), method, str(trial)), Turns([], [], {})
    seconds = trial[0][0]
    if seconds >= slow:
        return is_left_out(asdict(case), method, too_slow(seconds)), Turns([], [], {})
    done = alternate([(worker, method, seconds), ours], rounds, REST if case.threads > 1 else 0.0)
    if isinstance(done, Failure):
        return is_left_out(asdict(case), method, str(done)), Turns([], [], {})
    theirs, mine = done
    over = [a / b for a, b in zip(theirs.seconds, mine.seconds, strict=True)]
    return _row(case, method, theirs) | {"over_ours": quartiles(over)}, mine


def row_of(case: dict | None, method: str, turns: Turns, bound: float) -> dict:
    """A row of the record; correct where no error is above ``bound``."""
    return {
        "case": case,
        "method": method,
        "milliseconds": quartiles([1e3 * each for each in turns.seconds]),
        "calls": sum(turns.calls),
        "errors": {k: float(f"{e:.2g}") if math.isfinite(e) else None for k, e in turns.errors.items()},
        "correct": all(error <= bound for error in turns.errors.values()),
    }  # fmt: skip


def too_slow(seconds: float) -> str:
    return f"a call takes {seconds:.1f} s"


def is_left_out(case: dict, method: str, reason: str) -> dict:
    """The row of a method that was not timed."""
    return {"case": case, "method": method, "left_out": reason}


def _row(case, method, turns):
    return row_of(asdict(case), method, turns, math.inf) | {
        "correct": is_correct(case, turns.errors)
    }


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median, upper quartile, to five digits."""
    values = (
        statistics.quantiles(values, n=4, method="inclusive")
        if len(values) > 1
        else 3 * list(values)
    )
    return [float(f"{value:.5g}") for value in values]
