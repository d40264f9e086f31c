"""What else is asked of the loss beside the ratios to other solvers: a figure, what a record has of it, and whether that is enough."""

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.markdown import cells, short, table
from benchmarks.targets import fastest

COSTS = {"distance": "squared distances", "loss": "the loss's own cost"}


class Promise(NamedTuple):
    """A figure that has to be reached."""

    what: str
    found: float
    bound: float
    most: bool
    """Is ``bound`` the most that it may be, or the least that it has to be?"""

    @property
    def kept(self) -> bool:
        return self.found <= self.bound if self.most else self.found >= self.bound


def promises(record: dict) -> list[Promise]:
    """All that were measured; of ratios the quartile that is worse for us."""
    return [each for group in (_fixed, _exact, _memory, _limits, _step, _pml, _tol, _batched, _iterations, _start)
            for each in group([row for row in record["rows"] if row["group"] == group.__name__[1:]])]  # fmt: skip


def _fixed(rows) -> Iterator[Promise]:
    for dtype, most in (("float32", 1e-6), ("float64", 1e-12)):
        ours = [row for row in rows if row["method"] == "bwot" and (row["case"]["lam"], row["case"]["dtype"]) == (10, dtype)]  # fmt: skip
        found = [row["errors"]["plan"] if row.get("correct") else float("inf") for row in ours]
        if found:
            yield Promise(f"largest error of an entry of a plan times n, λ = 10, {dtype}, {len(found)} cases", max(found), most, True)  # fmt: skip


def _exact(rows) -> Iterator[Promise]:
    for row in rows:
        if "over_constant" in row:
            n, found = row["case"]["n"], row["over_constant"][2]
            yield Promise(f"`exact` over `constant`, n = {n}", found, 2, True)
            off = row["errors"]["gradient"]
            yield Promise(f"error of the gradient of `exact` in float32, n = {n}", float("inf") if off is None else off, 1e-4, True)  # fmt: skip


def _memory(rows):
    for row in rows:
        if row["method"] == "bwot" and "matrices" in row:
            n, m, d = (row["case"][name] for name in ("n", "m", "d"))
            most = 2 + 2 * (n + m) * d / (n * m)  # with the gradients and a copy of the embeddings
            what = f"extra memory in matrices, {_cost(row)}, n = {n}: two, embeddings and their gradients"
            yield Promise(what, row["matrices"], round(most, 2), True)


def _limits(rows):
    for row in rows:
        if "iteration_microseconds" in row:
            once = min(row["sum_microseconds"], row["product_microseconds"])
            found = row["iteration_microseconds"][1] / once
            yield Promise(f"an iteration over reading K once, n = {row['case']['n']}", found, 1.5, True)  # fmt: skip


def _step(rows):
    for row in rows:
        if "over_plain" in row:
            yield Promise("a training step over the same with `allpairs`", row["over_plain"][2], 1.25, True)  # fmt: skip


def _pml(rows):
    for row in rows:
        if row["method"] == "contrastive" and "over_ours" in row:
            yield Promise(f"contrastive loss over ours, batch {row['case']['batch']}", row["over_ours"][0], 1, False)  # fmt: skip


def _tol(rows):
    for n, least in ((128, 12), (512, 8)):
        best = fastest([row for row in rows if row["case"]["n"] == n], "best POT")
        if best:
            yield Promise(f"best POT / ours, λ = 50 to 1e-6, n = {n}", best["over_ours"][0], least, False)  # fmt: skip


def _batched(rows):
    for row in rows:
        least = {"POT batch kernel": 2, "POT batch log": 5}.get(row["method"])
        if least and row.get("correct"):
            yield Promise(f"{row['method']} / ours, 64 problems, n = {row['case']['n']}", row["over_ours"][0], least, False)  # fmt: skip


def _iterations(rows):
    most = {(256, 50.0): 120, (1024, 100.0): 300}
    for row in rows:
        case = row["case"]
        if row["method"] == "bwot" and (case["n"], case["lam"]) in most:
            what = f"iterations to 1e-6, {_cost(row)}, λ = {case['lam']:g}, n = {case['n']}, {case['dtype']}"
            found = row["iterations"] if row["correct"] else float("inf")
            yield Promise(what, found, most[case["n"], case["lam"]], True)


def _start(rows):
    for row in rows:
        most = {"cold": 3, "warm": 0.5}[row["state"]]
        yield Promise(f"first call in seconds, {row['state']} cache", row["seconds"]["first"], most, True)  # fmt: skip


def _cost(row):
    return COSTS[row["case"]["cost"]]


def promises_table(record: dict) -> str:
    """Every other figure that has to be reached, missed ones first."""
    found = sorted(promises(record), key=lambda each: each.kept)
    lines = [cells(each.what, short(each.found), f"{'≤' if each.most else '≥'} {each.bound:g}",
                    "reached" if each.kept else "**missed**") for each in found]  # fmt: skip
    return table("What else it has to reach", ["figure", "found", "target", ""], lines)


def iterations_table(record: dict) -> str:
    """Iterations to a tolerance: ours are accelerated."""
    rows = [row for row in record["rows"] if row["group"] == "iterations"]
    plain = {_problem(row): row["iterations"] for row in rows if row["method"] == "plain"}  # fmt: skip
    lines = [
        cells(f"{_cost(row)}, λ = {row['case']['lam']:g}, {row['case']['n']}, {row['case']['dtype']}",
               row["iterations"], plain.get(_problem(row), "–"))
        for row in rows if row["method"] == "bwot"
    ]  # fmt: skip
    return table("Iterations up to a marginal error of 1e-6", ["case", "accelerated", "plain, float64"], lines)  # fmt: skip


def _problem(row):
    return tuple((key, value) for key, value in row["case"].items() if key != "dtype")
