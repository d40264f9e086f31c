"""What is told of curves and grids: the values of known records, for any number of epochs, seeds and losses, and of runs that diverged."""

import pytest

from bwot import published, told


@pytest.fixture
def runs(make_record):
    """Two seeds of each loss, by the mean of its scores after each epoch; they end 2 points apart."""

    def make(**values):
        return [
            make_record(loss, seed, (0.1, *each[:-1], each[-1] + shift))
            for loss, each in values.items()
            for seed, shift in ((0, -0.01), (1, 0.01))
        ]

    return make


def lost(make_record, loss, seed=0):
    return make_record(loss, seed, (0.1, 0.2), diverged="epoch 2, step 3")


def test_a_curve_is_told_at_its_beginning_its_middle_and_its_end(runs):
    text = told.curves(runs(bwot=(0.2, 0.3, 0.4, 0.5, 0.6), active=(0.3, 0.4, 0.45, 0.5, 0.5)), "map")  # fmt: skip
    assert text.startswith("Test mAP in percent after epochs 1, 3 and 5, the highest at the end first: "
                           "batch-wise OT 20.0, 40.0 and 60.0; active pairs 30.0, 45.0 and 50.0.")  # fmt: skip
    assert "Highest before: active pairs after epochs 1 and 3." in text


def test_who_leads_throughout_is_told_once(runs):
    text = told.curves(runs(bwot=(0.4, 0.5, 0.6), active=(0.3, 0.4, 0.5)), "map")
    assert "Highest before" not in text


@pytest.mark.parametrize(
    "count, epochs", [(1, "epoch 1"), (2, "epochs 1 and 2"), (3, "epochs 1, 2 and 3"),
                      (10, "epochs 1, 5 and 10"), (50, "epochs 1, 25 and 50"), (200, "epochs 1, 14 and 200")],
)  # fmt: skip
def test_any_number_of_epochs_can_be_told(count, epochs, make_record):
    text = told.convergence([make_record("bwot", 0, (0.1, *[0.5] * count))])
    assert f"after {epochs}, the" in text and "apart" not in text  # one seed


def test_of_many_losses_those_that_matter_are_told_and_the_rest_counted(runs):
    many = ("supcon", "lifted", "npair", "bwot", "active", "softmax", "allpairs", "pairwise", "cross-entropy")  # fmt: skip
    text = told.curves(runs(**{loss: (0.9 - 0.1 * k,) for k, loss in enumerate(many)}), "map")
    assert "SupCon 90.0; lifted structure 80.0; N-pair 70.0; batch-wise OT 60.0; all-pairs mean 30.0; cross-entropy 10.0." in text  # fmt: skip
    assert "The other 3 have 20.0 to 50.0." in text


def test_who_led_before_is_told_even_among_many(runs):
    many = ("supcon", "lifted", "npair", "bwot", "allpairs", "pairwise", "cross-entropy")
    values = {loss: (0.1, 0.9 - 0.1 * k) for k, loss in enumerate(many)}
    text = told.curves(runs(**values, active=(0.5, 0.35)), "map")
    assert "active pairs 50.0 and 35.0;" in text and "Highest before: active pairs after epoch 1." in text  # fmt: skip


def test_six_losses_are_all_told(runs):
    names = ("supcon", "lifted", "npair", "bwot", "active", "softmax")
    text = told.curves(runs(**dict.fromkeys(names, (0.5,))), "map")
    assert "other" not in text and text.count("50.0") == 6


def test_what_diverged_is_counted_and_left_out(runs, make_record):
    records = [*runs(bwot=(0.5, 0.6)), make_record("active", 0, (0.1, 0.3, 0.4)), lost(make_record, "active", 1),
               lost(make_record, "pairwise")]  # fmt: skip
    text = told.convergence(records)
    assert "active pairs 30.0 and 40.0" in text
    assert "Diverged and left out: active pairs 1 of 2 runs; pair-wise 1 of 1 run, which leaves no curve." in text  # fmt: skip


def test_without_a_finished_run_there_is_nothing_but_that_to_tell(make_record):
    records = [lost(make_record, "bwot", seed) for seed in range(3)]
    assert "No run finished" in told.convergence(records)
    assert "batch-wise OT 3 of 3 runs, which leaves no curve" in told.convergence(records)
    assert told.weights(records) == "Three empty panels: no run of a loss on pairs finished."
    assert told.reached(records) == "none of 3 runs finished"


