"""The speed page says what the committed records say, and says so where a target is missed."""

import copy
import re
from dataclasses import asdict

import pytest

from benchmarks import page, plot, targets, training_page
from benchmarks.problems import Case
from bwot.figures import svg
from bwot.paths import PROJECT

RECORDS = page.records()


def test_the_page_is_made_from_the_committed_records():
    text = (PROJECT / page.PAGE).read_text(encoding="utf-8")
    assert page.written(text, RECORDS, page.other_records()) == text, (
        "run `python -m benchmarks.page`"
    )
    inside = text.partition(page.BEGIN)[2].partition(page.END)[0]
    assert ("No record has been made" in inside) == (not RECORDS)


def without_numbers(text):
    """What is left of a picture, and its numbers: the last digits may differ from machine to machine."""
    return re.sub(r"-?\d+\.\d+", "#", text), [float(n) for n in re.findall(r"-?\d+\.\d+", text)]


@pytest.mark.parametrize("name", RECORDS)
def test_the_picture_is_made_from_the_committed_record(name):
    committed = (PROJECT / f"book/static/speed-{name}.svg").read_text(encoding="utf-8")
    words, numbers = without_numbers(svg(plot.picture(RECORDS[name])))
    expected, right = without_numbers(committed)
    assert words == expected and numbers == pytest.approx(right, abs=1e-3)


@pytest.mark.parametrize("name", RECORDS)
def test_a_committed_record_is_a_measurement(name):
    assert page.caution(RECORDS[name]) == ""
    assert all(row["calls"] >= 20 for row in RECORDS[name]["rows"] if "milliseconds" in row)


def a_row(method, n, low, correct=True, cost="distance"):
    row = {"group": "fixed", "run": 0, "case": asdict(Case(n, n, cost=cost)), "method": method, "calls": 25,
           "milliseconds": [low, low * 1.5, low * 2], "errors": {"plan": 1e-6}, "correct": correct}  # fmt: skip
    return row if method == "bwot" else row | {"over_ours": [low, low * 1.5, low * 2]}


@pytest.fixture
def made_up():
    """A record of a machine that does not exist: POT at 32 is fast enough to miss our target, and wrong at 64."""
    rows = []
    for n in (32, 64, 128):
        rows += [a_row("bwot", n, 1.0), a_row("torch kernel", n, 5.0), a_row("OTT log", n, 2.5)]
    rows += [a_row("POT sinkhorn", 32, 7.25), a_row("POT sinkhorn", 64, 1.5, correct=False)]
    rows += [a_row("POT default use", 32, 31.25), a_row("POT sinkhorn", 128, 5.25)]
    rows += [{"group": "limits", "run": 0, "case": {"n": n}, "method": "bwot", "sum_microseconds": n / 8,
              "product_microseconds": n / 10} for n in (32, 64, 128)]  # fmt: skip
    run = {"commit": "0123456789abcdef", "dirty": False, "python": "3.11.1", "versions": {"torch": "2.13.0"}, "busy": 0.01,
           "started": "2026-11-01T00:00:00Z", "how": {"rounds": 25, "quick": False}}  # fmt: skip
    machine = {"cpu": "Abacus", "cores": 2, "system": "Beads"}
    return {"schema": 1, "method": "By hand.", "machine": machine, "runs": [run], "rows": rows}


def test_a_missed_target_is_named_at_the_top_and_in_its_cell(made_up):
    text = page.section("abacus", made_up).replace("\N{NO-BREAK SPACE}", " ")
    assert "Of 42 targets 7 were measured and **6 are reached**." in text
    assert "**Missed**: squared distances, best POT, at n = 32." in text
    assert (
        "| 32 | 7.25, **missed** (≥ 8, goal 12) | 2.50, reached (≥ 1.8) | 31.25, reached (≥ 25) | – |"
        in text
    )
    assert "| 64 | no correct result, reached (≥ 8, goal 10) |" in text
    assert "| 128 | 5.25, goal (≥ 4, goal 5) |" in text


def test_wrong_rows_are_marked_and_nothing_is_compared_with_them(made_up):
    text = page.times_table(made_up, "distance")
    assert "| POT sinkhorn | 10.9 | 2.25 ✗ | 7.88 |" in text
    wrong = [row for row in made_up["rows"] if row["case"].get("n") == 64 and row["method"].startswith("POT")]  # fmt: skip
    assert targets.fastest(wrong, "best POT") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record["runs"][0]["how"].update(quick=True), "a trial, not a measurement"),
        (lambda record: record["runs"][0].update(busy=1.5), "a busy machine"),
        (lambda record: record["runs"][0].update(dirty=True), "uncommitted changes"),
        (lambda record: record["rows"][0].update(correct=False), "no wrong output may come from"),
    ],
)
def test_a_record_that_is_no_measurement_says_so(made_up, change, said):
    assert page.caution(made_up) == ""
    changed = copy.deepcopy(made_up)
    change(changed)
    assert said in page.caution(changed) and said in page.section("abacus", changed)


