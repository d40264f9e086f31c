"""Work that is timed beside the plain loss: training steps, other losses, an iteration against reading, the first call.

Each class answers a worker's requests (:mod:`benchmarks.workers`) in a process of its own.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch

from benchmarks.problems import GAMMA, MARGIN, Batch, Case, error_and_cost, reference, scalings
from bwot import AllPairsLoss, BatchwiseOTLoss, sinkhorn

FEATURES, WIDTHS, SAMPLES, CLASSES = 768, (1000, 500, 128), 30, 20
LAM = 10.0


class Steps:
    """Training steps on cached features of sketches and shapes: two heads, two batches of each kind, four plans."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)
        self.losses = {"bwot": BatchwiseOTLoss(MARGIN, LAM, GAMMA), "all pairs": AllPairsLoss(MARGIN)}  # fmt: skip
        self.heads = {name: [self._head(), self._head()] for name in self.losses}
        self.optimisers = {
            name: torch.optim.SGD([p for head in heads for p in head.parameters()], lr=0.01)
            for name, heads in self.heads.items()
        }
        self.pool = [self._draw() for _ in range(8)]
        self.taken = 0

    def _head(self):
        layers, before = [], FEATURES
        for width in WIDTHS:
            layers += [torch.nn.Linear(before, width), torch.nn.Sigmoid()]
            before = width
        return torch.nn.Sequential(*layers)

    def _draw(self):
        features = torch.randn(2, 2 * SAMPLES, FEATURES, generator=self.generator)
        return features, torch.randint(CLASSES, (2, 2 * SAMPLES), generator=self.generator)

    def turn(self, name: str, calls: int, warm: bool):
        """Seconds of each step, and by how much the worst loss differs from the definition in float64."""
        seconds, outcomes = [], []
        for _ in range(calls + warm):
            self.taken += 1
            features, labels = self.pool[self.taken % len(self.pool)]
            start = time.perf_counter()
            outcomes.append((*self._step(name, features, labels), labels))
            seconds.append(time.perf_counter() - start)
        worst = max(self._error(name, *outcome) for outcome in outcomes)
        return seconds[warm:], {"loss": worst}

    def _step(self, name, features, labels):
        embeddings = [head(each) for head, each in zip(self.heads[name], features, strict=True)]
        value = sum(
            self.losses[name](a, label, ref_emb=b, ref_labels=other)
            for a, label, b, other in _terms(embeddings, labels)
        )
        self.optimisers[name].zero_grad()
        value.backward()
        self.optimisers[name].step()
        return value.detach(), [each.detach() for each in embeddings]

    def _error(self, name, value, embeddings, labels):
        case, expected = Case(SAMPLES, SAMPLES, WIDTHS[-1], LAM, cost="loss"), 0.0
        for a, label, b, other in _terms(embeddings, labels):
            batch = Batch(a.double(), b.double(), label, other, torch.ones(1, 1))
            error, _ = error_and_cost(case, batch.x, batch.y, batch)
            expected += error.mean() if name == "all pairs" else reference(case, batch, True).loss
        return abs(value.item() / float(expected) - 1)


def _terms(embeddings, labels):
    """The four pairs of batches: sketches, shapes, and each batch of sketches with one of shapes."""
    sketches, shapes = (
        list(zip(each.chunk(2), label.chunk(2), strict=True))
        for each, label in zip(embeddings, labels, strict=True)
    )
    for first, second in (sketches, shapes, *zip(sketches, shapes, strict=True)):
        yield *first, *second


