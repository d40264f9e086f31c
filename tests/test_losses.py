"""Losses against the definitions, written as loops in float64, their gradients against finite differences."""

import copy
import math
import warnings

import jaxtyping
import pytest
import torch

from bwot import AllPairsLoss, BatchwiseOTLoss, PairwiseLoss
from bwot.losses import NonFiniteError, squared_distances

FORMS = [
    ("sketches", 1.0, None),
    ("images", 5.0, None),
    ("shapes", 3.0, None),
    ("shapes", 3.0, 1.2),
]
ALL = [BatchwiseOTLoss, AllPairsLoss, PairwiseLoss]
PLAN_GRADIENTS = ["constant", "kernel", "exact"]


@pytest.fixture
def unchecked():
    """jaxtyping's test hook off, so that our own errors about shapes and types come through."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def batch(n=6, d=3, seed=0, classes=3, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.randint(0, classes, (n,), generator=generator)


def pair_error(form, margin, positive_margin, x, y, same):
    """G of one pair (paper.md 1.3)."""
    d2 = sum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True))
    if form == "shapes":
        d = math.sqrt(d2)
        return max(0.0, d - (positive_margin or 0.0)) ** 2 if same else max(0.0, margin - d) ** 2
    return d2 if same else max(0.0, margin - d2)


def errors(form, margin, positive_margin, a, label_a, b, label_b):
    return [
        [
            pair_error(
                form, margin, positive_margin, a[i], b[j], int(label_a[i]) == int(label_b[j])
            )
            for j in range(len(b))
        ]
        for i in range(len(a))
    ]


def allowed_pairs(n, m, one_batch):
    return [[not (one_batch and i == j) for j in range(m)] for i in range(n)]


def transport(error, allowed, lam, gamma, iterations):
    """v then u from u = 1 with K = exp(-lam exp(-gamma G)) (paper.md 1.2), uniform over what has a pair."""
    n, m = len(error), len(error[0])
    kernel = [
        [
            math.exp(-lam * math.exp(-gamma * error[i][j])) if allowed[i][j] else 0.0
            for j in range(m)
        ]
        for i in range(n)
    ]
    rows = [i for i in range(n) if any(allowed[i])]
    columns = [j for j in range(m) if any(allowed[i][j] for i in range(n))]
    u, v = [0.0] * n, [0.0] * m
    for i in rows:
        u[i] = 1.0
    for _ in range(iterations):
        for j in columns:
            v[j] = 1 / len(columns) / sum(kernel[i][j] * u[i] for i in range(n))
        for i in rows:
            u[i] = 1 / len(rows) / sum(kernel[i][j] * v[j] for j in range(m))
    return [[u[i] * kernel[i][j] * v[j] for j in range(m)] for i in range(n)]


def weighted(plan, error, form):
    """The sum of T R(G), R = G² for the form of the images."""
    power = 2 if form == "images" else 1
    return sum(
        plan[i][j] * error[i][j] ** power for i in range(len(error)) for j in range(len(error[0]))
    )


def loss_by_definition(form, margin, positive_margin, a, label_a, b, label_b, one_batch, lam=10.0, gamma=10.0, iterations=50):  # fmt: skip
    error = errors(form, margin, positive_margin, a, label_a, b, label_b)
    plan = transport(error, allowed_pairs(len(a), len(b), one_batch), lam, gamma, iterations)
    return weighted(plan, error, form)


def numeric_gradient(function, x, step=1e-6):
    gradient = torch.zeros_like(x)
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            up, down = x.clone(), x.clone()
            up[i, k] += step
            down[i, k] -= step
            gradient[i, k] = (float(function(up)) - float(function(down))) / (2 * step)
    return gradient


def gradient_of(loss, x, *arguments, **named):
    x = x.detach().clone().requires_grad_()
    loss(x, *arguments, **named).backward()
    return x.grad


# values against loops


@pytest.mark.parametrize("form, margin, positive_margin", FORMS)
@pytest.mark.parametrize("lam, gamma, iterations", [(10.0, 10.0, 50), (0.01, 10.0, 30), (5.0, 1.0, 2), (100.0, 3.0, 20)])  # fmt: skip
@pytest.mark.parametrize("one_batch", [True, False])
def test_batchwise_loss_and_plan_match_the_definition(
    one_batch, lam, gamma, iterations, form, margin, positive_margin
):
    (a, label_a), (b, label_b) = batch(6, scale=0.7), batch(5, seed=1, scale=0.7)
    loss = BatchwiseOTLoss(margin, lam, gamma, iterations, None, form, positive_margin)
    if one_batch:
        b, label_b, others = a, label_a, {}
    else:
        others = {"ref_emb": b, "ref_labels": label_b}
    error = errors(form, margin, positive_margin, a, label_a, b, label_b)
    plan = transport(error, allowed_pairs(len(a), len(b), one_batch), lam, gamma, iterations)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # lam = 100 does not converge in 20 iterations, and may say so
        weights, value = loss.plan(a, label_a, **others), loss(a, label_a, **others)
    torch.testing.assert_close(
        weights, torch.tensor(plan, dtype=torch.float64), rtol=1e-7, atol=1e-9
    )
    assert value.item() == pytest.approx(weighted(plan, error, form), rel=1e-7)


@pytest.mark.parametrize("form, margin, positive_margin", FORMS)
@pytest.mark.parametrize("one_batch", [True, False])
def test_allpairs_loss_is_the_mean_over_allowed_pairs(one_batch, form, margin, positive_margin):
    (a, label_a), (b, label_b) = batch(5), batch(7, seed=1)
    loss = AllPairsLoss(margin, form, positive_margin)
    if one_batch:
        b, label_b = a, label_a
    error = errors(form, margin, positive_margin, a, label_a, b, label_b)
    allowed = allowed_pairs(len(a), len(b), one_batch)
    count = sum(map(sum, allowed))
    others = {} if one_batch else {"ref_emb": b, "ref_labels": label_b}
    plan = [[one / count for one in row] for row in allowed]
    assert loss(a, label_a, **others).item() == pytest.approx(weighted(plan, error, form), rel=1e-9)
    torch.testing.assert_close(
        loss.plan(a, label_a, **others), torch.tensor(plan).double(), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("form, margin, positive_margin", FORMS)
@pytest.mark.parametrize("n", [2, 7, 8])
@pytest.mark.parametrize("one_batch", [True, False])
def test_pairwise_loss_is_the_mean_over_aligned_pairs(one_batch, n, form, margin, positive_margin):
    """One batch is cut into halves, and an odd last row is left out."""
    x, labels = batch(n)
    y, their_labels = batch(n, seed=1)
    loss = PairwiseLoss(margin, form, positive_margin)
    if one_batch:
        half = n // 2
        a, label_a, b, label_b = (
            x[:half],
            labels[:half],
            x[half : 2 * half],
            labels[half : 2 * half],
        )
    else:
        a, label_a, b, label_b = x, labels, y, their_labels
    others = {} if one_batch else {"ref_emb": y, "ref_labels": their_labels}
    error = errors(form, margin, positive_margin, a, label_a, b, label_b)
    power = 2 if form == "images" else 1
    expected = sum(error[i][i] ** power for i in range(len(a))) / len(a)
    assert loss(x, labels, **others).item() == pytest.approx(expected, rel=1e-9)
    plan = loss.plan(x, labels, **others)
    torch.testing.assert_close(plan, torch.eye(len(a), dtype=torch.float64) / len(a))


@pytest.mark.parametrize("same_tensor", [True, False])
def test_two_batches_keep_their_diagonal_even_where_they_are_the_same_tensor(same_tensor):
    x, labels = batch(5, scale=0.5)
    plan = BatchwiseOTLoss().plan(
        x, labels, ref_emb=x if same_tensor else x.clone(), ref_labels=labels
    )
    error = errors("sketches", 1.0, None, x, labels, x, labels)
    expected = transport(error, allowed_pairs(5, 5, one_batch=False), 10.0, 10.0, 50)
    torch.testing.assert_close(plan, torch.tensor(expected).double(), rtol=1e-5, atol=1e-9)
    assert (plan.diagonal() > 0).all()


@pytest.mark.parametrize("loss", [BatchwiseOTLoss(), BatchwiseOTLoss(lam=500.0), AllPairsLoss()])
def test_one_batch_leaves_its_self_pairs_out(loss):
    x, labels = batch(5)
    plan = loss.plan(x, labels)
    assert (plan.diagonal() == 0).all() and plan.sum().item() == pytest.approx(1)


# gradients


@pytest.mark.parametrize("form, margin, positive_margin", FORMS)
@pytest.mark.parametrize("one_batch", [True, False])
def test_constant_gradient_is_that_of_the_frozen_plan(one_batch, form, margin, positive_margin):
    (a, label_a), (b, label_b) = batch(4, d=2, scale=0.6), batch(3, d=2, seed=1, scale=0.6)
    others = {} if one_batch else {"ref_emb": b, "ref_labels": label_b}
    loss = BatchwiseOTLoss(margin, form=form, positive_margin=positive_margin)
    plan = loss.plan(a, label_a, **others).tolist()

    def frozen(x):
        y, label_y = (x, label_a) if one_batch else (b, label_b)
        return weighted(plan, errors(form, margin, positive_margin, x, label_a, y, label_y), form)

    torch.testing.assert_close(
        gradient_of(loss, a, label_a, **others), numeric_gradient(frozen, a), rtol=1e-5, atol=1e-7
    )


def test_constant_gradient_reaches_the_reference_batch_too():
    (a, label_a), (b, label_b) = batch(4, scale=0.6), batch(3, seed=1, scale=0.6)
    b.requires_grad_()
    loss = BatchwiseOTLoss()
    plan = loss.plan(a, label_a, ref_emb=b, ref_labels=label_b).tolist()
    loss(a, label_a, ref_emb=b, ref_labels=label_b).backward()
    expected = numeric_gradient(
        lambda y: weighted(plan, errors("sketches", 1.0, None, a, label_a, y, label_b), "sketches"),
        b.detach(),
    )
    torch.testing.assert_close(b.grad, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("form, margin", [("sketches", 1.0), ("images", 5.0)])
@pytest.mark.parametrize("plan_gradient", ["constant", "kernel"])
def test_gradient_matches_the_formula(plan_gradient, form, margin):
    """paper.md 1.4, without the half: dL/dG times ±2 (a - b), + for positives, - for negatives within the margin."""
    lam, gamma = 7.0, 3.0
    (a, label_a), (b, label_b) = batch(5, scale=0.6), batch(6, seed=1, scale=0.6)
    loss = BatchwiseOTLoss(margin, lam, gamma, form=form, plan_gradient=plan_gradient)
    error = errors(form, margin, None, a, label_a, b, label_b)
    plan = transport(error, allowed_pairs(5, 6, False), lam, gamma, 50)
    expected = torch.zeros_like(a)
    for i in range(5):
        for j in range(6):
            g, t = error[i][j], plan[i][j]
            through_k = gamma * lam * math.exp(-gamma * g) if plan_gradient == "kernel" else 0.0
            slope = t * ((1 + through_k * g) if form == "sketches" else (2 * g + through_k * g * g))
            sign = 1 if label_a[i] == label_b[j] else -1 if g > 0 else 0
            expected[i] += slope * sign * 2 * (a[i] - b[j])
    gradient = gradient_of(loss, a, label_a, ref_emb=b, ref_labels=label_b)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("form, margin, positive_margin", FORMS)
@pytest.mark.parametrize("one_batch", [True, False])
def test_exact_gradient_is_the_true_one_at_convergence(one_batch, form, margin, positive_margin):
    (a, label_a), (b, label_b) = batch(4, d=2, scale=0.6), batch(3, d=2, seed=1, scale=0.6)
    settings = {"lam": 4.0, "gamma": 1.0, "iterations": 150}
    loss = BatchwiseOTLoss(margin, form=form, positive_margin=positive_margin, plan_gradient="exact", **settings)  # fmt: skip

    def true(x):
        y, label_y = (x, label_a) if one_batch else (b, label_b)
        return loss_by_definition(
            form, margin, positive_margin, x, label_a, y, label_y, one_batch, **settings
        )

    others = {} if one_batch else {"ref_emb": b, "ref_labels": label_b}
    gradient = gradient_of(loss, a, label_a, **others)
    torch.testing.assert_close(gradient, numeric_gradient(true, a), rtol=1e-4, atol=1e-6)
    frozen = gradient_of(BatchwiseOTLoss(margin, form=form, positive_margin=positive_margin, **settings), a, label_a, **others)  # fmt: skip
    assert (gradient - frozen).norm() > 0.01 * gradient.norm()  # the case tells the two apart


def test_exact_gradient_equals_autograd_through_many_iterations():
    (a, label_a), (b, label_b) = batch(6, scale=0.6), batch(5, seed=1, scale=0.6)
    x = a.clone().requires_grad_()
    same = label_a[:, None] == label_b
    d2 = (x[:, None] - b).square().sum(-1)
    error = torch.where(same, d2, (1 - d2).clamp_min(0))
    kernel = torch.exp(-10 * torch.exp(-10 * error))
    u = torch.ones(6, dtype=torch.float64)
    for _ in range(1000):
        v = 1 / 5 / (kernel.T @ u)
        u = 1 / 6 / (kernel @ v)
    (u[:, None] * kernel * v * error).sum().backward()
    loss = BatchwiseOTLoss(iterations=1000, plan_gradient="exact")
    gradient = gradient_of(loss, a, label_a, ref_emb=b, ref_labels=label_b)
    torch.testing.assert_close(gradient, x.grad, rtol=0, atol=1e-8 * x.grad.abs().max().item())


def test_an_exact_gradient_before_convergence_warns_once_and_only_where_one_is_asked_for():
    (x, labels), (b, label_b) = batch(6, scale=0.6), batch(5, seed=1, scale=0.6)
    others = {"ref_emb": b, "ref_labels": label_b}
    loss = BatchwiseOTLoss(lam=50.0, iterations=3, plan_gradient="exact")
    columns = loss.plan(x, labels, **others).sum(0)
    loss(x, labels, **others)
    loss.plan(x.requires_grad_(), labels, **others)
    told = f"3 iterations at lam 50 leave a marginal_error of {(columns - 1 / 5).abs().sum():.2g}, above 1e-06"
    with pytest.warns(UserWarning, match=told) as caught:
        loss(x, labels, **others)
        loss(x, labels, **others)
    assert len(caught) == 1


@pytest.mark.parametrize("lam", [10.0, 50.0, 200.0])
def test_rounding_in_float32_is_not_taken_for_a_lack_of_convergence(lam):
    """In float32 the marginal error stays above the limit of float64, however many iterations there are."""
    x, labels = batch(64, dtype=torch.float32)
    loss = BatchwiseOTLoss(lam=lam, iterations=3000, plan_gradient="exact", form="shapes")
    gradient = gradient_of(loss, x, labels)
    expected = gradient_of(loss, x.double(), labels)
    torch.testing.assert_close(
        gradient.double(), expected, rtol=0, atol=1e-4 * expected.abs().max().item()
    )


@pytest.mark.parametrize("plan_gradient", PLAN_GRADIENTS)
def test_the_kind_of_gradient_does_not_change_the_value(plan_gradient):
    x, labels = batch(6)
    expected = BatchwiseOTLoss()(x, labels)
    loss = BatchwiseOTLoss(plan_gradient=plan_gradient)
    torch.testing.assert_close(loss(x.requires_grad_(), labels), expected)
    assert not loss.plan(x, labels).requires_grad


@pytest.mark.parametrize("loss", [AllPairsLoss(), PairwiseLoss(), AllPairsLoss(3.0, "shapes", 1.0), PairwiseLoss(5.0, "images")])  # fmt: skip
def test_gradients_of_the_controls_match_finite_differences(loss):
    x, labels = batch(6, scale=0.6)
    gradient = gradient_of(loss, x, labels)
    torch.testing.assert_close(
        gradient, numeric_gradient(lambda y: loss(y, labels), x), rtol=1e-5, atol=1e-7
    )


# limits


@pytest.mark.parametrize("form, margin, positive_margin", FORMS)
@pytest.mark.parametrize("one_batch", [True, False])
def test_small_lam_gives_the_all_pairs_mean_and_its_gradient(
    one_batch, form, margin, positive_margin
):
    (a, label_a), (b, label_b) = batch(6), batch(5, seed=1)
    others = {} if one_batch else {"ref_emb": b, "ref_labels": label_b}
    transported = BatchwiseOTLoss(margin, 1e-7, form=form, positive_margin=positive_margin)
    plain = AllPairsLoss(margin, form, positive_margin)
    torch.testing.assert_close(
        transported(a, label_a, **others), plain(a, label_a, **others), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        gradient_of(transported, a, label_a, **others),
        gradient_of(plain, a, label_a, **others),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_published_lam_of_the_2d_code_gives_a_plan_uniform_to_one_percent():
    """paper.md 1.5: 30×30, n²T between 0.997 and 1.01."""
    (a, label_a), (b, label_b) = batch(30), batch(30, seed=1)
    loss = BatchwiseOTLoss(margin=5.0, lam=0.01, iterations=30, form="images")
    relative = 900 * loss.plan(a, label_a, ref_emb=b, ref_labels=label_b)
    assert 0.99 <= relative.min() < relative.max() <= 1.01


def test_hard_pairs_get_the_mass():
    """Positives far apart and negatives close have all of it, negatives far apart next to none."""
    x, labels = torch.tensor([[0.0], [0.1], [3.0], [3.1]]), torch.tensor([0, 1, 0, 1])
    plan = BatchwiseOTLoss().plan(x, labels)
    easy = plan[0, 3] + plan[1, 2] + plan[2, 1] + plan[3, 0]
    assert 0 < easy < 1e-3 and plan.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("plan_gradient", PLAN_GRADIENTS)
@pytest.mark.parametrize("form, margin, positive_margin", FORMS)
@pytest.mark.parametrize("one_batch", [True, False])
def test_zero_error_everywhere_gives_zero_loss_and_gradient(one_batch, form, margin, positive_margin, plan_gradient):  # fmt: skip
    """Samples of a class coincide, classes lie further apart than any margin."""
    x = 10 * torch.eye(3).repeat(2, 1)
    labels = torch.arange(3).repeat(2)
    loss = BatchwiseOTLoss(
        margin, form=form, positive_margin=positive_margin, plan_gradient=plan_gradient
    )
    others = {} if one_batch else {"ref_emb": x.clone(), "ref_labels": labels}
    y = x.clone().requires_grad_()
    value = loss(y, labels, **others)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-4 if form == "shapes" else 1e-5)
    torch.testing.assert_close(y.grad, torch.zeros_like(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("loss", [BatchwiseOTLoss(), AllPairsLoss(), PairwiseLoss(), BatchwiseOTLoss(5.0, form="images")])  # fmt: skip
@pytest.mark.parametrize("labels", [torch.zeros(6, dtype=torch.int64), torch.arange(6)], ids=["equal", "different"])  # fmt: skip
def test_labels_all_equal_or_all_different(labels, loss):
    x, _ = batch(6, scale=0.5)
    y = x.clone().requires_grad_()
    value = loss(y, labels)
    value.backward()
    error = errors(loss.form, loss.margin, None, x, labels, x, labels)
    assert value.item() == pytest.approx(
        weighted(_square(loss, x, labels), error, loss.form), rel=1e-6
    )
    assert y.grad.isfinite().all() and y.grad.abs().sum() > 0


def _square(loss, x, labels):
    """The plan over all pairs of a batch, for the pair-wise loss with its halves put in place."""
    plan = loss.plan(x, labels)
    if isinstance(loss, PairwiseLoss):
        whole = torch.zeros(6, 6, dtype=torch.float64)
        whole[:3, 3:] = plan
        plan = whole
    return plan.tolist()


@pytest.mark.parametrize("loss", [BatchwiseOTLoss(), AllPairsLoss(), PairwiseLoss()])
@pytest.mark.parametrize("labels, expected", [([0, 0], 0.25), ([0, 1], 0.75)])
@pytest.mark.parametrize("one_batch", [True, False])
def test_a_single_pair_costs_its_own_error(one_batch, labels, expected, loss):
    x, labels = torch.tensor([[0.0, 0.0], [0.3, 0.4]]), torch.tensor(labels)
    if one_batch:
        value = loss(x, labels)
    else:
        value = loss(x[:1], labels[:1], ref_emb=x[1:], ref_labels=labels[1:])
    assert value.item() == pytest.approx(expected, rel=1e-5)


# invariances


@pytest.mark.parametrize("loss", [BatchwiseOTLoss(2.0), AllPairsLoss(2.0), BatchwiseOTLoss(3.0, form="shapes")])  # fmt: skip
def test_the_order_of_the_samples_does_not_matter(loss):
    (a, label_a), (b, label_b) = batch(6), batch(5, seed=1)
    p, q = torch.tensor([3, 1, 5, 0, 4, 2]), torch.tensor([4, 0, 3, 1, 2])
    torch.testing.assert_close(loss(a[p], label_a[p]), loss(a, label_a))
    expected = loss(a, label_a, ref_emb=b, ref_labels=label_b)
    torch.testing.assert_close(
        loss(a[p], label_a[p], ref_emb=b[q], ref_labels=label_b[q]), expected
    )


@pytest.mark.parametrize("loss", [BatchwiseOTLoss(2.0), AllPairsLoss(5.0, "images"), PairwiseLoss(2.0), BatchwiseOTLoss(3.0, form="shapes")])  # fmt: skip
def test_moving_and_turning_the_embeddings_changes_nothing(loss):
    x, labels = batch(6)
    rotation, _ = torch.linalg.qr(batch(3, seed=2)[0])
    shift = torch.tensor([5.0, -7.0, 100.0], dtype=torch.float64)
    torch.testing.assert_close(
        loss(x @ rotation + shift, labels), loss(x, labels), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("loss_class", ALL)
def test_classes_are_told_by_equality_of_labels_alone(loss_class):
    x, labels = batch(6)
    expected = loss_class()(x, labels)
    for renamed in (labels.int(), labels.to(torch.int16), 7 - labels, labels * 2**40):
        torch.testing.assert_close(loss_class()(x, renamed), expected)


@pytest.mark.parametrize("loss", [BatchwiseOTLoss(3.0), AllPairsLoss(3.0), PairwiseLoss(3.0)])
def test_float32_is_accurate_far_from_the_origin(loss):
    """The offset is a number of float32 and so large that |a|² - 2ab + |b|² about the origin would lose everything."""
    x, labels = batch(6, dtype=torch.float32)
    far = x + 4096.0
    expected = loss((far - 4096.0).double(), labels).item()
    assert loss(far, labels).item() == pytest.approx(expected, rel=1e-4)
    exact = gradient_of(loss, (far - 4096.0).double(), labels)
    torch.testing.assert_close(gradient_of(loss, far, labels).double(), exact, rtol=1e-3, atol=1e-4)


def test_squared_distances_match_loops_and_are_never_negative():
    a, b = batch(5, d=4)[0], batch(6, d=4, seed=1)[0]
    expected = [[sum((x - y) ** 2 for x, y in zip(p, q, strict=True)) for q in b.tolist()] for p in a.tolist()]  # fmt: skip
    torch.testing.assert_close(
        squared_distances(a, b), torch.tensor(expected).double(), rtol=1e-5, atol=1e-9
    )
    wide = batch(40, d=64, dtype=torch.float32, scale=30.0)[0]
    assert (squared_distances(wide, wide) >= 0).all()


@pytest.mark.parametrize("loss_class", ALL)
@pytest.mark.parametrize("form, margin, positive_margin", FORMS)
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 1]])
def test_duplicated_points_have_finite_gradients(labels, form, margin, positive_margin, loss_class):
    """Distance 0, positives and negatives: the square root of the form ``shapes`` has no derivative there."""
    x = torch.tensor([[1.0, 2.0]] * 4, requires_grad=True)
    labels = torch.tensor(labels)
    loss = loss_class(margin, form=form, positive_margin=positive_margin)
    for others in ({}, {"ref_emb": x.detach().clone(), "ref_labels": labels}):
        x.grad = None
        value = loss(x, labels, **others)
        value.backward()
        error = errors(form, margin, positive_margin, x.detach(), labels, x.detach(), labels)
        assert value.isfinite() and x.grad.isfinite().all()
        assert value.item() <= max(map(max, error)) ** (2 if form == "images" else 1) + 1e-5


# indices of pytorch-metric-learning


def mined(*pairs):
    """Pairs as (a1, p, a2, n): the first half as positives, the rest as negatives."""
    half = len(pairs) // 2
    first, second = pairs[:half], pairs[half:]
    return tuple(
        torch.tensor([pair[k] for pair in part], dtype=torch.int64)
        for part in (first, second)
        for k in (0, 1)
    )


@pytest.mark.filterwarnings("ignore:the allowed pairs")
@pytest.mark.parametrize("one_batch", [True, False])
@pytest.mark.parametrize("loss_class", [BatchwiseOTLoss, AllPairsLoss])
def test_mined_pairs_are_the_only_ones_with_mass(loss_class, one_batch):
    (a, label_a), (b, label_b) = batch(5, scale=0.5), batch(5, seed=1, scale=0.5)
    pairs = [(0, 1), (1, 0), (1, 2), (2, 4), (4, 1), (0, 2), (4, 2)]  # no row 3, no column 3
    if one_batch:
        b, label_b, others = a, label_a, (None, None)
    else:
        others = (b, label_b)
    loss = loss_class()
    error = errors("sketches", 1.0, None, a, label_a, b, label_b)
    allowed = [[(i, j) in pairs for j in range(5)] for i in range(5)]
    if loss_class is AllPairsLoss:
        plan = [[one / 7 for one in row] for row in allowed]
    else:
        plan = transport(error, allowed, 10.0, 10.0, 50)
    weights = loss.plan(a, label_a, mined(*pairs), *others)
    torch.testing.assert_close(weights, torch.tensor(plan).double(), rtol=1e-5, atol=1e-9)
    value = loss(a, label_a, mined(*pairs), *others)
    assert value.item() == pytest.approx(weighted(plan, error, "sketches"), rel=1e-6)


def test_mined_self_pairs_of_one_batch_stay_out():
    x, labels = batch(4)
    pairs = [(0, 1), (1, 0), (2, 3), (3, 2), (0, 2), (2, 0)]
    expected = BatchwiseOTLoss().plan(x, labels, mined(*pairs))
    plan = BatchwiseOTLoss().plan(x, labels, mined((1, 1), (0, 0), *pairs, (2, 2), (3, 3)))
    torch.testing.assert_close(plan, expected)


@pytest.mark.parametrize("loss_class", [BatchwiseOTLoss, AllPairsLoss])
def test_indices_of_self_pairs_alone_are_refused(loss_class):
    x, labels = batch(4)
    with pytest.raises(
        ValueError, match="indices_tuple must allow at least one pair of two different samples"
    ):
        loss_class()(x, labels, mined((1, 1), (2, 2)))


@pytest.mark.parametrize("form", ["sketches", "images", "shapes"])
@pytest.mark.parametrize("loss_class", [BatchwiseOTLoss, AllPairsLoss])
def test_a_miner_that_finds_nothing_leaves_a_loss_of_zero(loss_class, form):
    """As in pytorch-metric-learning: late in training a miner finds no pair in some batches."""
    x, labels = batch(4)
    loss, y = loss_class(form=form), x.clone().requires_grad_()
    value = loss(y, labels, mined())
    value.backward()
    assert value.item() == 0 and torch.equal(y.grad, torch.zeros_like(x))
    assert torch.equal(loss.plan(x, labels, mined()), torch.zeros(4, 4, dtype=torch.float64))


@pytest.mark.parametrize("loss_class", [BatchwiseOTLoss, AllPairsLoss])
def test_triplets_are_refused(loss_class):
    x, labels = batch(4)
    index = torch.arange(3)
    with pytest.raises(ValueError, match=r"four index tensors \(a1, p, a2, n\), not 3: mine pairs"):
        loss_class()(x, labels, (index, index, index))


def test_pairwise_loss_refuses_mined_pairs():
    x, labels = batch(4)
    with pytest.raises(ValueError, match="indices_tuple must be None"):
        PairwiseLoss()(x, labels, mined((0, 1), (1, 0)))


def test_infeasible_pairs_warn_once():
    """Samples 1 and 2 share their only partner, 0."""
    x, labels = batch(4)
    loss = BatchwiseOTLoss()
    pairs = mined((1, 0), (2, 0), (0, 1), (0, 2), (0, 3))
    with pytest.warns(UserWarning, match="no plan over them has uniform marginals"):
        value = loss(x, labels, pairs)
    assert value.isfinite()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(x, labels, pairs)


def test_the_calling_order_is_that_of_pytorch_metric_learning():
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning import distances, losses, miners

    (a, label_a), (b, label_b) = batch(6, scale=0.5), batch(6, seed=1, scale=0.5)
    ours, theirs = AllPairsLoss(), losses.ContrastiveLoss(
        pos_margin=0, neg_margin=1, distance=distances.LpDistance(normalize_embeddings=False, power=2)
    )  # fmt: skip
    miner = miners.PairMarginMiner(distance=distances.LpDistance(normalize_embeddings=False))
    indices = miner(a, label_a, b, label_b)
    for loss in (ours, theirs, BatchwiseOTLoss()):
        assert loss(a, label_a, indices, b, label_b).ndim == 0
    expected = torch.zeros((), dtype=torch.float64)
    for i, j in zip(torch.cat(indices[::2]), torch.cat(indices[1::2]), strict=True):
        error = pair_error("sketches", 1.0, None, a[i], b[j], label_a[i] == label_b[j])
        expected += error / (len(indices[0]) + len(indices[2]))
    torch.testing.assert_close(ours(a, label_a, indices, b, label_b), expected)


# types


@pytest.mark.parametrize("loss", [BatchwiseOTLoss(), BatchwiseOTLoss(plan_gradient="exact"), AllPairsLoss(), PairwiseLoss(), BatchwiseOTLoss(3.0, form="shapes")])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_loss_is_float32_at_least_and_gradients_have_the_type_of_the_input(dtype, loss):
    x, labels = batch(6, dtype=dtype)
    y = x.clone().requires_grad_()
    value = loss(y, labels)
    value.backward()
    assert value.dtype == torch.float32 and y.grad.dtype == dtype
    assert value.item() == pytest.approx(loss(x.double(), labels).item(), rel=1e-4)
    assert y.grad.isfinite().all()
    assert loss.plan(x, labels).dtype == torch.float32


def test_half_precision_embeddings_whose_squares_overflow_their_type_are_fine():
    x, labels = batch(6, dtype=torch.float16, scale=2000.0)
    y = x.clone().requires_grad_()
    value = BatchwiseOTLoss()(y, labels)
    value.backward()
    assert value.isfinite() and y.grad.isfinite().all()


def test_float64_stays_float64():
    x, labels = batch(6)
    for loss in (BatchwiseOTLoss(), AllPairsLoss(), PairwiseLoss()):
        assert loss(x, labels).dtype == loss.plan(x, labels).dtype == torch.float64


@pytest.mark.parametrize("loss_class", ALL)
def test_autocast_changes_nothing(loss_class):
    x, labels = batch(6, dtype=torch.float32)
    loss, y = loss_class(), x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(y, labels)
    value.backward()
    assert torch.equal(value, loss(x, labels)) and torch.equal(y.grad, gradient_of(loss, x, labels))


# errors


@pytest.mark.parametrize("loss_class", ALL)
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"margin": 0.0}, "margin must be positive and finite, not 0.0"),
        ({"margin": -1.0}, "margin must be positive and finite, not -1.0"),
        ({"margin": float("nan")}, "margin must be positive and finite, not nan"),
        ({"margin": float("inf")}, "margin must be positive and finite, not inf"),
        ({"form": "sketch"}, "form must be 'sketches', 'images' or 'shapes', not 'sketch'"),
        ({"positive_margin": 0.5}, "positive_margin belongs to form 'shapes'.*not 0.5 with form 'sketches'"),
        ({"form": "shapes", "positive_margin": 1.0}, r"lies in \[0, margin\), not 1.0 with form 'shapes' and margin 1.0"),
        ({"form": "shapes", "positive_margin": -0.1}, r"lies in \[0, margin\), not -0.1"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_at_construction(settings, message, loss_class, unchecked):
    with pytest.raises(ValueError, match=message):
        loss_class(**settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"lam": 0.0}, "lam must be positive and finite, not 0.0"),
        ({"lam": -1.0}, "lam must be positive and finite, not -1.0"),
        ({"lam": float("inf")}, "lam must be positive and finite, not inf"),
        ({"gamma": 0.0}, "gamma must be positive and finite, not 0.0"),
        ({"gamma": float("nan")}, "gamma must be positive and finite, not nan"),
        ({"iterations": 0}, "iterations must be positive and finite, not 0"),
        ({"iterations": 1.5}, "iterations must be an integer, not 1.5"),
        ({"tol": -1.0}, "tol must be positive and finite, not -1.0"),
        ({"plan_gradient": "none"}, "plan_gradient must be 'constant', 'kernel' or 'exact', not 'none'"),
    ],
)  # fmt: skip
def test_bad_transport_settings_are_refused_at_construction(settings, message, unchecked):
    with pytest.raises(ValueError, match=message):
        BatchwiseOTLoss(**settings)


def labels_of(n):
    return torch.zeros(n, dtype=torch.int64)


@pytest.mark.parametrize("method", ["forward", "plan"])
@pytest.mark.parametrize("loss_class", ALL)
@pytest.mark.parametrize(
    "arguments, message",
    [
        ((torch.ones(0, 3), labels_of(0)), r"embeddings must have shape \(samples, features\), neither 0, not \(0, 3\)"),
        ((torch.ones(4, 0), labels_of(4)), r"embeddings must have shape \(samples, features\), neither 0, not \(4, 0\)"),
        ((torch.ones(4), labels_of(4)), r"embeddings must have shape .*, not \(4,\)"),
        ((torch.tensor(1.0), labels_of(1)), r"embeddings must have shape .*, not \(\)"),
        ((torch.ones(2, 3, 4), labels_of(2)), r"embeddings must have shape .*, not \(2, 3, 4\)"),
        ((torch.ones(4, 3, dtype=torch.int64), labels_of(4)), "embeddings must be floating-point, not torch.int64"),
        ((torch.ones(4, 3), labels_of(3)), r"embeddings has 4 rows but its labels have shape \(3,\)"),
        ((torch.ones(4, 3), torch.zeros(4, 1, dtype=torch.int64)), r"embeddings has 4 rows but its labels have shape \(4, 1\)"),
        ((torch.ones(1, 3), labels_of(1)), "one sample against itself has no pair"),
        ((torch.ones(4, 3), labels_of(4), None, torch.ones(4, 3), None), "ref_emb and ref_labels must be given together"),
        ((torch.ones(4, 3), labels_of(4), None, None, labels_of(4)), "ref_emb and ref_labels must be given together"),
        ((torch.ones(4, 3), labels_of(4), None, torch.ones(4, 2), labels_of(4)), r"ref_emb must have shape \(samples, 3\), .* not \(4, 2\)"),
        ((torch.ones(4, 3), labels_of(4), None, torch.ones(0, 3), labels_of(0)), r"ref_emb must have shape .* not \(0, 3\)"),
        ((torch.ones(4, 3), labels_of(4), None, torch.ones(4, 3), labels_of(5)), r"ref_emb has 4 rows but its labels have shape \(5,\)"),
    ],
)  # fmt: skip
def test_bad_batches_are_named(arguments, message, loss_class, method, unchecked):
    with pytest.raises(ValueError, match=message):
        getattr(loss_class(), method)(*arguments)


def test_aligned_pairs_need_batches_of_one_size():
    with pytest.raises(ValueError, match="two batches of one size, not 4 and 5"):
        PairwiseLoss()(torch.ones(4, 3), labels_of(4), None, torch.ones(5, 3), labels_of(5))


@pytest.mark.parametrize("loss_class", ALL)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["embeddings", "ref_emb"])
def test_embeddings_that_are_not_finite_are_counted(name, value, loss_class):
    x, bad = torch.ones(5, 3), torch.ones(5, 3)
    bad[1, 0] = bad[3, 1] = bad[3, 2] = value
    a, b = (bad, x) if name == "embeddings" else (x, bad)
    with pytest.raises(NonFiniteError, match=f"{name} must be finite; 2 of 5 rows are not"):
        loss_class()(a, labels_of(5), None, b, labels_of(5))
    assert issubclass(NonFiniteError, ValueError)


@pytest.mark.parametrize("loss_class", ALL)
@pytest.mark.parametrize("one_batch", [True, False])
def test_embeddings_whose_squares_overflow_have_diverged_too(one_batch, loss_class):
    """Training that blows up passes here before it reaches infinity: it must end with the same named error."""
    x, labels = batch(4, dtype=torch.float32, scale=1e25)
    others = {} if one_batch else {"ref_emb": -x, "ref_labels": labels}
    with pytest.raises(NonFiniteError, match="the embeddings are too large for torch.float32"):
        loss_class()(x, labels, **others)


# modules


@pytest.mark.parametrize("loss", [BatchwiseOTLoss(2.0, 3.0, plan_gradient="kernel"), AllPairsLoss(2.0, "images"), PairwiseLoss(2.0)])  # fmt: skip
def test_a_loss_is_a_module_without_state(loss):
    x, labels = batch(6)
    copied = copy.deepcopy(loss)
    assert loss.state_dict() == {} and list(loss.parameters()) == []
    torch.testing.assert_close(copied(x, labels), loss(x, labels))
    copied.to(torch.float64).eval()


def test_a_loss_shows_its_settings():
    shown = repr(BatchwiseOTLoss(3.0, 5.0, 2.0, 20, 1e-3, "shapes", 1.0, "kernel"))
    assert shown == (
        "BatchwiseOTLoss(margin=3.0, form=shapes, positive_margin=1.0, lam=5.0, gamma=2.0, iterations=20, tol=0.001, "
        "plan_gradient=kernel, balanced=False, gather=False)"
    )
    assert repr(AllPairsLoss()) == "AllPairsLoss(margin=1.0, form=sketches, positive_margin=None)"


def test_tol_is_passed_on():
    x, labels = batch(6)
    loose = BatchwiseOTLoss(iterations=5000, tol=1e-9)
    torch.testing.assert_close(
        loose(x, labels), BatchwiseOTLoss(iterations=5000)(x, labels), rtol=1e-6, atol=0
    )
    with pytest.warns(UserWarning, match="after 2 iterations"):
        BatchwiseOTLoss(iterations=2, tol=1e-12)(x, labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("loss_class", ALL)
def test_cuda_gives_the_same_loss_and_gradient(loss_class):
    x, labels = batch(6, dtype=torch.float32)
    y = x.cuda().requires_grad_()
    value = loss_class()(y, labels.cuda())
    value.backward()
    torch.testing.assert_close(value.cpu(), loss_class()(x, labels), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        y.grad.cpu(), gradient_of(loss_class(), x, labels), rtol=1e-3, atol=1e-5
    )
