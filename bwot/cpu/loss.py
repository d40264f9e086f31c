"""The batch-wise loss of two batches on a CPU, with its gradients: a few compiled steps and three matrix products."""

import threading
from collections.abc import Callable
from functools import partial
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
    scaled,
    slopes,
)
from bwot.cpu.scaling import FINE, scalings
from bwot.cpu.team import pool, size_of


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
    (n, width), m = numbers[0].shape, len(numbers[-1])
    space = _space(n, m, width, single, 3 if terms.balanced else 2, wide, size_of(n, m))
    pairs = _pairs(numbers, classes, _EVERYTHING if allowed is None else allowed.numpy(), space)
    if not any(wanted):
        terms = terms._replace(plan_gradient="constant")
    found = _solved(pairs, space, terms)
    if found is None:
        return None
    loss, error, taken, residual, factor = found
    value = torch.scalar_tensor(loss, dtype=wide, device="cpu")
    if any(wanted):
        value = _WithGradients.apply(value, _gradients(space, factor, wanted), *batches)
    return Solved(value, error, taken, residual)


_EVERYTHING = np.empty((0, 0), bool)
KEPT_BYTES = 2**26
"""Working memory that a thread keeps from call to call, at most; the system takes as long to hand out new pages as several iterations."""


class _Passes(NamedTuple):
    """Over the matrix, by one thread or by several: those of :mod:`bwot.cpu.pairs` and :mod:`bwot.cpu.scaling`."""

    kernel: Callable = kernel
    scalings: Callable = scalings
    slopes: Callable = slopes


class _Space:
    """What calls with one shape need, in as many threads; nothing of it leaves a call. What a call does not fill holds anything."""

    def __init__(self, n: int, m: int, d: int, single: bool, count: int, kind: torch.dtype, size: int):  # fmt: skip
        # by torch, which aligns memory: where it is not, a library's product of matrices has other last digits
        how = {"dtype": kind, "device": "cpu"}
        with torch.inference_mode(False):  # the next call may be one of training
            matrices = torch.empty(count, n, m, **how)
            self.points = [torch.empty(rows, d, **how) for rows in ((n,) if single else (n, m))]
        self.products, self.slopes = matrices[0], matrices[-1]
        self.matrices, self.moved = matrices.numpy(), [each.numpy() for each in self.points]
        kind = self.matrices.dtype
        self.squares = [np.empty(len(each), kind) for each in self.moved]
        self.centre, self.rows, self.settings = np.empty(d, kind), np.empty((3, m), kind), np.empty(4, kind)  # fmt: skip
        self.p, self.u, self.down, self.alpha = np.empty((4, n), kind)
        self.q, self.across, self.beta = np.empty((3, m), kind)
        self.v = np.empty((2, m), kind)
        self.passes = _Passes()
        if size > 1:
            from bwot.cpu import shared  # compiled where it is needed

            together = shared.kernel, shared.scalings, shared.slopes
            self.passes = _Passes(*(partial(each, pool=pool(), size=size) for each in together))
        self.bytes = self.matrices.nbytes + sum(each.nbytes for each in self.moved)


class _Kept(threading.local):
    """What a thread keeps, by shape."""

    def __init__(self):
        self.spaces: dict[tuple, _Space] = {}
        self.bytes = 0

    def clear(self):
        self.spaces.clear()
        self.bytes = 0


_kept = _Kept()


def _space(*shape):
    """The working memory for a shape: that of the last call with it where this thread still has it."""
    if shape not in _kept.spaces:
        space = _Space(*shape)
        if space.bytes > KEPT_BYTES:
            return space
        if space.bytes + _kept.bytes > KEPT_BYTES:
            _kept.clear()
        _kept.spaces[shape] = space
        _kept.bytes += space.bytes
    return _kept.spaces[shape]


_LIMITS = {
    np.dtype(kind): np.array([residual, 4 * np.finfo(kind).eps, 500, np.finfo(kind).tiny], kind)
    for kind, residual in ((np.float32, 1e-6), (np.float64, 1e-12))
}
"""What :func:`bwot.cpu.adjoint.adjoint` takes; as in :mod:`bwot.implicit`."""


