"""The controls and the balanced plan against their definitions, written as loops in float64."""

import math

import jaxtyping
import pytest
import torch

from bwot import AllPairsLoss, BatchwiseOTLoss, PairwiseLoss, sinkhorn
from bwot.controls import ActiveLoss, ClassifierLoss, JointLoss, RowSoftmaxLoss, SoftmaxLoss

HARD = [ActiveLoss, SoftmaxLoss, RowSoftmaxLoss]


@pytest.fixture
def unchecked():
    """jaxtyping's test hook off, so that our own errors about shapes and types come through."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def two_batches(n=7, m=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a, b = (0.6 * torch.randn(k, 4, generator=generator, dtype=torch.float64) for k in (n, m))
    la, lb = (torch.randint(0, classes, (k,), generator=generator) for k in (n, m))
    return {"embeddings": a, "labels": la, "ref_emb": b, "ref_labels": lb}


def pairs_of(batches, margin):
    """(i, j, same, G) of every pair, in float64 loops."""
    for i, (x, label) in enumerate(
        zip(batches["embeddings"].detach(), batches["labels"], strict=True)
    ):
        for j, (y, other) in enumerate(zip(batches["ref_emb"], batches["ref_labels"], strict=True)):
            d2 = sum((float(p) - float(q)) ** 2 for p, q in zip(x, y, strict=True))
            same = bool(label == other)
            yield i, j, same, d2 if same else max(0.0, margin - d2)


def kernel(error, lam, gamma):
    return math.exp(-lam * math.exp(-gamma * error))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("margin", [0.5, 2.0])
def test_active_is_half_a_mean_over_each_kind_of_pairs_with_an_error(margin, seed):
    batches = two_batches(seed=seed)
    means = []
    for kind in (True, False):
        errors = [g for _, _, same, g in pairs_of(batches, margin) if same == kind and g > 0]
        means.append(sum(errors) / len(errors) if errors else 0.0)
    assert ActiveLoss(margin)(**batches).item() == pytest.approx(sum(means) / 2, rel=1e-10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("lam", "gamma"), [(10.0, 10.0), (3.0, 0.7), (200.0, 1.0)])
def test_softmax_weighs_by_the_kernel_over_all_pairs(lam, gamma, seed):
    batches = two_batches(seed=seed)
    pairs = [(kernel(g, lam, gamma), g) for *_, g in pairs_of(batches, 2.0)]
    expected = sum(k * g for k, g in pairs) / sum(k for k, _ in pairs)
    assert SoftmaxLoss(2.0, lam, gamma)(**batches).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("lam", "gamma"), [(10.0, 10.0), (3.0, 0.7), (200.0, 1.0)])
def test_row_softmax_weighs_by_the_kernel_within_each_row(lam, gamma, seed):
    batches = two_batches(seed=seed)
    rows = {}
    for i, _, _, g in pairs_of(batches, 2.0):
        rows.setdefault(i, []).append((kernel(g, lam, gamma), g))
    expected = sum(sum(k * g for k, g in row) / sum(k for k, _ in row) for row in rows.values())
    found = RowSoftmaxLoss(2.0, lam, gamma)(**batches).item()
    assert found == pytest.approx(expected / len(rows), rel=1e-9)


@pytest.mark.parametrize("loss", [SoftmaxLoss, RowSoftmaxLoss])
@pytest.mark.parametrize("lam", [1e-3, 10.0, 1e4])
def test_kernel_weights_sum_to_one_at_every_lam_within_the_allowed_pairs(loss, lam):
    batches = two_batches(6, 6)
    del batches["ref_emb"], batches["ref_labels"]
    plan = loss(2.0, lam).plan(**batches)
    assert plan.isfinite().all()
    assert plan.sum().item() == pytest.approx(1.0)
    assert plan.diagonal().abs().max() == 0
    uniform = AllPairsLoss(2.0).plan(**batches)
    assert (lam > 1e-3) or torch.allclose(plan, uniform, rtol=2e-3)


def test_a_row_without_an_allowed_pair_has_no_weight_and_the_others_share_all():
    batches = two_batches(4, 4)
    chosen = (torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([3]), torch.tensor([0]))
    for loss in (*HARD, BatchwiseOTLoss):
        plan = loss(5.0).plan(batches["embeddings"], batches["labels"], chosen, batches["ref_emb"], batches["ref_labels"])  # fmt: skip
        assert plan.isfinite().all()
        assert plan[2].abs().max() == 0
        assert (plan > 0).sum() <= 3


@pytest.mark.parametrize("loss", [*HARD, lambda margin: BatchwiseOTLoss(margin, balanced=True)])
def test_weights_are_constant_in_the_backward_pass(loss):
    batches = two_batches()
    loss = loss(2.0)
    weights = loss.plan(**batches)
    batches["embeddings"].requires_grad_()
    (found,) = torch.autograd.grad(loss(**batches), batches["embeddings"])
    expected = torch.zeros_like(found)
    for i, j, same, g in pairs_of(batches, 2.0):
        direction = 2 * (batches["embeddings"][i] - batches["ref_emb"][j]).detach()
        sign = 1.0 if same else -float(g > 0)
        expected[i] += weights[i, j] * sign * direction
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", [*HARD, BatchwiseOTLoss])
def test_no_error_anywhere_gives_no_loss_and_no_gradient(loss):
    x = torch.tensor([[0.0], [0.0], [9.0], [9.0]], requires_grad=True)
    value = loss(1.0)(x, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.item() == 0
    assert x.grad.abs().max() <= 1e-7  # rounding, of weights that sum to 1 and points at 9


def test_active_without_any_error_of_one_kind_leaves_half_of_the_weight():
    x, labels = torch.tensor([[0.0], [0.5], [9.0]]), torch.tensor([0, 0, 1])
    assert ActiveLoss(1.0).plan(x, labels).sum().item() == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(4))
def test_balanced_is_one_plan_over_each_kind_of_pairs_with_half_of_the_mass(seed):
    batches = two_batches(9, 8, seed=seed)
    loss = BatchwiseOTLoss(2.0, balanced=True)
    plan = loss.plan(**batches)
    same = batches["labels"][:, None] == batches["ref_labels"]
    error = torch.zeros_like(plan)
    for i, j, _, g in pairs_of(batches, 2.0):
        error[i, j] = g
    expected = torch.zeros_like(plan)
    for kind in (same, ~same):
        rows, columns = kind.any(1), kind.any(0)
        part = (-10 * error[rows][:, columns]).exp()
        alone = sinkhorn(part, mask=kind[rows][:, columns]).plan
        expected[rows.nonzero(), columns.nonzero().T] += alone / 2
        assert plan[kind].sum().item() == pytest.approx(0.5)
    torch.testing.assert_close(plan, expected)


def test_balanced_is_the_plain_plan_where_pairs_are_of_one_kind():
    batches = two_batches(classes=1)
    plain, balanced = (BatchwiseOTLoss(2.0, balanced=each) for each in (False, True))
    torch.testing.assert_close(balanced.plan(**batches), plain.plan(**batches))


def test_balanced_excludes_self_pairs_and_follows_permutations():
    batches = two_batches(8, 8)
    x, labels = batches["embeddings"], batches["labels"]
    loss = BatchwiseOTLoss(2.0, balanced=True)
    plan, order = loss.plan(x, labels), torch.tensor([3, 0, 7, 5, 1, 2, 6, 4])
    assert plan.diagonal().abs().max() == 0
    torch.testing.assert_close(loss.plan(x[order], labels[order]), plan[order][:, order])


def test_the_kernel_gradient_of_a_balanced_plan_is_that_of_its_kernel():
    batches = two_batches()
    loss = BatchwiseOTLoss(2.0, lam=5.0, balanced=True, plan_gradient="kernel")
    frozen = loss.plan(**batches)
    batches["embeddings"].requires_grad_()
    (found,) = torch.autograd.grad(loss(**batches), batches["embeddings"])
    expected = torch.zeros_like(found)
    for i, j, same, g in pairs_of(batches, 2.0):
        bracket = 1 + 10 * 5.0 * math.exp(-10 * g) * g
        direction = 2 * (batches["embeddings"][i] - batches["ref_emb"][j]).detach()
        expected[i] += frozen[i, j] * bracket * (1.0 if same else -float(g > 0)) * direction
    torch.testing.assert_close(found, expected)


def test_balanced_plans_have_no_exact_gradient():
    with pytest.raises(ValueError, match="need not meet their marginals"):
        BatchwiseOTLoss(balanced=True, plan_gradient="exact")


@pytest.mark.parametrize("settings", [{"lam": 0.0}, {"gamma": -1.0}, {"margin": math.nan}])
@pytest.mark.parametrize("loss", [SoftmaxLoss, RowSoftmaxLoss])
def test_settings_out_of_range_are_refused(loss, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        loss(**settings)


def test_form_shapes_makes_the_pair_wise_loss_hadsells_twice():
    x, labels = torch.tensor([[0.0], [0.3], [1.0], [0.4]]), torch.tensor([0, 0, 1, 1])
    found = PairwiseLoss(1.0, form="shapes")(x[:2], labels[:2], ref_emb=x[2:], ref_labels=labels[2:])  # fmt: skip
    hadsell = [0.5 * max(0, 1 - 1.0) ** 2, 0.5 * max(0, 1 - 0.1) ** 2]
    assert found.item() == pytest.approx(2 * sum(hadsell) / 2)


class TestClassifier:
    def test_is_the_mean_cross_entropy_over_both_batches(self):
        torch.manual_seed(0)
        batches = {name: value.float() if value.is_floating_point() else value for name, value in two_batches().items()}  # fmt: skip
        loss = ClassifierLoss(4, 3)
        x = torch.cat([batches["embeddings"], batches["ref_emb"]])
        labels = torch.cat([batches["labels"], batches["ref_labels"]])
        logits = x @ loss.classifier.weight.T + loss.classifier.bias
        expected = -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()
        assert loss(**batches).item() == pytest.approx(expected.item())
        alone = loss(batches["embeddings"], batches["labels"])
        assert alone.item() == pytest.approx(
            -logits[:7].log_softmax(1)[range(7), labels[:7]].mean().item()
        )

    def test_looks_at_no_pairs(self, unchecked):
        with pytest.raises(ValueError, match="looks at no pairs"):
            ClassifierLoss(1, 2)(torch.ones(2, 1), torch.tensor([0, 1]), (1, 2, 3, 4))


# ------------------------------------------------------------------------------ a classifier beside the pairs


@pytest.mark.parametrize("alone", [True, False])
def test_a_joint_loss_is_the_weighted_sum_and_trains_the_classifier(alone):
    batches = two_batches(6, 6)
    if alone:
        del batches["ref_emb"], batches["ref_labels"]
    classifier, pairs = ClassifierLoss(4, 3).double(), BatchwiseOTLoss(2.0)
    value = JointLoss(pairs, classifier, 0.2)(**batches)
    assert value.item() == pytest.approx((pairs(**batches) + 0.2 * classifier(**batches)).item())
    value.backward()
    assert classifier.classifier.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan])
def test_a_joint_loss_without_weight_is_refused(weight):
    with pytest.raises(ValueError, match="weight must be positive"):
        JointLoss(BatchwiseOTLoss(), ClassifierLoss(4, 3), weight)
