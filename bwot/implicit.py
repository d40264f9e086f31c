"""A converged transport plan as a function of its cost: the backward pass, by implicit differentiation.

Notation as in :mod:`bwot.sinkhorn`: ``C`` cost, ``lam``, ``T`` plan; further ``r = T 1`` and ``c = T^T 1`` its sums and
``W`` the gradient of some value in ``T``. ``T`` is the best plan among those with its own sums, so with these held the
gradient in the cost is ``-lam T (W - alpha 1^T - 1 beta^T)``, products elementwise, where ``alpha`` and ``beta`` fit ``W``
by least squares with weights ``T`` (book, "Method")::

    diag(r) alpha + T beta = (T W) 1,    T^T alpha + diag(c) beta = (T W)^T 1

Without ``alpha`` that is ``(diag(c) - T^T diag(1/r) T) beta = (T W)^T 1 - T^T diag(1/r) (T W) 1``: symmetric, positive
semi-definite, and solved by conjugate gradients, preconditioned by ``diag(c)``. A step takes two products of the plan with
a vector, as an iteration of Sinkhorn's algorithm does, and fewer steps than that has iterations are enough. The system
is singular: in each part of the plan that is connected by pairs with mass, a constant can go from ``alpha`` to ``beta``.
``T (W - alpha - beta)`` does not notice, and conjugate gradients do not either.
"""

import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

STEPS = 500
"""Most steps of conjugate gradients; converged plans of 32 to 300 samples at ``lam`` up to 200 took at most 132."""
RESIDUAL = {torch.float32: 1e-6, torch.float64: 1e-12}
"""How far the residual of the system has to fall, relative to its right-hand side."""
CONVERGED = {torch.float32: 1e-5, torch.float64: 1e-6}
"""Largest marginal error at which the gradient is held to be that of the converged plan.

The gradient's relative error was one to ten times the marginal error on batches of 64. In float32 rounding leaves a
marginal error of 6e-8 to 4e-6, which grows with ``lam`` and with the plan, so a smaller limit would warn of what more iterations do not mend.
"""


class Adjoint(NamedTuple):
    """What :func:`solve_adjoint` returns."""

    alpha: Float[Tensor, "*batch n"]
    """Of the rows, in the unit of the gradient; 0 for a row without mass."""
    beta: Float[Tensor, "*batch m"]
    """Of the columns, likewise."""
    steps: int
    """Steps of conjugate gradients; each took two products of the plan with a vector, and there are two more."""


def solve_adjoint(
    plan: Float[Tensor, "*batch n m"], gradient: Float[Tensor, "*batch n m"]
) -> Adjoint:
    """The additive fit ``alpha_i + beta_j`` to ``gradient`` by least squares with weights ``plan``.

    Takes one matrix of the size of the plan beyond its arguments, for a moment. Warns where :data:`STEPS` do not bring
    the residual to :data:`RESIDUAL`.

    >>> plan, gradient = torch.tensor([[0.4, 0.1], [0.1, 0.4]]), torch.tensor([[3.0, 5.0], [4.0, 6.0]])
    >>> fit = solve_adjoint(plan, gradient)
    >>> fit.alpha[:, None] + fit.beta
    tensor([[3.0000, 5.0000],
            [4.0000, 6.0000]])

    Args:
        plan: ``T``, in float32 or float64, not negative; leading dimensions are separate problems.
        gradient: ``W``, finite; where the plan is 0 its values play no part.
    """
    row, column = plan.sum(-1), plan.sum(-2)
    over_row = torch.where(row > 0, 1 / row, 0.0)
    root, over_root = column.sqrt(), torch.where(column > 0, column.rsqrt(), 0.0)
    across, down, unit = _means(plan, gradient, over_row, over_root.square())

    def normal(z):  # in z = sqrt(c) beta, where the preconditioner is the identity
        return z - over_root * _times(plan.mT, over_row * _times(plan, over_root * z))

    right = root * down - over_root * _times(plan.mT, across)
    # what the means lost to rounding cannot be solved for, and is all there is where W is alpha + beta
    size = (root * down).norm(dim=-1) + (row.sqrt() * across).norm(dim=-1)
    z, steps = _conjugate_gradients(normal, right, 4 * torch.finfo(plan.dtype).eps * size)
    beta = over_root * z
    alpha = across - over_row * _times(plan, beta)
    return Adjoint(unit * alpha, unit * beta, steps)


