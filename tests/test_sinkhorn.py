"""Transport plans against the definition, written as loops over decimals so that exp(-1e6) is still a number."""

import importlib
import warnings
from decimal import Decimal
from itertools import islice

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from bwot import sinkhorn_torch
from bwot.sinkhorn import check_settings, sinkhorn
from bwot.sinkhorn_torch import KERNEL_RANGE

bwot_sinkhorn = importlib.import_module("bwot.sinkhorn")  # bwot.sinkhorn is the function
HALF = [torch.float16, torch.bfloat16]
LAMBDAS = [1e-3, 0.01, 0.1, 1.0, 5.0, 10.0, 20.0, 50.0, 200.0, 1e3, 1e4]


@pytest.fixture
def unchecked():
    """jaxtyping's test hook off, so that our own errors about shapes and types come through."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def random_cost(*shape, seed=0, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.rand(*shape, generator=generator, dtype=torch.float64)).to(dtype)


def scalings_by_definition(cost, lam, row=None, column=None, mask=None):
    """u, K and v after each iteration, for ever.

    paper.md 1.2: K = exp(-lam C); v = q / K^T u, then u = p / K v, from u = 1; T = diag(u) K diag(v). No mass where a
    marginal is 0; by default the marginals are uniform over the rows and columns that have an allowed pair.
    """
    n, m = cost.shape
    allowed = [[mask is None or bool(mask[i, j]) for j in range(m)] for i in range(n)]
    if row is None:
        reached = [any(allowed[i]) for i in range(n)]
        row = [reached[i] / sum(reached) for i in range(n)]
    if column is None:
        reached = [any(allowed[i][j] for i in range(n)) for j in range(m)]
        column = [reached[j] / sum(reached) for j in range(m)]
    p, q = [Decimal(float(x)) for x in row], [Decimal(float(x)) for x in column]
    zero = Decimal(0)
    kernel = [[zero] * m for i in range(n)]
    for i in range(n):
        for j in range(m):
            if allowed[i][j]:
                kernel[i][j] = (-Decimal(lam) * Decimal(cost[i, j].item())).exp()
    u = [Decimal(1) if p[i] else zero for i in range(n)]
    while True:
        v = [q[j] / sum(kernel[i][j] * u[i] for i in range(n)) if q[j] else zero for j in range(m)]
        u = [p[i] / sum(kernel[i][j] * v[j] for j in range(m)) if p[i] else zero for i in range(n)]
        yield u, kernel, v


def diagonal_scaling(u, kernel, v):
    plan = [[float(u[i] * kernel[i][j] * v[j]) for j in range(len(v))] for i in range(len(u))]
    return torch.tensor(plan, dtype=torch.float64)


def plan_by_definition(cost, lam, iterations, row=None, column=None, mask=None):
    every = scalings_by_definition(cost, lam, row, column, mask)
    return diagonal_scaling(*next(islice(every, iterations - 1, None)))


def marginal_error_by_definition(plan, row, column):
    """The larger, over the two sides, of the sum of |sum - marginal|."""
    n, m = plan.shape
    rows = sum(abs(sum(plan[i, j].item() for j in range(m)) - float(row[i])) for i in range(n))
    columns = sum(
        abs(sum(plan[i, j].item() for i in range(n)) - float(column[j])) for j in range(m)
    )
    return max(rows, columns)


def uniform(n):
    return [1 / n] * n


def total_difference(plan, expected):
    return (plan.double() - expected).abs().sum().item()


# against the definition


@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("n, m", [(1, 1), (1, 6), (5, 1), (5, 5), (4, 7), (7, 3)])
def test_plan_matches_the_definition_in_float64(n, m, lam):
    cost = random_cost(n, m, seed=n + 10 * m)
    expected = plan_by_definition(cost, lam, 8)
    assert total_difference(sinkhorn(cost, lam, 8).plan, expected) <= 1e-9


@pytest.mark.parametrize("iterations", [1, 2, 3, 50])
@pytest.mark.parametrize("lam", [2.0, 1e3])
def test_every_iteration_updates_v_then_u_from_a_constant(lam, iterations):
    cost = random_cost(4, 6, seed=3)
    result = sinkhorn(cost, lam, iterations)
    assert total_difference(result.plan, plan_by_definition(cost, lam, iterations)) <= 1e-9
    assert result.iterations == iterations


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("masked", [False, True])
def test_float32_stays_close_to_the_definition_while_it_can(masked, lam, scale):
    cost = random_cost(6, 5, seed=1, scale=scale, dtype=torch.float32)
    mask = ~torch.eye(6, 5, dtype=torch.bool) if masked else None
    plan = sinkhorn(cost, lam, 30, mask=mask).plan
    assert plan.dtype == torch.float32 and plan.isfinite().all() and (plan >= 0).all()
    torch.testing.assert_close(plan.sum(-1), torch.full((6,), 1 / 6), rtol=1e-6, atol=1e-7)
    if lam * scale <= 200:
        difference = total_difference(plan, plan_by_definition(cost, lam, 30, mask=mask))
        assert difference <= 1e-2 and difference <= 1e-6 * max(1, lam * scale)


@pytest.mark.parametrize("lam", [0.01, 10.0, 300.0])
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_the_float32_plan_of_the_same_cost(dtype, lam):
    cost = random_cost(2, 6, 5, dtype=dtype)
    result, wide = sinkhorn(cost, lam), sinkhorn(cost.float(), lam)
    assert result.plan.dtype == result.marginal_error.dtype == torch.float32
    torch.testing.assert_close(result.plan, wide.plan, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_domains_agree_where_they_meet(dtype):
    """Just below KERNEL_RANGE the kernel domain runs, just above it the log domain: the plan must not jump."""
    cost = random_cost(6, 8, seed=4, dtype=dtype)
    crossing = KERNEL_RANGE[dtype] / (cost.max() - cost.min()).item()
    below, above = (
        sinkhorn(cost, crossing * (1 - 1e-6)).plan,
        sinkhorn(cost, crossing * (1 + 1e-6)).plan,
    )
    assert total_difference(below, above.double()) <= 1e-3
    for lam in (crossing * (1 - 1e-6), crossing * (1 + 1e-6)):
        expected = plan_by_definition(cost, lam, 50)
        assert total_difference(sinkhorn(cost, lam).plan, expected) <= {torch.float32: 1e-4}.get(
            dtype, 1e-9
        )


@pytest.mark.parametrize("lam", [0.5, 3.0, 39.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mask_of_everything_gives_the_plan_without_a_mask(dtype, lam):
    """Without a mask the kernel domain runs here, with one the log domain."""
    cost = random_cost(5, 7, seed=5, dtype=dtype)
    everything = torch.ones(5, 7, dtype=torch.bool)
    plain, masked = sinkhorn(cost, lam), sinkhorn(cost, lam, mask=everything)
    assert total_difference(plain.plan, masked.plan.double()) <= {torch.float32: 1e-5}.get(
        dtype, 1e-12
    )


@pytest.mark.parametrize("lam", [0.1, 5.0, 400.0])
def test_batch_dimensions_are_separate_problems(lam):
    cost = random_cost(2, 3, 4, 5, seed=6)
    result = sinkhorn(cost, lam, 20)
    assert result.plan.shape == (2, 3, 4, 5)
    assert result.iterations.shape == result.marginal_error.shape == (2, 3)
    for a in range(2):
        for b in range(3):
            expected = plan_by_definition(cost[a, b], lam, 20)
            assert total_difference(result.plan[a, b], expected) <= 1e-9


@pytest.mark.parametrize("lam", [3.0, 20.0, 700.0])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (6, 2)])
def test_costs_may_be_negative_and_large(shape, lam):
    cost = random_cost(*shape, seed=7, scale=100.0) - 150.0
    assert total_difference(sinkhorn(cost, lam, 10).plan, plan_by_definition(cost, lam, 10)) <= 1e-8


@pytest.mark.parametrize("lam", [0.5, 10.0, 300.0])
@pytest.mark.parametrize("masked", [False, True])
def test_given_marginals_match_the_definition(masked, lam):
    row = torch.tensor([0.5, 0.0, 0.3, 0.2], dtype=torch.float64)
    column = torch.tensor([0.1, 0.2, 0.3, 0.0, 0.4], dtype=torch.float64)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[0, 1] = mask[1] = mask[3, 4] = False
    mask = mask if masked else None
    cost = random_cost(4, 5, seed=8)
    result = sinkhorn(cost, lam, 40, mask=mask, row_marginal=row, column_marginal=column)
    expected = plan_by_definition(cost, lam, 40, row, column, mask)
    assert total_difference(result.plan, expected) <= 1e-9
    assert (result.plan[1] == 0).all() and (result.plan[:, 3] == 0).all()
    error = marginal_error_by_definition(expected, row, column)
    assert result.marginal_error.item() == pytest.approx(error, rel=1e-6, abs=1e-9)


def test_marginals_of_a_batch_belong_to_their_problems():
    rows = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    cost = random_cost(2, 2, 3)
    plan = sinkhorn(cost, 4.0, 30, row_marginal=rows).plan
    for b in range(2):
        assert total_difference(plan[b], plan_by_definition(cost[b], 4.0, 30, rows[b])) <= 1e-10


def test_pot_gives_the_same_plan():
    ot = pytest.importorskip("ot", reason="POT is a second opinion only")
    cost = random_cost(7, 9, seed=9)
    expected = ot.sinkhorn(
        uniform(7), uniform(9), cost.numpy(), reg=1 / 8.0, stopThr=1e-14, numItermax=5000
    )
    assert total_difference(sinkhorn(cost, 8.0, 5000).plan, torch.from_numpy(expected)) <= 1e-9


# properties


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 9),
    m=st.integers(1, 9),
    lam=st.floats(1e-3, 1e4),
    scale=st.floats(0, 100),
    iterations=st.integers(1, 60),
    dtype=st.sampled_from([*HALF, torch.float32, torch.float64]),
    excluded=st.sampled_from([0.0, 0.3, 0.8]),
)
def test_a_plan_is_finite_with_exact_rows_and_an_honest_error(
    seed, n, m, lam, scale, iterations, dtype, excluded
):
    cost = random_cost(n, m, seed=seed, scale=scale, dtype=dtype)
    mask = random_cost(n, m, seed=seed + 1) >= excluded
    mask[0, 0] = True
    result = sinkhorn(cost, lam, iterations, mask=mask if excluded else None)
    plan = result.plan.double()
    assert plan.isfinite().all() and (plan >= 0).all() and (plan[~mask] == 0).all()
    reached_rows, reached_columns = mask.any(1).double(), mask.any(0).double()
    row, column = reached_rows / reached_rows.sum(), reached_columns / reached_columns.sum()
    torch.testing.assert_close(plan.sum(1), row, rtol=1e-5, atol=1e-7)
    assert plan.sum().item() == pytest.approx(1, abs=1e-5)
    honest = marginal_error_by_definition(plan, row, column)
    assert result.marginal_error.item() == pytest.approx(honest, rel=1e-4, abs=2e-6)


@pytest.mark.parametrize("lam, shift", [(5.0, -3.0), (5.0, 1e3), (500.0, 40.0), (0.01, -1e4)])
def test_a_constant_added_to_the_cost_changes_nothing(lam, shift):
    cost = random_cost(2, 5, 4, seed=10)
    torch.testing.assert_close(
        sinkhorn(cost + shift, lam).plan, sinkhorn(cost, lam).plan, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("lam", [5.0, 400.0])
@pytest.mark.parametrize("masked", [False, True])
def test_each_problem_of_a_batch_has_its_own_zero_of_the_cost(masked, lam):
    """Sixteenths, so that adding 2^14 is exact in float32: the plan must not lose a bit by it."""
    cost = (16 * random_cost(5, 5, seed=28, dtype=torch.float32)).round() / 16
    costs = torch.stack([cost, cost + 2**14, cost - 2**14])
    mask = (~torch.eye(5, dtype=torch.bool)).expand(3, 5, 5) if masked else None
    plans = sinkhorn(costs, lam, mask=mask).plan
    assert torch.equal(plans[1], plans[0]) and torch.equal(plans[2], plans[0])


@pytest.mark.parametrize("lam", [5.0, 400.0])
@pytest.mark.parametrize("masked", [False, True])
def test_permuted_rows_and_columns_permute_the_plan(masked, lam):
    cost, mask = random_cost(6, 5, seed=11), random_cost(6, 5, seed=12) > 0.2
    rows, columns = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([4, 2, 0, 1, 3])
    plan = sinkhorn(cost, lam, mask=mask if masked else None).plan
    moved = sinkhorn(
        cost[rows][:, columns], lam, mask=mask[rows][:, columns] if masked else None
    ).plan
    torch.testing.assert_close(moved, plan[rows][:, columns], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("lam", [5.0, 60.0])
def test_at_convergence_the_transposed_cost_gives_the_transposed_plan(lam):
    cost = random_cost(5, 7, seed=13)
    there, back = sinkhorn(cost, lam, 20_000, 1e-12), sinkhorn(cost.mT, lam, 20_000, 1e-12)
    torch.testing.assert_close(back.plan, there.plan.mT, rtol=0, atol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
def test_small_lam_gives_the_uniform_plan(masked):
    cost = random_cost(5, 5, seed=14)
    mask = ~torch.eye(5, dtype=torch.bool) if masked else None
    expected = mask / 20 if masked else torch.full((5, 5), 1 / 25)
    plan = sinkhorn(cost, 1e-6, mask=mask).plan
    torch.testing.assert_close(plan, expected.double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_large_lam_finds_the_assignment(seed):
    cost = random_cost(6, 6, seed=seed)
    plan = sinkhorn(cost, 2000.0, 1000).plan
    rows, columns = linear_sum_assignment(cost.numpy())
    expected = torch.zeros(6, 6, dtype=torch.float64)
    expected[rows, columns] = 1 / 6
    torch.testing.assert_close(plan, expected, rtol=0, atol=1e-3)


def test_equal_costs_give_the_uniform_plan_at_every_lam():
    for lam in LAMBDAS:
        plan = sinkhorn(torch.full((3, 4), 7.0), lam).plan
        torch.testing.assert_close(plan, torch.full((3, 4), 1 / 12), rtol=1e-6, atol=0)


# stopping


@pytest.mark.parametrize("lam", [5.0, 60.0, 400.0])
@pytest.mark.parametrize("masked", [False, True])
def test_tol_stops_at_the_first_iteration_that_reaches_it(masked, lam):
    cost = random_cost(5, 5, seed=15)
    mask = ~torch.eye(5, dtype=torch.bool) if masked else None
    result = sinkhorn(cost, lam, 1000, 0.02, mask=mask)
    taken, error = 0, 1.0
    every = scalings_by_definition(cost, lam, mask=mask)
    while error > 0.02:
        taken, expected = taken + 1, diagonal_scaling(*next(every))
        error = marginal_error_by_definition(expected, uniform(5), uniform(5))
    assert result.iterations == taken < 1000
    assert total_difference(result.plan, expected) <= 1e-8
    assert result.marginal_error <= 0.02


@pytest.mark.parametrize("lams", [(2.0, 30.0, 10.0), (50.0, 100.0, 60.0)])
def test_problems_of_a_batch_stop_each_by_itself(lams):
    """Their costs are scaled by lam beforehand, so that they differ in how long they take."""
    cost = random_cost(3, 6, 6, seed=16) * torch.tensor(lams)[:, None, None]
    together = sinkhorn(cost, 1.0, 5000, 0.01)
    assert len(set(together.iterations.tolist())) == 3
    for b in range(3):
        alone = sinkhorn(cost[b], 1.0, 5000, 0.01)
        assert alone.iterations == together.iterations[b]
        torch.testing.assert_close(together.plan[b], alone.plan, rtol=1e-9, atol=1e-13)


def test_a_plan_does_not_depend_on_its_neighbours_even_where_they_need_the_log_domain():
    easy, hard = random_cost(5, 5, seed=17), random_cost(5, 5, seed=18, scale=1e4)
    alone, beside = (
        sinkhorn(easy, 10.0, 7).plan,
        sinkhorn(torch.stack([easy, hard]), 10.0, 7).plan[0],
    )
    torch.testing.assert_close(beside, alone, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("shape", [(6, 6), (2, 6, 6)])
def test_a_tol_that_is_not_reached_warns_with_figures(shape):
    with pytest.warns(
        UserWarning, match=r"after 3 iterations with marginal_error \S+, above tol 1e-09"
    ) as caught:
        result = sinkhorn(random_cost(*shape), 50.0, 3, 1e-9)
    assert f"marginal_error {result.marginal_error.max().item():.2g}," in str(caught[0].message)
    assert (result.iterations == 3).all()


@pytest.mark.parametrize("lam", [5.0, 10.0])
def test_a_tol_that_stopped_the_iterations_holds_on_the_plan_and_does_not_warn(lam):
    """Rounding in float32 must not lift the error of the plan above a tol that the iterations had reached."""
    costs = random_cost(200, 5, 5, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = sinkhorn(costs, lam, 2000, 1e-5)
    assert (result.iterations < 2000).all() and (result.marginal_error <= 1e-5).all()


# masks


@pytest.mark.parametrize("lam", [0.1, 10.0, 1e3])
@pytest.mark.parametrize("n", [2, 3, 6])
def test_excluded_self_pairs_match_the_definition(n, lam):
    cost, mask = random_cost(n, n, seed=n), ~torch.eye(n, dtype=torch.bool)
    plan = sinkhorn(cost, lam, 30, mask=mask).plan
    assert total_difference(plan, plan_by_definition(cost, lam, 30, mask=mask)) <= 1e-9
    assert (plan.diagonal() == 0).all()


@pytest.mark.parametrize("lam", [0.1, 10.0, 1e3])
@pytest.mark.parametrize("seed", range(4))
def test_random_masks_match_the_definition(seed, lam):
    cost, mask = random_cost(6, 5, seed=seed), random_cost(6, 5, seed=100 + seed) > 0.5
    mask[2], mask[:, 3] = False, False
    mask[0, 0] = True
    result = sinkhorn(cost, lam, 15, mask=mask)
    assert total_difference(result.plan, plan_by_definition(cost, lam, 15, mask=mask)) <= 1e-9
    assert (result.plan[2] == 0).all() and (result.plan[:, 3] == 0).all()
    assert (result.plan[~mask] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("iterations", [50, 500])
def test_an_infeasible_mask_gives_a_finite_plan_and_says_so(iterations, dtype):
    """Rows 0 and 1 share their only partner, column 0, which must take 2/3 and may only take 1/3."""
    mask = torch.tensor([[True, False, False], [True, False, False], [True, True, True]])
    result = sinkhorn(random_cost(3, 3, seed=20, dtype=dtype), 10.0, iterations, mask=mask)
    assert result.plan.isfinite().all()
    torch.testing.assert_close(result.plan[:2, 0], torch.full((2,), 1 / 3, dtype=dtype))
    assert result.marginal_error.item() == pytest.approx(2 / 3, abs=1e-3)


def test_masks_of_a_batch_belong_to_their_problems():
    cost, mask = random_cost(3, 4, 4, seed=21), random_cost(3, 4, 4, seed=22) > 0.3
    plan = sinkhorn(cost, 6.0, 25, mask=mask).plan
    for b in range(3):
        assert (
            total_difference(plan[b], plan_by_definition(cost[b], 6.0, 25, mask=mask[b])) <= 1e-10
        )


@pytest.mark.parametrize("value", [-1e8, 1e30, float("inf"), float("-inf"), float("nan")])
def test_what_stands_at_excluded_pairs_plays_no_part(value):
    cost, mask = random_cost(2, 4, 4, seed=23, dtype=torch.float32), ~torch.eye(4, dtype=torch.bool)
    expected = sinkhorn(cost, 10.0, mask=mask.expand(2, 4, 4)).plan
    cost.diagonal(dim1=-2, dim2=-1).fill_(value)
    assert torch.equal(sinkhorn(cost, 10.0, mask=mask.expand(2, 4, 4)).plan, expected)


# errors


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"lam": 0.0}, "lam must be positive and finite, not 0.0"),
        ({"lam": -2.0}, "lam must be positive and finite, not -2.0"),
        ({"lam": float("nan")}, "lam must be positive and finite, not nan"),
        ({"lam": float("inf")}, "lam must be positive and finite, not inf"),
        ({"iterations": 0}, "iterations must be positive and finite, not 0"),
        ({"iterations": 2.5}, "iterations must be an integer, not 2.5"),
        ({"iterations": 50.0}, "iterations must be an integer, not 50.0"),
        ({"tol": 0.0}, "tol must be positive and finite, not 0.0"),
        ({"tol": -1e-3}, "tol must be positive and finite, not -0.001"),
        ({"tol": float("nan")}, "tol must be positive and finite, not nan"),
        ({"mask": torch.ones(3, 2, dtype=torch.bool)}, r"mask must be boolean of shape \(2, 3\), not torch.bool of \(3, 2\)"),
        ({"mask": torch.ones(2, 3)}, r"mask must be boolean of shape \(2, 3\), not torch.float32 of \(2, 3\)"),
        ({"mask": torch.zeros(2, 3, dtype=torch.bool)}, "mask must allow at least one pair; it excludes all of them"),
        ({"row_marginal": torch.ones(3) / 3}, r"row_marginal must have shape \(2,\), not \(3,\)"),
        ({"column_marginal": torch.ones(2) / 2}, r"column_marginal must have shape \(3,\), not \(2,\)"),
        ({"row_marginal": torch.tensor([0.5, 0.7])}, "row_marginal must be non-negative and sum to 1.* off by 0.2"),
        ({"column_marginal": torch.tensor([0.8, -0.3, 0.5])}, "column_marginal must be non-negative.* smallest entry is -0.3"),
        ({"row_marginal": torch.tensor([float("nan"), 1.0])}, "row_marginal must be non-negative"),
        (
            {"mask": torch.tensor([[True] * 3, [False] * 3]), "row_marginal": torch.tensor([0.5, 0.5])},
            "row_marginal puts mass on a row whose pairs are all excluded",
        ),
        (
            {"mask": torch.tensor([[True, True, False]] * 2), "column_marginal": torch.ones(3) / 3},
            "column_marginal puts mass on a column whose pairs are all excluded",
        ),
        (
            {
                "mask": torch.tensor([[True, True, True], [True, False, False]]),
                "column_marginal": torch.tensor([0.0, 0.5, 0.5]),
            },
            "row_marginal puts mass on a row whose pairs are all excluded or without mass",
        ),
    ],
)  # fmt: skip
def test_bad_settings_are_named(settings, message, unchecked):
    with pytest.raises(ValueError, match=message):
        sinkhorn(torch.zeros(2, 3), **settings)


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (3, 0), (0, 3, 3)])
def test_a_cost_of_wrong_shape_is_named(shape, unchecked):
    expected = r"cost must have shape \(\*batch, n, m\) with no empty dimension, not "
    with pytest.raises(
        ValueError, match=expected + str(shape).replace("(", r"\(").replace(")", r"\)")
    ):
        sinkhorn(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("masked", [False, True])
def test_a_cost_that_is_not_finite_is_counted(masked, value):
    cost = torch.zeros(2, 3)
    cost[0, 1] = cost[1, 2] = value
    mask = torch.tensor([[False, True, True], [True, True, True]]) if masked else None
    with pytest.raises(ValueError, match="cost must be finite; 2 of 6 entries are not"):
        sinkhorn(cost, mask=mask)


def test_a_lam_that_overflows_with_the_cost_is_named():
    with pytest.raises(ValueError, match="lam 1e\\+30 is too large"):
        sinkhorn(torch.tensor([[0.0, 1e20]]), lam=1e30)


def test_one_problem_without_pairs_in_a_batch_is_an_error():
    mask = torch.ones(2, 3, 3, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="mask must allow at least one pair"):
        sinkhorn(torch.zeros(2, 3, 3), mask=mask)


def test_other_settings_are_checked_by_their_name():
    check_settings(1.0, 1, None, gamma=2.0)
    with pytest.raises(ValueError, match="gamma must be positive and finite, not -1.0"):
        check_settings(1.0, 1, None, gamma=-1.0)


# torch


@pytest.mark.parametrize("lam", [5.0, 500.0])
@pytest.mark.parametrize("masked", [False, True])
def test_autocast_changes_nothing(masked, lam):
    cost = random_cost(6, 6, seed=24, dtype=torch.float32)
    mask = ~torch.eye(6, dtype=torch.bool) if masked else None
    expected = sinkhorn(cost, lam, mask=mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = sinkhorn(cost, lam, mask=mask)
    assert result.plan.dtype == result.marginal_error.dtype == torch.float32
    assert torch.equal(result.plan, expected.plan)


@pytest.mark.parametrize("lam", [5.0, 500.0])
def test_a_plan_carries_no_gradient_and_leaves_its_input_alone(lam):
    cost = random_cost(3, 3).requires_grad_()
    before, row = (
        cost.detach().clone(),
        torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True),
    )
    result = sinkhorn(cost, lam, row_marginal=row)
    assert not result.plan.requires_grad and not result.marginal_error.requires_grad
    assert torch.equal(cost.detach(), before)


@pytest.mark.parametrize("lam", [5.0, 500.0])
def test_strides_do_not_matter(lam):
    cost = random_cost(5, 4, 2, seed=25)
    torch.testing.assert_close(
        sinkhorn(cost.permute(2, 1, 0), lam).plan,
        sinkhorn(cost.permute(2, 1, 0).contiguous(), lam).plan,
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("lam", [5.0, 500.0])
def test_cuda_gives_the_same_plan(lam):
    cost, mask = random_cost(6, 6, dtype=torch.float32), ~torch.eye(6, dtype=torch.bool)
    for given_mask in (None, mask):
        here = sinkhorn(cost, lam, mask=given_mask).plan
        there = sinkhorn(cost.cuda(), lam, mask=None if given_mask is None else mask.cuda()).plan
        torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-6)


# on a GPU


def test_a_batch_goes_to_the_gpu_flat_with_its_marginals_and_comes_back_in_shape(monkeypatch):
    """The kernels themselves are tested in test_gpu.py; here plain torch stands in for them."""

    class Kernels:
        @staticmethod
        def solve(cost, lam, iterations, tol, mask, row, column):
            assert cost.shape == mask.shape == (6, 4, 5) and row.shape == (6, 4)
            plan, taken, error = sinkhorn_torch.solve(cost, lam, iterations, tol, row, column)
            return plan, taken, error, torch.zeros(6, dtype=torch.int32)

    monkeypatch.setattr(bwot_sinkhorn, "_gpu_solver", lambda: Kernels)
    cost, mask = random_cost(2, 3, 4, 5, seed=40), random_cost(2, 3, 4, 5, seed=41) > 0.2
    excluded = cost.masked_fill(~mask, torch.inf)
    plan, taken, error = bwot_sinkhorn._on_gpu(excluded, 4.0, 20, None, mask, None, None)
    expected = sinkhorn(cost, 4.0, 20, mask=mask)
    torch.testing.assert_close(plan, expected.plan)
    assert taken.shape == error.shape == (2, 3) and (taken == 20).all()
    torch.testing.assert_close(error, expected.marginal_error, rtol=1e-6, atol=1e-12)


# plain torch, where numba is absent


@pytest.mark.parametrize("lam", [0.01, 10.0, 60.0, 500.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_without_numba_plain_torch_gives_the_same_plan(monkeypatch, masked, dtype, lam):
    cost, mask = random_cost(2, 7, 6, seed=42, dtype=dtype), random_cost(2, 7, 6, seed=43) > 0.2
    given = mask if masked else None
    compiled = sinkhorn(cost, lam, 30, mask=given)
    monkeypatch.setattr(bwot_sinkhorn, "_solver", lambda: None)
    plain = sinkhorn(cost, lam, 30, mask=given)
    assert total_difference(plain.plan.double(), compiled.plan.double()) <= (
        1e-12 if dtype is torch.float64 else 2e-5
    )
    torch.testing.assert_close(plain.marginal_error, compiled.marginal_error, rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match="cost must be finite; 1 of"):
        sinkhorn(
            cost.index_put(tuple(torch.tensor([0, 0, 0])[:, None]), cost.new_tensor(torch.nan))
        )


@pytest.mark.parametrize("lam, most", [(50.0, 120), (100.0, 200)])
def test_acceleration_reaches_a_tolerance_in_a_fraction_of_the_iterations(lam, most, monkeypatch):
    points = torch.nn.functional.normalize(
        torch.randn(2, 128, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        dim=-1,
    )
    cost = torch.cdist(*points).square()
    cost /= cost.max()
    fast = sinkhorn(cost, lam, 5000, 1e-6)
    assert fast.marginal_error <= 1e-6 and fast.iterations <= most
    monkeypatch.setattr(bwot_sinkhorn, "_solver", lambda: None)
    plain = sinkhorn(cost, lam, 5000, 1e-6)
    assert fast.iterations < 0.6 * plain.iterations
    assert total_difference(fast.plan, plain.plan) <= 1e-4