def release_memory() -> None:
    """Give back what this thread keeps for the next call."""
    _kept.clear()


class _Scaled(NamedTuple):
    """The plan ``u_i density_ij v_j``, its marginals; the marginal error where it is known already."""

    density: np.ndarray
    u: np.ndarray
    v: np.ndarray
    p: np.ndarray
    q: np.ndarray
    error: float = 0.0
    iterations: int = 0


def _pairs(batches, classes, allowed, space):
    """The inner products of all pairs about a common centre, and what else the compiled steps know of a pair."""
    single, a, moved, squares = len(batches) == 1, batches[0], space.moved, space.squares
    b = a[:0] if single else batches[1]
    centred(a, b, space.centre, moved[0], moved[-1], squares[0], squares[-1])
    torch.mm(space.points[0], space.points[-1].T, out=space.products)
    return squares[0], squares[-1], classes[0], classes[-1], single, allowed


def _solved(pairs, space, terms):
    """Loss, marginal error, iterations, residual, and the factor of the slopes; None without a plan.

    The inner products of ``space`` become distances.
    """
    squared, density, matrix = space.matrices[0], space.matrices[1], space.matrices[-1]
    kind = squared.dtype
    form = SHAPES if terms.form == "shapes" else PLAIN
    square = terms.form == "images"
    settings, alpha, beta, residual = space.settings, space.alpha, space.beta, 0.0
    settings[:] = terms.margin, terms.positive_margin, terms.gamma, terms.lam
    steepness = kind.type(0 if terms.plan_gradient == "constant" else terms.lam * terms.gamma)
    alpha[:], beta[:] = 0, 0
    losses, error, taken = [], 0.0, 0
    for part in (POSITIVE, NEGATIVE) if terms.balanced else (ALL,):
        step = (pairs, part != NEGATIVE, squared, part, form, settings, space.rows, density)
        finite, plan = _plan(step, space, terms)
        if not finite:
            return None
        if plan is None:
            continue
        if terms.plan_gradient == "exact":
            from bwot.cpu.adjoint import adjoint  # compiled where it is needed

            residual = adjoint(pairs, squared, form, settings, square, *plan[:3],
                               _LIMITS[kind], space.rows, alpha, beta)  # fmt: skip
        loss, off = space.passes.slopes(pairs, squared, form, settings, square, steepness, alpha, beta, bool(losses),
                           *plan[:5], space.rows, space.down, space.across, matrix)  # fmt: skip
        losses.append(loss)
        error, taken = max(error, plan.error or off), max(taken, plan.iterations)
    share = 1 / len(losses)
    return share * sum(losses), error, taken, residual, 2 * share


def _plan(step, space, terms):
    """Are the distances finite, and the plan, None without a pair; by the general solver where the scalings ask for it."""
    density, p, q, u, v = step[-1], space.p, space.q, space.u, space.v
    limits = solver.LIMITS[density.dtype]
    if terms.tol is None and terms.lam <= limits[0]:  # the cost lies in (0, 1]
        finite, some = space.passes.kernel(*step, p, q)
        if not (finite and some):
            return finite, None
        if space.passes.scalings(density, terms.iterations, limits, p, q, u, v):
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
    return True, _Scaled(plan, np.ones_like(p), np.ones_like(q), p, q, errors.item(), steps.item())


def _gradients(space, factor, wanted):
    """Of each batch that is wanted: ``2 sum_j S_ij (a_i - b_j)``, and for one batch alone the sum of both of its roles."""
    points, sides = space.points, ((space.slopes, space.points[-1]), (space.slopes.T, space.points[0]))  # fmt: skip
    found = [torch.empty_like(each) if asked else None for each, asked in zip(points, wanted, strict=True)]  # fmt: skip
    if len(points) == 1:
        scaled(space.moved[0], space.down + space.across, factor, found[0].numpy())
        for each, other in sides:
            found[0].addmm_(each, other, alpha=-factor)
        return found
    for moved, sums, side, gradient in zip(space.moved, (space.down, space.across), sides, found, strict=True):  # fmt: skip
        if gradient is not None:
            scaled(moved, sums, factor, gradient.numpy())
            gradient.addmm_(*side, alpha=-factor)
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
