"""What is told of batches, queries and classes: the values that the pictures show."""

import pytest
import torch

from bwot import seen

CLASSES = ("ant", "bee", "cat")


def test_precision_is_read_where_the_recall_is_reached():
    recall = torch.tensor([0.1, 0.2, 0.5, 0.8, 1.0])
    text = seen.precision({"bwot": (recall, 1 - recall), "frozen features": (recall, recall)})
    assert "recalls of 20, 50 and 80 percent: batch-wise OT 80, 50 and 20; frozen features 20, 50 and 80." in text  # fmt: skip


def test_a_curve_of_one_rank_is_told():
    one = torch.tensor([1.0])
    assert "batch-wise OT 100, 100 and 100" in seen.precision({"bwot": (one, one)})


def test_the_hardest_pairs_are_told_with_their_weights_and_classes():
    labels, others = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2])
    same = labels[:, None] == others
    plan = torch.tensor([[0.10, 0.30, 0.05], [0.20, 0.05, 0.05], [0.10, 0.10, 0.05]])
    text = seen.hardest(plan, same, labels, others, CLASSES)
    assert "Above 3 positive pairs: weights from 1.80 to 0.90, 2 times ant with ant and once bee with bee;" in text  # fmt: skip
    assert text.endswith(
        "below 6 negative pairs: weights from 2.70 to 0.45, 3 times ant with bee, 2 times ant with cat and once bee with cat."
    )


def test_a_batch_without_negative_pairs_has_none():
    labels, plan = torch.zeros(2).long(), torch.full((2, 2), 0.25)
    text = seen.hardest(plan, labels[:, None] == labels, labels, labels, CLASSES)
    assert text.endswith("below 0 negative pairs: none.")


def test_the_heaviest_pairs_of_one_batch_are_those_that_are_shown():
    plan = torch.tensor([[0.0, 0.3, 0.1], [0.2, 0.0, 0.1], [0.1, 0.2, 0.0]])
    text = seen.heaviest(plan, torch.tensor([0, 0, 1]), None, CLASSES)
    assert text.startswith("The 3 pairs that weigh most, 1 of one class;")
    assert text.endswith("weights from 1.50 to 0.60, 2 times ant with bee and once ant with ant.")


def test_the_heaviest_pairs_of_two_kinds_are_counted_by_their_classes():
    plan = torch.tensor([[0.5, 0.1], [0.1, 0.3]])
    text = seen.heaviest(plan, torch.tensor([0, 1]), torch.tensor([0, 2]), CLASSES)
    assert "The 4 pairs that weigh most, 1 of one class" in text
    assert text.endswith("weights from 2.00 to 0.40, once ant with ant, once bee with cat, once ant with cat and 1 other pair.")  # fmt: skip


def test_what_was_found_is_told_query_by_query():
    nearest = torch.tensor([[0, 0, 0], [2, 1, 2]])
    text = seen.found(torch.tensor([0, 1]), nearest, CLASSES)
    assert "how many of the 3 have it" in text
    assert text.endswith("class ant, 3 right; class bee, 1 right, 2 of class cat.")


def test_a_map_is_told_by_what_lies_nearest_in_it():
    labels = torch.arange(3)
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    swapped = corners[[1, 0, 2]]
    text = seen.modality_map({"before": (swapped, corners), "after": (corners, corners)}, labels, labels, CLASSES)  # fmt: skip
    assert "of 3 classes" in text
    assert "33 percent of the dots before and 100 percent of the dots after" in text
    back = seen.modality_map({"then": (swapped, corners)}, labels, labels, CLASSES)
    assert "are cat 100, ant 0 and bee 0" in back


def test_classes_without_a_sketch_are_not_counted():
    one = torch.zeros(1, 2)
    text = seen.modality_map({"now": (one, one)}, torch.tensor([1]), torch.tensor([1]), CLASSES)
    assert "of 1 class." in text and "most apart, by that percentage, are bee 100;" in text


def test_confusions_are_counted():
    text = seen.confusion(torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 2]]), CLASSES)
    assert "5 of 8 lie on the diagonal. Recognised worst: cat, 2 of 4." in text
    assert text.endswith("Most often taken: cat for ant 2 times and ant for bee once.")


@pytest.mark.parametrize("size", [1, 3])
def test_without_confusions_none_are_told(size):
    assert "taken" not in seen.confusion(torch.eye(size).long(), CLASSES[:size])