class OtherLosses:
    """Losses of pytorch-metric-learning on one batch, and ours on that batch and on its halves."""

    def __init__(self):
        from pytorch_metric_learning import losses

        self.losses = {
            "contrastive": losses.ContrastiveLoss(),
            "triplet": losses.TripletMarginLoss(),
            "lifted structure": losses.LiftedStructureLoss(),
            "N-pairs": losses.NPairsLoss(),
            "multi-similarity": losses.MultiSimilarityLoss(),
            "SupCon": losses.SupConLoss(),
        }
        self.ours = BatchwiseOTLoss(MARGIN, LAM, GAMMA)

    def load(self, size: int) -> list[str]:
        """Take the size of a batch; the names of the methods."""
        generator = torch.Generator().manual_seed(0)
        self.pool = []
        for _ in range(8):
            centres = torch.randn(16, 128, generator=generator, dtype=torch.float64)
            labels = torch.arange(size) % 16
            noise = torch.randn(size, 128, generator=generator, dtype=torch.float64)
            rows = torch.nn.functional.normalize(centres[labels] + noise)
            self.pool.append((rows, labels))
        self.expected, self.taken = {}, 0
        return ["bwot", "bwot, two halves", *self.losses]

    def turn(self, name: str, calls: int, warm: bool):
        """Seconds of each call, and the largest errors against float64 (of other losses: the same loss in float64)."""
        seconds, worst = [], {"loss": 0.0, "gradient": 0.0}
        for _ in range(calls + warm):
            self.taken += 1
            i = self.taken % len(self.pool)
            rows, labels = self.pool[i]
            x = rows.float().requires_grad_()
            start = time.perf_counter()
            found = self._call(name, x, labels)
            seconds.append(time.perf_counter() - start)
            if (name, i) not in self.expected:
                self.expected[name, i] = self._expected(name, rows, labels)
            for kind, a, b in zip(worst, found, self.expected[name, i], strict=True):
                error = (a.double() - b).abs().max() / b.abs().max()
                worst[kind] = max(worst[kind], error.nan_to_num(torch.inf).item())
        return seconds[warm:], worst

    def _call(self, name, x, labels):
        if name == "bwot, two halves":
            (a, b), (label, other) = x.chunk(2), labels.chunk(2)
            value = self.ours(a, label, ref_emb=b, ref_labels=other)
        else:
            value = self.losses.get(name, self.ours)(x, labels)
        return value.detach(), *torch.autograd.grad(value, x)

    def _expected(self, name, rows, labels):
        x = rows.clone().requires_grad_()
        if name in self.losses:
            return self._call(name, x, labels)
        halves = name != "bwot"
        (a, b), (label, other) = (x.chunk(2), labels.chunk(2)) if halves else ((x, x), (labels,) * 2)  # fmt: skip
        case = Case(len(a), len(b), lam=LAM, cost="loss")
        error, cost = error_and_cost(case, a, b, Batch(a, b, label, other, torch.ones(1, 1)))
        kernel = (-LAM * cost.detach()).exp()
        if not halves:
            kernel.fill_diagonal_(0)
        u, v = scalings(kernel, case)
        value = (u[:, None] * kernel * v * error).sum()
        return value.detach(), *torch.autograd.grad(value, x)


class Limits:
    """What the machine can do at most: read a matrix, multiply it by a vector; and what an iteration of ours takes."""

    def reading(self, n: int) -> dict[str, float]:
        """Seconds to read an (n, n) float32 matrix once (its sum), and of its product with a vector."""
        matrix, vector, out = torch.rand(n, n), torch.rand(n), torch.empty(n)
        product = lambda: torch.mv(matrix, vector, out=out)  # noqa: E731
        return {"sum": _seconds(matrix.sum), "product": _seconds(product)}

    def iteration(self, n: int, short: int = 50, long: int = 150) -> list[float]:
        """Seconds of one iteration, measured many times: those of ``long`` iterations less those of ``short``."""
        generator = torch.Generator().manual_seed(0)
        costs = torch.rand(8, n, n, generator=generator)
        differences = []
        for i in range(24):
            cost = costs[i % len(costs)]
            a, b = (_once(lambda k=k: sinkhorn(cost, LAM, k)) for k in (short, long))  # noqa: B023
            differences.append((b - a) / (long - short))
        return differences[4:]


def _seconds(f: Callable, repeats: int = 40) -> float:
    for _ in range(3):
        f()
    return statistics.median(_once(f) for _ in range(repeats))


def _once(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


FIRST = """
import time
start = time.perf_counter()
import torch
torch.set_num_threads(1)
loaded = time.perf_counter()
from bwot import BatchwiseOTLoss
imported = time.perf_counter()
x, y = (torch.randn(128, 128).div(11).requires_grad_() for _ in range(2))
labels = torch.arange(128) % 16
loss, seconds = BatchwiseOTLoss(), []
for _ in range(3):
    before = time.perf_counter()
    loss(x, labels, ref_emb=y, ref_labels=labels).backward()
    seconds.append(time.perf_counter() - before)
print(imported - loaded, seconds[0], seconds[-1])
"""


def first_calls() -> dict[str, dict[str, float]]:
    """Seconds to import the package after torch, of the first call and of the third, in fresh processes.

    ``cold``: with an empty cache of compiled code; ``warm``: with what the cold one left there.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for state in ("cold", "warm"):
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", FIRST], capture_output=True, text=True,
                env=os.environ | {"NUMBA_CACHE_DIR": folder, "OMP_NUM_THREADS": "1"}, check=True,
            )  # fmt: skip
            found[state] = dict(zip(("import", "first", "third"), map(float, done.stdout.split()), strict=True))  # fmt: skip
    return found
