"""The scoreboard: a row for every number, verdicts by the rules of the statistics, none without a run."""

import shlex
from dataclasses import replace

import pytest

from bwot.__main__ import _parser
from bwot.published import CURVES, SCORES
from bwot.records import write_record
from bwot.scoreboard import FOLDERS, HEAD, Target, command, records_of, row, section, targets

EMPTY = {way: [] for way in FOLDERS}


def a_target(loss="bwot", epoch=1, value=0.5, dataset="mnist", score="map", error=0.001):
    return Target(dataset, loss, score, epoch, value, error, "a plot")


@pytest.fixture
def ends(make_record):
    """Three seeds of a loss whose score after one epoch is the mean given, and a hundredth more or less."""

    def make(loss, mean, **changes):
        spread = (-0.01, 0.0, 0.01)
        return [make_record(loss, seed, (0.1, mean + s), **changes) for seed, s in enumerate(spread)]  # fmt: skip

    return make


@pytest.fixture
def lost(make_record):
    def make(n, loss="bwot"):
        return [make_record(loss, s, (0.1,), diverged="epoch 1, step 3") for s in range(n)]

    return make


# ------------------------------------------------------------------------------ which rows there are


def test_every_published_number_has_exactly_one_row():
    keys = [(t.dataset, t.loss, t.score, t.epoch) for t in targets()]
    expected = {(*key, epoch) for key, curve in CURVES.items() for epoch in curve.epochs}
    expected |= {(dataset, "bwot", score, None) for dataset, score in SCORES}
    assert len(keys) == len(set(keys)) and set(keys) == expected


@pytest.mark.parametrize(
    "dataset, rows",
    [("mnist", 28), ("cifar10", 28), ("shrec13", 6), ("shrec14", 6), ("modelnet10", 2), ("modelnet40", 2)],
)  # fmt: skip
def test_each_data_set_has_as_many_rows_as_the_authors_have_numbers(dataset, rows):
    text = section(dataset, EMPTY)
    tables = text.count(":::{table}")
    assert sum(line.startswith("| ") for line in text.splitlines()) == rows + tables
    assert f":name: scoreboard-{dataset}-bwot" in text and "authors' repository" in text
    assert text.count(f"{rows // tables} × not run") == tables


def test_every_line_has_a_cell_for_every_column(ends):
    ways = EMPTY | {"tuned": ends("bwot", 0.5)}
    lines = [line for line in section("mnist", ways).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(HEAD) + 1}


# ------------------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    "value, expected",
    [(0.5, "reproduced"), (0.49, "reproduced"), (0.60, "undecided"), (0.3, "undecided")],
)
def test_a_band_wider_than_three_points_decides_nothing(make_record, value, expected):
    narrow = [make_record("bwot", s, (0.1, 0.5 + 0.002 * (s - 1))) for s in range(3)]
    wide = [make_record("bwot", s, (0.1, 0.5 + 0.01 * (s - 1))) for s in range(3)]
    chosen = narrow if expected == "reproduced" else wide
    cells = row(a_target(value=value), EMPTY | {"as published": chosen})
    assert cells["verdict"] == expected


@pytest.mark.parametrize("value, expected", [(0.52, "below"), (0.48, "above")])
def test_outside_of_the_band_the_verdict_says_on_which_side(make_record, value, expected):
    mine = [make_record("bwot", s, (0.1, 0.5 + 0.001 * (s - 1))) for s in range(3)]
    assert row(a_target(value=value), EMPTY | {"as published": mine})["verdict"] == expected


def test_the_verdict_belongs_to_the_runs_as_published_and_the_tuned_stand_beside(make_record):
    published = [make_record("bwot", s, (0.1, 0.5 + 0.001 * s)) for s in range(3)]
    tuned = [make_record("bwot", s, (0.1, 0.7 + 0.001 * s)) for s in range(3)]
    cells = row(a_target(value=0.501), EMPTY | {"as published": published, "tuned": tuned})
    assert cells["verdict"] == "reproduced" and cells["as published (n)"].startswith("50.10 ± 0.10")
    assert cells["our settings (n)"] == "70.10 ± 0.10 (3)" and cells["they lie"] == "above (tuned)"


