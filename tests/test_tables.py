"""Tables and sentences: every number from a record, no claim beyond its interval."""

import re
from dataclasses import replace

import pytest
import torch

from bwot import standins, tables
from bwot.comparison import Summary
from bwot.data.images import Split
from bwot.data.sketches import SketchData


def cells(table):
    """The cells of a Markdown table, line by line, the line of dashes left out; refuses ragged ones."""
    lines = table.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(line.startswith("|") and line.endswith("|") for line in lines), table
    assert len({len(row) for row in rows}) == 1, table
    assert all(re.fullmatch(":?-{3,}:?", cell) for cell in rows[1]), table
    return [rows[0], *rows[2:]]


def column(table, name):
    head, *rows = cells(table)
    return {row[0]: row[head.index(name)] for row in rows}


# ------------------------------------------------------------------------------ results


def test_the_result_table_has_mean_deviation_and_seeds(records):
    table = tables.result_table(records)
    assert column(table, "mAP") == {
        "untrained network": "10.00 ±\N{NO-BREAK SPACE}0.00",
        "pair-wise": "71.00 ±\N{NO-BREAK SPACE}1.41",
        "batch-wise OT": "81.00 ±\N{NO-BREAK SPACE}1.41",
    }
    assert column(table, "seeds finished")["batch-wise OT"] == "2 of 2"
    assert cells(table)[0][1:8] == ["NN", "FT", "ST", "E", "DCG", "mAP", "accuracy"]


def test_a_diverged_run_is_counted_in_the_result_table(records, make_record):
    records[3] = make_record("bwot", 1, (0.1,), diverged="epoch 1, step 9")
    table = tables.result_table([*records, make_record("allpairs", 0, (0.1,), diverged="epoch 1")])
    assert column(table, "mAP")["batch-wise OT"] == "80.00"
    assert column(table, "mAP")["all-pairs mean"] == "–"
    seeds = column(table, "seeds finished")
    assert (seeds["batch-wise OT"], seeds["all-pairs mean"]) == ("1 of 2", "0 of 1")


def test_a_captioned_table_has_what_the_book_numbers_and_refers_to():
    lines = ["| a |", "|---|", "| 1 |"]
    assert tables.captioned(lines, "A caption.", "name") == (
        ":::{table} A caption.\n:name: name\n\n| a |\n|---|\n| 1 |\n:::"
    )
    assert ":name: name\n:class: compact\n\n| a |" in tables.captioned(
        lines, "A", "name", "compact"
    )


# ------------------------------------------------------------------------------ beside the authors


def test_the_authors_points_stand_beside_ours_with_a_verdict(make_record):
    records = [
        make_record(loss, seed, (0.1, 0.959 + 0.002 * seed, 0.974))
        for loss in ("pairwise", "bwot")
        for seed in (0, 1, 2)
    ]
    section = tables.authors_section(records)
    head, *rows = cells(section[section.index("|") :])
    assert head == ["score", "epoch", "ours", "authors (plot)", "against the plot"]
    assert ["mAP, batch-wise OT", "1", "96.10 ± 0.20", "96.00", "within the band"] in rows
    assert ["mAP, pair-wise", "1", "96.10 ± 0.20", "90.90", "above"] in rows
    assert {row[1] for row in rows} == {"1", "2"}  # no line without a number of ours


@pytest.mark.parametrize(
    "changes, preset",
    [({"official": False, "variant": "stand-in"}, "quick"), ({"official": False, "variant": "a copy"}, "short")],
)  # fmt: skip
def test_other_data_never_stand_beside_the_authors(make_record, changes, preset):
    record = make_record(values=(0.1, 0.96, 0.97), preset=preset)
    record = replace(record, dataset=record.dataset | changes)
    section = tables.authors_section([record])
    assert "|" not in section and not re.search(r"\d", section)


def test_a_data_set_without_published_numbers_says_so(make_record):
    record = make_record()
    record = replace(record, dataset=record.dataset | {"name": "another"})
    assert "give no number" in tables.authors_section([record])


def test_runs_that_all_diverged_are_told_of_as_such(make_record):
    records = [make_record("bwot", seed, (0.1,), diverged="epoch 1, step 3") for seed in (0, 1)]
    for record in records:
        record.settings["as_published"] = True
    assert tables.authors_section(records).startswith(
        "With the authors' settings every run diverged, at epoch 1, step 3: there is no score"
    )


