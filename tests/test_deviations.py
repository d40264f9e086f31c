"""The tables of the deviations follow the records: what diverged, what the best epoch adds, and the questions on sketches."""

from dataclasses import replace

import pytest

from bwot import deviations
from bwot.scoreboard import FILLED


def test_the_best_epoch_is_held_against_the_last(make_record):
    curves = ((0.99, 0.2, 0.5, 0.4), (0.99, 0.3, 0.35, 0.35))  # before training does not count
    records = [make_record("bwot", seed, curve) for seed, curve in enumerate(curves)]
    records.append(make_record("bwot", 2, (0.1, 0.9), diverged="epoch 2, step 1"))
    ways = {"as published": [], "tuned": records, "common rate": []}
    text = deviations.selection_table({"mnist": ways})
    assert "| MNIST, tuned | batch-wise OT | 3 | 2 | 5.00 | 10.00 |" in text
    assert deviations.selection_table({"mnist": dict.fromkeys(ways, [])}) == "No finished run yet."


def test_diverged_runs_are_counted_with_where_they_stopped(make_record):
    lost = [make_record("bwot", s, (0.1,), diverged="epoch 1, step 3") for s in range(2)]
    ways = {"as published": [*lost, make_record("bwot", 2)], "tuned": [], "common rate": []}
    text = deviations.diverged_table({"mnist": ways})
    assert "| MNIST | 2 of 3 | at epoch 1, step 3 | 2.00000 |" in text
    assert "on embedded digits, whatever the data of the run" in text
    assert text.endswith("of the runs on MNIST they begin with 5, 4.99, 4.98, 4.97.")


def test_the_replay_is_told_once_for_all_data_and_only_where_a_run_diverged(make_record):
    lost = [make_record("bwot", 0, (0.1,), diverged="epoch 1, step 3")]
    other = [replace(r, dataset=r.dataset | {"name": "cifar10"}) for r in lost]
    ways = {name: {"as published": mine} for name, mine in (("mnist", lost), ("cifar10", other))}
    assert "of the runs on MNIST and CIFAR-10 they begin with 5," in deviations.diverged_table(ways)
    kept = deviations.diverged_table({"mnist": {"as published": [make_record("bwot", 0)]}})
    assert "| MNIST | 0 of 1 | – | 2.00000 |" in kept and "replay" not in kept


def test_on_a_gpu_no_step_is_named_at_which_a_run_diverged(make_record):
    lost = make_record("bwot", 0, (0.1,), diverged="epoch 1, step 351")
    lost = replace(lost, provenance=lost.provenance | {"device": "a GPU"})
    text = deviations.diverged_table({"mnist": {"as published": [lost]}})
    assert "| 1 of 1 | in epoch 1 |" in text and "351" not in text


@pytest.fixture
def sketches(make_record):
    """Three seeds of a loss on the part of SHREC'13 from what it ends with; seed s adds s thousandths, in a way of its own."""

    def make(loss, end, step, lam=10.0):
        data = {
            "name": "shrec13-15",
            "variant": "15-class subset, as downloaded",
            "official": False,
        }
        made = [make_record(loss, s, (0.1, end + 0.001 * step * s)) for s in range(3)]
        return [
            replace(r, dataset=r.dataset | data, settings=r.settings | {"lam": lam}) for r in made
        ]

    return make


def test_the_two_questions_on_sketches_have_a_row_each(sketches):
    tuned = sketches("bwot", 0.8, 1) + sketches("lifted", 0.85, 2) + sketches("supcon", 0.5, 3)
    ways = {"tuned": tuned, "λ = 5": sketches("bwot", 0.79, 2, lam=5.0)}
    *_, rival, lam, end, _, filled = deviations.sketches_table({"shrec13-15": ways}).splitlines()
    title = "| SHREC'13, 15-class subset, as downloaded |"
    assert rival.startswith(f"{title} batch-wise OT minus lifted structure | -5.10 (") and rival.endswith("| lower |")  # fmt: skip
    assert lam.startswith(f"{title} batch-wise OT, λ = 10 minus λ = 5 | +0.90 (") and end == ":::"
    assert filled == FILLED


def test_without_records_on_sketches_there_is_no_row(sketches):
    assert deviations.sketches_table({}) == "No such run yet."
    alone = {"shrec13-15": {"tuned": sketches("bwot", 0.8, 1), "λ = 5": []}}
    assert deviations.sketches_table(alone) == "No such run yet."
