"""The same problems in JAX, solved by OTT: cost, solver, loss and gradients in one compiled function.

A user of JAX has JAX arrays, so the conversion stands outside the clock. The plan is formed from the potentials after it.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import torch
from ott.geometry import geometry
from ott.problems.linear import linear_problem
from ott.solvers.linear import sinkhorn

from benchmarks.peers import MOST
from benchmarks.problems import GAMMA, MARGIN, Batch, Case, Output, error_and_cost


def prepare(case: Case, batch: Batch):
    x, y = (jnp.asarray(each.numpy(), case.dtype) for each in (batch.x, batch.y))
    same = jnp.asarray((batch.labels[:, None] == batch.other_labels).numpy())
    inputs = x, y, same, jnp.asarray(batch.scale.numpy(), case.dtype)
    return case, jax.block_until_ready(inputs)


def solved_by(lse_mode: bool):
    """The call of the method: compiled once a case, at its first call."""
    compiled = cache(lambda case: _compile(case, lse_mode))

    def call(inputs):
        case, arrays = inputs
        return jax.block_until_ready(compiled(case)(*arrays))

    return call


def _compile(case, lse_mode):
    stop = {"threshold": case.tol, "max_iterations": MOST} if case.tol else {
        "threshold": 0.0, "min_iterations": case.iterations, "max_iterations": case.iterations,
        "inner_iterations": case.iterations,
    }  # fmt: skip
    solver = sinkhorn.Sinkhorn(lse_mode=lse_mode, norm_error=1, **stop)

    def loss(x, y, same, scale):
        error, cost = _error_and_cost(case, x, y, same, scale)
        cost = jax.lax.stop_gradient(cost)
        problem = linear_problem.LinearProblem(geometry.Geometry(cost, epsilon=1 / case.lam))
        solved = solver(problem)
        return (jax.lax.stop_gradient(solved.matrix) * error).sum(), (solved.f, solved.g)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def _error_and_cost(case, x, y, same, scale):
    distance = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T
    if case.cost == "distance":
        return scale * distance, scale * distance
    distance = jnp.maximum(distance, 0)
    error = jnp.where(same, distance, jnp.maximum(MARGIN - distance, 0))
    return error, jnp.exp(-GAMMA * error)


def collect(case: Case, batch: Batch, result) -> Output:
    """The result as torch tensors; the plan from the potentials and the cost in the type of the case."""
    (loss, potentials), gradients = result
    f, g = map(_tensor, potentials)

    def plan():
        x, y = (each.to(f.dtype) for each in (batch.x, batch.y))
        return (case.lam * (f[:, None] + g - error_and_cost(case, x, y, batch)[1])).exp()

    return Output(tuple(map(_tensor, gradients)), _tensor(loss), plan)


def _tensor(array):
    return torch.from_numpy(np.array(array))
