"""The exact gradient beside that of a constant plan, and the iterations to a tolerance beside those of the plain algorithm."""

import time
from dataclasses import asdict, replace

import torch

from benchmarks.problems import GAMMA, MARGIN, Case, error_and_cost, make_pool, reference
from benchmarks.workers import keep_worst
from bwot import BatchwiseOTLoss, sinkhorn, sinkhorn_torch

MOST = 20_000  # iterations of a run to a tolerance


class Gradients:
    """Calls of the loss, forward and backward, with a constant plan and with the exact gradient."""

    def load(self, case: Case) -> None:
        """Take a case with the loss's own cost; its references are gradients through all iterations, in float64."""
        self.case, self.pool, self.taken = case, make_pool(case), 0
        self.expected = {
            name: [reference(case, batch, True, unrolled=name == "exact").gradients for batch in self.pool]
            for name in ("constant", "exact")
        }  # fmt: skip
        self.losses = {
            name: BatchwiseOTLoss(MARGIN, case.lam, GAMMA, case.iterations, plan_gradient=name)
            for name in self.expected
        }

    def turn(self, name: str, calls: int, warm: bool) -> tuple[list[float], dict[str, float]]:
        """Seconds of each call, and the largest error of a gradient relative to its largest entry."""
        seconds, worst = [], {}
        for _ in range(calls + warm):
            self.taken += 1
            i = self.taken % len(self.pool)
            batch, dtype = self.pool[i], getattr(torch, self.case.dtype)
            x, y = (each.to(dtype, copy=True).requires_grad_() for each in (batch.x, batch.y))
            start = time.perf_counter()
            value = self.losses[name](x, batch.labels, ref_emb=y, ref_labels=batch.other_labels)
            found = torch.autograd.grad(value, (x, y))
            seconds.append(time.perf_counter() - start)
            off = [(a.double() - b).abs().max() / b.abs().max() for a, b in zip(found, self.expected[name][i], strict=True)]  # fmt: skip
            keep_worst(worst, {"gradient": max(each.nan_to_num(torch.inf).item() for each in off)})
        return seconds[warm:], worst


def iterations_to(case: Case) -> list[dict]:
    """Rows of iterations and marginal error: ours in both types, and the plain algorithm in float64, all on the same problem."""
    batch, rows = make_pool(case)[0], []
    cost = error_and_cost(case, batch.x, batch.y, batch)[1]
    for dtype in ("float32", "float64"):
        found = sinkhorn(cost.to(getattr(torch, dtype)), case.lam, MOST, case.tol)
        rows.append(_counted(replace(case, dtype=dtype), "bwot", *found[1:]))
    _, taken, error = sinkhorn_torch.solve(cost, case.lam, MOST, case.tol)
    return [*rows, _counted(replace(case, dtype="float64"), "plain", taken, error)]


def _counted(case, method, iterations, error):
    return {"case": asdict(case), "method": method, "iterations": iterations.item(),
            "marginal_error": float(f"{error.item():.2g}"), "correct": error.item() <= case.tol}  # fmt: skip
