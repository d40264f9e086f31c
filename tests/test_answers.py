"""What was found follows the records: an answer to each question, and a paragraph for each comparison."""

from dataclasses import replace

import pytest

from bwot import answers, scoreboard
from bwot.paths import PROJECT

PLANS = {"rows": [{"lam": 0.01, "sign": "plus", "most": 9.0}, {"lam": 0.01, "sign": "minus, as meant", "most": 1.012}]}  # fmt: skip


def asked(everything, question):
    text = answers.questions(everything, PLANS)
    return next(line for line in text.splitlines() if line.startswith(f"- **{question}"))


def test_without_records_every_question_is_open_but_that_of_the_published_lambda(everything):
    text = answers.questions(everything, {})
    assert text.count("Not run yet.") == 4 and "numref" not in text
    assert "Of their 72 numbers none is reproduced: 72 not at all." in text
    assert answers.outcomes(everything) == "No comparison has been run yet."


def test_the_published_lambda_is_said_to_weigh_nothing_with_the_number_of_its_record(everything):
    said = asked(everything, "Does it emphasise")
    assert "its heaviest pair has 1.01 times the even weight, so the code as published weights nothing" in said  # fmt: skip


def test_emphasis_is_told_as_what_was_measured(losses, everything):
    runs = losses(bwot=0.9)
    for record in runs:
        record.history[-1]["gradient_ratio"] = 2.0 + 0.01 * record.seed
    everything["mnist"]["tuned"] = runs
    said = asked(everything, "Does it emphasise")
    assert (
        "longer than that of uniform weights on the same batches (geometric means over the seeds): 2.01 times on MNIST."
        in said
    )
    assert said.endswith("({numref}`claim-hard`, {numref}`sharpness`)")


@pytest.mark.parametrize(
    "bwot, said",
    [
        (0.9, "is higher than that of pair-wise training on MNIST."),
        (0.3, "is in none of these comparisons shown to be higher than that of pair-wise training; lower on MNIST."),
        (0.5, "is in none of these comparisons shown to be higher than that of pair-wise training; no difference is shown on MNIST."),
    ],
)  # fmt: skip
def test_what_is_said_against_the_pair_wise_loss_follows_the_interval(bwot, said, losses, everything):  # fmt: skip
    everything["mnist"]["tuned"] = losses(bwot=bwot, pairwise=0.5)
    assert said in asked(everything, "Does it end higher?")


def test_the_plain_mean_over_all_pairs_has_a_sentence_of_its_own(losses, everything):
    everything["mnist"]["tuned"] = losses(bwot=0.9, allpairs=0.4, pairwise=0.5)
    assert "It is higher than that of the mean over all pairs, which sees as many pairs, on MNIST." in asked(everything, "Does it end")  # fmt: skip


def test_transport_has_what_no_other_weighting_reaches(losses, everything):
    everything["mnist"]["tuned"] = losses(bwot=0.7, active=0.5, rowsoftmax=0.699, softmax=0.9)
    said = asked(everything, "Is that transport")
    assert "It ends higher than active pairs on MNIST" in said
    assert "(but lower than softmax weights on MNIST)" in said
    assert (
        "in none of these comparisons shown to end higher than row-softmax weights and softmax weights"
        in said
    )


def test_numbers_of_the_authors_are_counted_by_what_became_of_them(losses, make_record, everything):  # fmt: skip
    lost = [make_record("bwot", seed, (0.1,), diverged="epoch 1, step 3") for seed in range(2)]
    everything["mnist"] |= {"as published": lost, "tuned": losses(pairwise=0.5)}
    copy = {"official": False, "variant": "a copy"}
    everything["cifar10"]["tuned"] = [replace(r, dataset=r.dataset | copy) for r in losses(bwot=0.5)]  # fmt: skip
    said = asked(everything, "What did not")
    assert "Runs with the authors' settings diverged: 2 of 2 on MNIST." in said
    assert "none is reproduced: 14 diverged, 4 were run on other data, 4 with settings of ours alone, 50 not at all." in said  # fmt: skip


def test_a_number_that_is_reproduced_is_counted(make_record, everything):
    near = [make_record("bwot", seed, (0.1, 0.96 + 0.0001 * seed)) for seed in range(3)]
    everything["mnist"]["as published"] = near
    assert "Of their 72 numbers 1 is reproduced: 1 lie outside the band or are undecided, 70 not at all." in asked(everything, "What did")  # fmt: skip


def test_the_comparison_that_speaks_for_a_data_set_is_named(losses, everything):
    everything["mnist"]["tuned"] = losses(bwot=0.7, pairwise=0.5)
    everything["cifar10"]["full length"] = losses(bwot=0.7, pairwise=0.5)
    assert answers.questions(everything, PLANS).endswith("MNIST: tuned, 2 epochs; CIFAR-10: full length, 2 epochs. After fewer epochs the order may be another.")  # fmt: skip


def test_the_first_page_has_an_answer_of_a_few_lines_to_each_question():
    text = (PROJECT / "book/index.md").read_text(encoding="utf-8")
    part = text.partition("% begin answers")[2].partition("% end answers")[0]
    items = [line for line in part.splitlines() if line.startswith("- **")]
    assert len(items) == 5 and max(map(len, items)) < 600
    assert "outcomes" not in text and len(scoreboard.JUDGED) == 7


def test_one_seed_has_no_outcome_and_three_have_one(losses, everything):
    runs = losses(bwot=0.9, allpairs=0.8)
    everything["mnist"]["common rate"] = [r for r in runs if r.seed == 0]
    assert answers.outcomes(everything) == "No comparison has been run yet."
    everything["mnist"]["common rate"] = runs
    assert answers.outcomes(everything).startswith("**MNIST, common rate.** With all losses")


def test_a_loss_that_diverged_is_named_with_how_many_seeds_are_left(losses, make_record, everything):  # fmt: skip
    runs = [r for r in losses(bwot=0.9, active=0.8) if (r.loss["name"], r.seed) != ("active", 2)]
    everything["mnist"]["tuned"] = [*runs, make_record("active", 2, (0.1, 0.2), diverged="epoch 2, step 1")]  # fmt: skip
    text = answers.outcomes(everything)
    assert text.endswith("Of active pairs, 1 of 3 runs diverged: n = 2 in what is said of it.")
