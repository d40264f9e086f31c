"""The Triton kernels against plain torch, by Triton's interpreter on a CPU; and whether they compile for a GPU.

Triton decides at its import whether it interprets or compiles, so each of the two has a process of its own.
"""

import importlib.util
import os
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from waiting import NoWaiting

from bwot import sinkhorn_torch
from bwot.sinkhorn import Plan

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton, Linux only, is not installed"
)
ROOT = Path(__file__).resolve().parent.parent
WAYS = {"by problem": {}, "by rows": {"TILE_BYTES": 256, "VISIT_BYTES": 64, "PROGRAMS": 4}}
"""Constants of the module that send the small problems here one way or the other, in groups of several visits."""
DTYPES = ["float32", "float64"]


def start(interpret):
    """In a new process: its environment, and types checked as the tests of other modules have them checked."""
    os.environ["TRITON_INTERPRET"] = interpret
    warnings.simplefilter("ignore")  # NumPy's, for log(0) and what padding computes
    with jaxtyping.install_import_hook("bwot", "beartype.beartype"):
        importlib.import_module("bwot.gpu.solver")


def interpreted(way, cost, lam, iterations, tol, mask, row, column):
    """What ``solve`` returns, in NumPy; to be called in a process that interprets."""
    module = sys.modules["bwot.gpu.solver"]
    before = {name: getattr(module, name) for name in WAYS[way]}
    given = [None if x is None else torch.from_numpy(x) for x in (mask, row, column)]
    vars(module).update(WAYS[way])
    with NoWaiting():
        results = module.solve(torch.from_numpy(cost), lam, iterations, tol, *given)
    vars(module).update(before)
    return [result.numpy() for result in results]