def _conjugate_gradients(normal, right, floor):
    """``z`` with ``normal(z) = right`` but for a residual of RESIDUAL or ``floor``, and the steps that it took."""
    goal = torch.maximum(RESIDUAL[right.dtype] * right.norm(dim=-1), floor).square()[..., None]
    z, residual, direction = torch.zeros_like(right), right, right
    square = residual.square().sum(-1, keepdim=True)
    for step in range(STEPS):
        open_ = square > goal
        if not open_.any():
            return z, step
        image = normal(direction)
        curvature = (direction * image).sum(-1, keepdim=True)
        length = torch.where(open_ & (curvature > 0), square / curvature, 0.0)
        z, residual = z + length * direction, residual - length * image
        previous, square = square, residual.square().sum(-1, keepdim=True)
        direction = residual + torch.where(open_, square / previous, 0.0) * direction
    worst = (square.sqrt() / right.norm(dim=-1, keepdim=True)).max().item()
    tell_of_residual(worst, right.dtype)
    return z, STEPS


def tell_of_residual(residual: float, dtype: torch.dtype) -> None:
    """Warn that the steps have not brought the residual down to :data:`RESIDUAL`."""
    warnings.warn(
        f"the gradient of the plan is not exact: {STEPS} steps left a residual of {residual:.2g}, above "
        f"{RESIDUAL[dtype]:.0g}. Lower lam, so that the plan does not nearly fall into parts.",
        stacklevel=4,
    )


def _means(plan, gradient, over_row, over_column):
    """Means of ``W`` along rows and columns, weighted by ``T``, and their unit: in it, no square leaves the type."""
    weighted = plan * gradient
    across, down = over_row * weighted.sum(-1), over_column * weighted.sum(-2)
    unit = torch.cat([across, down], -1).abs().amax(-1, keepdim=True)
    unit = unit.clamp_min(torch.finfo(plan.dtype).tiny)
    return across / unit, down / unit, unit


def _times(matrix, vector):
    return (matrix @ vector[..., None])[..., 0]


@torch.library.custom_op("bwot::adjoint", mutates_args=())
def _adjoint(plan: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """As one operation: how many steps it takes depends on the values, which a compiled graph does not know."""
    fit = solve_adjoint(plan, gradient)
    return fit.alpha, fit.beta


@_adjoint.register_fake
def _(plan, gradient):
    return plan.new_empty(plan.shape[:-1]), plan.new_empty((*plan.shape[:-2], plan.shape[-1]))


class ExactPlan(torch.autograd.Function):
    """``ExactPlan.apply(cost, plan, lam)`` has the value of ``plan`` and its derivative in ``cost``.

    The plan, of shape ``(*batch, n, m)`` in float32 or float64, is what :func:`bwot.sinkhorn.sinkhorn` found for ``cost`` and
    ``lam``, converged (:data:`CONVERGED`). Beyond these and the gradient that comes in, the backward pass takes memory for
    one matrix of their size, which it returns. It has no derivative itself.
    """

    @staticmethod
    def forward(cost, plan, lam):
        return plan.view_as(plan)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, plan, ctx.lam = inputs
        ctx.save_for_backward(plan)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_plan):
        (plan,) = ctx.saved_tensors
        with torch.autocast(plan.device.type, enabled=False):
            alpha, beta = _adjoint(plan, grad_plan)
        rest = grad_plan - alpha[..., :, None]
        return rest.sub_(beta[..., None, :]).mul_(plan).mul_(-ctx.lam), None, None
