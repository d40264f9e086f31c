"""The derivative of a converged plan against unrolled iterations, finite differences and dense least squares."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from bwot import implicit, sinkhorn_torch
from bwot.implicit import ExactPlan, solve_adjoint
from bwot.sinkhorn import sinkhorn


def random(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)


def hard_cost(n, m, seed=0, sharp=10.0):
    """exp(-10 G) of a batch in five classes, most of whose pairs have no error left: Sinkhorn converges slowly on it."""
    generator = torch.Generator().manual_seed(seed)
    error = 0.4 * torch.rand(n, m, generator=generator, dtype=torch.float64)
    same = torch.arange(n)[:, None] % 5 == torch.arange(m) % 5
    hard = torch.rand(n, m, generator=generator) < 0.1
    return torch.where(hard, (-sharp * error).exp(), torch.where(same, 0.7 + 0.1 * error, 1.0))


def gradient_in_cost(cost, lam, weight, iterations=1000, mask=None):
    cost = cost.clone().requires_grad_()
    plan = sinkhorn(cost, lam, iterations, mask=mask).plan
    (weight * ExactPlan.apply(cost, plan, lam)).sum().backward()
    return cost.grad


def assert_near(actual, expected, relative):
    """Equal up to ``relative`` times the largest entry expected."""
    atol = relative * expected.abs().max().item()
    torch.testing.assert_close(actual.to(expected), expected, rtol=0, atol=atol)


def additive_fit(plan, gradient):
    """alpha_i + beta_j closest to the gradient in the squares weighted by the plan, by dense least squares."""
    n, m = plan.shape
    rows = [(i, j) for i in range(n) for j in range(m) if plan[i, j] > 0]
    design, right = np.zeros((len(rows), n + m)), np.zeros(len(rows))
    for k, (i, j) in enumerate(rows):
        root = plan[i, j].item() ** 0.5
        design[k, i] = design[k, n + j] = root
        right[k] = root * gradient[i, j].item()
    fit = torch.from_numpy(np.linalg.lstsq(design, right, rcond=None)[0])
    return fit[:n, None] + fit[n:]


def residue(plan, gradient):
    """What of the gradient the fit leaves, weighted by the plan."""
    fit = solve_adjoint(plan, gradient)
    return plan * (gradient - fit.alpha[..., :, None] - fit.beta[..., None, :])


# against the definition


@pytest.mark.parametrize("lam", [1.0, 15.0])
@pytest.mark.parametrize("n, m", [(5, 5), (4, 7), (8, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_that_of_a_thousand_unrolled_iterations(masked, n, m, lam):
    cost, weight = random(n, m, seed=n).requires_grad_(), random(n, m, seed=m + 50)
    allowed = ~torch.eye(n, m, dtype=torch.bool) if masked else torch.ones(n, m, dtype=torch.bool)
    kernel = (-lam * cost).exp() * allowed
    u = torch.ones(n, dtype=torch.float64)
    for _ in range(1000):
        v = 1 / m / (kernel.T @ u)
        u = 1 / n / (kernel @ v)
    (weight * u[:, None] * kernel * v).sum().backward()
    gradient = gradient_in_cost(cost.detach(), lam, weight, mask=allowed if masked else None)
    assert_near(gradient, cost.grad, 1e-8)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (2, 2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck_of_the_whole_plan(masked, shape):
    mask = torch.ones(shape, dtype=torch.bool)
    mask[..., 0, 1] = mask[..., 1, 0] = not masked

    def plan(cost):
        return ExactPlan.apply(cost, sinkhorn(cost, 4.0, 100, mask=mask).plan, 4.0)

    assert torch.autograd.gradcheck(plan, random(*shape, seed=1).requires_grad_())


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("empty", [0.0, 0.5])
def test_the_adjoint_is_the_additive_fit_by_weighted_least_squares(empty, shape):
    """Any plan will do, also one with pairs, rows and columns without mass; what it leaves is told where there is mass."""
    plan = random(*shape, seed=2) * (random(*shape, seed=3) >= empty)
    if empty and min(shape) > 1:
        plan[1], plan[:, 2] = 0.0, 0.0
    plan[0, 0], gradient = 1.0, random(*shape, seed=4)
    expected = plan * (gradient - additive_fit(plan, gradient))
    torch.testing.assert_close(residue(plan, gradient), expected, rtol=1e-10, atol=1e-12)


def test_rows_and_columns_without_mass_have_no_adjoint_and_no_gradient():
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[1], mask[:, 3] = False, False
    cost, weight = random(4, 5), random(4, 5, seed=1)
    fit = solve_adjoint(sinkhorn(cost, 5.0, 200, mask=mask).plan, weight)
    assert fit.alpha[1] == 0 and fit.beta[3] == 0
    gradient = gradient_in_cost(cost, 5.0, weight, 200, mask)
    assert (gradient[~mask] == 0).all() and (gradient[mask] != 0).all()
    kept, across = [0, 2, 3], [0, 1, 2, 4]
    alone = gradient_in_cost(cost[kept][:, across], 5.0, weight[kept][:, across], 200)
    torch.testing.assert_close(gradient[kept][:, across], alone, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parts_of_a_plan_that_do_not_touch_are_separate_problems(dtype):
    """Half of the mass in each of two blocks: each by itself has twice the gradient."""
    blocks, weight = random(2, 6, 6, seed=5, dtype=dtype), random(2, 6, 6, seed=6, dtype=dtype)
    weight[1] += 10
    apart = torch.block_diag(torch.ones(6, 6), torch.ones(6, 6)).bool()
    gradient = gradient_in_cost(
        torch.block_diag(*blocks), 10.0, torch.block_diag(*weight), 500, apart
    )
    alone = [gradient_in_cost(blocks[k], 10.0, weight[k], 500) / 2 for k in range(2)]
    accuracy = {torch.float32: 1e-4, torch.float64: 1e-10}[dtype]
    for k in range(2):
        assert_near(gradient[6 * k : 6 * k + 6, 6 * k : 6 * k + 6], alone[k], accuracy)


def test_problems_of_a_batch_are_solved_each_by_itself():
    costs = torch.stack([random(6, 6), hard_cost(6, 6), torch.zeros(6, 6)]).reshape(3, 1, 6, 6)
    weight = random(3, 1, 6, 6, seed=7)
    together = gradient_in_cost(costs, 20.0, weight, 3000)
    for k in range(3):
        alone = gradient_in_cost(costs[k, 0], 20.0, weight[k, 0], 3000)
        assert_near(together[k, 0], alone, 1e-10)


# properties


@pytest.mark.parametrize("dtype, accuracy", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_gradient_moves_no_row_and_no_column(dtype, accuracy):
    """The marginals are met whatever the cost, so rows and columns of the gradient sum to zero."""
    plan = sinkhorn(hard_cost(40, 30).to(dtype), 20.0, 3000).plan
    left = residue(plan, random(40, 30, seed=8, dtype=dtype))
    for dim in (0, 1):
        assert left.sum(dim).abs().max() <= accuracy * left.abs().sum(dim).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_additive_has_no_gradient_and_takes_no_steps(dtype):
    plan = sinkhorn(random(7, 5, dtype=dtype), 20.0, 500).plan
    rows, columns = random(7, 1, seed=9, dtype=dtype), random(5, seed=10, dtype=dtype)
    for gradient in (torch.full_like(plan, 300.0), 100 + 0 * plan, torch.zeros_like(plan)):
        assert solve_adjoint(plan, gradient).steps == 0
    left = residue(plan, rows + columns)
    assert left.abs().max() <= 20 * torch.finfo(dtype).eps * plan.max()


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_the_scale_of_the_gradient_does_not_matter_in_float32(scale):
    """Squares of it leave the type."""
    plan = sinkhorn(random(7, 5, dtype=torch.float32), 20.0, 500).plan
    gradient = random(7, 5, seed=11, dtype=torch.float32)
    assert_near(residue(plan, scale * gradient) / scale, residue(plan, gradient), 1e-5)


# accuracy and cost


@pytest.mark.parametrize("lam", [10.0, 50.0])
@pytest.mark.parametrize("cost", [random(64, 64), hard_cost(64, 64), hard_cost(100, 128, 1, 30.0)], ids=["random", "hard", "oblong"])  # fmt: skip
def test_float32_is_within_a_ten_thousandth_of_float64(cost, lam):
    weight = random(*cost.shape, seed=12)
    expected = gradient_in_cost(cost, lam, weight, 5000)
    assert_near(gradient_in_cost(cost.float(), lam, weight.float(), 5000), expected, 1e-4)


@pytest.mark.parametrize("lam", [10.0, 20.0])
def test_it_takes_fewer_steps_than_sinkhorn_takes_iterations(lam):
    cost = hard_cost(64, 64)
    for dtype, tol in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        plan, iterations, _ = sinkhorn_torch.solve(
            cost.to(dtype), lam, 20_000, tol
        )  # not accelerated
        steps = solve_adjoint(plan, random(64, 64, seed=13, dtype=dtype)).steps
        assert 0 < steps <= iterations.item() / 2


def test_memory_is_that_of_one_matrix_beside_plan_and_gradient(tmp_path):
    n = 500
    cost, weight = random(n, n).requires_grad_(), random(n, n, seed=14)
    plan = sinkhorn(cost, 10.0, 60).plan
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        ExactPlan.apply(cost, plan, 10.0).backward(weight)
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    held = [event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]"]
    assert n * n * 8 <= max(held) <= 1.2 * n * n * 8


def test_too_few_steps_are_told_with_their_residual(monkeypatch):
    plan, gradient = sinkhorn(hard_cost(30, 30), 20.0, 2000).plan, random(30, 30, seed=15)
    monkeypatch.setattr(implicit, "STEPS", 3)
    with pytest.warns(UserWarning, match=r"3 steps left a residual of 0\.\d+, above 1e-12"):
        solve_adjoint(plan, gradient)


# torch


def test_the_value_is_the_plan_and_nothing_is_changed_in_place():
    cost, weight = random(4, 3).requires_grad_(), random(4, 3, seed=16)
    plan = sinkhorn(cost, 5.0, 200).plan
    kept = plan.clone(), weight.clone()
    value = ExactPlan.apply(cost, plan, 5.0)
    value.backward(weight)
    assert torch.equal(value, kept[0]) and torch.equal(plan, kept[0])
    assert torch.equal(weight, kept[1]) and not plan.requires_grad


def test_a_second_derivative_is_refused():
    cost = random(4, 3).requires_grad_()
    plan = ExactPlan.apply(cost, sinkhorn(cost, 5.0, 200).plan, 5.0)
    (first,) = torch.autograd.grad((plan * cost).sum(), cost, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_backward_pass_under_autocast_changes_nothing():
    cost, weight = random(16, 16).float(), random(16, 16, seed=17).float()
    expected = gradient_in_cost(cost, 10.0, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(gradient_in_cost(cost, 10.0, weight), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_gradient():
    cost, weight = hard_cost(64, 64).float(), random(64, 64, seed=18).float()
    there = gradient_in_cost(cost.cuda(), 20.0, weight.cuda())
    assert_near(there.cpu(), gradient_in_cost(cost, 20.0, weight), 1e-4)
