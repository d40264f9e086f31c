"""Losses of other papers: the lifted one against the library's, the others as the union of two batches."""

import inspect
import math

import pytest
import torch
from pytorch_metric_learning import distances, losses

from bwot.baselines import NAMES, LiftedStructureLoss, UnionLoss, baseline
from bwot.losses import NonFiniteError


def batch(n, classes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    embeddings = 0.7 * torch.randn(n, 4, dtype=dtype, generator=generator)
    return embeddings, torch.randint(classes, (n,), generator=generator)


def library(margin):
    plain = distances.LpDistance(normalize_embeddings=False)
    return losses.LiftedStructureLoss(neg_margin=margin, distance=plain)


# ------------------------------------------------------------------------------ lifted structure


@pytest.mark.parametrize("margin", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("n, classes", [(5, 2), (12, 3), (30, 15), (40, 4), (6, 1), (6, 100)])
def test_lifted_is_the_librarys(n, classes, margin):
    embeddings, labels = batch(n, classes, seed=n)
    ours, theirs = (
        embeddings.clone().requires_grad_(),
        embeddings.clone().requires_grad_(),
    )
    value, expected = LiftedStructureLoss(margin)(ours, labels), library(margin)(theirs, labels)
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    if expected > 0:
        gradients = [torch.autograd.grad(*each)[0] for each in ((value, ours), (expected, theirs))]
        torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)


def test_lifted_is_its_formula_written_as_loops():
    embeddings, labels = batch(9, 3)
    d = torch.cdist(embeddings, embeddings).tolist()
    total, count = 0.0, 0
    for i in range(9):
        for j in range(9):
            if i != j and labels[i] == labels[j]:
                hard = sum(
                    math.exp(1.0 - d[a][k])
                    for a in (i, j)
                    for k in range(9)
                    if labels[k] != labels[a]
                )
                total += max(0.0, d[i][j] + math.log(hard)) ** 2
                count += 1
    value = LiftedStructureLoss(1.0)(embeddings, labels).item()
    assert value == pytest.approx(total / (2 * count), rel=1e-6)


def test_the_gradient_of_lifted_is_that_of_differences():
    embeddings, labels = batch(7, 3, seed=2)
    assert torch.autograd.gradcheck(
        lambda x: LiftedStructureLoss(1.0)(x, labels), embeddings.requires_grad_()
    )


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, 5, 5, 5]], ids=["no positives", "no negatives"])  # fmt: skip
def test_lifted_without_pairs_of_a_kind_is_zero_and_moves_nothing(labels):
    embeddings = batch(4, 2)[0].requires_grad_()
    value = LiftedStructureLoss()(embeddings, torch.tensor(labels))
    value.backward()
    assert value == 0 and embeddings.grad.abs().max() == 0


def test_lifted_stands_two_equal_embeddings():
    embeddings = torch.zeros(4, 3, requires_grad=True)
    value = LiftedStructureLoss()(embeddings, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.isfinite() and embeddings.grad.isfinite().all()


# ------------------------------------------------------------------------------ unions


def union(seed=0):
    embeddings, labels = batch(16, 4, seed)
    others, their = batch(12, 4, seed + 1)
    return {"embeddings": embeddings, "labels": labels, "ref_emb": others, "ref_labels": their}


def whole(given):
    return torch.cat([given["embeddings"], given["ref_emb"]]), torch.cat([given["labels"], given["ref_labels"]])  # fmt: skip


@pytest.mark.parametrize(
    "name, expected",
    [
        ("lifted", library(0.5)),
        ("multisimilarity", losses.MultiSimilarityLoss(base=0.25)),
        ("supcon", losses.SupConLoss(temperature=0.05)),
    ],
    ids=["lifted", "multisimilarity", "supcon"],
)
def test_a_baseline_is_the_librarys_loss_of_the_union(name, expected):
    given = union()
    assert baseline(name, 0.5)(**given).item() == pytest.approx(expected(*whole(given)).item(), rel=1e-9)  # fmt: skip


def test_npair_is_a_softmax_over_one_pair_a_class_and_a_price_of_length():
    given = union()
    firsts = {}
    for i, label in enumerate(given["labels"].tolist()):
        for j, other in enumerate(given["ref_labels"].tolist()):
            if label == other and label not in firsts:
                firsts[label] = i, j
    pairs = [firsts[label] for label in sorted(firsts)]
    anchors, positives = (torch.stack(each) for each in zip(
        *((given["embeddings"][i], given["ref_emb"][j]) for i, j in pairs), strict=True))  # fmt: skip
    products = anchors @ positives.T
    expected = (products.logsumexp(1) - products.diagonal()).mean()
    lengths = whole(given)[0].square().sum(1).mean()
    value = baseline("npair", 10.0)(**given).item()
    assert value == pytest.approx((expected + 0.02 * lengths).item(), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_has_a_gradient_for_both_kinds(name):
    given = union()
    for each in ("embeddings", "ref_emb"):
        given[each].requires_grad_()
    baseline(name)(**given).backward()
    assert all(given[each].grad.abs().sum() > 0 for each in ("embeddings", "ref_emb"))


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_for_the_margin_changes_the_loss(name):
    values = [baseline(name, margin)(**union()).item() for margin in (0.4, 1.0, 2.5)]
    assert len({round(value, 6) for value in values}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_batches_without_a_common_class_leave_a_finite_loss(name):
    given = union() | {"ref_labels": torch.full((12,), 9)}
    assert math.isfinite(baseline(name)(**given).item())


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ref_emb": None, "ref_labels": None}, "needs ref_emb, the second batch"),
        ({"indices_tuple": (torch.tensor([0]),) * 4}, "no indices_tuple"),
        ({"ref_emb": torch.ones(12, 9, dtype=torch.float64)}, r"ref_emb must have shape \(samples, 4\)"),
    ],
)  # fmt: skip
def test_batches_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(UnionLoss.forward)(baseline("lifted"), **union() | change)


def test_embeddings_that_are_not_finite_are_named():
    given = union()
    given["embeddings"][0, 0] = torch.inf
    with pytest.raises(NonFiniteError, match="embeddings must be finite"):
        baseline("lifted")(**given)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("name", NAMES)
def test_a_margin_that_is_none_is_named(name, margin):
    with pytest.raises(ValueError, match="margin must be positive and finite, not"):
        baseline(name, margin)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="a baseline is one of lifted, npair, multisimilarity, supcon, not 'triplet'"):  # fmt: skip
        baseline("triplet")
