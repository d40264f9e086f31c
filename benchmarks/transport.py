"""How long the loss takes, from embeddings to their gradients, beside what else a user could pick today.

    python -m benchmarks.transport --quick                            # a minute: does everything run?
    python -m benchmarks.transport --output book/results/transport/NAME.json
    python -m benchmarks.transport --groups tol,step --output ...     # a slice: its rows go into the same record
    python -m benchmarks.transport --groups fixed --n 2048 --output ...

Peers are in benchmarks/requirements.txt; one that is not installed is left out with a line that says so. A call starts from
two batches of embeddings and ends with both gradients. Every call has another batch, drawn from a shuffled pool, so that
nothing can be cached. Each family of methods has a process of its own, pinned to the same core; peer and ours take turns, and
what is compared is their ratio round by round: lower quartile, median, upper quartile. Every timed output is held against
float64 in the same run (:mod:`benchmarks.problems`): a row with a wrong output counts as lost, however fast. A case that the
record has from the same commit is not measured again.

Groups: ``fixed`` 50 iterations; ``tol`` to a marginal error; ``batched`` 64 problems at once; ``memory`` peak above the
resident memory, in matrices of n x m; ``step`` a training step over the same one without transport; ``pml`` losses of
pytorch-metric-learning; ``limits`` an iteration against reading its matrix; ``start`` the first call of a process; ``exact``
the exact gradient over that of a constant plan; ``iterations`` how many it takes to a tolerance, which no busy machine changes.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from benchmarks import extras, gradients
from benchmarks.measure import Workers, compare, is_left_out, quartiles, row_of, too_slow
from benchmarks.peers import FAMILIES
from benchmarks.problems import Case, make_pool
from benchmarks.record import Book
from benchmarks.workers import Failure, Process, alternate, family_worker

SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
OBLONG = ((100, 77), (1000, 333))
BASE = Case(256, 256)
VARIED = (
    [replace(BASE, d=d) for d in (64, 512)]
    + [replace(BASE, lam=lam) for lam in (5.0, 50.0, 200.0)]
    + [replace(BASE, n=n, m=n, dtype="float64") for n in (64, 256, 1024)]
    + [replace(BASE, n=n, m=n, threads=2) for n in (64, 256, 512, 1024, 2048)]
)
LEAST_ROUNDS = 20


def fixed_cases() -> list[Case]:
    """The base row, oblong problems and one axis varied at a time; each for both costs."""
    cases = [Case(n, n) for n in SIZES] + [Case(n, m) for n, m in OBLONG] + VARIED
    return [replace(case, cost=cost) for cost in ("distance", "loss") for case in cases]


def fixed(book: Book, options: argparse.Namespace) -> None:
    _measure("fixed", fixed_cases(), book, options)


def tol(book: Book, options: argparse.Namespace) -> None:
    cases = [Case(n, n, lam=50.0, tol=1e-6) for n in (128, 512)]
    _measure("tol", cases, book, options)


def batched(book: Book, options: argparse.Namespace) -> None:
    _measure("batched", [Case(n, n, problems=64) for n in (32, 64, 128)], book, options)


def _measure(group, cases, book, options):
    workers = Workers(options.families)
    try:
        for case in _chosen(cases, options):
            if not book.has(group, case):
                rows = compare(case, workers.ready(case.threads), options.rounds, options.slow)
                book.add(group, rows)
    finally:
        workers.stop()


def _chosen(cases, options) -> Iterator[Case]:
    """The cases that the command line asks for."""
    for case in cases:
        if all(
            given is None or getattr(case, name) in given for name, given in options.axes.items()
        ):
            yield case


def memory(book: Book, options: argparse.Namespace) -> None:
    """Peak of resident memory during a call, in matrices of n x m in the type of the case; a process for each method."""
    cases = [Case(n, n, cost=cost) for cost in ("distance", "loss") for n in (1024, 2048, 4096)]
    for case in _chosen(cases, options):
        if book.has("memory", case):
            continue
        rows = []
        for family in options.families:
            for method in _methods_of(family, case):
                rows.append(_memory_row(family, method, case))
        book.add("memory", rows)


def _methods_of(family, case):
    try:
        return [name for name in family_worker(family).methods(case) if name not in TOO_LARGE]
    except ImportError:
        return []


TOO_LARGE = {
    "GeomLoss SamplesLoss",
    "POT default use",
}  # tens of matrices and more: not worth a figure


def _memory_row(family, method, case):
    # every matrix a mapping of its own, given back at once: what glibc keeps for reuse differs from run to run
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "262144"
    process = Process(partial(family_worker, family), case.threads)
    del os.environ["MALLOC_MMAP_THRESHOLD_"]
    try:
        process.ask("load", case, make_pool(case)[:2], {})
        found = process.ask("extra_bytes", method)
    finally:
        process.stop()
    if isinstance(found, Failure):
        return is_left_out(asdict(case), method, str(found))
    size = case.n * case.m * (8 if case.dtype == "float64" else 4)
    return {"case": asdict(case), "method": method, "matrices": round(found / size, 2)}


def step(book: Book, options: argparse.Namespace) -> None:
    """A training step with the batch-wise loss over the same one with the all-pairs mean."""
    if book.has("step", None):
        return
    process = Process(extras.Steps, 1)
    try:
        first = [process.ask("turn", name, 1, True)[0][0] for name in ("bwot", "all pairs")]
        sides = [(process, name, s) for name, s in zip(("bwot", "all pairs"), first, strict=True)]
        ours, plain = alternate(sides, options.rounds)
    finally:
        process.stop()
    over = [a / b for a, b in zip(ours.seconds, plain.seconds, strict=True)]
    book.add("step", [row_of(None, "all pairs", plain, 1e-4),
                      row_of(None, "bwot", ours, 1e-4) | {"over_plain": quartiles(over)}])  # fmt: skip


def pml(book: Book, options: argparse.Namespace) -> None:
    """Losses of pytorch-metric-learning, forward and backward, each in rounds with ours."""
    process = Process(extras.OtherLosses, 1)
    try:
        for size in (128,) if options.quick else (128, 256):
            names = process.ask("load", size)
            if isinstance(names, Failure):
                return print(f"pml is left out. {names}")
            if not book.has("pml", {"batch": size}):
                book.add("pml", [_pml_row(process, size, name, options) for name in names])
    finally:
        process.stop()


def _pml_row(process, size, name, options):
    first = [process.ask("turn", each, 1, True) for each in (name, "bwot")]
    if failed := [each for each in first if isinstance(each, Failure)]:
        return is_left_out({"batch": size}, name, str(failed[0]))
    if first[0][0][0] >= options.slow:
        return is_left_out({"batch": size}, name, too_slow(first[0][0][0]))
    sides = [(process, each, s[0][0]) for each, s in zip((name, "bwot"), first, strict=True)]
    theirs, mine = alternate(sides, options.rounds)
    over = [a / b for a, b in zip(theirs.seconds, mine.seconds, strict=True)]
    return row_of({"batch": size}, name, theirs, 1e-3) | {"over_ours": quartiles(over)}


def limits(book: Book, options: argparse.Namespace) -> None:
    """Seconds to read a matrix and to multiply it by a vector, and of one iteration of ours over that."""
    process = Process(extras.Limits, 1)
    try:
        for n in options.axes["n"] or SIZES:
            if book.has("limits", {"n": n}):
                continue
            row = {"case": {"n": n}, "method": "bwot"}
            row |= {
                f"{kind}_microseconds": 1e6 * s for kind, s in process.ask("reading", n).items()
            }
            if 512 <= n <= 2048:
                each = quartiles([1e6 * s for s in process.ask("iteration", n)])
                row |= {"iteration_microseconds": each}
            book.add("limits", [row])
    finally:
        process.stop()


def start(book: Book, options: argparse.Namespace) -> None:
    """The first call of a process, without and with what an earlier one compiled."""
    if not book.has("start", None):
        found = extras.first_calls()
        book.add("start", [{"case": None, "method": "bwot", "state": state, "seconds": seconds}
                           for state, seconds in found.items()])  # fmt: skip


def exact(book: Book, options: argparse.Namespace) -> None:
    """The exact gradient in rounds with that of a constant plan."""
    process = Process(gradients.Gradients, 1)
    try:
        for n in (64,) if options.quick else (128, 512, 1024):
            case = Case(n, n, cost="loss")
            if not book.has("exact", case):
                process.ask("load", case)
                names = ("exact", "constant")
                first = [process.ask("turn", name, 1, True)[0][0] for name in names]
                sides = [(process, name, s) for name, s in zip(names, first, strict=True)]
                found, plain = alternate(sides, options.rounds)
                over = [a / b for a, b in zip(found.seconds, plain.seconds, strict=True)]
                row = row_of(asdict(case), "bwot, exact", found, 1e-4)
                book.add("exact", [row | {"over_constant": quartiles(over)}])
    finally:
        process.stop()


def iterations(book: Book, options: argparse.Namespace) -> None:
    """Iterations to a tolerance, ours and the plain algorithm's."""
    for n, lam in ((64, 50.0),) if options.quick else ((256, 50.0), (1024, 100.0)):
        for cost in ("distance", "loss"):
            case = Case(n, n, lam=lam, cost=cost, tol=1e-6)
            if not book.has("iterations", case):
                for row in gradients.iterations_to(case):
                    book.add("iterations", [row])


