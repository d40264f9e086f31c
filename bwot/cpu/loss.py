"""The batch-wise loss of two batches on a CPU, with its gradients: a few compiled steps and three matrix products."""

import threading
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bwot.cpu import solver
from bwot.cpu.pairs import (
    ALL,
    NEGATIVE,
    PLAIN,
    POSITIVE,
    SHAPES,
    centred,
    costs,
    kernel,
    slopes,
)
from bwot.cpu.scaling import FINE, scalings


class Terms(NamedTuple):
    """Settings of the loss, as in :class:`bwot.losses.BatchwiseOTLoss`."""

    margin: float
    lam: float
    gamma: float
    iterations: int
    tol: float | None
    form: str
    positive_margin: float
    plan_gradient: str
    balanced: bool


class Solved(NamedTuple):
    """The loss with its gradient, and what became of Sinkhorn's algorithm."""

    value: Tensor
    marginal_error: float
    iterations: int
    residual: float
    """Of the exact gradient's system, relative, where it did not fall as far as it had to; 0 otherwise."""


def transport_loss(
    embeddings: Tensor,
    labels: Tensor,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
    allowed: Tensor | None,
    terms: Terms,
) -> Solved | None:
    """The loss of two checked batches; None where the distances are not finite or a plan cannot be had, for others to say why.

    ``ref_emb`` (m, d) and ``ref_labels`` are None for one batch against itself; ``allowed`` (n, m) are the pairs that take part.
    The gradients are computed at once, while everything is at hand: the backward pass multiplies them by a number.
    """
    single = ref_emb is None
    batches = [embeddings] if single else [embeddings, ref_emb]
    classes = [labels] if single else [labels, ref_labels]
    wide = torch.promote_types(
        batches[0].dtype, torch.promote_types(batches[-1].dtype, torch.float32)
    )
    batches = [each if each.dtype is wide else each.to(wide) for each in batches]
    wanted = [torch.is_grad_enabled() and each.requires_grad for each in batches]
    numbers = [each.detach().contiguous().numpy() for each in batches]
    classes = [each.long().contiguous().numpy() for each in classes]
    memory = _matrices(
        3 if terms.balanced else 2, len(classes[0]), len(classes[-1]), numbers[0].dtype
    )
    allowed = _EVERYTHING if allowed is None else allowed.numpy()
    points, pairs = _pairs(numbers, classes, allowed, memory[0])
    if not any(wanted):
        terms = terms._replace(plan_gradient="constant")
    found = _solved(pairs, memory, terms)
    if found is None:
        return None
    loss, error, taken, residual, slope = found
    value = torch.scalar_tensor(loss, dtype=wide)
    if any(wanted):
        value = _WithGradients.apply(value, _gradients(points, slope, wanted), *batches)
    return Solved(value, error, taken, residual)


_EVERYTHING = np.empty((0, 0), bool)
KEPT_BYTES = 2**26
"""Working memory that a thread keeps from call to call, at most; the system takes as long to hand out new pages as several iterations."""
_kept = threading.local()


def _matrices(count, n, m, kind):
    """Working memory of (n, m) each, with anything in it."""
    size = count * n * m * kind.itemsize
    memory = getattr(_kept, "memory", None)
    if memory is None or len(memory) < size:
        memory = np.empty(size, np.uint8)
        if size <= KEPT_BYTES:
            _kept.memory = memory
    return memory[:size].view(kind).reshape(count, n, m)


_LIMITS = {
    np.dtype(kind): np.array([residual, 4 * np.finfo(kind).eps, 500, np.finfo(kind).tiny], kind)
    for kind, residual in ((np.float32, 1e-6), (np.float64, 1e-12))
}
"""What :func:`bwot.cpu.adjoint.adjoint` takes; as in :mod:`bwot.implicit`."""


def release_memory() -> None:
    """Give back what this thread keeps for the next call."""
    _kept.__dict__.clear()


class _Slope(NamedTuple):
    """Derivatives of the loss in the squared distances, their sums, and a factor of them all."""

    matrix: np.ndarray
    down: np.ndarray
    across: np.ndarray
    share: float


class _Scaled(NamedTuple):
    """The plan ``u_i density_ij v_j``, its marginals; the marginal error where it is known already."""

    density: np.ndarray
    u: np.ndarray
    v: np.ndarray
    p: np.ndarray
    q: np.ndarray
    error: float = 0.0
    iterations: int = 0


def _pairs(batches, classes, allowed, products):
    """The batches about a common centre, the inner products of all pairs, and what else the compiled steps know of a pair."""
    single, a, kind = len(batches) == 1, batches[0], batches[0].dtype
    moved, squares = (
        [np.empty_like(each) for each in batches],
        [np.empty(len(each), kind) for each in batches],
    )
    centre, b = np.empty(a.shape[1], kind), a[:0] if single else batches[1]
    centred(a, b, centre, moved[0], moved[-1], squares[0], squares[-1])
    points = [torch.from_numpy(each) for each in moved]
    torch.mm(points[0], points[-1].T, out=torch.from_numpy(products))
    return points, (squares[0], squares[-1], classes[0], classes[-1], single, allowed)


