"""Ways to compute a transport loss that a user could pick today, each at its best settings, and ours.

A family is what shares a library and a process. All of torch share one cost and one backward pass, so that between them the
solver alone differs; the plan is a constant of the backward pass, save where a method says that it goes through the iterations.
For squared distances the gradients of a constant plan are written out, for every solver alike: autograd alone takes longer than a
small problem. For the loss's own cost autograd derives the pair errors of the others; this package has a call for the whole of it.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch

from benchmarks.problems import GAMMA, MARGIN, Batch, Case, Output, error_and_cost

MOST = 20_000  # iterations of a run to a tolerance


class Method(NamedTuple):
    """A way to get from embeddings to a loss and its gradients."""

    call: Callable  # the inputs of a family -> what its collect takes
    applies: Callable[[Case], bool] = lambda case: not case.tol and not case.problems
    columns_first: bool = True  # which marginal an iteration updates first
    unrolled: bool = False  # gradients through the iterations


class Family(NamedTuple):
    """Methods of one library: they share what comes before the clock and what comes after it."""

    methods: dict[str, Method]
    prepare: Callable = lambda case, batch: _torch_inputs(case, batch)
    collect: Callable = lambda case, batch, result: result
    release: Callable = lambda: None  # gives back what the library keeps from call to call


def _torch_inputs(case: Case, batch: Batch):
    dtype = getattr(torch, case.dtype)
    x, y = (each.to(dtype, copy=True).requires_grad_() for each in (batch.x, batch.y))
    return case, x, y, batch._replace(scale=batch.scale.to(dtype))


def _by_plan(solver: Callable, unrolled: bool = False) -> Callable:
    """The call of a method whose ``solver`` takes (cost, case) to a plan."""

    def call(inputs):
        case, x, y, batch = inputs
        if case.cost == "distance" and not unrolled:
            return _by_formulas(solver, case, x.detach(), y.detach(), batch.scale)
        error, cost = error_and_cost(case, x, y, batch)
        plan = solver(cost if unrolled else cost.detach(), case)
        loss = (plan * error).sum()
        return Output(torch.autograd.grad(loss, (x, y)), loss.detach(), plan.detach())

    return call


def _by_formulas(solver, case, x, y, scale):
    """Squared distances, and the gradients of ``sum T C`` for a constant plan, in as few operations as torch allows."""
    long_x, long_y = (torch.linalg.vector_norm(each, dim=-1).square_() for each in (x, y))
    cost = (x @ y.mT).mul_(-2).add_(long_x[..., :, None]).add_(long_y[..., None, :]).mul_(scale)
    plan = solver(cost, case)
    gradients = plan.sum(-1)[..., None] * x, plan.sum(-2)[..., None] * y
    for gradient, weights, others in zip(gradients, (plan, plan.mT), (y, x), strict=True):
        subtract = gradient.baddbmm_ if x.ndim == 3 else gradient.addmm_
        subtract(weights, others, alpha=-1).mul_(2 * scale)
    return Output(gradients, torch.dot(plan.flatten(), cost.flatten()), plan)


def ours() -> Family:
    from bwot import BatchwiseOTLoss, sinkhorn
    from bwot.cpu.loss import release_memory

    def solver(cost, case):
        return sinkhorn(cost, case.lam, MOST if case.tol else case.iterations, case.tol).plan

    @cache  # a training step has its loss at hand
    def of_case(lam, iterations, tol):
        return BatchwiseOTLoss(MARGIN, lam, GAMMA, iterations, tol)

    by_plan = _by_plan(solver)

    def call(inputs):
        case, x, y, batch = inputs
        if case.cost == "distance":
            return by_plan(inputs)
        loss = of_case(case.lam, case.iterations, case.tol)
        value = loss(x, batch.labels, ref_emb=y, ref_labels=batch.other_labels)

        def plan():  # the loss keeps it to itself, so it is asked for after the clock
            return loss.plan(x, batch.labels, ref_emb=y, ref_labels=batch.other_labels)

        return Output(torch.autograd.grad(value, (x, y)), value.detach(), plan)

    return Family({"bwot": Method(call, lambda case: True)}, release=release_memory)


def plain_torch() -> Family:
    def kernel_domain(cost, case):
        kernel = (-case.lam * cost).exp()
        (n, m), transposed = kernel.shape, kernel.T.contiguous()
        u = kernel.new_ones(n)
        for _ in range(case.iterations):
            v = 1 / m / torch.mv(transposed, u)
            u = 1 / n / torch.mv(kernel, v)
        return u[:, None] * kernel * v

    def log_domain(cost, case):
        exponents = -case.lam * cost
        (n, m), f = exponents.shape, exponents.new_zeros(exponents.shape[0])
        log_row, log_column = -math.log(n), -math.log(m)
        for _ in range(case.iterations):
            g = log_column - (exponents + f[:, None]).logsumexp(0)
            f = log_row - (exponents + g).logsumexp(1)
        return (exponents + f[:, None] + g).exp()

    return Family(
        {
            "torch kernel": Method(_by_plan(kernel_domain)),
            "torch log": Method(_by_plan(log_domain)),
        }
    )


def pot() -> Family:
    import ot
    from ot.batch import solve_batch

    def by_name(method):
        def solver(cost, case):
            n, m = cost.shape
            a, b = cost.new_full((n,), 1 / n), cost.new_full((m,), 1 / m)
            # it holds the Euclidean norm of one marginal's error against the threshold
            most, threshold = (MOST, case.tol / m**0.5) if case.tol else (case.iterations, 0.0)
            return ot.sinkhorn(a, b, cost, 1 / case.lam, method=method, numItermax=most,
                               stopThr=threshold, warn=False)  # fmt: skip

        return solver

    def in_batch(method):
        def solver(cost, case):
            costs = cost if case.problems else cost[None]
            count, n, m = costs.shape
            a, b = cost.new_full((count, n), 1 / n), cost.new_full((count, m), 1 / m)
            most, threshold = (MOST, case.tol / n**0.5) if case.tol else (case.iterations, 0.0)
            plan = solve_batch(costs, reg=1 / case.lam, a=a, b=b, method=method, grad="detach",
                               max_iter=most, tol=threshold).plan  # fmt: skip
            return plan if case.problems else plan[0]

        return solver

    def single(case):
        return not case.problems

    methods = {
        f"POT {name}": Method(_by_plan(by_name(name)), single)
        for name in ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized")
    }
    for name, method in (("POT batch kernel", "sinkhorn"), ("POT batch log", "log_sinkhorn")):
        methods[name] = Method(_by_plan(in_batch(method)), lambda case: True, columns_first=False)
    through = _by_plan(by_name("sinkhorn"), unrolled=True)
    return Family(methods | {"POT default use": Method(through, unrolled=True)})


def geomloss() -> Family:
    import geomloss
    from geomloss import ot as solvers

    def by_matrix(cost, case):
        return solvers.solve(cost, reg=1 / case.lam, max_iter=case.iterations).plan

    def by_samples(inputs):
        case, x, y, batch = inputs
        loss = geomloss.SamplesLoss(
            "sinkhorn", p=2, blur=case.lam**-0.5, diameter=1.0, debias=False, backend="tensorized",
            scaling=case.lam ** (-0.5 / (case.iterations - 3)),
            cost=lambda a, b: error_and_cost(case, a, b, batch)[1],
        )  # fmt: skip
        value = loss(x, y)
        return Output(torch.autograd.grad(value, (x, y)), None, None)

    def distances(case):
        return case.cost == "distance" and not case.tol and not case.problems

    return Family(
        {
            "GeomLoss solve": Method(_by_plan(by_matrix)),
            "GeomLoss SamplesLoss": Method(by_samples, distances),
        }
    )


def ott() -> Family:
    import jax

    jax.config.update("jax_enable_x64", True)
    from benchmarks.peers_jax import collect, prepare, solved_by

    def single(case):
        return not case.problems

    methods = {
        "OTT log": Method(solved_by(lse_mode=True), single),
        "OTT kernel": Method(solved_by(lse_mode=False), single),
    }
    return Family(methods, prepare, collect)


FAMILIES = {"ours": ours, "torch": plain_torch, "pot": pot, "geomloss": geomloss, "ott": ott}
"""What makes the methods of each process; it raises ImportError where the library is not installed."""
