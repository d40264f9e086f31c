"""What came out, in words: no claim beyond the corrected p-value, no number that no seed stands for."""

import math
from dataclasses import replace

import pytest

from bwot import findings
from bwot.comparison import Difference, p_value, paired_differences
from bwot.records import write_record


@pytest.fixture
def make_record(make_record):
    """As everywhere, with a learning rate among the settings."""

    def make(*given, learning_rate=0.01, **changes):
        record = make_record(*given, **changes)
        return replace(record, settings=record.settings | {"learning_rate": learning_rate})

    return make


@pytest.fixture
def many(make_record):
    """Three seeds of each loss from what it ends with, to which seed s adds s thousandths, another multiple of them for each loss."""

    def make(**ends):
        return [
            make_record(loss, seed, (0.1, 0.3, end + 0.001 * seed * (1 + place)))
            for place, (loss, end) in enumerate(ends.items())
            for seed in range(3)
        ]

    return make


def cells(table):
    """Row and column of a Markdown table to what stands there."""
    head, _, *rows = (line[2:-2].split(" | ") for line in table.split("\n"))
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


# ------------------------------------------------------------------------------ what may be said


@pytest.mark.parametrize("mean", [0.1, -0.1])
@pytest.mark.parametrize("p, shown", [(0.049, True), (0.051, False), (math.nan, False)])
def test_words_follow_the_corrected_p_and_not_the_interval(mean, p, shown):
    clear = Difference("bwot", "active", mean, mean - 0.01, mean + 0.01, p, 3)
    expected = ("higher" if mean > 0 else "lower") if shown else "no difference shown"
    assert findings.said(clear) == expected


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_seeds_say_nothing(n):
    assert findings.said(Difference("bwot", "active", 0.3, 0.2, 0.4, 0.001, n)) == "no interval"


# ------------------------------------------------------------------------------ in a hurry


@pytest.mark.parametrize("best, name", [("active", "active pairs"), ("softmax", "softmax weights"), ("cross-entropy", "cross-entropy")])  # fmt: skip
def test_the_headline_names_a_control_when_it_is_best(many, best, name):
    text = findings.headline({"common": many(**{"bwot": 0.80, "allpairs": 0.7, best: 0.90})})
    assert f"after 2 epochs and over 3 seeds, the highest mAP is that of {name} (90." in text
    assert ", with batch-wise OT at 80." in text and "(difference -" in text and ", lower)" in text


def test_the_headline_credits_transport_with_what_it_gains_over_weights_without_it(many):
    text = findings.headline({"common": many(bwot=0.8, active=0.7, softmax=0.9, allpairs=0.6)})
    credit = text[text.index("What transport adds") : text.index("Against the plain mean")]
    assert "in points: +9.90, higher against active pairs." in credit
    assert "all-pairs" not in credit and "(difference -10.20, lower)" in text
    plain = text[text.index("Against the plain mean") :]
    assert plain.startswith("Against the plain mean over all pairs: +") and ", higher." in plain


def test_the_headline_is_that_of_the_tuned_comparison(many):
    common, tuned = many(bwot=0.8, active=0.7), many(bwot=0.6, active=0.7)
    text = findings.headline({"common": common, "tuned": tuned})
    assert findings.HOW["tuned"] in text and "that of active pairs (" in text
    assert findings.HOW["common"] in findings.headline({"common": common})


def test_the_headline_tells_of_longer_runs_too(many):
    tuned, longer = many(bwot=0.8, allpairs=0.9), many(bwot=0.7, allpairs=0.6)
    text = findings.headline({"tuned": tuned, "full length": longer})
    first, second = text.split("\n\n")
    assert "that of all-pairs mean (" in first and "that of batch-wise OT (" in second
    assert findings.HOW["full length"] in second
    assert findings.headline({"tuned": tuned, "full length": []}) == findings.headline({"tuned": tuned})  # fmt: skip


