"""How long a plan, the loss and an epoch take on a GPU.

    python -m benchmarks.gpu --output book/results/gpu/NAME.json

``plan``: 50 iterations on a cost that lies on the device, by plain torch as a user would write it (``v = q / K^T u``), eager and
replayed from a CUDA graph, and by the Triton kernels alike. ``loss``: from embeddings to both gradients, eager and in a graph, over
the mean over all pairs. ``epoch``: of :func:`bwot.training.fit` at the sizes of MNIST and CIFAR-10 with random images. Another cost
every call; methods take turns; medians and quartiles of the rounds, and of the ratio round by round. Every plan is held against
the one after exactly 50 iterations in float64.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.record import keep
from bwot import provenance, sinkhorn_torch
from bwot.controls import AllPairsLoss
from bwot.data.images import Split
from bwot.experiments import Images
from bwot.gpu import solver
from bwot.losses import BatchwiseOTLoss
from bwot.training import Schedule, fit

LAM, ITERATIONS, POOL, ROUNDS = 10.0, 50, 8, 20
SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
CORRECT = 2e-4  # largest error of the plan times n, as in benchmarks.problems
EPOCHS = {"mnist": (55_000, (1, 28, 28)), "cifar10": (45_000, (3, 32, 32))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, help="the record, JSON")
    options = parser.parse_args()
    rows = [*plans(), *losses(), *epochs()]
    device = {"device": torch.cuda.get_device_name(), "capability": list(torch.cuda.get_device_capability())}  # fmt: skip
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = {"schema": 1, **device, **provenance.commit(), **provenance.software(), "started": made, "rows": rows}  # fmt: skip
    if options.output:
        keep(record, options.output)


def plans():
    """One problem of each size, and 64 at once."""
    for problems, sizes in ((1, SIZES), (64, (32, 64, 128))):
        for n in sizes:
            yield _shown(_plans_of(problems, n))


def _plans_of(problems, n):
    generator = torch.Generator("cuda").manual_seed(n)
    pool = torch.rand(POOL, problems, n, n, device="cuda", generator=generator)
    ways = {
        "torch": plain,
        "bwot": lambda cost: solver.solve(cost, LAM, ITERATIONS, None, None, *_uniform(cost))[0],
    }
    timed = {f"{name}, eager": Eager(way, pool) for name, way in ways.items()}
    timed |= {f"{name}, graph": Graph(way, pool) for name, way in ways.items()}
    exact = sinkhorn_torch.solve(pool[0].double(), LAM, ITERATIONS, None)[0]
    errors = {name: ((each(0).double() - exact).abs().max() * n).item() for name, each in timed.items()}  # fmt: skip
    return {"group": "plan", "problems": problems, "n": n, **_in_turns(timed, "bwot"), "errors": errors, "correct": max(errors.values()) <= CORRECT}  # fmt: skip


def plain(cost: Tensor) -> Tensor:
    """Sinkhorn's algorithm as it is usually written; right at this lambda and cost."""
    kernel = (-LAM * cost).exp()
    transposed, q, p = kernel.mT, 1 / cost.shape[-1], 1 / cost.shape[-2]
    u = torch.ones_like(cost[..., :1])
    for _ in range(ITERATIONS):
        v = q / (transposed @ u)
        u = p / (kernel @ v)
    return u * kernel * v.mT


def _uniform(cost):
    problems, n, m = cost.shape
    return cost.new_full((problems, n), 1 / n), cost.new_full((problems, m), 1 / m)


class Eager:
    """A function called with the numbers of a pool in turn."""

    def __init__(self, function, pool):
        self.function, self.pool = function, pool
        self(0)

    def __call__(self, number):
        return self.function(self.pool[number % len(self.pool)])


class Graph(Eager):
    """The same from a CUDA graph, its input copied to where the graph reads it."""

    def __init__(self, function, pool):
        super().__init__(function, pool)
        self.given, self.graph = pool[0].clone(), torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(self.graph):
            self.result = function(self.given)

    def __call__(self, number):
        if hasattr(self, "graph"):
            self.given.copy_(self.pool[number % len(self.pool)])
            self.graph.replay()
            return self.result
        return super().__call__(number)


def _in_turns(timed, ours):
    """Microseconds of device time between two calls, by rounds; and how many times as long as ours each of the others takes."""
    rounds = {name: [] for name in timed}
    for number in range(ROUNDS):
        for name, each in list(timed.items())[:: 1 if number % 2 else -1]:
            rounds[name].append(_microseconds(each, number))
    mine = {way: rounds[f"{ours}, {way}"] for way in ("eager", "graph")}
    over = {
        f"{name} / {ours}, {way}": _quartiles([a / b for a, b in zip(each, own, strict=True)])
        for name, each in rounds.items() if not name.startswith(ours) for way, own in mine.items()
    }  # fmt: skip
    return {"microseconds": {name: _quartiles(each) for name, each in rounds.items()}, "over": over}


def _microseconds(call, number, calls=5):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for i in range(calls):
        call(number * calls + i)
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls * 1000


def _quartiles(values):
    return [round(each, 3) for each in statistics.quantiles(values, n=4)]


def losses():
    """The batch-wise loss and the mean over all pairs."""
    for n in (64, 128, 256, 1024):
        yield _shown(_losses_of(n))


def _losses_of(n, d=128):
    generator = torch.Generator("cuda").manual_seed(n)
    pool = torch.randn(POOL, 2, n, d, device="cuda", generator=generator) / d**0.5
    labels = torch.arange(n, device="cuda") % 10

    def through(loss):
        def call(pair):
            pair = pair.detach().requires_grad_()
            return torch.autograd.grad(loss(pair[0], labels, ref_emb=pair[1], ref_labels=labels), pair)[0]  # fmt: skip

        return call

    ways = {"all pairs": through(AllPairsLoss()), "bwot": through(BatchwiseOTLoss())}
    timed = {f"{name}, eager": Eager(way, pool) for name, way in ways.items()}
    timed |= {f"{name}, graph": Graph(way, pool) for name, way in ways.items()}
    return {"group": "loss", "n": n, "d": d, **_in_turns(timed, "bwot")}


def epochs():
    """Seconds of an epoch, the first one, which records the graph, and the median of the others."""
    for dataset in EPOCHS:
        for loss in ("allpairs", "bwot", "bwot-balanced"):
            yield _shown({"group": "epoch", "dataset": dataset, "loss": loss} | _epochs_of(dataset, loss))  # fmt: skip


def _epochs_of(dataset, loss):
    settings, (count, shape) = Images(dataset=dataset, loss=loss), EPOCHS[dataset]
    generator = torch.Generator("cuda").manual_seed(0)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, device="cuda", generator=generator)  # fmt: skip
    train = Split(images, torch.arange(count, device="cuda") % 10)
    network = settings.build_network(shape).to("cuda")
    rows = fit(network, settings.build_loss(10).to("cuda"), train, Schedule(epochs=4, learning_rate=1e-4),
               settings.sampler(train), lambda epoch: {})  # fmt: skip
    seconds = [row["seconds"] for row in rows[1:]]
    return {"first_seconds": round(seconds[0], 4), "seconds": round(statistics.median(seconds[1:]), 4)}  # fmt: skip


def _shown(row):
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