def test_seeds_are_counted_and_neighbours_told(runs, make_record):
    records = runs(bwot=(0.5, 0.6), active=(0.4, 0.5))
    text = told.convergence(records)
    assert text.startswith("Two panels of curves over 2 epochs, means over 2 seeds with bands")
    assert "Seeds of one loss end at most 2.0 points apart (batch-wise OT)." in text
    assert "from 50.0 (active pairs) to 60.0 (batch-wise OT)" in text
    assert "2 epochs, one seed a loss." in told.convergence(records[::2])


def test_the_authors_points_are_told_where_they_are_drawn(make_record):
    record = make_record("bwot", 0, (0.1, *[0.9] * 10))
    theirs = published.CURVES["mnist", "bwot", "map"].values
    assert f"Unfilled markers, read off the authors' plot: batch-wise OT {100 * theirs[0]:.1f} after epoch 1 and {100 * theirs[3]:.1f} after epoch 10." in told.convergence([record])  # fmt: skip
    record.dataset["official"] = False
    assert "Unfilled" not in told.convergence([record])


def test_weights_are_told_of_two_losses_and_of_the_ends(make_record):
    records = []
    for k, loss in enumerate(("bwot", "allpairs", "active", "softmax", "pairwise")):
        record = make_record(loss, 0, (0.1, 0.5, 0.6))
        record.history[-1] |= {"mass_on_positives": 0.1 * (k + 1), "gradient_ratio": 9.0 - k}
        records.append(record)
    text = told.weights(records)
    assert "after epochs 1 and 2. Share of the weight on positive pairs, in percent: pair-wise 25 and 50; all-pairs mean 25 and 20; batch-wise OT 25 and 10." in text  # fmt: skip
    assert "all-pairs mean: batch-wise OT 2.0 and 9.0; all-pairs mean 2.0 and 8.0; pair-wise 2.0 and 5.0." in text  # fmt: skip


def test_a_loss_without_weights_has_none_to_tell(make_record):
    plain = make_record("cross-entropy", 0)
    for row in plain.history:
        for score in told.WEIGHTS:
            del row[score]
    assert "cross-entropy" not in told.weights([make_record("bwot", 0), plain])


def cell(rate, margin, value):
    outcome = {"diverged": "epoch 1, step 2"} if value is None else {"map": value}
    return {"learning_rate": rate, "margin": margin, "epochs": 3} | outcome


def test_a_grid_is_told_by_what_was_chosen_and_how_much_diverged():
    ours = {"chosen": {"learning_rate": 0.01, "margin": 5.0}, "grid": [cell(0.01, 5.0, 0.5), cell(0.02, 5.0, None), cell(0.01, 2.0, 0.4)]}  # fmt: skip
    plain = {"chosen": {"learning_rate": 0.04, "margin": 1.0}, "grid": [cell(0.04, 1.0, 0.6), cell(0.02, 1.0, 0.3)]}  # fmt: skip
    text = told.tuning({"bwot": ours, "cross-entropy": plain})
    assert "for each of 2 losses" in text and "1 of all 5 points diverged" in text
    assert text.endswith("cross-entropy rate 0.04, mAP 60.0, none of 2 points diverged; "
                         "batch-wise OT rate 0.01, margin 5, mAP 50.0, 1 of 3 points diverged.")  # fmt: skip


def test_what_ended_no_better_than_an_untrained_network_is_told_beside_what_diverged(make_record):
    grid = [cell(0.01, 5.0, 0.5), cell(0.02, 5.0, None), cell(0.04, 5.0, 0.1)]
    found = {"bwot": {"chosen": {"learning_rate": 0.01, "margin": 5.0}, "grid": grid}}
    start, features = make_record("untrained", 0, (0.1,)), make_record("features", 0, (0.9,))
    said = told.tuning(found, [features, start])
    assert "1 of all 3 points diverged, drawn as crosses, 1 ended no better than an untrained network." in said  # fmt: skip
    low = told.tuning(found, [make_record("untrained", 0, (0.05,))])
    assert "crosses, none ended no better" in low
    assert "untrained" not in told.tuning(found, [features])


def test_the_authors_logs_are_told_from_what_is_drawn():
    curve = published.LOGGED["bwot"]
    text = told.logged()
    assert f"batch-wise OT {100 * curve.values[0]:.1f} after epoch {curve.epochs[0]}" in text
    assert f"and {100 * curve.values[-1]:.1f} after epoch {curve.epochs[-1]};" in text


@pytest.mark.parametrize("end, band", [(0.61, "55 and 65"), (0.64, "55 and 65"), (0.66, "65 and 75"), (0.99, "95 and 100"), (0.02, "0 and 5")])  # fmt: skip
def test_what_is_printed_holds_on_every_machine(end, band, make_record):
    assert told.reached([make_record("bwot", 0, (0.31, end))]) == f"mAP between {band} % after 1 epoch, 25 and 35 % before"  # fmt: skip
