"""What the speed of transport is measured on: batches, the float64 reference of each, and the checks of every output.

Two costs. ``distance``: squared distances of unit vectors with classes, scaled to [0, 1], loss ``sum T C``. ``loss``: the
cost of the batch-wise loss, ``C = exp(-gamma G)`` for pair errors ``G``, loss ``sum T G``. The plan ``T`` is a constant of
the backward pass in both. A reference is the plan after exactly as many iterations as were asked for, in float64: a method
that stops early differs from it. Which marginal a method updates first changes that plan, so there are two orders.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CLASSES, NOISE = 16, 1.0
MARGIN, GAMMA = 2.0, 10.0
POOL = 8
CONVERGED = 20_000  # iterations at most for the reference of a run to a tolerance

BOUNDS = {
    "float32": {"loss": 5e-5, "gradient": 2e-4, "marginals": 5e-5, "plan": 2e-4},
    "float64": {"loss": 1e-9, "gradient": 1e-8, "marginals": 1e-9, "plan": 1e-8},
}
"""Largest error of each kind with which an output is correct: of the loss relative, of the gradients relative to the largest
entry, of the marginals the sum of absolute differences, of the plan the largest difference times max(n, m)."""


@dataclass(frozen=True)
class Case:
    """One problem to measure."""

    n: int
    m: int
    d: int = 128
    lam: float = 10.0
    dtype: str = "float32"
    cost: str = "distance"
    threads: int = 1
    iterations: int = 50
    tol: float | None = None
    problems: int | None = None  # solved at once


class Batch(NamedTuple):
    """Two batches of embeddings in float64, (*problems, n, d) and (*problems, m, d), and their classes."""

    x: Tensor
    y: Tensor
    labels: Tensor
    other_labels: Tensor
    scale: Tensor  # makes the largest distance of a problem 1: (*problems, 1, 1)


class Reference(NamedTuple):
    """Float64 scalings, loss and gradients of a batch; the plan is ``u K v``, formed again when it is needed."""

    u: Tensor
    v: Tensor
    loss: Tensor
    gradients: tuple[Tensor, Tensor]


class Output(NamedTuple):
    """What a timed call leaves behind, as torch tensors; the plan may be a function that forms it after the clock."""

    gradients: tuple[Tensor, Tensor]
    loss: Tensor | None  # None: a method that has another value with the same gradient
    plan: Tensor | Callable[[], Tensor] | None  # None: a method that does not give it


def make_pool(case: Case, seed: int = 0) -> list[Batch]:
    """``POOL`` batches in float64, drawn anew from the same classes."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((CLASSES, case.d))
    lead = () if case.problems is None else (case.problems,)

    def draw(count):
        labels = generator.integers(0, CLASSES, (*lead, count))
        rows = centres[labels] + NOISE * generator.standard_normal((*lead, count, case.d))
        rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
        return torch.from_numpy(rows), torch.from_numpy(labels)

    pool = []
    for _ in range(POOL):
        (x, labels), (y, other_labels) = draw(case.n), draw(case.m)
        scale = 1 / squared(x, y).amax((-2, -1), keepdim=True)
        pool.append(Batch(x, y, labels, other_labels, scale))
    return pool


