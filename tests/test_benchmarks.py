"""The benchmark of transport is not fooled: a wrong peer has lost, its references are the definition, slices make one record."""

import json
import math
from dataclasses import replace

import pytest
import torch

from benchmarks import gradients, peers, problems, targets
from benchmarks.measure import compare
from benchmarks.problems import Case
from benchmarks.record import Book
from benchmarks.workers import Worker
from bwot.paths import PROJECT

SHARP = Case(24, 20, d=6, lam=50.0)  # far from converged after 50 iterations


class Here:
    """A worker in this process: what a test needs of :class:`benchmarks.workers.Process`."""

    def __init__(self, family):
        self.worker = Worker(family)

    def ask(self, name, *arguments):
        return getattr(self.worker, name)(*arguments)


def loop(cost, case):
    """A plan by the definition, columns first."""
    kernel = (-case.lam * cost).exp()
    u = torch.ones(case.n, dtype=cost.dtype)
    for _ in range(case.iterations):
        v = 1 / case.m / (kernel.T @ u)
        u = 1 / case.n / (kernel @ v)
    return u[:, None] * kernel * v


def stops_early(cost, case):
    return loop(cost, replace(case, iterations=case.iterations - 1))


def other_order(cost, case):
    return loop(cost.T, replace(case, n=case.m, m=case.n)).T


def turned_gradient(inputs):
    output = peers._by_plan(loop)(inputs)
    return output._replace(gradients=(output.gradients[0], -output.gradients[1]))


def one_batch_for_all(inputs, kept=[]):  # noqa: B006
    kept.append(inputs)
    return peers._by_plan(loop)(kept[0])


def no_numbers(cost, case):
    return loop(cost, case) * math.nan


def rows_of(methods, case=SHARP):
    workers = {"ours": Here(peers.ours()), "theirs": Here(peers.Family(methods))}
    return {row["method"]: row for row in compare(case, workers, rounds=2, slow=60.0)}


@pytest.mark.parametrize("cost", ["distance", "loss"])
def test_right_peers_and_ours_pass_the_checks(cost):
    case = replace(SHARP, cost=cost)
    found = rows_of(peers.plain_torch().methods, case)
    assert all(row["correct"] for row in found.values()), found
    assert set(found) == {"bwot", "torch kernel", "torch log"}
    assert found["torch log"]["over_ours"][0] > 0 and found["torch log"]["calls"] >= 2
    assert {"loss", "gradient", "marginals", "plan"} == set(found["bwot"]["errors"])


@pytest.mark.parametrize(
    "wrong",
    [
        peers.Method(peers._by_plan(stops_early)),
        peers.Method(peers._by_plan(other_order)),
        peers.Method(turned_gradient),
        peers.Method(one_batch_for_all),
        peers.Method(peers._by_plan(no_numbers)),
    ],
    ids=["stops one iteration early", "other order", "gradient turned", "cached batch", "NaN"],
)
def test_a_wrong_peer_is_counted_as_lost(wrong):
    one_batch_for_all.__defaults__[0].clear()
    found = rows_of({"POT sinkhorn": wrong})
    assert found["bwot"]["correct"] and not found["POT sinkhorn"]["correct"]
    assert targets.fastest(list(found.values()), "best POT") is None


def test_the_other_order_is_right_where_it_is_said():
    found = rows_of({"theirs": peers.Method(peers._by_plan(other_order), columns_first=False)})
    assert found["theirs"]["correct"], found


def test_a_peer_that_raises_or_is_slow_is_left_out_with_the_reason():
    workers = {"ours": Here(peers.ours()), "theirs": Here(peers.plain_torch())}
    rows = compare(SHARP, workers, rounds=1, slow=0.0)
    assert [row["method"] for row in rows if "a call takes" in row.get("left_out", "")] == [
        "torch kernel",
        "torch log",
    ]


@pytest.mark.parametrize("columns_first", [True, False])
@pytest.mark.parametrize("cost", ["distance", "loss"])
def test_the_gradient_through_the_iterations_is_that_of_autograd(cost, columns_first):
    case = replace(SHARP, cost=cost)
    (batch, *_) = problems.make_pool(case)
    x, y = batch.x.clone().requires_grad_(), batch.y.clone().requires_grad_()
    error, price = problems.error_and_cost(case, x, y, batch)
    plan = (loop if columns_first else other_order)(price, case)
    found = problems.reference(case, batch, columns_first, unrolled=True)
    for mine, right in zip(found.gradients, torch.autograd.grad((plan * error).sum(), (x, y)), strict=True):  # fmt: skip
        torch.testing.assert_close(mine, right, rtol=1e-9, atol=1e-12)


def test_a_batch_comes_from_a_shuffled_pool_and_never_twice_in_a_row():
    worker = Worker(peers.plain_torch())
    case = Case(4, 4, d=2)
    worker.load(case, problems.make_pool(case), {})
    drawn = [next(worker.order) for _ in range(40 * problems.POOL)]
    assert len(set(drawn[: problems.POOL])) == problems.POOL >= 8
    assert drawn[: problems.POOL] != drawn[problems.POOL : 2 * problems.POOL]
    assert all(a != b for a, b in zip(drawn, drawn[1:], strict=False))