def test_other_figures_are_judged_and_a_missed_one_comes_first(made_up):
    """Of ratios the worse quartile counts; a run that did not reach its tolerance has missed."""
    case = asdict(Case(256, 256, lam=50.0, tol=1e-6))
    tens = {"group": "iterations", "run": 0, "case": case, "iterations": 60, "marginal_error": 1e-6, "correct": True}  # fmt: skip
    made_up["rows"] += [
        {"group": "exact", "run": 0, "case": asdict(Case(128, 128, cost="loss")), "method": "bwot, exact", "calls": 25,
         "milliseconds": [1.0, 1.0, 1.0], "over_constant": [1.5, 1.75, 2.25], "errors": {"gradient": 2e-6}, "correct": True},
        tens | {"method": "bwot"}, tens | {"method": "plain", "case": case | {"dtype": "float64"}, "iterations": 365},
        tens | {"method": "bwot", "case": case | {"cost": "loss"}, "correct": False},
        {"group": "start", "run": 0, "case": None, "method": "bwot", "state": "cold", "seconds": {"import": 0.1, "first": 2.5, "third": 0.001}},
    ]  # fmt: skip
    lines = page.promises_table(made_up).splitlines()[4:]
    assert lines == [
        "| `exact` over `constant`, n = 128 | 2.25 | ≤ 2 | **missed** |",
        "| iterations to 1e-6, the loss's own cost, λ = 50, n = 256, float32 | inf | ≤ 120 | **missed** |",
        "| largest error of an entry of a plan times n, λ = 10, float32, 3 cases | 1e-06 | ≤ 1e-06 | reached |",
        "| error of the gradient of `exact` in float32, n = 128 | 2e-06 | ≤ 0.0001 | reached |",
        "| iterations to 1e-6, squared distances, λ = 50, n = 256, float32 | 60 | ≤ 120 | reached |",
        "| first call in seconds, cold cache | 2.5 | ≤ 3 | reached |",
    ]
    assert "| squared distances, λ = 50, 256, float32 | 60 | 365 |" in page.iterations_table(made_up)  # fmt: skip


def test_a_limit_lies_at_the_best_rate_that_was_measured(made_up):
    found = plot.limits(made_up)
    once = {n: n / 10 for n in (32, 64, 128)}  # microseconds, the faster of the two
    best = max(n * n / once[n] for n in once)
    assert found["limit: reading K"][128] == pytest.approx(50 * once[128] / 1e3)
    assert found["limit: reading K"][32] == pytest.approx(50 * 32 * 32 / best / 1e3)
    assert found["limit: arithmetic"][64] == pytest.approx(50 * 2 * 64 * 64 / best / 1e3)


def test_the_picture_shows_every_correct_line_and_the_limits(made_up):
    names = plot.picture(made_up).axes[0].get_legend_handles_labels()[1]
    assert set(names) == {"this loss", "best POT", "plain torch", "OTT, jitted", "POT, default use", "limit: reading K", "limit: arithmetic"}  # fmt: skip


def test_training_is_judged_by_the_worse_quartile():
    run = {"commit": None, "dirty": False, "started": "2026-11-01T00:00:00Z", "busy": 0.0, "versions": {"torch": "2.13.0"}}  # fmt: skip
    rows = [
        {"dataset": "mnist", "group": "step", "milliseconds": {"pairwise": 10.0, "bwot": 10.5}, "over_pairwise": {"pairwise": [1, 1, 1], "bwot": [1.04, 1.05, 1.06]}},
        {"dataset": "mnist", "group": "epoch", "steps": 7, "over_bare_steps": [1.01, 1.1, 1.2]},
        {"dataset": "cifar10", "group": "throughput", "processes": 2, "over_one_with_threads": [1.25, 1.5, 1.75]},
        {"dataset": "mnist", "group": "runs", "processes": 2, "threads_alone": 1, "gain": [1.15, 1.25, 1.5]},
    ]  # fmt: skip
    shown = training_page.section({"machine": {"cpu": "Abacus", "cores": 2}, "run": run, "rows": rows})  # fmt: skip
    assert "| MNIST | bwot | 10.5 | 1.05 (1.04 to 1.06) |" in shown
    assert "7 bare steps, size of MNIST | 1.10 (1.01 to 1.20) | ≤ 1.15 | **missed** |" in shown
    assert "as many threads, size of CIFAR-10 | 1.50 (1.25 to 1.75) | ≥ 1.2 | reached |" in shown
    assert (
        "whole runs on MNIST, 2 at a time with one thread, over one after another with one thread | 1.25 (1.15 to 1.50) | ≥ 1.2 | **missed** |"
        in shown
    )
    assert "Not from a checkout" in shown
