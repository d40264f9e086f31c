"""The claims of the paper: judged by the intervals of what was measured, and not at all without a run."""

from dataclasses import replace

import pytest

from bwot import claims
from bwot.comparison import paired_differences, summarise
from bwot.findings import ratio_of
from bwot.scoreboard import FOLDERS, JUDGED

EMPTY = {way: [] for way in FOLDERS}


@pytest.fixture
def everything():
    return {dataset: dict(EMPTY) for dataset in JUDGED}


def by_name(name):
    return next(claim for claim in claims.CLAIMS if claim.name == name)


def judged(name, everything):
    claim = by_name(name)
    return claims.verdict(claim, claims.findings(claim, everything))


@pytest.fixture
def losses(make_record):
    """Three seeds of each loss from what it ends with; seed s adds s thousandths, another multiple of them for each loss."""

    def make(**means):
        return [
            make_record(loss.replace("_", "-"), seed, (0.1, mean + 0.001 * seed * (1 + place)))
            for place, (loss, mean) in enumerate(means.items())
            for seed in range(3)
        ]

    return make


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.name)
def test_without_records_no_claim_is_judged(claim, everything):
    assert judged(claim.name, everything) == "*not run*"


def test_every_claim_has_a_row_and_says_what_it_does_not_show(everything):
    overview, details = claims.overview(everything), claims.details(everything)
    for claim in claims.CLAIMS:
        assert f"| {claim.text} |" in overview and claim.silent in details
    assert {"hard", "faster", "epochs", "together", "transport"} <= {c.name for c in claims.CLAIMS}


@pytest.mark.parametrize("name", ["faster", "higher"])
@pytest.mark.parametrize(
    "bwot, expected", [(0.9, "supported"), (0.3, "not supported"), (0.5, "no difference shown")]
)
def test_a_claim_against_the_pair_wise_loss_follows_the_interval(name, bwot, expected, losses, everything):  # fmt: skip
    everything["mnist"]["tuned"] = losses(bwot=bwot, pairwise=0.5)
    assert judged(name, everything).startswith(f"*{expected}* on MNIST (tuned); *not run* on CIFAR")


def test_the_mean_over_all_pairs_stands_beside_and_decides_nothing(losses, everything):
    everything["mnist"]["tuned"] = losses(bwot=0.7, pairwise=0.5, allpairs=0.9)
    assert judged("higher", everything).startswith("*supported* on MNIST (tuned)")
    line = next(li for li in claims.details(everything).splitlines() if "minus all-pairs" in li)
    assert line.endswith("| lower |")


def test_the_longest_training_decides_and_the_shorter_one_stands_beside(losses, everything):
    everything["cifar10"] |= {"tuned": losses(bwot=0.3, pairwise=0.5), "full length": losses(bwot=0.9, pairwise=0.5)}  # fmt: skip
    assert judged("higher", everything).startswith("*supported* on CIFAR-10 (full length)")
    assert "| CIFAR-10, tuned |" in claims.details(everything)


def test_the_tuned_comparison_comes_first_and_an_incomplete_one_gives_way(losses, everything):
    everything["mnist"] |= {"tuned": losses(bwot=0.3, pairwise=0.5), "common rate": losses(bwot=0.9, pairwise=0.5)}  # fmt: skip
    assert judged("higher", everything).startswith("*not supported* on MNIST (tuned)")
    everything["mnist"]["tuned"] = losses(bwot=0.3, allpairs=0.5)
    assert judged("higher", everything).startswith("*supported* on MNIST (common rate)")


@pytest.mark.parametrize(
    "others, expected",
    [
        ({"active": 0.5, "rowsoftmax": 0.5, "softmax": 0.5}, "supported"),
        ({"active": 0.9, "rowsoftmax": 0.5, "softmax": 0.5}, "not supported"),
        ({"rowsoftmax": 0.699, "active": 0.5, "softmax": 0.5}, "no difference shown"),
        ({"active": 0.5, "rowsoftmax": 0.5}, "not run"),
        ({"active": 0.9, "rowsoftmax": 0.5}, "not supported"),
    ],
    ids=str,
)
def test_transport_is_credited_with_what_no_control_reaches(others, expected, losses, everything):
    everything["mnist"]["tuned"] = losses(bwot=0.7, **others)
    found = claims.findings(by_name("transport"), everything)
    assert [finding.verdict for finding in found] == [expected]


