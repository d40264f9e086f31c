"""The authors' losses against loops: what the image loss keeps from batch to batch, the reversed sign of the shape loss."""

import math

import pytest
import torch

from bwot.authors import AuthorsImageLoss, AuthorsShapeLoss
from bwot.controls import JointLoss
from bwot.experiments import Images, Shapes
from bwot.losses import BatchwiseOTLoss

N, MARGIN, LAM, GAMMA, ITERATIONS, EPS = 5, 2.0, 0.7, 1.5, 3, 1e-10
LABELS, OTHERS = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 0, 0, 2, 2])


@pytest.fixture
def loss():
    return AuthorsImageLoss(N, MARGIN, LAM, GAMMA, ITERATIONS).double()


def batches(seed, n=N):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    return {"embeddings": a, "labels": LABELS[:n], "ref_emb": b, "ref_labels": OTHERS[:n]}


def by_loops(batch, u, kernel_of=None):
    """Loss, weights and the ``u`` that is left; the kernel for u and v may be that of other batches."""
    a, b = batch["embeddings"].tolist(), batch["ref_emb"].tolist()
    error = [[0.0] * N for _ in range(N)]
    for i in range(N):
        for j in range(N):
            squared = sum((x - y) ** 2 for x, y in zip(a[i], b[j], strict=True))
            same = LABELS[i] == OTHERS[j]
            error[i][j] = squared if same else max(0.0, MARGIN - squared)
    kernel = [[math.exp(-LAM * math.exp(-GAMMA * g)) for g in row] for row in error]
    held = kernel_of or kernel
    for _ in range(ITERATIONS):
        v = [1 / N / (sum(held[i][j] * u[i] for i in range(N)) + EPS) for j in range(N)]
        u = [1 / N / (sum(held[i][j] * v[j] for j in range(N)) + EPS) for i in range(N)]
    weights = [[u[i] * kernel[i][j] * v[j] for j in range(N)] for i in range(N)]
    value = sum(weights[i][j] * error[i][j] ** 2 for i in range(N) for j in range(N))
    return value, weights, u, kernel


def test_u_goes_on_from_batch_to_batch_in_training(loss):
    u = [1.0] * N
    for seed in range(4):
        value, _, u, _ = by_loops(batches(seed), u)
        assert loss(**batches(seed)).item() == pytest.approx(value, rel=1e-9)
        assert loss.u.tolist() == pytest.approx(u, rel=1e-9)
    fresh, *_ = by_loops(batches(3), [1.0] * N)
    assert value != pytest.approx(fresh, rel=1e-6)  # the memory is seen in the value


def test_u_stays_where_it_is_when_the_loss_is_evaluated(loss):
    loss(**batches(0))
    before = loss.u.clone()
    loss.eval()
    for seed in (1, 2):
        value, weights, *_ = by_loops(batches(seed), before.tolist())
        assert loss(**batches(seed)).item() == pytest.approx(value, rel=1e-9)
        expected = torch.tensor(weights, dtype=torch.float64)
        torch.testing.assert_close(loss.plan(**batches(seed)), expected)
    assert torch.equal(loss.u, before)


def test_the_state_of_the_loss_keeps_u(loss):
    loss(**batches(0))
    another = AuthorsImageLoss(N, MARGIN, LAM, GAMMA, ITERATIONS).double()
    another.load_state_dict(loss.state_dict())
    assert torch.equal(another(**batches(1)), loss(**batches(1)))


def test_the_gradient_passes_through_the_kernel_with_u_and_v_constant(loss):
    batch = batches(0)
    moved = batch["embeddings"].requires_grad_()
    loss(**batch).backward()
    assert not loss.u.requires_grad
    *_, kernel = by_loops(batch, [1.0] * N)
    for i, k in ((0, 0), (2, 1), (4, 2)):
        values = []
        for step in (1e-5, -1e-5):
            shifted = moved.detach().clone()
            shifted[i, k] += step
            values.append(by_loops(batch | {"embeddings": shifted}, [1.0] * N, kernel)[0])
        slope = (values[0] - values[1]) / 2e-5
        assert moved.grad[i, k].item() == pytest.approx(slope, rel=1e-6)


def test_with_a_small_lam_the_weights_are_nearly_uniform():
    loss = AuthorsImageLoss(N, 5.0, 0.01, 10.0, 30).double()
    weights = loss.plan(**batches(0))
    assert (weights * N * N - 1).abs().max() < 0.02
    assert weights.sum(0).tolist() == pytest.approx([1 / N] * N, rel=1e-6)


