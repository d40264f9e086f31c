"""Tables of what drawings find, against a hand-made answer."""

import numpy as np
import pytest
import torch

from bwot import metrics, sketch_tables
from bwot.cross_retrieval import Answers
from bwot.data.images import Split
from bwot.data.sketches import SketchData
from bwot.records import pack
from bwot.sketch_tables import (
    bootstrap_table,
    bootstrapped,
    class_table,
    nearest,
    tracks_table,
    worst_table,
)
from bwot.tables import scores_beside


def answers(queries, query_labels, gallery, gallery_labels):
    """Answers from places on a line."""
    queries, gallery = torch.tensor(queries)[:, None], torch.tensor(gallery)[:, None]
    query_labels, gallery_labels = torch.tensor(query_labels), torch.tensor(gallery_labels)
    scores = metrics.score_embeddings(queries, gallery, query_labels, gallery_labels)
    return Answers(queries, query_labels, gallery, gallery_labels, scores)


def data(classes, labels=(0,)):
    nothing = Split(torch.zeros(len(labels), 1, 2), torch.tensor(labels))
    parts = dict.fromkeys(("train", "validation", "test"), nothing)
    return SketchData("shrec13", "made up", False, "0" * 64, classes, shapes=Split(torch.zeros(1, 2), torch.zeros(1).long()), names={}, **parts)  # fmt: skip


FOUND = answers([0.0, 0.2, 3.2], [0, 0, 1], [0.1, 3.0, 0.4, 4.9], [0, 0, 1, 1])


def test_the_nearest_shapes_come_first():
    assert nearest(FOUND, [0, 2], 3).tolist() == [[0, 2, 1], [1, 3, 2]]


def test_classes_stand_in_the_table_the_worst_first_with_what_is_found_instead():
    """Ant's models are at ranks 1 and 3 of both its queries, bee's at 2 and 3 of its one."""
    head, _, *rows = class_table(data(("ant", "bee")), FOUND).splitlines()
    assert head == "| class | models | queries | NN | FT | mAP | found instead |"
    assert rows == [
        "| bee | 2 | 1 | 0.0 | 50.0 | 58.3 | ant (50 %) |",
        "| ant | 2 | 2 | 100.0 | 50.0 | 83.3 | bee (50 %) |",
    ]


def test_a_class_that_no_shape_answers_has_no_row():
    found = answers([0.0, 1.0], [0, 2], [0.0, 2.0], [0, 1])
    rows = class_table(data(("ant", "bee", "cat")), found).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| ant"]


def test_nothing_is_found_instead_where_there_is_nothing_else():
    found = answers([0.0], [0], [0.0, 1.0], [0, 0])
    assert class_table(data(("ant",)), found).splitlines()[2].endswith("– |")


# ------------------------------------------------------------------------------ over the drawings


@pytest.fixture
def run_of(make_record):
    """The function that makes a record of a loss whose drawings have these average precisions."""

    def make(loss, seed, precisions, worst=0.25, tied=0.02):
        record = make_record(loss, seed, (0.1, 0.5), per_query_ap=pack(np.array(precisions)))
        record.history[-1].update(worst_class_map=worst, tied=tied)
        return record

    return make


def test_the_interval_is_that_of_drawings_drawn_again_within_their_classes():
    draw = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [40, 30, 30])
    values = np.array([0.0, 5.0, -5.0])[labels] + draw.normal(size=100)
    found = bootstrapped(values, labels)
    within = np.sqrt(sum(values[labels == k].var() * (labels == k).sum() for k in range(3))) / 100
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(
        2 * 1.96 * within, rel=0.1
    )  # not the classes' spread


def test_a_drawing_without_a_score_is_left_out():
    assert bootstrapped(np.array([0.5, np.nan, 0.5]), np.array([0, 0, 1])) == (0.5, 0.5, 0.5)


def test_differences_are_means_over_the_seeds_that_both_finished(run_of, make_record):
    records = [
        run_of("bwot", 0, [0.5, 1.0, 0.5, 0.5]),
        run_of("bwot", 1, [0.5, 0.5, 0.5, 0.5]),
        run_of("allpairs", 0, [0.25, 0.5, 0.5, 0.75]),
        make_record("allpairs", 1, (0.1, 0.5), diverged="epoch 1, step 3"),
        make_record("lifted", 0, (0.1, 0.5), diverged="epoch 1, step 3"),
    ]
    head, _, *rows = bootstrap_table(data(("a", "b"), (0, 0, 1, 1)), records, "bwot").splitlines()
    assert "95 % interval over drawings" in head and len(rows) == 1
    assert rows[0].startswith("| all-pairs mean | +12.50 | ") and rows[0].endswith(" | 2 / 1 |")
    assert bootstrap_table(data(("a",)), records[:2], "bwot") == ""


def test_ties_of_the_gallery_itself_are_no_collapse(run_of):
    """Four pairs of equal models among 199 are 2 % of ties, in the frozen features too."""
    frozen = run_of("features", 0, [0.5], worst=0.125)
    records = [run_of("bwot", 0, [0.5]), run_of("bwot", 1, [0.5], worst=0.75, tied=0.3)]
    head, _, *rows = worst_table(records, [frozen]).splitlines()
    assert head == "| loss | mAP, worst class | tied neighbours | collapsed in part |"
    assert rows[0].endswith("| 12.50 | 2.00 | 0 of 1 |")
    assert rows[1].startswith("| batch-wise OT | 50.00 ± 35.36 | ") and rows[1].endswith(
        "| 1 of 2 |"
    )
    assert worst_table(records).splitlines()[2].endswith("| 2 of 2 |")  # as much as is known then


def test_the_tracks_that_were_not_run_stand_apart_with_their_commands(monkeypatch, tmp_path):
    monkeypatch.setattr(sketch_tables, "PROJECT", tmp_path)
    told = tracks_table("shrec13-15")
    assert told.count("not run: data not at hand") == 2 and "| SHREC'13 | 71.3 |" in told
    assert "bwot run sketches --dataset shrec14 --preset full --as-published" in told
    assert "SHREC'13" not in tracks_table("shrec13")
    for name in ("shrec13", "shrec14"):
        (tmp_path / "book/results" / name).mkdir(parents=True)
        (tmp_path / "book/results" / name / "bwot-seed0.json").write_text("{}")
    assert tracks_table("shrec13-15") == ""


def test_the_subset_has_no_number_of_the_authors(make_record):
    record = make_record(values=(0.1, 0.5))
    record.settings["dataset"] = "shrec13-15"
    assert scores_beside([record], []).startswith("The authors give no number for these data")