def _solved(pairs, memory, terms):
    """Loss, marginal error, iterations, residual and slopes; None without a plan. The inner products in ``memory[0]`` become distances."""
    squared, density, matrix = memory[0], memory[1], memory[-1]
    kind, (n, m) = squared.dtype, squared.shape
    form = SHAPES if terms.form == "shapes" else PLAIN
    square = terms.form == "images"
    settings = np.array([terms.margin, terms.positive_margin, terms.gamma, terms.lam], kind)
    steepness = kind.type(0 if terms.plan_gradient == "constant" else terms.lam * terms.gamma)
    rows, down, across = np.empty((3, m), kind), np.empty(n, kind), np.empty(m, kind)
    alpha, beta, residual = np.zeros(n, kind), np.zeros(m, kind), 0.0
    losses, error, taken = [], 0.0, 0
    for part in (POSITIVE, NEGATIVE) if terms.balanced else (ALL,):
        finite, plan = _plan(
            (pairs, part != NEGATIVE, squared, part, form, settings, rows, density), terms
        )
        if not finite:
            return None
        if plan is None:
            continue
        if terms.plan_gradient == "exact":
            from bwot.cpu.adjoint import adjoint  # compiled where it is needed

            residual = adjoint(pairs, squared, form, settings, square, *plan[:3],
                               _LIMITS[kind], rows, alpha, beta)  # fmt: skip
        loss, off = slopes(pairs, squared, form, settings, square, steepness, alpha, beta, bool(losses),
                           *plan[:5], rows, down, across, matrix)  # fmt: skip
        losses.append(loss)
        error, taken = max(error, plan.error or off), max(taken, plan.iterations)
    share = 1 / len(losses)
    return share * sum(losses), error, taken, residual, _Slope(matrix, down, across, share)


def _plan(step, terms):
    """Are the distances finite, and the plan, None without a pair; by the general solver where the scalings ask for it."""
    density, kind, (n, m) = step[-1], step[-1].dtype, step[-1].shape
    limits, p, q, u = solver.LIMITS[kind], np.empty(n, kind), np.empty(m, kind), np.empty(n, kind)
    if terms.tol is None and terms.lam <= limits[0]:  # the cost lies in (0, 1]
        finite, some = kernel(*step, p, q)
        if not (finite and some):
            return finite, None
        v = np.empty((2, m), kind)
        if scalings(density, terms.iterations, limits, p, q, u, v):
            return True, _Scaled(density, u, v[0], p, q, 0.0, terms.iterations)
        step = (step[0], False, *step[2:])
    finite, some = costs(*step)
    if not (finite and some):
        return finite, None
    plan, steps, errors, status = solver.solve(
        torch.from_numpy(density), terms.lam, terms.iterations, terms.tol, True
    )
    if status != FINE:
        return False, None
    plan = plan.numpy()
    p, q = plan.sum(1), plan.sum(0)
    return True, _Scaled(plan, np.ones_like(p), np.ones_like(q), p, q, errors[0], steps[0])


def _gradients(points, slope, wanted):
    """Of each batch that is wanted: ``2 sum_j S_ij (a_i - b_j)``, and for one batch alone the sum of both of its roles."""
    matrix, factor = torch.from_numpy(slope.matrix), 2 * slope.share
    sides = (slope.down, matrix, points[-1]), (slope.across, matrix.T, points[0])
    found = []
    if len(points) == 1:
        found = torch.from_numpy(
            points[0].numpy() * (factor * (slope.down + slope.across))[:, None]
        )
        for _, each, other in sides:
            found.addmm_(each, other, alpha=-factor)
        return [found]
    for own, (sums, each, other), asked in zip(points, sides, wanted, strict=True):
        if asked:
            gradient = torch.from_numpy(own.numpy() * (factor * sums)[:, None])
            gradient.addmm_(each, other, alpha=-factor)
        found.append(gradient if asked else None)
    return found


class _WithGradients(torch.autograd.Function):
    """The loss, whose gradients in the batches are known already."""

    @staticmethod
    def forward(ctx, value, gradients, *batches):
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    def backward(ctx, grad):
        # with create_graph: a gradient without its own graph would be lost in silence
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "the batch-wise loss compiled for the CPU has no second derivative."
            )
        scale, found = grad.item(), ctx.saved_tensors
        if scale != 1:  # it is 1 where the loss itself is derived: then nothing is copied
            found = [each if each is None else each * scale for each in found]
        return None, None, *found