def a_row(method, low=None, correct=True, n=32, ms=1.0):
    row = {"case": {"n": n}, "method": method, "milliseconds": [ms, ms, ms], "correct": correct}
    return row | ({} if low is None else {"over_ours": [low, low + 1, low + 2]})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([a_row("bwot"), a_row("POT sinkhorn", 9)], "reached"),
        ([a_row("bwot"), a_row("POT sinkhorn", 13)], "goal"),
        ([a_row("bwot"), a_row("POT sinkhorn", 7.9)], "missed"),
        ([a_row("bwot"), a_row("POT sinkhorn", 9, ms=2), a_row("POT batch log", 7, ms=1)], "missed"),
        ([a_row("bwot"), a_row("POT sinkhorn", 9, ms=2), a_row("POT batch log", 7, False)], "reached"),
        ([a_row("bwot"), a_row("POT sinkhorn", 1, False)], "reached"),
        ([a_row("bwot", correct=False), a_row("POT sinkhorn", 20)], "missed"),
        ([a_row("bwot")], "not measured"),
        ([a_row("POT sinkhorn", 9)], "not measured"),
    ],
)  # fmt: skip
def test_a_target_is_judged_by_the_lower_quartile_against_the_fastest_correct_peer(rows, expected):
    assert targets.verdict(rows, "best POT") == expected


def test_slices_make_one_record_and_a_case_that_is_there_is_not_measured_again(tmp_path):
    path, row = tmp_path / "a.json", {"case": {"n": 3}, "method": "bwot", "seconds": 1.0}
    first = Book(path, {"rounds": 20})
    first.run["dirty"] = False
    first.add("limits", [row])
    second = Book(path, {"rounds": 20})
    second.run |= {"dirty": False}
    assert second.has("limits", {"n": 3}) and not second.has("limits", {"n": 4})
    second.add("limits", [row | {"case": {"n": 4}}])
    second.add("limits", [row | {"seconds": 2.0}])
    rows = json.loads(path.read_text())["rows"]
    assert [(each["case"]["n"], each["seconds"]) for each in rows] == [(4, 1.0), (3, 2.0)]
    for name in ("commit", "how"):
        third = Book(path, {"rounds": 20})
        third.run |= {"dirty": False, name: "another"}
        assert not third.has("limits", {"n": 4})


def test_a_record_of_another_machine_is_refused(tmp_path):
    path = tmp_path / "a.json"
    Book(path, {"rounds": 20}).add("limits", [{"case": None, "method": "bwot"}])
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"machine": {"cpu": "abacus"}}))
    with pytest.raises(ValueError, match="has machine .*abacus.*another --output"):
        Book(path, {"rounds": 20})


def test_the_peers_are_pinned():
    lines = (PROJECT / "benchmarks" / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line for line in pins)
    names = {line.split("==")[0].lower() for line in pins}
    assert {"torch", "pot", "geomloss", "ott-jax", "jax", "pytorch-metric-learning"} <= names


def test_a_run_to_a_tolerance_is_checked_against_the_converged_plan():
    case = replace(SHARP, lam=5.0, tol=1e-6)
    enough = peers.Method(peers._by_plan(loop), lambda case: True)
    early = peers.Method(peers._by_plan(lambda cost, case: loop(cost, replace(case, iterations=3))), lambda case: True)  # fmt: skip
    found = rows_of({"enough": enough, "early": early}, case)
    assert [found[name]["correct"] for name in ("bwot", "enough", "early")] == [True, True, False]


@pytest.mark.parametrize("name", ["constant", "exact"])
def test_both_gradients_are_held_against_float64(name):
    worker = gradients.Gradients()
    worker.load(Case(24, 20, d=6, cost="loss"))
    seconds, worst = worker.turn(name, 3, True)
    assert len(seconds) == 3 and worst["gradient"] <= 1e-4
    worker.losses[name] = worker.losses["exact" if name == "constant" else "constant"]
    assert worker.turn(name, 1, False)[1]["gradient"] > 1e-2


def test_iterations_to_a_tolerance_are_fewer_than_the_plain_ones():
    rows = gradients.iterations_to(Case(48, 48, d=16, lam=30.0, tol=1e-6))
    assert [row["method"] for row in rows] == ["bwot", "bwot", "plain"]
    assert all(row["correct"] and row["marginal_error"] <= 1e-6 for row in rows)
    assert max(row["iterations"] for row in rows[:2]) < rows[2]["iterations"]


def test_many_problems_at_once_are_checked_one_by_one():
    def last_one_wrong(cost, case):
        plans = torch.stack([loop(each, replace(case, problems=None)) for each in cost])
        plans[-1] = plans[0]
        return plans

    method = peers.Method(peers._by_plan(last_one_wrong), lambda case: True)
    found = rows_of({"wrong": method}, replace(SHARP, lam=10.0, problems=3))
    assert found["bwot"]["correct"] and not found["wrong"]["correct"]