def test_one_seed_supports_nothing(make_record, everything):
    everything["mnist"]["tuned"] = [make_record("bwot"), make_record("pairwise", 0, (0.1, 0.2, 0.3))]  # fmt: skip
    assert judged("higher", everything).startswith("*one seed, no interval* on MNIST (tuned)")


def test_a_variant_of_the_data_is_named(losses, everything):
    copy = {"official": False, "variant": "JPEG copy"}
    everything["cifar10"]["tuned"] = [
        replace(record, dataset=record.dataset | copy) for record in losses(bwot=0.7, pairwise=0.5)
    ]
    assert "CIFAR-10, JPEG copy (tuned)" in judged("higher", everything)


def long_and_short(make_record, short, long, epochs=200):
    """The batch-wise loss with ``short`` after epoch 5, cross-entropy with ``long`` after the last of its epochs."""
    made = []
    for seed in range(3):
        add = 0.001 * seed
        for loss, at_five, at_end in (("bwot", short + add, 0.2), ("cross-entropy", 0.1, long + 2 * add)):  # fmt: skip
            values = [0.1] * 5 + [at_five] + [0.15] * (epochs - 6) + [at_end]
            made.append(make_record(loss, seed, tuple(values)))
    return made


@pytest.mark.parametrize(
    "short, long, expected",
    [(0.9, 0.5, "supported"), (0.5, 0.9, "not supported"), (0.501, 0.5, "no difference shown")],
)
def test_five_epochs_are_held_against_the_softmax_network_after_two_hundred(short, long, expected, make_record, everything):  # fmt: skip
    everything["modelnet10"]["tuned"] = long_and_short(make_record, short, long)
    assert judged("epochs", everything) == f"*{expected}* on ModelNet10 (tuned); *not run* on ModelNet40"  # fmt: skip
    (finding,) = claims.findings(by_name("epochs"), everything)
    assert [each.difference.mean for each in finding.quantities] == pytest.approx([short - long - 0.001] * 2)  # fmt: skip


def test_a_shorter_softmax_network_does_not_stand_for_two_hundred_epochs(make_record, everything):
    everything["modelnet10"]["tuned"] = long_and_short(make_record, 0.9, 0.5, epochs=50)
    assert judged("epochs", everything) == "*not run*"


def test_emphasis_is_the_gradient_against_uniform_weights(make_record, everything):
    records = [make_record("bwot", seed) for seed in range(3)]
    for seed, ratio in enumerate((3.0, 3.1, 3.2)):
        records[seed].history[-1]["gradient_ratio"] = ratio
    everything["mnist"]["tuned"] = records
    (finding,) = claims.findings(by_name("hard"), everything)
    assert ratio_of(finding.quantities[0].difference) == "× 3.10 (2.86 to 3.36)"
    assert finding.verdict == "longer gradient"
    line = next(
        li for li in claims.details(everything).splitlines() if "length of" in li and "|" in li
    )
    assert "| × 3.10 (2.86 to 3.36) | 3 |" in line


def test_a_run_without_an_error_left_has_no_ratio(make_record, everything):
    records = [make_record("bwot", seed) for seed in range(3)]
    records[1].history[-1]["gradient_ratio"] = 0.0
    everything["mnist"]["tuned"] = records
    (finding,) = claims.findings(by_name("hard"), everything)
    assert finding.quantities[0].difference.n == 2


def test_the_interval_of_a_ratio_never_reaches_below_zero(make_record, everything):
    records = [make_record("bwot", seed) for seed in range(3)]
    for seed, ratio in enumerate((0.2, 1.5, 9.0)):
        records[seed].history[-1]["gradient_ratio"] = ratio
    everything["mnist"]["tuned"] = records
    (finding,) = claims.findings(by_name("hard"), everything)
    shown = ratio_of(finding.quantities[0].difference)
    low, high = (
        float(each.replace(",", "")) for each in shown.partition("(")[2].strip(")").split(" to ")
    )
    assert 0 <= low < 1.39 < high and finding.verdict == "no difference shown"
    assert "e" not in shown.partition("(")[2]  # no power of ten, however wide