def test_a_loss_without_published_numbers_gives_no_line(make_record):
    assert tables.authors_table([make_record("allpairs", 0, (0.1, 0.9, 0.9))]) == ""


def test_the_summary_has_the_authors_number_only_at_an_epoch_that_they_give(make_record):
    for epochs, theirs in ((2, "97.40"), (3, "–")):
        records = [make_record("bwot", s, [0.1] + [0.9] * epochs) for s in (0, 1)]
        table = tables.summary_table([*records, make_record("allpairs", 0, [0.1] + [0.8] * epochs)])
        assert column(table, "mAP, ours") == {"batch-wise OT": "90.00 ± 0.00", "all-pairs mean": "80.00"}  # fmt: skip
        assert column(table, "mAP, authors") == {"batch-wise OT": theirs, "all-pairs mean": "–"}


def test_the_summary_of_other_data_has_none_of_the_authors_numbers(make_record):
    record = make_record("bwot", 0, [0.1] + [0.9] * 2)
    copy = replace(record, dataset=record.dataset | {"official": False, "variant": "a copy"})
    assert column(tables.summary_table([record]), "mAP, authors") == {"batch-wise OT": "97.40"}
    assert column(tables.summary_table([copy]), "mAP, authors") == {"batch-wise OT": "–"}


# ------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    "summary, text",
    [
        (Summary(0.98765, 0.00123, 3, 0), "98.77 ± 0.12"),
        (Summary(0.5, float("nan"), 1, 0), "50.00"),
        (Summary(float("nan"), float("nan"), 0, 2), "–"),
        (Summary(1.0, 0.0, 2, 0), "100.00 ± 0.00"),
    ],
)
def test_percent(summary, text):
    assert tables.percent(summary) == text


# ------------------------------------------------------------------------------ provenance and banner


def test_stand_in_data_carry_a_warning_and_official_ones_a_note():
    digits = standins.digits()
    warning = tables.banner(digits)
    assert "Not the paper's data" in warning and "standin" in warning
    assert "1,152 training" in warning and "8×8 pixels" in warning
    note = tables.banner(replace(digits, official=True, variant="as published"))
    assert note.startswith(":::{note}") and "Every byte is as published" in note
    assert torch.is_tensor(digits.train.labels)


def test_the_banner_counts_the_classes_that_were_seen_where_others_are_tested():
    digits = standins.digits()
    assert "classes" not in tables.banner(digits)
    fewer = {
        part: Split(images[labels != gone], labels[labels != gone])
        for part, gone in (("train", 7), ("validation", 7), ("test", 0))
        for images, labels in [(getattr(digits, part).images, getattr(digits, part).labels)]
    }
    told = tables.banner(replace(digits, **fewer))
    assert "Of the 9 test classes 8 are among the 9 training classes: the others measure" in told


def test_the_banner_of_sketches_names_rotations_shapes_and_what_they_come_as():
    labels = torch.arange(4) % 2
    parts = dict.fromkeys(("train", "validation", "test"), Split(torch.zeros(4, 20, 7), labels))
    data = SketchData("shrec14", "a copy", False, "0" * 64, ("ant", "bee"), shapes=Split(torch.zeros(4, 7), labels), names={}, **parts)  # fmt: skip
    told = "(4 training, 4 validation, 4 test drawings in 20 rotations, and 4 shapes; features of length 7)"
    assert told in tables.banner(data)
    pictures = Split(torch.zeros(4, 1, 1, 32, 32, dtype=torch.uint8), labels)
    told = "drawings in 1 rotation, and 4 shapes; pictures of 32×32 pixels"
    assert told in tables.banner(replace(data, train=pictures))


# ------------------------------------------------------------------------------ shapes beside the authors' README


def shapes_record(make_record, **dataset):
    record = make_record("bwot", 0, values=(0.1, 0.875))
    return replace(
        record,
        dataset=record.dataset | {"name": "modelnet10", "official": False} | dataset,
        settings=record.settings | {"dataset": "modelnet10"},
    )


def test_scores_of_shapes_stand_beside_the_readmes_without_a_verdict_for_other_data(make_record):
    table = tables.scores_beside([shapes_record(make_record, variant="1,024 points")], [])
    assert "1,024 points" in table and "README" in table
    assert "| mAP | 87.50 | – | 90.0 | not comparable |" in table
    assert "| accuracy | 87.50 | – | 94.2 | not comparable |" in table