@pytest.mark.parametrize("batch", [
    {"embeddings": torch.ones(N, 3), "labels": LABELS},
    {name: value[:3] for name, value in batches(0).items()},
    batches(0) | {"indices_tuple": (torch.tensor([0]), torch.tensor([1])) * 2},
], ids=["one batch", "a smaller batch", "chosen pairs"])  # fmt: skip
def test_anything_but_two_batches_of_the_size_is_refused(loss, batch):
    with pytest.raises(ValueError, match="takes two batches of 5 samples and all their pairs"):
        loss(**batch)
    assert loss.u.tolist() == [1.0] * N


def test_as_published_the_loss_has_the_authors_settings():
    loss = Images(as_published=True, margin=9.0, lam=3.0).build_loss(10)
    assert isinstance(loss, AuthorsImageLoss) and len(loss.u) == 64
    assert (loss.margin, loss.lam, loss.gamma, loss.iterations) == (5.0, 0.01, 10.0, 30)
    assert loss.form == "images"


# ------------------------------------------------------------------------------ shapes


def shapes_by_loops(a, labels, lam, margin=2.0, positive=1.0, gamma=1.5, iterations=60):
    """Loss and weights of a batch that meets itself, with the kernel exp(+lam C)."""
    n = len(a)
    error = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            distance = math.dist(a[i], a[j])
            same = labels[i] == labels[j]
            error[i][j] = max(0.0, distance - positive if same else margin - distance) ** 2
    kernel = [[math.exp(lam * math.exp(-gamma * g)) for g in row] for row in error]
    u = [1 / n] * n
    for _ in range(iterations):
        v = [1 / n / sum(kernel[i][j] * u[i] for i in range(n)) for j in range(n)]
        u = [1 / n / sum(kernel[i][j] * v[j] for j in range(n)) for i in range(n)]
    weights = [[u[i] * kernel[i][j] * v[j] for j in range(n)] for i in range(n)]
    return sum(weights[i][j] * error[i][j] for i in range(n) for j in range(n)), weights


@pytest.mark.parametrize("lam", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_shape_loss_is_that_of_loops_with_self_pairs_and_the_sign_reversed(seed, lam):
    a = batches(seed)["embeddings"]
    loss = AuthorsShapeLoss(2.0, 1.0, lam, 1.5, 60).double()
    value, weights = shapes_by_loops(a.tolist(), LABELS.tolist(), lam)
    assert loss(a, LABELS).item() == pytest.approx(value, rel=1e-9)
    torch.testing.assert_close(loss.plan(a, LABELS), torch.tensor(weights, dtype=torch.float64))
    assert loss.plan(a, LABELS).diagonal().min() > 0


def test_with_the_sign_reversed_easy_pairs_weigh_more_than_hard_ones():
    a, right = batches(0)["embeddings"], BatchwiseOTLoss(2.0, 5.0, 1.5, form="shapes", positive_margin=1.0)  # fmt: skip
    wrong = AuthorsShapeLoss(2.0, 1.0, 5.0, 1.5, 50).double()
    error, same, _ = right._pairs(a, LABELS, None, None, None)
    off = ~torch.eye(N, dtype=torch.bool)
    hard = error[off] > error[off].median()
    assert right.plan(a, LABELS)[off][hard].mean() > right.plan(a, LABELS)[off][~hard].mean()
    assert wrong.plan(a, LABELS)[off][hard].mean() < wrong.plan(a, LABELS)[off][~hard].mean()


def test_no_gradient_passes_through_the_plan_of_the_shape_loss():
    a = batches(1)["embeddings"].requires_grad_()
    loss = AuthorsShapeLoss(2.0, 1.0, 5.0, 1.5, 20).double()
    loss(a, LABELS).backward()
    plan, frozen = loss.plan(a, LABELS), a.detach().clone().requires_grad_()
    error, *_ = loss._pairs(frozen, LABELS, None, None, None)
    (plan * error).sum().backward()
    torch.testing.assert_close(a.grad, frozen.grad)


@pytest.mark.parametrize(
    "dataset, margins, weight",
    [("modelnet10", (8.0, 6.0), 1.0), ("modelnet40", (12.0, 8.0), 0.2), ("modelnet40-views", (12.0, 8.0), 0.2)],
)  # fmt: skip
def test_as_published_on_shapes_the_loss_has_the_authors_settings_and_a_classifier_beside_it(dataset, margins, weight):  # fmt: skip
    settings = Shapes(dataset=dataset, preset="short", as_published=True, margin=3.0, lam=10.0)
    loss = settings.build_loss(10)
    assert isinstance(loss, JointLoss) and isinstance(loss.pairs, AuthorsShapeLoss)
    assert (loss.pairs.margin, loss.pairs.positive_margin, loss.pairs.lam) == (*margins, 0.01)
    assert loss.weight == weight and settings.steered_by == "map" and settings.batch_size == 20
