"""The compiled loss against the plain path: value and gradients over forms, settings, types and choices of pairs."""

import numpy as np
import pytest
import torch
from stepping import two_batches, value_and_gradients

from bwot import BatchwiseOTLoss, implicit, losses, pairs, sinkhorn, sinkhorn_torch
from bwot.cpu import exponential, solver
from bwot.cpu import loss as compiled_loss
from bwot.cpu import pairs as compiled_pairs
from bwot.cpu.exponential import compiled


def assert_both_paths_agree(monkeypatch, loss, *batches, loose=1):
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
        bound = loose * (1e-11 if one.dtype is torch.float64 else 3e-5)
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


@pytest.mark.parametrize("form", ["sketches", "images", "shapes"])
@pytest.mark.parametrize("lam, tol", [(0.01, None), (10.0, None), (10.0, 1e-12), (60.0, None)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chosen", ["two batches", "one batch", "some pairs"])
def test_the_exact_gradient_is_the_plain_one(monkeypatch, form, lam, tol, dtype, chosen):
    tol = tol and (tol if dtype is torch.float64 else 1e-6)
    inner = 0.2 if form == "shapes" else None
    loss = BatchwiseOTLoss(1.3, lam, 3.0, 3000, tol, form, inner, "exact")
    loss._warned = loss._warned_of_gradient = True  # of self-pairs; of float32 at the largest lam
    points, labels = two_batches(11, 9, dtype)
    batches = ([points[0]], [labels[0]]) if chosen == "one batch" else (points, labels)
    if chosen == "some pairs":
        some = torch.rand(11, 9, generator=torch.Generator().manual_seed(1)) > 0.3
        some[2] = False  # a row without mass
        same = labels[0][:, None] == labels[1]
        batches = (*batches, (*torch.where(some & same), *torch.where(some & ~same)))
    assert_both_paths_agree(monkeypatch, loss, *batches, loose=20)


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


def test_the_exact_gradient_of_many_samples_in_float32_is_that_in_float64():
    """Column sums of thousands of float32 numbers are off by more than the system for the adjoint bears."""
    points = torch.randn(2, 2048, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))  # fmt: skip
    points = list(torch.nn.functional.normalize(points, dim=-1))
    labels = [torch.arange(2048) % 16] * 2
    loss = BatchwiseOTLoss(2.0, iterations=100, plan_gradient="exact")
    loss._warned_of_gradient = True  # the marginal error in float32; not the residual
    right = value_and_gradients(loss, points, labels)
    found = value_and_gradients(loss, [each.float() for each in points], labels)
    for one, other in zip(found, right, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()


def spaces():
    """The working memory that this thread keeps, by shape."""
    return compiled_loss._kept.spaces


def test_memory_is_kept_for_the_next_call_and_given_back_when_asked():
    points, labels = two_batches(9, 7, torch.float32)
    compiled_loss.release_memory()
    value_and_gradients(BatchwiseOTLoss(1.3), points, labels)
    (kept,) = spaces().values()
    assert kept.matrices.shape == (2, 9, 7)
    value_and_gradients(BatchwiseOTLoss(1.3), points, labels)
    assert list(spaces().values()) == [kept]
    compiled_loss.release_memory()
    assert not spaces()


def test_each_shape_keeps_its_own_up_to_a_limit(monkeypatch):
    """What a shape has had is not handed to another, and the last one stays when all together are too large."""
    compiled_loss.release_memory()
    monkeypatch.setattr(compiled_loss, "KEPT_BYTES", 2500)
    sizes = (9, 7), (7, 9), (12, 9)
    found = [value_and_gradients(BatchwiseOTLoss(1.3), *two_batches(*each, torch.float32)) for each in sizes]  # fmt: skip
    assert [each[:2] for each in spaces()] == [(12, 9)]
    compiled_loss.release_memory()
    for each, before in zip(sizes, found, strict=True):
        again = value_and_gradients(BatchwiseOTLoss(1.3), *two_batches(*each, torch.float32))
        assert all(torch.equal(a, b) for a, b in zip(again, before, strict=True))


def test_more_than_a_limit_is_not_kept(monkeypatch):
    points, labels = two_batches(9, 7, torch.float32)
    compiled_loss.release_memory()
    monkeypatch.setattr(compiled_loss, "KEPT_BYTES", 100)
    value_and_gradients(BatchwiseOTLoss(1.3), points, labels)
    assert not spaces()


def test_what_stands_twice_stands_alike():
    """The compiled functions cannot import from the plain path, which stands on the same floor or above."""
    assert compiled_pairs.TINY == pairs.TINY
    for dtype, largest in sinkhorn_torch.KERNEL_RANGE.items():
        kind = torch.empty(0, dtype=dtype).numpy().dtype
        assert solver.LIMITS[kind][0] == largest
        residual, _, steps, _ = compiled_loss._LIMITS[kind]
        assert (residual.item(), steps) == (pytest.approx(implicit.RESIDUAL[dtype]), implicit.STEPS)


def test_a_call_leaves_earlier_results_alone():
    """The matrices of a call are working memory of the next one; what a call returns must not lie in them."""
    loss = BatchwiseOTLoss(1.3)
    points, labels = two_batches(9, 7, torch.float64)
    first = value_and_gradients(loss, points, labels)
    kept = [each.clone() for each in first]
    value_and_gradients(loss, [3 * each for each in points], labels)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


def test_a_loss_is_derived_twice_and_by_any_factor():
    points, labels = two_batches(9, 7, torch.float64)
    x, y = (each.clone().requires_grad_() for each in points)
    value = BatchwiseOTLoss(1.3)(x, labels[0], None, y, labels[1])
    once = torch.autograd.grad(value, (x, y), retain_graph=True)
    again = torch.autograd.grad(-2.5 * value, (x, y))
    assert all(torch.allclose(-2.5 * a, b) for a, b in zip(once, again, strict=True))


def test_a_gradient_changed_in_place_is_not_handed_out_again():
    points, labels = two_batches(9, 7, torch.float64)
    x = points[0].clone().requires_grad_()
    value = BatchwiseOTLoss(1.3)(x, labels[0], None, points[1], labels[1])
    torch.autograd.grad(value, x, retain_graph=True)[0].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(value, x)


@pytest.mark.parametrize("layout", ["transposed", "every second", "half", "two types"])
def test_embeddings_of_any_layout_and_type_are_taken(monkeypatch, layout):
    points, labels = two_batches(9, 7, torch.float64)
    loss = BatchwiseOTLoss(1.3)
    expected = [loss(points[0], labels[0], None, points[1], labels[1])]
    if layout == "transposed":
        points = [each.T.contiguous().T for each in points]
    if layout == "every second":
        points = [each.repeat_interleave(2, 0)[::2] for each in points]
        labels = [each.repeat_interleave(2)[::2] for each in labels]
    if layout == "half":
        points = [each.bfloat16() for each in points]
        expected = [loss(*(points[0].float(), labels[0], None, points[1].float(), labels[1]))]
    if layout == "two types":
        points = [points[0].float(), points[1]]
    points = [each.detach().requires_grad_() for each in points]
    value = loss(points[0], labels[0], None, points[1], labels[1])
    value.backward()
    assert torch.allclose(value.double(), expected[0].double(), rtol=1e-5)
    assert all(each.grad.dtype == each.dtype and each.grad.isfinite().all() for each in points)


def test_a_look_in_inference_mode_leaves_training_alone():
    """Whether the working memory was first asked for there or not."""
    points, labels = two_batches(9, 7, torch.float32)
    compiled_loss.release_memory()
    loss = BatchwiseOTLoss(1.3)
    with torch.inference_mode():
        looked = loss(points[0], labels[0], ref_emb=points[1], ref_labels=labels[1])
    value, *_ = value_and_gradients(loss, points, labels)
    assert torch.equal(value, looked)


def test_the_memory_is_the_cpus_whatever_the_default_device():
    points, labels = two_batches(9, 7, torch.float32)
    compiled_loss.release_memory()
    with torch.device("meta"):
        value = BatchwiseOTLoss(1.3)(points[0], labels[0], ref_emb=points[1], ref_labels=labels[1])
    assert value.device.type == "cpu"


@pytest.mark.parametrize("name", ["pair_errors", "_paid"])
def test_a_subclass_with_errors_of_its_own_is_heard(name):
    class Doubled(BatchwiseOTLoss):
        pass

    plain = getattr(BatchwiseOTLoss, name)
    setattr(Doubled, name, lambda self, *given: 2 * plain(self, *given))
    points, labels = two_batches(9, 7, torch.float64)
    one, other = (value_and_gradients(kind(1.3), points, labels)[0] for kind in (BatchwiseOTLoss, Doubled))  # fmt: skip
    assert other > 1.5 * one


def test_no_plan_is_nan_however_large_lam():
    cost = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    for power in range(4, 14):
        try:
            assert sinkhorn(cost, 10.0**power).plan.isfinite().all()
        except ValueError as error:
            assert "too large" in str(error) and power > 9


def test_a_loss_tells_once_that_its_tolerance_was_not_reached():
    loss = BatchwiseOTLoss(1.3, lam=50.0, iterations=2, tol=1e-6)
    with pytest.warns(UserWarning, match="above tol") as told:
        for seed in range(4):
            value_and_gradients(loss, *two_batches(9, 7, torch.float32, seed))
    assert len(told) == 1