def test_the_headline_says_what_diverged(many, make_record):
    lost = [make_record("bwot", seed, (0.1,), diverged="epoch 1, step 3") for seed in range(3)]
    tuned = [*many(bwot=0.8, active=0.7), make_record("active", 3, (0.1,), diverged="epoch 1, step 3")]  # fmt: skip
    text = findings.headline({"tuned": tuned, "as published": lost})
    assert "Of active pairs, 1 of 4 runs diverged" in text
    assert "With the authors' settings, of batch-wise OT, 3 of 3 runs diverged" in text


def test_the_balanced_plan_is_told_where_it_does_not_lead(many):
    text = findings.headline({"tuned": many(**{"bwot": 0.8, "bwot-balanced": 0.7})})
    assert "Balanced OT ends at 70." in text and "batch-wise OT minus it is +9." in text


def test_the_headline_claims_nothing_from_one_seed(make_record):
    records = [make_record("bwot", 0, (0.1, 0.9)), make_record("active", 0, (0.1, 0.2)), make_record("allpairs", 0, (0.1, 0.2))]  # fmt: skip
    text = findings.headline({"common": records})
    assert text.count(", no interval") == 2 and "higher" not in text and "lower" not in text
    assert "One seed decides nothing." in text
    assert "±" not in text and "nan" not in text


def test_the_headline_of_a_loss_without_a_seed_in_common_has_no_number(make_record):
    records = [make_record(loss, seed, (0.1, 0.5, 0.6)) for loss in ("bwot", "allpairs") for seed in (0, 1)]  # fmt: skip
    records += [make_record("active", seed, (0.1,), diverged="epoch 1, step 1") for seed in (0, 1)]
    text = findings.headline({"common": records})
    assert "no seed in common against active pairs" in text and "nan" not in text


@pytest.mark.parametrize("losses", [{"bwot": 0.8}, {"active": 0.8, "allpairs": 0.7}])
def test_without_a_comparison_there_is_no_headline(many, losses):
    assert findings.headline({"common": many(**losses)}) == ""


# ------------------------------------------------------------------------------ tables


def test_the_difference_table_has_last_epoch_and_mean_with_their_p(many):
    records = many(bwot=0.8, active=0.7, pairwise=0.6)
    table = cells(findings.difference_table(records, "bwot"))
    assert table.keys() == {"active pairs", "pair-wise"}
    for each in paired_differences(records, "bwot", "map", "mean"):
        row = table[findings.TITLES[each.second]]
        assert row["mean over the epochs"].startswith(f"{100 * each.mean:+.2f} ({100 * each.low:+.2f} to ")  # fmt: skip
        assert row["mean over the epochs"].endswith(f", p {p_value(each.p)}: higher")
    last = table["active pairs"]["after the last epoch"]
    assert last == "+9.90 (+9.65 to +10.15), p < 0.0001: higher"
    assert table["active pairs"]["mean over the epochs"].startswith("+4.95")


def test_a_difference_of_one_seed_has_no_interval_and_no_p(make_record):
    records = [make_record("bwot", 0, (0.1, 0.9)), make_record("active", 0, (0.1, 0.8))]
    row = cells(findings.difference_table(records, "bwot"))["active pairs"]
    assert list(row.values()) == ["+10.00: no interval"] * 2


def test_a_difference_that_is_the_same_with_each_seed_has_no_interval(make_record):
    records = [make_record(loss, s, (0.1, end)) for loss, end in (("bwot", 0.75), ("active", 0.5)) for s in (0, 1)]  # fmt: skip
    row = cells(findings.difference_table(records, "bwot"))["active pairs"]
    assert row["after the last epoch"] == "+25.00 with each of 2 seeds: no interval"


