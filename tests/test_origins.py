"""Where numbers come from, in words: one row for each kind of run, no value that only the code understands."""

from dataclasses import replace

import pytest
from test_tables import cells

from bwot import origins


def given(record, **settings):
    return replace(record, settings=record.settings | settings)


def made(record, **provenance):
    return replace(record, provenance=record.provenance | provenance)


@pytest.fixture
def groups(make_record):
    """Two losses at rates of their own, the same loss with other settings, and what was not trained."""
    tuned = [given(make_record(loss, seed), learning_rate=rate, lam=10.0) for loss, rate in (("bwot", 0.01), ("active", 0.02)) for seed in (0, 1, 2)]  # fmt: skip
    published = [given(make_record("bwot", 0), learning_rate=0.2, lam=0.01)]
    nothing = [given(make_record("untrained", 0, (0.1,)), learning_rate=9.0, epochs=0)]
    return {"tuned": tuned, "as published": published, origins.ZERO_LINES: nothing, "full length": []}  # fmt: skip


def test_a_kind_of_run_has_a_row_with_the_settings_that_differ_from_kind_to_kind(groups):
    shared, _, table = origins.settings_table(groups).partition("\n\n")
    assert shared.startswith("All runs that were trained: epochs: 2; margin: 5; γ: 10;")
    assert shared.endswith("; preset: short.") and "rate:" not in shared
    assert cells(table)[1:] == [
        ["tuned", "learning rate: each loss its own, from the tuning; λ: 10"],
        ["as published", "learning rate: 0.2; λ: 0.01"],
    ]


def test_values_are_told_in_words(make_record):
    record = given(
        make_record(), plan_gradient="kernel", normalise_gradient=False, network="mobilenet", steered_by="map"
    )  # fmt: skip
    said = origins.settings_table({"tuned": [record]})
    for words in ("gradient through the plan: through its kernel alone", "gradients brought to one length: no",
                  "network before the head: a frozen MobileNet", "the rate falls with: the test mAP"):  # fmt: skip
        assert words in said
    assert "_" not in said and "|" not in said


def test_the_page_says_the_data_what_was_not_trained_and_how_long_it_took(groups):
    said = origins.provenance(groups)
    assert said.startswith("Data of all runs: MNIST, the published files (SHA-256 `0000000000000000…`).")  # fmt: skip
    assert f"| {origins.ZERO_LINES} | untrained network: 0 |" in said
    assert "None" not in said and " or " not in said and "rate: 9" not in said
    assert said.endswith("The first of these 8 runs began on 2026-11-23; one after another they took 80 minutes.")  # fmt: skip
    short = {"tuned": [made(groups["tuned"][0], seconds=7.4)]}
    assert origins.provenance(short).endswith("they took 7 seconds.")


def test_other_data_of_a_kind_are_named_with_it(groups):
    other = {"official": False, "variant": "15-class subset, a copy", "name": "shrec13-15"}
    mine = [replace(r, dataset=r.dataset | other) for r in groups["as published"]]
    said = origins.provenance(groups | {"as published": mine})
    assert "MNIST, the published files (SHA-256 `0000000000000000…`): tuned, scored without training; " in said  # fmt: skip
    assert "SHREC'13, 15-class subset, a copy (SHA-256 `0000000000000000…`): as published." in said


def test_runs_of_one_kind_on_two_machines_have_two_rows(groups):
    tuned = [made(r, device="a GPU", precision="tf32", commit=None) if r.seed == 2 and r.loss["name"] == "bwot" else r for r in groups["tuned"]]  # fmt: skip
    rows = cells(origins.runs_table({"tuned": tuned}))[1:]
    versions = "Python 3.11.7, torch 2.13.0, NumPy 2.4.0"
    assert rows == [
        ["tuned", "batch-wise OT: 0, 1; active pairs: 0 to 2", "cpu, precision not recorded, 1", f"`0123456789`; {versions}"],
        ["tuned", "batch-wise OT: 2", "a GPU, tf32, 1", f"not from a checkout; {versions}"],
    ]  # fmt: skip


def test_a_commit_with_changes_says_so(make_record):
    table = origins.runs_table({"tuned": [made(make_record(), dirty=True)]})
    assert "| `0123456789` with changes; Python" in table


def test_records_are_named_below_a_table_where_they_were_taken_from_a_folder(make_record):
    ours, absent = make_record(), given(make_record(), dataset="modelnet40")
    assert origins.filled_by("tuned", [ours], None) == ""
    said = origins.filled_by("tuned", [ours], "book/results", [ours])
    assert said == (
        "From the records of {ref}`mnist/tuned <records-mnist-tuned>`; what is scored without training: {ref}`mnist <records-mnist>`."
    )
    assert origins.filled_by("common", [absent], "runs/full") == "From the records of `modelnet40`."