def test_without_a_run_as_published_nothing_is_reproduced_however_near_ours_come(make_record):
    mine = [make_record("pairwise", s, (0.1, 0.5 + 0.001 * s)) for s in range(3)]
    cells = row(a_target("pairwise", value=0.501), EMPTY | {"common rate": mine})
    assert cells["verdict"] == "only common rate" and cells["as published (n)"] == "–"
    assert cells["they lie"] == "within the band (common rate)"


def test_the_caption_says_which_settings_of_ours_and_a_row_only_where_they_differ(make_record):
    tuned = [make_record("bwot", s, (0.1, 0.5 + 0.001 * s)) for s in range(3)]
    common = [make_record("bwot", s, (0.1, 0.5, 0.6 + 0.001 * s)) for s in range(3)]
    one = section("mnist", EMPTY | {"tuned": tuned})
    assert "Our settings: tuned." in one and "| only tuned | 50.10 ± 0.10 (3) | below |" in one
    both = section("mnist", EMPTY | {"tuned": tuned, "common rate": common})
    assert "Our settings: tuned or common rate." in both
    assert (
        "| only common rate | 60.10" in both
        and "below (tuned) |" in both
        and "below (common rate) |" in both
    )


def test_tuned_runs_come_before_those_at_the_common_rate(make_record):
    low, high = ([make_record("bwot", s, (0.1, v + 0.001 * s)) for s in range(2)] for v in (0.4, 0.6))  # fmt: skip
    cells = row(a_target(), EMPTY | {"tuned": high, "common rate": low})
    assert cells["our settings (n)"].startswith("60.05")


def test_where_a_loss_was_trained_as_long_as_by_the_authors_that_is_the_number(make_record):
    short, long = (
        [make_record("bwot", s, (0.1, *end)) for s in range(2)] for end in ((0.4,), (0.5, 0.6))
    )
    ways = EMPTY | {"tuned": short, "full length": long}
    cells = [row(a_target(epoch=epoch), ways) for epoch in (1, 2)]
    assert [each["our settings (n)"].split()[0] for each in cells] == ["50.00", "60.00"]
    assert row(a_target(), EMPTY | {"tuned": short})["our settings (n)"].startswith("40.00")


def test_runs_as_published_that_diverged_are_counted(lost, make_record):
    cells = row(a_target(), EMPTY | {"as published": lost(3)})
    assert cells["verdict"] == "diverged (3 of 3)" and cells["as published (n)"] == "–"
    two = [make_record("bwot", s, (0.1, 0.5 + 0.001 * s)) for s in (4, 5)]
    cells = row(a_target(value=0.5005), EMPTY | {"as published": [*lost(1), *two]})
    assert cells["verdict"] == "reproduced; diverged (1 of 3)"
    assert cells["as published (n)"].endswith("(2)")


def test_other_data_are_not_comparable(ends, lost):
    copy = ends("bwot", 0.5)[0].dataset | {"official": False, "variant": "JPEG copy"}
    cells = row(a_target(), EMPTY | {"tuned": ends("bwot", 0.5, dataset=copy)})
    assert cells["verdict"] == "not comparable" and cells["they lie"] == "not comparable (tuned)"
    diverged = [replace(record, dataset=copy) for record in lost(2)]
    cells = row(a_target(), EMPTY | {"as published": diverged})
    assert cells["verdict"] == "not comparable; diverged (2 of 2)"


