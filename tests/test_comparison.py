"""What records say together, against SciPy and formulas worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bwot.comparison import (
    Summary,
    _holm,
    at_epoch,
    by_seed,
    difference_of,
    losses_in,
    of_loss,
    p_value,
    paired_differences,
    summarise,
    verdict,
)
from bwot.published import CURVES, Curve


def family(make_record, **values):
    """Records of the losses named: for each loss the last score of its seeds 0, 1, 2, …; None has diverged."""
    return [
        make_record(loss, seed, (0.1, 0.2), diverged="epoch 1, step 3")
        if value is None
        else make_record(loss, seed, (0.1, 0.2, value))
        for loss, scores in values.items()
        for seed, value in enumerate(scores)
    ]


def holm_by_loop(p_values):
    """Holm (1979): reject one after the other, the smallest first, at alpha / (hypotheses left)."""
    adjusted = [math.nan] * len(p_values)
    left, highest = list(range(len(p_values))), 0.0
    while known := [i for i in left if not math.isnan(p_values[i])]:
        smallest = min(known, key=lambda i: p_values[i])
        highest = max(highest, min(1.0, len(left) * p_values[smallest]))
        adjusted[smallest] = highest
        left.remove(smallest)
    return adjusted


# ------------------------------------------------------------------------------ means


def test_the_summary_is_mean_sample_deviation_and_number(make_record):
    records = family(make_record, bwot=[0.90, 0.92, 0.97])
    summary = summarise(records, "map")
    assert summary.mean == pytest.approx(0.93)
    assert summary.sd == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    assert (summary.n, summary.diverged) == (3, 0)


def test_one_seed_has_no_deviation(make_record):
    summary = summarise(family(make_record, bwot=[0.9]), "map")
    assert summary.mean == 0.9 and math.isnan(summary.sd) and summary.n == 1


def test_a_diverged_run_is_counted_and_in_no_mean(make_record):
    summary = summarise(family(make_record, bwot=[0.9, None, 0.8]), "map")
    assert summary.mean == pytest.approx(0.85) and (summary.n, summary.diverged) == (2, 1)
    assert summarise(family(make_record, bwot=[0.9, None, 0.8]), "map", epoch=1).n == 2


def test_runs_that_all_diverged_have_no_mean(make_record):
    summary = summarise(family(make_record, bwot=[None, None]), "map")
    assert math.isnan(summary.mean) and math.isnan(summary.sd)
    assert (summary.n, summary.diverged) == (0, 2)


def test_a_score_at_an_epoch_is_that_of_the_history(make_record):
    record = make_record(values=(0.1, 0.6, 0.9))
    assert [at_epoch(record, "map", epoch) for epoch in (0, 1, 2, 3)] == [0.1, 0.6, 0.9, None]
    del record.history[1]["accuracy"]
    assert at_epoch(record, "accuracy", 1) is None
    assert summarise([record], "accuracy", 1).n == 0


def test_losses_keep_their_order_and_seeds_are_sorted(make_record):
    records = [make_record("pairwise", 2), make_record("bwot", 1), make_record("pairwise", 0)]
    assert losses_in(records) == ["pairwise", "bwot"]
    assert [record.seed for record in of_loss(records, "pairwise")] == [0, 2]
    assert of_loss(records, "allpairs") == []


# ------------------------------------------------------------------------------ paired differences


def test_paired_differences_are_those_of_scipy(make_record):
    scores = {"bwot": [0.91, 0.95, 0.93, 0.90], "pairwise": [0.90, 0.91, 0.93, 0.86],
              "allpairs": [0.92, 0.93, 0.95, 0.90]}  # fmt: skip
    found = paired_differences(family(make_record, **scores), "bwot", "map")
    assert [(d.first, d.second, d.n) for d in found] == [("bwot", "pairwise", 4), ("bwot", "allpairs", 4)]  # fmt: skip
    tests = [stats.ttest_rel(scores["bwot"], scores[d.second]) for d in found]
    for difference, test in zip(found, tests, strict=True):
        interval = test.confidence_interval(0.95)
        expected = np.mean(np.subtract(scores["bwot"], scores[difference.second]))
        assert difference.mean == pytest.approx(expected)
        assert difference.low == pytest.approx(interval.low)
        assert difference.high == pytest.approx(interval.high)
    assert [d.p for d in found] == pytest.approx(holm_by_loop([test.pvalue for test in tests]))


def test_a_difference_by_hand(make_record):
    records = family(make_record, bwot=[0.5, 0.7, 0.9], pairwise=[0.4, 0.5, 0.6])
    (found,) = paired_differences(records, "bwot", "map")
    half = 4.302652729911275 * 0.1 / math.sqrt(3)  # t(.975, 2) from a table, times s / sqrt(n)
    assert found.mean == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.2 - half, 0.2 + half))
    assert found.p == pytest.approx(0.07418, abs=1e-5)  # 2 P(t(2) > 3.4641)


def test_pairs_are_made_by_seed_and_not_by_place(make_record):
    records = [
        make_record("pairwise", 7, (0.1, 0.3)),
        make_record("bwot", 5, (0.1, 0.6)),
        make_record("bwot", 7, (0.1, 0.4)),
        make_record("pairwise", 5, (0.1, 0.5)),
        make_record("pairwise", 9, (0.1, 0.0)),
    ]
    (found,) = paired_differences(records, "bwot", "map")
    assert found.mean == pytest.approx(0.1) and found.n == 2


@pytest.mark.parametrize(
    "pairwise, n", [([0.8, None, 0.7], 2), ([0.8, None, None], 1), ([None] * 3, 0), ([0.8], 1)]
)
def test_a_seed_without_its_partner_is_left_out(make_record, pairwise, n):
    records = family(make_record, bwot=[0.9, 0.9, 0.85], pairwise=pairwise)
    (found,) = paired_differences(records, "bwot", "map")
    assert found.n == n
    assert math.isnan(found.low) is math.isnan(found.p) is (n < 2)
    assert math.isnan(found.mean) is (n == 0)


def test_differences_without_spread_are_no_evidence(make_record):
    """Shares of a small test set repeat by chance: a point for an interval is not certainty."""
    records = family(make_record, bwot=[0.5, 0.75], pairwise=[0.25, 0.5], allpairs=[0.5, 0.75])
    higher, equal = paired_differences(records, "bwot", "map")
    assert (higher.low, higher.high, higher.p) == (0.25, 0.25, 1.0)
    assert (equal.low, equal.high, equal.p) == (0.0, 0.0, 1.0)


def test_the_reference_alone_has_no_differences(make_record):
    assert paired_differences(family(make_record, bwot=[0.9, 0.8]), "bwot", "map") == []


def test_differences_at_an_epoch_are_those_of_the_history(make_record):
    records = [make_record(loss, seed, (0.1, first + seed / 10, 0.9))
               for loss, first in (("bwot", 0.5), ("pairwise", 0.25)) for seed in (0, 1)]  # fmt: skip
    (found,) = paired_differences(records, "bwot", "map", epoch=1)
    assert found.mean == pytest.approx(0.25) and found.n == 2


def test_a_run_that_diverged_later_is_in_no_difference_and_in_no_mean(make_record):
    records = family(make_record, bwot=[0.9, 0.8, 0.7], pairwise=[0.8, None, 0.7])
    for epoch in (0, 1, None):
        (found,) = paired_differences(records, "bwot", "map", epoch)
        summary = summarise(of_loss(records, "pairwise"), "map", epoch)
        assert (found.n, summary.n, summary.diverged) == (2, 2, 1)


# ------------------------------------------------------------------------------ Holm


def test_holm_by_hand():
    assert _holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert _holm([0.5, 0.9]) == [1.0, 1.0]
    assert _holm([]) == []


def test_a_comparison_that_diverged_still_counts_in_its_family():
    assert _holm([0.02, math.nan, 0.3])[0] == pytest.approx(0.06)


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=6))
def test_holm_is_the_procedure_in_a_loop(p_values):
    assert np.allclose(_holm(p_values), holm_by_loop(p_values), equal_nan=True)


def test_holm_does_not_depend_on_the_order():
    for order in itertools.permutations([0.01, 0.02, 0.02, 0.2]):
        back = dict(zip(order, _holm(list(order)), strict=True))
        assert back == pytest.approx({0.01: 0.04, 0.02: 0.06, 0.2: 0.2})


# ------------------------------------------------------------------------------ verdicts

POINT = Curve((1, 10), (0.5, 0.9), 0.001, "a plot")


def point(epoch):
    return POINT.values[POINT.epochs.index(epoch)], POINT.reading_error


T_2 = 4.302652729911275  # t(.975, 2)


def band(sd, reading_error=0.001):
    return T_2 * sd * math.sqrt(1 + 1 / 3) + reading_error


@pytest.mark.parametrize(
    "off, sd, expected",
    [
        (0.0, 0.001, "reproduced"),
        (0.99 * band(0.001), 0.001, "reproduced"),
        (-0.99 * band(0.001), 0.001, "reproduced"),
        (1.01 * band(0.001), 0.001, "above"),
        (-1.01 * band(0.001), 0.001, "below"),
        (0.0009, 0.0, "reproduced"),
        (0.0011, 0.0, "above"),
        (0.0, 0.0058, "reproduced"),  # a band of 2.98 points
        (0.0, 0.0059, "undecided"),  # of 3.03
        (0.5, 0.0059, "undecided"),
    ],
)
def test_a_verdict_is_the_side_of_the_band(off, sd, expected):
    assert verdict(Summary(0.9 + off, sd, 3, 0), *point(10)) == expected


def test_a_verdict_takes_the_point_of_its_epoch():
    assert verdict(Summary(0.5, 0.001, 3, 0), *point(1)) == "reproduced"
    assert verdict(Summary(0.5, 0.001, 3, 0), *point(10)) == "below"


def test_more_seeds_narrow_the_band():
    off = 1.01 * band(0.001)
    assert verdict(Summary(0.9 + 0.6 * off, 0.001, 3, 0), *point(10)) == "reproduced"
    assert verdict(Summary(0.9 + 0.6 * off, 0.001, 30, 0), *point(10)) == "above"


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_seeds_decide_nothing(n):
    assert verdict(Summary(0.9, math.nan, n, 2), *point(10)) == "undecided"


def test_the_published_curves_are_shares_with_a_source():
    for curve in CURVES.values():
        assert len(curve.epochs) == len(curve.values) and curve.source
        assert all(0 < value < 1 for value in curve.values) and 0 < curve.reading_error < 0.01
        assert list(curve.epochs) == sorted(set(curve.epochs))


@pytest.mark.parametrize("reading_error, said", [(0.0, "above"), (0.02, "reproduced")])
def test_a_number_of_a_table_has_no_reading_error(reading_error, said):
    close = Summary(0.91, 0.001, 3, 0)
    assert verdict(close, 0.9) == "above" and verdict(close, 0.9, reading_error) == said


def test_a_difference_may_be_taken_between_epochs(make_record):
    records = [make_record("bwot", s, (0.1, 0.5 + 0.1 * s, 0.9)) for s in range(3)]
    early, late = by_seed(records, "map", 1), by_seed(records, "map")
    assert early == pytest.approx({0: 0.5, 1: 0.6, 2: 0.7}) and set(late) == {0, 1, 2}
    found = difference_of("bwot", "bwot", early, late)
    interval = stats.ttest_rel(list(early.values()), list(late.values())).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((-0.3, interval.low, interval.high))


def test_a_diverged_seed_has_no_value(make_record):
    records = [make_record("bwot", 0), make_record("bwot", 1, (0.1,), diverged="epoch 1")]
    assert by_seed(records, "map", 0) == {0: 0.1}


def test_a_p_value_keeps_two_digits_and_no_power_of_ten():
    assert [p_value(p) for p in (1.0, 0.0123, 1e-4, 9.9e-5, 0.0)] == ["= 1", "= 0.012", "= 0.0001", "< 0.0001", "< 0.0001"]  # fmt: skip