def test_losses_that_end_lower_tuned_than_at_the_common_point_are_named(many):
    told = findings.ends_lower_tuned(many(bwot=0.8, active=0.6), many(bwot=0.7, active=0.7))
    assert "active pairs (-10.00, n = 3)" in told and "batch-wise" not in told
    assert findings.ends_lower_tuned(many(bwot=0.8), []) == ""


def test_the_headline_names_what_differs_in_accuracy(make_record):
    records = [make_record(loss, s, (0.1, 0.5 + 0.01 * s)) for loss in ("bwot", "active") for s in (0, 1, 2)]  # fmt: skip
    for record in records:
        end = {"bwot": 0.80, "active": 0.85}[record.loss["name"]] + 0.001 * record.seed**2
        record.history[-1]["accuracy"] = end + (0.0001 * record.seed if record.loss["name"] == "bwot" else 0)  # fmt: skip
    assert "Its accuracy is lower than that of active pairs (-4.99)." in findings.answer("tuned", records)  # fmt: skip


def test_a_difference_of_fewer_seeds_says_how_many(many, make_record):
    records = [*many(bwot=0.8, active=0.7), *many(allpairs=0.6)[:2]]
    table = cells(findings.difference_table(records, "bwot"))
    assert "of 2 seeds: " in table["all-pairs mean"]["after the last epoch"]
    assert "n =" not in table["active pairs"]["after the last epoch"]


def test_speed_counts_epochs_to_what_the_plain_mean_ends_with(make_record):
    records = [make_record("allpairs", s, (0.1, 0.5, 0.7 + 0.1 * s)) for s in (0, 1)]  # to 75 %
    records += [make_record("bwot", 0, (0.8, 0.76, 0.9)), make_record("bwot", 1, (0.1, 0.6, 0.74))]
    records += [make_record("active", 0, (0.1,), diverged="epoch 1, step 2")]
    said, _, table = findings.speed_table(records).partition("\n\n")
    assert "with which all-pairs mean ends, 75.00 % (mean of 2 runs)" in said
    table = cells(table)
    assert table["batch-wise OT"]["epochs"] == "1, –"
    assert table["all-pairs mean"]["epochs"] == "–, 2"
    assert table["active pairs"]["epochs"] == "diverged"
    assert table["batch-wise OT"]["mean mAP over the epochs"] == "75.00 ± 11.31"


def test_without_a_finished_plain_mean_there_is_no_target(make_record):
    diverged = make_record("allpairs", 0, (0.1,), diverged="epoch 1, step 2")
    assert findings.speed_table([make_record("bwot"), diverged]) == ""


# ------------------------------------------------------------------------------ the list


def test_losses_at_rates_of_their_own_do_not_share_a_step(make_record):
    records = [make_record("bwot", 0), make_record("allpairs", 0)]
    assert "at one learning rate" in findings.points(records)
    records[1] = make_record("allpairs", 0, learning_rate=0.02)
    assert "at one learning rate" not in findings.points(records)


def test_weights_of_a_plain_mean_that_diverged_are_not_told(make_record):
    diverged = make_record("allpairs", 0, (0.1,), diverged="epoch 1, step 2", settings={"epochs": 2})  # fmt: skip
    text = findings.points([make_record("bwot", 0), diverged])
    assert "put 50.00 % of its weight" in text and "uniform weights" not in text


def gap(make_record, differences):
    """The finding from pair-wise runs and from batch-wise ones that are better by these differences."""
    records = [make_record("pairwise", seed, (0.1, 0.2, 0.5)) for seed in range(len(differences))]
    records += [make_record("bwot", s, (0.1, 0.2, 0.5 + d)) for s, d in enumerate(differences)]
    return found(records)["pair-wise"]["mAP, epoch 2"]


def found(records):
    """The table among the findings."""
    return cells(findings.points(records).split("\n\n")[1])