def test_below_a_table_stands_what_fills_it(ends):
    """The records of each way, their data with the frozen network, the device and the minutes."""
    mine = [replace(r, settings=r.settings | {"network": "mobilenet"}) for r in ends("bwot", 0.5)]
    text = section("mnist", EMPTY | {"as published": mine[:1], "tuned": ends("bwot", 0.5)})
    assert (
        "Filled by *as published*: one record of {ref}`mnist/as-published <records-mnist-as-published>`, official, features of mobilenet, "
        "cpu, 10 minutes a run; *tuned*: 3 records of {ref}`mnist/tuned <records-mnist-tuned>`, official, cpu, 10 minutes a run."
    ) in text
    small = [replace(r, settings=r.settings | {"network": "small"}) for r in mine]
    assert "features of" not in section("mnist", EMPTY | {"as published": small})
    assert "Filled by" not in section("mnist", EMPTY)
    beside = EMPTY | {"tuned": ends("bwot", 0.5), "common rate": ends("bwot", 0.6)}
    assert "*common rate*" not in section("mnist", beside)  # no row has a number of theirs


def test_an_epoch_that_was_not_reached_is_not_run(ends):
    cells = row(a_target("pairwise", epoch=20), EMPTY | {"tuned": ends("pairwise", 0.5)})
    assert cells["verdict"] == "not run" and cells["our settings (n)"] == "–"
    text = section("mnist", EMPTY | {"tuned": ends("pairwise", 0.5)})
    commands = text.partition("```bash\n")[2].partition("\n```")[0].splitlines()
    assert commands == [command(a_target("bwot")), command(a_target("bwot"), True), command(a_target("pairwise"))]  # fmt: skip


def test_a_number_of_a_table_is_that_of_the_last_epoch(make_record):
    mine = [make_record("bwot", s, (0.1, 0.2, 0.5)) for s in range(2)]
    cells = row(a_target(epoch=None), EMPTY | {"tuned": mine})
    assert cells["epoch"] == "last" and cells["our settings (n)"].startswith("50.00")


@pytest.mark.parametrize("target", targets(), ids=lambda t: f"{t.dataset}-{t.loss}-{t.score}-{t.epoch}")  # fmt: skip
def test_the_command_of_a_row_is_one_that_the_command_line_takes(target):
    options = _parser().parse_args(shlex.split(command(target))[1:])
    assert (options.dataset, options.loss) == (target.dataset, target.loss)
    assert options.as_published is (True if target.loss == "bwot" else None)
    assert options.output.parts[:3] == (
        "runs",
        "full",
        target.dataset,
    )  # no committed record is written over


# ------------------------------------------------------------------------------ records


def test_records_are_read_by_the_way_their_settings_were_chosen(tmp_path, make_record):
    for folder, loss in (("", "pairwise"), ("tuned", "bwot"), ("as-published", "bwot")):
        write_record(make_record(loss), tmp_path / "mnist" / folder / f"{loss}-seed0.json")
    found = records_of(tmp_path, "mnist")
    names = {way: [record.loss["name"] for record in records] for way, records in found.items()}
    expected = {"as published": ["bwot"], "tuned": ["bwot"], "common rate": ["pairwise"]}
    assert names == dict.fromkeys(FOLDERS, []) | expected
    assert records_of(tmp_path, "shrec14") == EMPTY | {"λ = 5": []}


def test_what_was_not_trained_is_in_no_comparison_and_a_side_has_its_own_place(tmp_path, make_record):  # fmt: skip
    for name in ("untrained", "lam5/bwot", "tuned/supcon"):
        loss = name.rpartition("/")[2]
        write_record(make_record(loss), tmp_path / "shrec13-15" / f"{name}-seed0.json")
    found = records_of(tmp_path, "shrec13-15")
    names = {way: [record.loss["name"] for record in records] for way, records in found.items() if records}  # fmt: skip
    assert names == {"tuned": ["supcon"], "λ = 5": ["bwot"]}


def test_seeds_with_other_settings_are_not_averaged(tmp_path, make_record):
    write_record(make_record("bwot", 0), tmp_path / "mnist" / "bwot-seed0.json")
    other = make_record("bwot", 1, (0.1, 0.5))
    write_record(other, tmp_path / "mnist" / "bwot-seed1.json")
    with pytest.raises(ValueError, match="seeds 0 and 1 differ in epochs"):
        records_of(tmp_path, "mnist")
