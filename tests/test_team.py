"""Large problems in several threads: the same results as in one, whatever the shape, and the same digits every time."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stepping import two_batches, value_and_gradients

from bwot import BatchwiseOTLoss, sinkhorn
from bwot.cpu import team

pytestmark = pytest.mark.skipif(team._openmp() is None, reason="torch computes without GNU OpenMP")


@pytest.fixture
def threads():
    """Sets how many threads torch uses until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("shape", [(256, 256), (301, 250), (3, 40_000), (1000, 333)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("how", [{}, {"balanced": True}, {"plan_gradient": "kernel", "form": "shapes"}])  # fmt: skip
def test_the_loss_is_that_of_one_thread(threads, count, shape, dtype, how):
    loss, batches = BatchwiseOTLoss(1.3, 10.0, 3.0, 30, **how), two_batches(*shape, dtype)
    threads(1)
    alone = value_and_gradients(loss, *batches)
    threads(count)
    assert 1 < team.size_of(*shape) <= count
    found, again = (value_and_gradients(loss, *batches) for _ in range(2))
    for one, other, same in zip(alone, found, again, strict=True):
        assert (one - other).abs().max() <= (1e-11 if dtype is torch.float64 else 2e-5) * one.abs().max()  # fmt: skip
        assert torch.equal(other, same)


def test_one_batch_and_chosen_pairs_are_those_of_one_thread(threads):
    (points, _), (labels, _) = two_batches(300, 300, torch.float32)
    same = labels[:, None] == labels
    some = torch.rand(300, 300, generator=torch.Generator().manual_seed(1)) > 0.3
    some[7] = False
    indices = (*torch.where(some & same), *torch.where(some & ~same))
    loss = BatchwiseOTLoss(1.3, 10.0, 3.0, 30)
    for chosen in (None, indices):
        found = []
        for count in (1, 3):
            threads(count)
            found.append(value_and_gradients(loss, [points], [labels], chosen))
        for one, other in zip(*found, strict=True):
            assert (one - other).abs().max() <= 2e-5 * one.abs().max()


@pytest.mark.parametrize("lam, tol", [(10.0, None), (1e-3, None), (200.0, None), (20.0, 1e-6)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_the_plan_is_that_of_one_thread(threads, lam, tol, masked, given, count):
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(2, 290, 310, generator=generator)
    mask = (cost > 0.1) if masked else None
    row = torch.rand(2, 290, generator=generator) if given else None
    row = row / row.sum(-1, keepdim=True) if given else None
    found = []
    for each in (1, count):
        threads(each)
        found.append(sinkhorn(cost, lam, 40 if tol is None else 500, tol, mask=mask, row_marginal=row))  # fmt: skip
    alone, shared = found
    assert (alone.plan - shared.plan).abs().max() * cost[0].numel() < 2e-3
    assert torch.equal(alone.iterations, shared.iterations)
    off = (shared.plan.sum(1) - shared.plan.new_tensor(1 / 310)).abs().sum(-1)
    if not masked:
        assert (off - shared.marginal_error).abs().max() < 1e-5
    assert (alone.marginal_error - shared.marginal_error).abs().max() < 2e-6


@pytest.mark.parametrize("place", [(0, 0), (255, 255)])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_cost_that_is_not_finite_is_refused_whichever_thread_meets_it(threads, place, value):
    threads(2)
    cost = torch.rand(256, 256)
    cost[place] = value
    with pytest.raises(ValueError, match="finite"):
        sinkhorn(cost)


def test_a_range_beyond_the_largest_number_is_refused(threads):
    threads(2)
    cost = torch.zeros(256, 256)
    cost[200] = 3e38
    with pytest.raises(ValueError):
        sinkhorn(cost, 1e4)


def test_threads_of_python_share_nothing(threads):
    threads(2)
    loss, batches = BatchwiseOTLoss(1.3, 10.0, 3.0, 30), two_batches(300, 260, torch.float32)
    expected = value_and_gradients(loss, *batches)

    def work(_):
        torch.set_num_threads(2)  # each thread has a number of its own
        return [value_and_gradients(loss, *batches) for _ in range(10)]

    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(work, range(3)):
            assert all(torch.equal(one, other) for each in found for one, other in zip(each, expected, strict=True))  # fmt: skip


def test_small_problems_stay_in_one_thread(threads):
    threads(4)
    assert team.size_of(255, 257) == 1
    assert team.size_of(256, 256) == 2
    assert team.size_of(4096, 4096) == 4
    threads(1)
    assert team.size_of(4096, 4096) == 1


@pytest.mark.parametrize("answer, size", [((0, 0, 8, 1), 4), ((1, 0, 8, 1), 1), ((0, 1, 8, 1), 1), ((0, 0, 3, 1), 3), ((0, 0, 8, 0), 1)])  # fmt: skip
def test_no_more_threads_than_will_come(threads, monkeypatch, answer, size):
    threads(4)
    inside, dynamic, limit, levels = answer
    library = SimpleNamespace(omp_in_parallel=lambda: inside, omp_get_dynamic=lambda: dynamic,
                              omp_get_thread_limit=lambda: limit, omp_get_max_active_levels=lambda: levels)  # fmt: skip
    monkeypatch.setattr(team, "_openmp", lambda: (library, ()))
    assert team.size_of(4096, 4096) == size


def test_one_thread_where_torch_computes_with_something_else(threads, monkeypatch):
    threads(4)
    monkeypatch.setattr(team, "_openmp", lambda: None)
    assert team.size_of(4096, 4096) == 1


FORKED = """
import os, torch
from bwot import sinkhorn
from bwot.cpu import team
torch.set_num_threads(2)
cost = torch.rand(300, 300)
sinkhorn(cost)
assert team.size_of(300, 300) == 2
if os.fork() == 0:
    print(team.size_of(300, 300), sinkhorn(cost).plan.numpy().sum(), flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_fork_goes_on_with_one_thread():
    """Threads are what it does not have; large operations of torch itself wait for them until told ``set_num_threads(1)``."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=120)  # fmt: skip
    size, total = map(float, done.stdout.split())
    assert size == 1 and total == pytest.approx(1, abs=1e-5)


LIMITED = """
import numpy as np, torch
from bwot.cpu import shared, solver, team
torch.set_num_threads(3)
assert team.size_of(1000, 1000) == 2, team.size_of(1000, 1000)
cost, uniform = np.random.rand(400, 400), np.full(400, 1 / 400)
try:
    shared.solve(cost, 1.0, 5, False, uniform, uniform, solver.LIMITS[cost.dtype], np.empty_like(cost), team.pool(), 3)
except RuntimeError as error:
    print(error)
"""


def test_fewer_threads_than_asked_for_are_an_error_and_no_endless_wait():
    environment = os.environ | {"OMP_THREAD_LIMIT": "2"}
    done = subprocess.run([sys.executable, "-c", LIMITED], env=environment, capture_output=True, text=True, timeout=120)  # fmt: skip
    assert "other than as many threads" in done.stdout, done.stderr


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [1, 4, 9, 100])
def test_every_row_belongs_to_one_thread(n, size):
    edges = [team.edge.py_func(n, rank, size) for rank in range(size + 1)]
    assert edges[0] == 0 and edges[-1] == n and list(np.sort(edges)) == edges
    assert all(each % 4 == 0 for each in edges[:-1])
