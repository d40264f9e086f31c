"""The comparison of the three gradients: its numbers against the definitions, its picture against its numbers."""

import math

import matplotlib
import pytest
import torch

from bwot import figures, gradients
from bwot.gradients import draw_gradients, gradients_of, trained_batch
from bwot.implicit import solve_adjoint
from bwot.losses import BatchwiseOTLoss
from bwot.toy import plan_of, toy_batch

LAM, GAMMA, MARGIN = 8.0, 6.0, 1.2


@pytest.fixture(scope="module")
def found():
    return gradients_of(toy_batch(), LAM, GAMMA, MARGIN)


def test_the_push_per_weight_is_that_of_the_three_formulas(found):
    """1, 1 + gamma lam C G and 1 + gamma lam C (G - alpha - beta)."""
    plan = plan_of(BatchwiseOTLoss(MARGIN, LAM, GAMMA, 5000), toy_batch())
    fit = solve_adjoint(plan, found.error)
    for i in range(8):
        for j in range(8):
            g = found.error[i, j].item()
            through = GAMMA * LAM * math.exp(-GAMMA * g)
            left = g - fit.alpha[i].item() - fit.beta[j].item()
            expected = {"constant": 1.0, "kernel": 1 + through * g, "exact": 1 + through * left}
            for kind, value in expected.items():
                assert found.factor[kind][i, j].item() == pytest.approx(value, rel=1e-5, abs=1e-5)


def test_shares_turned_round_count_pairs_that_have_an_error(found):
    same, counts = toy_batch().same, {True: [], False: []}
    for i in range(8):
        for j in range(8):
            if found.error[i, j] > 0:
                counts[bool(same[i, j])].append(bool(found.factor["exact"][i, j] < 0))
    expected = [sum(counts[kind]) / len(counts[kind]) for kind in (True, False)]
    assert found.turned == pytest.approx(expected) and 0 < min(expected) < max(expected) < 1


def test_gradients_in_the_embeddings_are_those_of_the_loss(found):
    a, labels_a, b, labels_b = toy_batch()
    for kind, gradient in found.at_embeddings.items():
        ends = a.clone().requires_grad_(), b.clone().requires_grad_()
        loss = BatchwiseOTLoss(MARGIN, LAM, GAMMA, 5000, plan_gradient=kind)
        loss(ends[0], labels_a, ref_emb=ends[1], ref_labels=labels_b).backward()
        expected = torch.cat([ends[0].grad, ends[1].grad]).flatten()
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)
    assert found.length("constant") == 1 and found.cosine("kernel", "kernel") == pytest.approx(1)
    one, other = found.at_embeddings["constant"], found.at_embeddings["exact"]
    assert found.length("exact") == pytest.approx(math.dist(other, 0 * other) / math.dist(one, 0 * one))  # fmt: skip
    assert found.cosine("constant", "exact") == pytest.approx(
        (one * other).sum().item() / one.norm().item() / other.norm().item()
    )


def test_all_three_are_one_where_the_plan_hardly_depends_on_the_errors():
    found = gradients_of(toy_batch(), 1e-4, GAMMA, MARGIN)
    assert found.turned == (0, 0)
    for kind in ("kernel", "exact"):
        assert found.cosine(kind, "constant") == pytest.approx(1, abs=1e-5)
        assert found.length(kind) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_trained_batch_is_sorted_by_class_and_mostly_easy(seed):
    batches = trained_batch(seed)
    assert batches.same.shape == (64, 64)
    for labels in (batches.labels_a, batches.labels_b):
        assert (labels.diff() >= 0).all() and len(labels.unique()) > 5
    distances = torch.cdist(batches.a, batches.b)
    assert 0.3 < distances[batches.same].median() < 0.5 < 1 < distances[~batches.same].median()
    assert (distances[batches.same] > 1).any()  # the strays


def test_the_picture_draws_what_was_found():
    batches, lams = toy_batch(), (0.1, 1.0, 10.0)
    with matplotlib.rc_context():
        figures.theme()
        left, share, angle, length = draw_gradients(batches, LAM, lams, GAMMA, MARGIN).axes
    each = [gradients_of(batches, lam, GAMMA, MARGIN) for lam in lams]
    drawn = {axis: {line.get_label(): line.get_ydata().tolist() for line in axis.lines} for axis in (share, angle, length)}  # fmt: skip
    assert drawn[share] == {
        "positive": [one.turned[0] for one in each],
        "negative": [one.turned[1] for one in each],
    }
    for pair in ("constant, kernel", "constant, exact", "kernel, exact"):
        assert drawn[angle][pair] == [one.cosine(*pair.split(", ")) for one in each]
    assert drawn[length] == {kind: [one.length(kind) for one in each] for kind in gradients.LOOKS}
    marks = [len(line.get_xdata()) for line in left.lines if line.get_marker() in "ox"]
    assert marks == [21, int(((each[0].error > 0) & ~batches.same).sum())]