def compiled(name, dtype, **sizes):
    """Compile one kernel for compute capability 9.0; to be called in a process that does not interpret.

    Triton makes a constant of a mask that is None and of an integer that is 1, so these may be among the sizes.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(sys.modules["bwot.gpu.kernels"], name)
    scalars = {
        "scale": "fp64",
        "threshold": "fp64",
        "mask": "*u8",
        "taken": "*i64",
        "status": "*i32",
    }
    scalars |= dict.fromkeys(("n", "m", "iterations", "it", "groups", "chunks", "visits"), "i32")
    short = {"float32": "*fp32", "float64": "*fp64"}[dtype]
    types = {
        p.name: "constexpr" if p.name in sizes else scalars.get(p.name, short)
        for p in kernel.params
    }
    source = ASTSource(kernel, types, {n: v for n, v in sizes.items() if n in types})
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1}).asm["ptx"]  # fmt: skip


def process(interpret):
    return ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=start, initargs=(interpret,)
    )


@pytest.fixture(scope="module")
def solve():
    """``solve`` one way or the other, tensors in and out."""

    def call(way, cost, lam, iterations, tol=None, mask=None, row=None, column=None):
        b, n, m = cost.shape
        row = torch.full((b, n), 1 / n, dtype=cost.dtype) if row is None else row
        column = torch.full((b, m), 1 / m, dtype=cost.dtype) if column is None else column
        given = [None if x is None else x.numpy() for x in (mask, row, column)]
        results = pool.submit(interpreted, way, cost.numpy(), lam, iterations, tol, *given).result()
        return [torch.from_numpy(result) for result in results]

    with process("1") as pool:
        yield call


def problems(b, n, m, dtype="float64", seed=0):
    """Costs in [0, 1], and marginals of which the largest is up to ten times the smallest."""
    generator = np.random.default_rng(seed)
    cost, row, column = (
        generator.random((b, n, m)),
        generator.uniform(0.1, 1, (b, n)),
        generator.uniform(0.1, 1, (b, m)),
    )
    row, column = row / row.sum(-1, keepdims=True), column / column.sum(-1, keepdims=True)
    return [torch.from_numpy(x.astype(dtype)) for x in (cost, row, column)]


def reference(cost, lam, iterations, tol=None, mask=None, row=None, column=None):
    """Plain torch in float64, whose iterations are not accelerated either."""
    cost = cost.double() if mask is None else cost.double().masked_fill(~mask, torch.inf)
    row, column = (each if each is None else each.double() for each in (row, column))
    return Plan(*sinkhorn_torch.solve(cost, lam, iterations, tol, row, column))


def assert_same(results, expected, lam=10.0, roundings=4):
    """Equal up to the rounding of ``lam cost`` in the type of the results."""
    plan, taken, error, status = results
    bound = roundings * torch.finfo(plan.dtype).eps * (1 + lam / 10)
    assert (plan.double() - expected.plan).abs().sum((-1, -2)).max() <= bound
    assert (error.double() - expected.marginal_error).abs().max() <= bound
    assert taken.tolist() == expected.iterations.tolist()
    assert status.tolist() == [0] * len(plan)
    assert (taken.dtype, error.dtype, status.dtype) == (torch.int64, plan.dtype, torch.int32)


def without_diagonal(b, n, m):
    return (~torch.eye(n, m, dtype=torch.bool)).expand(b, n, m).contiguous()


@pytest.mark.parametrize("lam", [1e-3, 10.0, 1e4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", WAYS)
def test_plan_is_that_of_plain_torch(solve, way, dtype, masked, lam):
    cost, row, column = problems(2, 9, 7, dtype)
    given = {"mask": without_diagonal(2, 9, 7) if masked else None, "row": row, "column": column}
    assert_same(solve(way, cost, lam, 3, **given), reference(cost, lam, 3, **given), lam)


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("lam", [10.0, 1e3])
@pytest.mark.parametrize("way", WAYS)
def test_iterations_are_counted_exactly(solve, way, lam, iterations):
    cost, row, column = problems(1, 5, 6, seed=1)
    results = solve(way, cost, lam, iterations, row=row, column=column)
    assert_same(results, reference(cost, lam, iterations, row=row, column=column), lam)


@pytest.mark.parametrize("n, m", [(1, 1), (1, 6), (5, 1), (3, 40), (40, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_shape_is_padded_without_a_trace(solve, dtype, n, m):
    cost, row, column = problems(2, n, m, dtype)
    results = solve("by problem", cost, 10.0, 3, row=row, column=column)
    assert_same(results, reference(cost, 10.0, 3, row=row, column=column))


def test_columns_are_added_up_in_several_parts(solve):
    cost, row, column = problems(1, 5, 40, "float32")
    results = solve("by rows", cost, 5.0, 9, 0.01, row=row, column=column)
    expected = reference(cost, 5.0, 9, 0.01, row=row, column=column)
    assert 1 < expected.iterations < 9
    assert_same(results, expected)


@pytest.mark.parametrize("lam", [20.0, 400.0])
@pytest.mark.parametrize("way", WAYS)
def test_each_problem_stops_at_its_own_tolerance(solve, way, lam):
    cost, row, column = problems(3, 5, 4)
    slope = torch.linspace(0, 1, 5)[:, None] + torch.linspace(0, 1, 4)
    cost[1] = cost[1] * 4 / lam + slope  # as wide a range as that of the first, and soon solved
    cost[2] *= 0.001
    tol = 0.02
    expected = reference(cost, lam, 6, tol, row=row, column=column)
    assert len(set(expected.iterations.tolist())) == 3
    assert_same(solve(way, cost, lam, 6, tol, row=row, column=column), expected, lam)


@pytest.mark.parametrize("iterations", [3, 4])
@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_problem_keeps_its_plan_while_others_go_on(solve, way, iterations):
    cost = problems(2, 5, 4)[0]
    cost[0] *= 0.01
    alone = solve(way, cost[:1], 30.0, 1)
    plan, taken, _, _ = solve(way, cost, 30.0, iterations, 0.05)
    assert taken.tolist() == [1, iterations]
    torch.testing.assert_close(plan[:1], alone[0], rtol=1e-13, atol=0)


@pytest.mark.parametrize("way", WAYS)
def test_rows_without_a_pair_get_no_mass(solve, way):
    cost = problems(1, 5, 4, "float32")[0]
    mask = without_diagonal(1, 5, 4)
    mask[0, 2], mask[0, :, 1] = False, False
    row = torch.tensor([[0.25, 0.25, 0.0, 0.25, 0.25]])
    column = torch.tensor([[0.25, 0.0, 0.5, 0.25]])
    results = solve(way, cost, 10.0, 4, mask=mask, row=row, column=column)
    assert (results[0][~mask] == 0).all()
    assert_same(results, reference(cost, 10.0, 4, mask=mask, row=row, column=column))


@pytest.mark.parametrize("way, iterations", [("by problem", 45), ("by rows", 4)])
def test_an_infeasible_mask_gives_exact_rows_and_an_honest_error(solve, way, iterations):
    # 15 rows share one column: its scaling shrinks 15-fold in each iteration, below any float32 after 45
    cost = problems(1, 16, 16, "float32")[0] * 0.1
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, :, 0], mask[0, 0] = True, True
    plan, taken, error, status = solve(way, cost, 10.0, iterations, mask=mask)
    assert plan.isfinite().all() and status == 0 and taken == iterations
    torch.testing.assert_close(plan.sum(-1), torch.full((1, 16), 1 / 16))
    expected = reference(cost, 10.0, iterations, mask=mask)
    assert expected.marginal_error > 1.7
    assert_same((plan, taken, error, status), expected, roundings=16)


def spoiled(kind):
    """Three problems of which the middle one has no plan."""
    cost, mask = problems(3, 5, 4, "float32")[0], torch.ones(3, 5, 4, dtype=torch.bool)
    values = {"nan": np.nan, "infinite": np.inf, "minus infinite": -np.inf, "overflows": 1e38}
    if kind in values:
        cost[1, 2, 1] = values[kind]
        return cost, None
    mask[{"row": np.s_[1, 3], "column": np.s_[1, :, 2], "nothing": np.s_[1]}[kind]] = False
    return cost, mask


@pytest.mark.parametrize(
    "kind", ["nan", "infinite", "minus infinite", "overflows", "row", "column", "nothing"]
)
@pytest.mark.parametrize("way", WAYS)
def test_a_problem_without_a_plan_is_told_and_leaves_its_neighbours_alone(solve, way, kind):
    cost, mask = spoiled(kind)
    plan, taken, error, status = solve(way, cost, 10.0, 2, mask=mask)
    assert status.tolist() == [0, 1, 0] and taken.tolist() == [2, 0, 2]
    assert plan[1].isnan().all() and error[1].isnan()
    others = [result[::2] for result in (plan, taken, error, status)]
    assert_same(others, reference(cost[::2], 10.0, 2))


@pytest.mark.parametrize("way", WAYS)
def test_what_stands_at_excluded_pairs_plays_no_part(solve, way):
    cost, mask = problems(1, 4, 4)[0], without_diagonal(1, 4, 4)
    expected = reference(cost, 10.0, 2, mask=mask)
    cost[0].diagonal().copy_(torch.tensor([torch.nan, torch.inf, -torch.inf, 1e300]))
    assert_same(solve(way, cost, 10.0, 2, mask=mask), expected)


@pytest.mark.parametrize(
    "shape, dtype, message",
    [((1, 2, 2), "float16", "float32 or float64, not torch.float16"), ((1, 2, 65), "float32", "at most 64 columns")],
)  # fmt: skip
def test_what_the_kernels_cannot_hold_is_refused(solve, shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        solve("by rows", torch.zeros(shape, dtype=getattr(torch, dtype)), 10.0, 1)


@pytest.mark.parametrize("name, sizes", [
    ("whole_problem", {"STOPS": True, "LIMIT": 57.7, "LARGEST": 1e25, "N": 16, "M": 8}),
    ("whole_problem", {"STOPS": False, "LIMIT": 57.7, "LARGEST": 1e25, "N": 1, "M": 1, "mask": None, "n": 1, "m": 1}),
    ("first_columns", {"ROWS": 2, "M": 64}),
    ("next_rows", {"STOPS": True, "CHUNKS": 2, "ROWS": 2, "M": 64}),
    ("next_columns", {"STOPS": True, "GROUPS": 8, "COLUMNS": 32}),
    ("final_plan", {"STOPS": True, "CHUNKS": 2, "ROWS": 2, "M": 64}),
    ("first_columns", {"ROWS": 1, "M": 64, "mask": None, "n": 1, "visits": 1}),
    ("next_rows", {"STOPS": True, "CHUNKS": 1, "ROWS": 1, "M": 1, "m": 1, "visits": 1, "chunks": 1}),
    ("next_columns", {"STOPS": False, "GROUPS": 1, "COLUMNS": 32, "groups": 1, "m": 1}),
    ("final_plan", {"STOPS": True, "CHUNKS": 1, "ROWS": 1, "M": 1, "m": 1, "visits": 1, "chunks": 1}),
])  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kernel_compiles_and_float32_stays_in_float32(compile_for_gpu, name, sizes, dtype):
    lines = compile_for_gpu(name, dtype, **sizes).splitlines()
    wide = [line for line in lines if ".f64" in line and ".param" not in line]
    if dtype == "float32":
        assert all(
            "cvt.rn.f32.f64" in line for line in wide
        )  # the two scalars that come as float64
    else:
        assert wide


@pytest.fixture(scope="module")
def compile_for_gpu(tmp_path_factory):
    """The function that compiles a kernel, in a process and with a cache of its own; its answer is PTX."""
    with pytest.MonkeyPatch.context() as patch, process("0") as pool:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield lambda *args, **sizes: pool.submit(compiled, *args, **sizes).result()


def test_the_package_imports_without_triton():
    code = "import sys; sys.modules['triton'] = None; import bwot; from bwot import losses"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