def test_official_scores_of_shapes_as_published_get_a_verdict(make_record):
    record = shapes_record(make_record, official=True, variant="as published")
    table = tables.scores_beside([record], [record, replace(record, seed=1)])
    assert table.count("below") == 2


def test_on_the_shape_benchmark_the_published_descriptor_stands_near_and_unverified(make_record):
    record = shapes_record(make_record, name="psb", variant="1,809 of 1,814 models")
    record = replace(record, settings=record.settings | {"dataset": "psb"})
    table = tables.scores_beside([record], [])
    assert "| light field descriptor, unverified | 65.7 | 38.0 | 48.7 | 28.0 | 64.3 |" in table
    assert "| batch-wise OT | 87.50 | 87.50 | 87.50 | 87.50 | 87.50 |" in table
    assert "*Near* it, not comparable" in table and "from memory, unverified" in table
    assert "1,809 of 1,814 models" in table and "settings |" not in table
    assert "| batch-wise OT, the authors' settings |" in tables.scores_beside([record], [record])


def test_the_twelve_shaded_images_of_modelnet40_stand_beside_its_readme_numbers(make_record):
    record = shapes_record(make_record, name="modelnet40-views", variant="some")
    record = replace(record, settings=record.settings | {"dataset": "modelnet40-views"})
    assert "| mAP | 87.50 | – | 89.2 | not comparable |" in tables.scores_beside([record], [])


def test_other_accuracies_of_shapes_have_columns_where_there_are_any(make_record):
    record = replace(shapes_record(make_record), experiment="shapes")
    assert "class average" not in tables.result_table([record])
    last = record.history[-1] | {"class_accuracy": 0.625, "head_accuracy": 0.5}
    table = tables.result_table([replace(record, history=[*record.history[:-1], last])])
    head, _, untrained, trained = table.strip().splitlines()
    assert "| accuracy | class average | softmax head |" in head
    assert "| 10.00 | – | – |" in untrained and "| 87.50 | 62.50 | 50.00 |" in trained
    images = replace(record, experiment="images", history=[*record.history[:-1], last])
    assert "class average" not in tables.result_table([images])


def test_stand_ins_are_not_set_beside_the_authors(make_record):
    said = tables.scores_beside([shapes_record(make_record, variant="stand-in: drawn solids")], [])
    assert "|" not in said and "stand-ins" in said


def test_a_rebuilt_part_of_a_data_set_has_no_number_beside_it(make_record):
    record = shapes_record(make_record, variant="15-class subset")
    record = replace(record, settings=record.settings | {"dataset": "shrec13-15"})
    assert tables.scores_beside([record], []) == "The authors give no number for these data: 15-class subset."  # fmt: skip


GRID = [
    {"learning_rate": 0.01, "margin": 2.0, "epochs": 3, "map": 0.75},
    {"learning_rate": 0.02, "margin": 2.0, "epochs": 1, "map": 0.1},
    {"learning_rate": 0.04, "margin": 2.0, "epochs": 1, "diverged": "epoch 1, step 2"},
]
FOUND = {"grid": GRID, "chosen": {"learning_rate": 0.01, "margin": 2.0}}


def test_the_tuning_table_counts_what_diverged_and_what_collapsed(make_record):
    untrained = [make_record("untrained", 0, (0.1,)), make_record("untrained", 1, (0.05,))]
    found = {"bwot": FOUND, "cross-entropy": FOUND}
    table, _, said = tables.tuning_table(found, untrained).partition("\n\n")
    assert cells(table)[0] == ["loss", "rate", "margin", "validation mAP", "points tried", "diverged", "collapsed"]  # fmt: skip
    assert cells(table)[1:] == [
        ["batch-wise OT", "0.01", "2", "75.00", "3", "1", "1"],
        ["cross-entropy", "0.01", "–", "75.00", "3", "1", "1"],
    ]
    assert "the best of 2 networks before their first step" in said


def test_without_untrained_networks_nothing_is_said_to_have_collapsed(make_record):
    text = tables.tuning_table({"bwot": FOUND}, [make_record("features", 0, (0.1,))])
    assert "ollapsed" not in text and cells(text)[1][-1] == "1"


def test_the_result_table_has_no_settings(make_record):
    rates = {"bwot": 0.01, "active": 0.02}
    records = [replace(r, settings=r.settings | {"learning_rate": rates[r.loss["name"]]}) for r in map(make_record, rates)]  # fmt: skip
    assert cells(tables.result_table(records))[0][-2:] == ["accuracy", "seeds finished"]