def squared(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances, by torch's plain operations."""
    return (x * x).sum(-1)[..., :, None] + (y * y).sum(-1)[..., None, :] - 2 * (x @ y.mT)


def error_and_cost(case: Case, x: Tensor, y: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """What a unit of mass pays in the loss, and what it costs to transport; (*problems, n, m) each."""
    if case.cost == "distance":
        cost = batch.scale.to(x.dtype) * squared(x, y)
        return cost, cost
    distance = squared(x, y).clamp_min(0)
    same = batch.labels[..., :, None] == batch.other_labels[..., None, :]
    error = torch.where(same, distance, (MARGIN - distance).relu())
    return error, (-GAMMA * error).exp()


def reference(case: Case, batch: Batch, columns_first: bool, unrolled: bool = False) -> Reference:
    """Plan, loss and gradients in float64; ``unrolled``: gradients through the iterations instead of a constant plan."""
    x, y = batch.x.clone().requires_grad_(), batch.y.clone().requires_grad_()
    error, cost = error_and_cost(case, x, y, batch)
    with torch.no_grad():
        kernel = (-case.lam * cost).exp()
        u, v = scalings(kernel if columns_first else kernel.mT, case)
        u, v = (u, v) if columns_first else (v, u)
        plan = u[..., :, None] * kernel * v[..., None, :]
    loss, outputs, into = (plan * error).sum(), [error], [plan]
    if unrolled:
        outputs.append(cost)
        into.append(_through_iterations(error.detach(), cost.detach(), case, columns_first))
    gradients = torch.autograd.grad(outputs, (x, y), into)
    return Reference(u, v, loss.detach(), gradients)


def scalings(kernel: Tensor, case: Case) -> tuple[Tensor, Tensor]:
    """``u`` and ``v`` after the iterations of a case, columns updated first; to a tolerance: as far as float64 goes."""
    n, m = kernel.shape[-2:]
    u, transposed = kernel.new_ones(kernel.shape[:-1]), kernel.mT.contiguous()
    for _ in range(CONVERGED if case.tol else case.iterations):
        before = u
        v = 1 / m / (transposed @ u[..., None])[..., 0]
        u = 1 / n / (kernel @ v[..., None])[..., 0]
        if case.tol and bool(((u - before).abs() <= 1e-14 * u).all()):
            break
    return u, v


def _through_iterations(error, cost, case, columns_first):
    """Gradient of ``sum T G`` in ``C`` by way of the plan, through all iterations.

    Autograd runs over the vectors alone: with ``g`` the gradient of a product ``K v``, that product adds ``g v^T`` to the
    gradient of ``K``, and all of them together are one product of matrices.
    """
    if not columns_first:
        return _through_iterations(error.mT, cost.mT, case, True).mT
    kernel = (-case.lam * cost).exp()
    n, m = kernel.shape
    u, by_column, by_row = kernel.new_ones(n, requires_grad=True), [], []
    for _ in range(case.iterations):
        by_column.append((u, kernel.T @ u))
        v = 1 / m / by_column[-1][1]
        by_row.append((v, kernel @ v))
        u = 1 / n / by_row[-1][1]
    products = [product for _, product in by_column + by_row]
    gradients = torch.autograd.grad(u @ ((kernel * error) @ v), products)
    with torch.no_grad():
        in_kernel = error * u[:, None] * v
        half = case.iterations
        in_kernel += torch.stack([u for u, _ in by_column], 1) @ torch.stack(gradients[:half])
        in_kernel += torch.stack(gradients[half:], 1) @ torch.stack([v for v, _ in by_row])
        return -case.lam * in_kernel * kernel


def errors(case: Case, batch: Batch, expected: Reference, output: Output) -> dict[str, float]:
    """How far an output is from the reference, by the kinds of ``BOUNDS``; infinite where anything is not finite."""
    plan = output.plan() if callable(output.plan) else output.plan
    found = {"gradient": max(map(_relative, output.gradients, expected.gradients))}
    if output.loss is not None:
        found["loss"] = _relative(output.loss, expected.loss)
    if plan is not None:
        found |= _plan_errors(case, batch, expected, plan.double())
    return {kind: error if np.isfinite(error) else float("inf") for kind, error in found.items()}


def _relative(found, expected):
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


def _plan_errors(case, batch, expected, plan):
    _, cost = error_and_cost(case, batch.x, batch.y, batch)
    right = expected.u[..., :, None] * (-case.lam * cost).exp() * expected.v[..., None, :]
    marginals = [
        (plan.sum(axis) - (1 / plan.shape[-1 - (axis == -1)] if case.tol else right.sum(axis)))
        .abs().sum(-1).max().item()
        for axis in (-1, -2)
    ]  # fmt: skip
    off = (plan - right).abs().max().item() * max(case.n, case.m)
    return {"marginals": max(marginals), "plan": off}


def is_correct(case: Case, found: dict[str, float]) -> bool:
    """Whether every error lies within its bound; a run to a tolerance has to reach that, rounding apart."""
    bounds = dict(BOUNDS[case.dtype])
    if case.tol:
        bounds["marginals"] = 1.5 * case.tol
    return all(error <= bounds[kind] for kind, error in found.items())
