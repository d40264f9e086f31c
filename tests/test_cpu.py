"""The compiled loss against the plain path: value and gradients over forms, settings, types and choices of pairs."""

import numpy as np
import pytest
import torch

from bwot import BatchwiseOTLoss, losses
from bwot.cpu import exponential
from bwot.cpu.exponential import compiled


def two_batches(n, m, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = [0.5 * torch.randn(k, 5, generator=generator).to(dtype) for k in (n, m)]
    return points, [torch.randint(3, (k,), generator=generator) for k in (n, m)]


def value_and_gradients(loss, points, labels, indices=None):
    points = [each.clone().requires_grad_() for each in points]
    ref = (points[1], labels[1]) if len(points) == 2 else (None, None)
    value = loss(points[0], labels[0], indices, *ref)
    value.backward()
    return [value.detach(), *(each.grad for each in points)]


def assert_both_paths_agree(monkeypatch, loss, *batches):
    calls, plain = [], losses.PairLoss.forward
    monkeypatch.setattr(
        losses.PairLoss, "forward", lambda *given: calls.append(given) or plain(*given)
    )
    fast = value_and_gradients(loss, *batches)
    assert not calls  # it is the compiled path
    monkeypatch.setattr(losses, "compiled_for", lambda tensor: False)
    slow = value_and_gradients(loss, *batches)
    assert len(calls) == 1
    for one, other in zip(fast, slow, strict=True):
        bound = 1e-11 if one.dtype is torch.float64 else 3e-5
        assert (one - other).abs().max() <= bound * other.abs().max() + 1e-12


@pytest.mark.parametrize("form", ["sketches", "images", "shapes"])
@pytest.mark.parametrize("lam", [0.01, 10.0, 80.0])
@pytest.mark.parametrize("plan_gradient", ["constant", "kernel"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_the_compiled_loss_is_the_plain_one(
    monkeypatch, form, lam, plan_gradient, dtype, balanced, single
):
    inner = 0.2 if form == "shapes" else None
    loss = BatchwiseOTLoss(1.3, lam, 3.0, 20, None, form, inner, plan_gradient, balanced)
    loss._warned = True  # of self-pairs, at the largest lam
    points, labels = two_batches(9, 7, dtype)
    batches = ([points[0]], [labels[0]]) if single else (points, labels)
    assert_both_paths_agree(monkeypatch, loss, *batches)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("kind", ["positives", "negatives", "both"])
def test_a_choice_of_pairs_is_the_plain_ones(monkeypatch, kind, balanced):
    """With one kind alone the balanced loss has one plan."""
    points, labels = two_batches(9, 7, torch.float64)
    same = labels[0][:, None] == labels[1]
    some = torch.rand(9, 7, generator=torch.Generator().manual_seed(1)) > 0.3
    none = torch.zeros(0, dtype=torch.long)
    positive = torch.where(same & some) if kind != "negatives" else (none, none)
    negative = torch.where(~same & some) if kind != "positives" else (none, none)
    loss = BatchwiseOTLoss(1.3, balanced=balanced)
    loss._warned = True
    assert_both_paths_agree(monkeypatch, loss, points, labels, (*positive, *negative))


def test_one_class_or_all_apart_leaves_one_plan_to_the_balanced_loss(monkeypatch):
    points, _ = two_batches(6, 5, torch.float64)
    loss = BatchwiseOTLoss(1.3, balanced=True)
    for labels in (
        [torch.zeros(6).long(), torch.zeros(5).long()],
        [torch.arange(6), torch.arange(6, 11)],
    ):
        with monkeypatch.context() as patched:
            assert_both_paths_agree(patched, loss, points, labels)


def test_far_from_the_origin_little_is_lost(monkeypatch):
    points, labels = two_batches(9, 7, torch.float32)
    near = value_and_gradients(BatchwiseOTLoss(1.3), points, labels)
    far = value_and_gradients(BatchwiseOTLoss(1.3), [each + 1000 for each in points], labels)
    for one, other in zip(near, far, strict=True):
        assert (one - other).abs().max() <= 2e-3 * one.abs().max()


@pytest.mark.parametrize("dtype, low, steps", [(np.float32, -87.0, 4), (np.float64, -700.0, 120)])
def test_the_exponential_is_right_to_the_last_digits(dtype, low, steps):
    @compiled
    def all_of(x, out):
        for i in range(len(x)):
            out[i] = exponential.exp(x[i])

    x = np.concatenate([np.linspace(low, 60, 5001), [0.0, -1e-9, 1e-9]]).astype(dtype)
    out = np.empty_like(x)
    all_of(x, out)
    assert np.abs(out / np.exp(x.astype(np.longdouble)) - 1).max() <= steps * np.finfo(dtype).eps
    below = np.array([-1e3, -1e30, -np.inf], dtype)
    all_of(below, below)
    assert (below == 0).all()


def test_second_derivatives_are_refused():
    points, labels = two_batches(5, 4, torch.float64)
    first = points[0].requires_grad_()
    value = BatchwiseOTLoss(1.3)(first, labels[0], None, points[1], labels[1])
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(value, first, create_graph=True)