@pytest.mark.parametrize(
    "differences, said",
    [
        ([0.10, 0.11, 0.12], ": higher"),
        ([-0.10, -0.11, -0.12], ": lower"),
        ([0.10, -0.11, 0.02], ": no difference shown"),
        ([0.01, 0.30, 0.02], ": no difference shown"),
        ([-0.01, -0.30, -0.02], ": no difference shown"),
        ([0.25], ": no interval"),
    ],
)
def test_a_finding_follows_the_sign_and_the_interval(make_record, differences, said):
    line = gap(make_record, differences)
    mean = 100 * sum(differences) / len(differences)
    assert line.startswith(f"{mean:+.2f}") and line.endswith(said)


def test_a_finding_is_one_of_the_family_and_not_of_its_interval_alone(make_record):
    records = [make_record("bwot", seed, (0.1, 0.2, 0.5 + d)) for seed, d in enumerate((0, 0.02))]
    records += [make_record(loss, seed, (0.1, 0.2, 0.3)) for loss in ("pairwise", "allpairs") for seed in (0, 1)]  # fmt: skip
    line = found(records)["pair-wise"]["mAP, epoch 2"]
    assert "(+8.29 to +33.71), p = 0.06" in line and line.endswith(": no difference shown")


def test_findings_compare_after_the_first_and_the_last_epoch(records):
    row = found(records)["pair-wise"]
    assert row["mAP, epoch 1"].startswith("+0.00") and row["mAP, epoch 2"].startswith("+10.00")
    assert findings.points(records).startswith("Points of difference, seed by seed (n = ")


def test_findings_tell_the_weights_of_the_all_pairs_mean_beside_ours(records, make_record):
    assert "all-pairs mean put" not in findings.points(records)
    text = findings.points([*records, make_record("allpairs", 0), make_record("allpairs", 1)])
    assert (
        "put 50.00 ± 0.00 % of its weight on pairs with an error after epoch 2; the uniform" in text
    )
    assert "gradient was 2.00 ± 0.00 times" in text


@pytest.mark.parametrize("losses", [["bwot"], ["pairwise", "allpairs"], ["pairwise"]])
def test_without_a_comparison_there_are_no_findings(make_record, losses):
    assert findings.points([make_record(loss) for loss in losses]) == ""


def test_findings_of_runs_that_diverged_name_no_number(make_record):
    records = [
        make_record("pairwise", 0, (0.1, 0.5, 0.6)),
        make_record("bwot", 0, (0.1,), diverged="epoch 1, step 2", settings={"epochs": 2}),
    ]
    text = findings.points(records)
    assert "nan" not in text.lower() and "no seed at which both finished" in text
    assert "higher" not in text and "lower" not in text


def test_one_run_does_not_lead_where_others_have_several(make_record):
    records = [make_record("bwot", seed, (0.1, 0.8)) for seed in (0, 1)]
    records += [make_record("active", 0, (0.1, 0.9))]
    assert "the highest mAP is that of batch-wise OT" in findings.answer("common", records)


def test_the_same_loss_with_another_lambda_stands_beside_it_where_it_was_run(make_record, tmp_path):
    ours = [make_record("bwot", seed, (0.1, 0.6 + 0.01 * seed)) for seed in (0, 1)]
    for record in ours:
        record.dataset["name"] = record.settings["dataset"] = "shrec13-15"
        record.settings["lam"] = 10.0
        other = make_record("bwot", record.seed, (0.1, 0.5))
        other.settings["lam"] = 5.0
        write_record(other, tmp_path / f"shrec13-15/lam5/bwot-seed{record.seed}.json")
    text = findings.side_text(ours, tmp_path)
    assert (
        "With $\\lambda = 5$, tuned anew, batch-wise OT has a mAP of 50.00 ± 0.00 % (n = 2)" in text
    )
    assert "is +10.50 (+4.15 to +16.85) points, p = 0.03" in text
    assert list(findings.sides(ours, tmp_path)) == ["tuned, λ = 5"]
    assert findings.side_text(ours, tmp_path / "none") == ""
    assert findings.sides(ours, None) == {}
