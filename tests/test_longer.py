"""What stands beside a comparison: longer runs, and the next best point where the chosen one diverged."""

from dataclasses import replace

import pytest

from bwot import longer
from bwot.records import write_record

LOSSES = {"allpairs": (0.1, 0.3, 0.4), "bwot": (0.1, 0.6, 0.5)}


@pytest.fixture
def page(make_record):
    return [make_record(loss, seed, curve[:2]) for loss, curve in LOSSES.items() for seed in (0, 1)]


@pytest.fixture
def results(make_record, tmp_path):
    """A folder with runs of two epochs of both losses, the second of which is at its best after one."""
    for loss, curve in LOSSES.items():
        for seed in (0, 1):
            record = make_record(loss, seed, [value + 0.01 * seed for value in curve])
            write_record(record, tmp_path / "mnist" / "full" / f"{loss}-seed{seed}.json")
    return tmp_path


def test_longer_runs_are_told_with_the_scores_on_the_way(page, results):
    found = longer.full_length(page, results)
    assert len(found) == 4
    said = longer.text(page, found)
    assert (
        "after 2 epochs and over 2 seeds, the highest mAP is that of batch-wise OT (50.50 ± 0.71 %)"
        in said
    )
    assert (
        "| batch-wise OT | 60.50 ± 0.71 | 60.50 ± 0.71, epoch 1 | 50.50 ± 0.71 | 2 of 2 |" in said
    )
    assert (
        "| all-pairs mean | 30.50 ± 0.71 | 40.50 ± 0.71, epoch 2 | 40.50 ± 0.71 | 2 of 2 |" in said
    )
    assert "| batch-wise OT minus | after epoch 1 | after the last epoch |" in said
    assert "with which all-pairs mean ends, 40.50 %" in said


def test_without_longer_runs_the_page_says_so(page, tmp_path):
    for folder in (None, tmp_path):
        assert longer.full_length(page, folder) == []
    assert longer.text(page, []).startswith("Not run on these data: ")


def test_a_loss_that_always_diverged_has_its_row(page, results, make_record):
    for seed in (0, 1):
        lost = make_record("active", seed, (0.1,), diverged="epoch 1, step 3")
        write_record(lost, results / "mnist" / "full" / f"active-seed{seed}.json")
    assert "| active pairs | – | – | – | 0 of 2 |" in longer.text(page, longer.full_length(page, results))  # fmt: skip


def test_the_next_best_point_is_told_where_the_chosen_one_diverged(page, make_record, tmp_path):
    page = [each for each in page if each.loss["name"] == "bwot"]
    page += [make_record("allpairs", s, (0.1,), diverged="epoch 1, step 3") for s in (0, 1)]
    assert longer.next_best(page, tmp_path) == longer.next_best(page, None) == []
    assert longer.next_best_text(page, []) == ""
    for seed in (0, 1):
        other = make_record("allpairs", seed, (0.1, 0.5 + 0.01 * seed))
        other = replace(other, settings=other.settings | {"learning_rate": 0.01, "margin": 12.5})
        write_record(other, tmp_path / "mnist" / "next-best" / f"allpairs-seed{seed}.json")
    others = longer.next_best(page, tmp_path)
    said = longer.next_best_text(page, others)
    assert "all-pairs mean diverged with 2 of 2 seeds. At the next best point of its grid (rate 0.01, margin 12.5), 2 of 2 finished, after 1 epochs" in said  # fmt: skip
    assert " with a mAP of 50.50 ± 0.71 %; batch-wise OT minus it is +9.50 (" in said
    finished = [make_record("allpairs", s, (0.1, 0.4)) for s in (0, 1)]
    assert longer.next_best_text([*page[:2], *finished], others) == ""