GROUPS = {each.__name__: each for each in (
    fixed, tol, batched, memory, step, pml, limits, start, exact, iterations)}  # fmt: skip


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transport",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, help="JSON file that takes the rows; none: the table alone"
    )
    parser.add_argument(
        "--groups", type=_words, default=list(GROUPS), help=f"of {', '.join(GROUPS)}"
    )
    parser.add_argument(
        "--families", type=_words, default=list(FAMILIES), help=f"of {', '.join(FAMILIES)}"
    )
    for name, kind in (
        ("n", int),
        ("d", int),
        ("lam", float),
        ("dtype", str),
        ("cost", str),
        ("threads", int),
    ):
        parser.add_argument(
            f"--{name}", type=partial(_words, kind=kind), help="only cases with one of these"
        )
    parser.add_argument(
        "--rounds", type=int, default=25, help="of a turn of a peer and one of ours, at least 20"
    )
    parser.add_argument(
        "--slow",
        type=float,
        default=5.0,
        help="seconds of a call from which on a method is left out",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small problems and few rounds: does everything run?"
    )
    options = parser.parse_args(given)
    for name, known in (("groups", GROUPS), ("families", FAMILIES)):
        if unknown := set(getattr(options, name)) - set(known):
            parser.error(
                f"--{name} has no {', '.join(sorted(unknown))}; there are {', '.join(known)}"
            )
    options.axes = {
        name: getattr(options, name) for name in ("n", "d", "lam", "dtype", "cost", "threads")
    }
    return _quick(options) if options.quick else options


def _words(text, kind=str):
    return [kind(word) for word in text.split(",")]


def _quick(options):
    """Leaves out what takes long; what the command line names stays."""
    small = {"n": [32, 64], "dtype": ["float32"], "threads": [1]}
    options.axes = {name: given or small.get(name) for name, given in options.axes.items()}
    options.rounds, options.slow = 3, 0.5
    return options


def main() -> None:
    options = arguments()
    how = {name: getattr(options, name) for name in ("families", "rounds", "slow", "quick")}
    book = Book(options.output, how)
    for name in options.groups:
        GROUPS[name](book, options)


if __name__ == "__main__":
    main()