@pytest.mark.parametrize("ratio, word", [(2.0, "longer gradient"), (0.5, "shorter gradient")])
def test_the_verdict_on_emphasis_says_no_more_than_was_measured(ratio, word, make_record, everything):  # fmt: skip
    records = [make_record("bwot", seed) for seed in range(3)]
    for seed, record in enumerate(records):
        record.history[-1]["gradient_ratio"] = ratio + 0.001 * seed
    everything["mnist"]["tuned"] = records
    assert judged("hard", everything).startswith(f"*{word}* on MNIST (tuned)")
    assert (
        "supported"
        not in claims.overview(everything).partition("| Hard pairs")[2].partition("\n")[0]
    )


def shares(make_record, **margins):
    """Three seeds of both losses with a share each, and a margin each."""
    for loss, share in (("bwot", 0.9), ("allpairs", 0.2)):
        for seed in range(3):
            record = make_record(loss, seed)
            record.history[-1]["mass_on_active"] = share + 0.01 * seed * (1 + (loss == "bwot"))
            yield replace(record, settings=record.settings | {"margin": margins[loss]})


def test_the_share_on_pairs_with_an_error_is_one_quantity_where_the_margin_is_one(make_record, everything):  # fmt: skip
    everything["mnist"] |= {
        "tuned": list(shares(make_record, bwot=0.8, allpairs=12.5)),
        "common rate": list(shares(make_record, bwot=5.0, allpairs=5.0)),
    }
    tuned, common = claims.findings(by_name("hard"), everything)
    assert [each.label[:6] for each in tuned.quantities] == ["length"]
    share = common.quantities[1]
    assert "both with margin 5)" in share.label and not share.decides
    assert share.difference.mean == pytest.approx(0.71) and share.difference.n == 3
    lines = [line for line in claims.details(everything).splitlines() if "share of the weight" in line]  # fmt: skip
    assert len(lines) == 1 and "| MNIST, common rate |" in lines[0]


def test_learning_together_is_measured_from_the_untrained_network_of_the_same_seed(losses, everything):  # fmt: skip
    everything["mnist"]["common rate"] = losses(bwot=0.7)
    (finding,) = claims.findings(by_name("together"), everything)
    (quantity,) = finding.quantities
    expected = summarise(everything["mnist"]["common rate"], "map").mean - 0.1
    assert quantity.difference.mean == pytest.approx(expected) and finding.way == "common rate"
    assert judged("together", everything).startswith("*mAP rises* on MNIST (common rate)")


@pytest.mark.parametrize("name, epoch", [("higher", None), ("faster", "mean"), ("transport", None)])
def test_a_difference_has_the_p_value_of_its_chapter(name, epoch, losses, everything):
    runs = losses(bwot=0.9, pairwise=0.5, allpairs=0.89, active=0.9, softmax=0.7, rowsoftmax=0.6, cross_entropy=0.89)  # fmt: skip
    everything["cifar10"]["tuned"] = runs
    chapter = {each.second: each.p for each in paired_differences(runs, "bwot", "map", epoch)}
    (finding,) = claims.findings(by_name(name), everything)
    shown = {each.difference.second: each.difference.p for each in finding.quantities}
    assert shown == {loss: chapter[loss] for loss in shown} and len(shown) > 1


def test_what_was_rebuilt_of_a_data_set_is_judged_and_named(losses, everything):
    there = {"name": "shrec13-15", "variant": "15-class subset, as downloaded, no check-sum is published, sketches of 150 × 150 pixels instead of 1111 × 1111", "official": False}  # fmt: skip
    everything["shrec13-15"]["tuned"] = [replace(r, dataset=r.dataset | there) for r in losses(bwot=0.9, pairwise=0.5)]  # fmt: skip
    assert "*supported* on SHREC'13, 15-class subset, sketches of 150 × 150 pixels (tuned);" in judged("higher", everything)  # fmt: skip
