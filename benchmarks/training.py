"""Time of a training step and of an epoch, beside what they are measured against.

    python -m benchmarks.training --output book/results/training/NAME.json

It prints and records, at the sizes of MNIST and CIFAR-10 with random images: a step with each loss over the
same step with the pair-wise control, in alternating rounds; an epoch of :func:`bwot.training.fit` over the bare forward,
backward and optimiser steps on the same batches already in memory; and how many times the steps of one process with two
threads two processes with one thread each take in the same time, as the runs of a whole re-run stand side by side.
"""

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.measure import quartiles
from benchmarks.record import keep, machine, this_run
from bwot.data.images import Split
from bwot.data.sampling import batch_pairs
from bwot.experiments import Images
from bwot.training import Schedule, as_input, fit

THREADS, ROUNDS, STEPS_A_ROUND = 2, 12, 10
EPOCH_ROUNDS, SIDE_BY_SIDE = 3, 2
SIZES = {"mnist": (55_000 // 5, (1, 28, 28)), "cifar10": (45_000 // 5, (3, 32, 32))}
"""Images of a fifth of an epoch, and the shape of one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--output", type=Path, help="JSON file that takes the record")
    output = parser.parse_args().output
    record = {"schema": 1, "machine": machine(), "run": this_run({"rounds": ROUNDS, "epochs": EPOCH_ROUNDS}), "rows": []}  # fmt: skip
    for dataset in SIZES:
        torch.set_num_threads(THREADS)
        train = random_images(dataset)
        print(f"\n{dataset}: LeNet-5, 64 + 64 images, {THREADS} threads, torch {torch.__version__}")
        record["rows"] += [_compare_steps(train), _compare_epochs(train), _compare_throughput(dataset)]  # fmt: skip
        for row in record["rows"][-3:]:
            row["dataset"] = dataset
            print(row, flush=True)
        if output:  # as soon as there is something to keep
            keep(record, output)


def random_images(dataset: str) -> Split:
    """As many and as large as those of a fifth of an epoch."""
    count, shape = SIZES[dataset]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(10, (count,), generator=generator))


class _Stepper:
    """Bare training steps of one loss over batches that are in memory."""

    def __init__(self, loss: str, train: Split):
        settings = Images(loss=loss)
        self.network = settings.build_network(tuple(train.images.shape[1:]))
        self.loss = settings.build_loss(10)
        self.optimiser = torch.optim.SGD(self.network.parameters(), lr=1e-4, momentum=0.9)
        pairs = batch_pairs(len(train.labels), 128, seed=0, epoch=1).flatten(1)
        self.batches = [(as_input(train.images[index]), train.labels[index]) for index in pairs]

    def run(self, steps: int) -> float:
        """Seconds a step."""
        start = time.perf_counter()
        for images, labels in self.batches[:steps]:
            first, second = self.network(images).chunk(2)
            label, other = labels.chunk(2)
            value = self.loss(first, label, ref_emb=second, ref_labels=other)
            self.optimiser.zero_grad()
            value.backward()
            self.optimiser.step()
        return (time.perf_counter() - start) / steps


def _compare_steps(train):
    steppers = {
        name: _Stepper(name, train)
        for name in ("pairwise", "allpairs", "active", "bwot", "bwot-balanced")
    }
    for stepper in steppers.values():
        stepper.run(3)  # warm-up
    rounds = [{name: s.run(STEPS_A_ROUND) for name, s in steppers.items()} for _ in range(ROUNDS)]
    seconds = {name: [each[name] for each in rounds] for name in steppers}
    return {
        "group": "step",
        "milliseconds": {name: round(1e3 * statistics.median(each), 3) for name, each in seconds.items()},
        "over_pairwise": {name: quartiles([a / b for a, b in zip(each, seconds["pairwise"], strict=True)])
                          for name, each in seconds.items()},
    }  # fmt: skip


def _compare_epochs(train):
    bare, ratios = _Stepper("bwot", train), []
    settings = Images(loss="bwot")
    for _ in range(EPOCH_ROUNDS):
        seconds = bare.run(len(bare.batches)) * len(bare.batches)
        network = settings.build_network(tuple(train.images.shape[1:]))
        schedule = Schedule(epochs=1, learning_rate=1e-4)
        history = fit(
            network,
            settings.build_loss(10),
            train,
            schedule,
            partial(settings.batches, len(train.labels)),
            after_epoch=lambda epoch: {},
        )
        ratios.append(history[-1]["seconds"] / seconds)
    return {"group": "epoch", "steps": len(bare.batches), "over_bare_steps": quartiles(ratios)}


def _steps_of(dataset, threads, steps):
    """In a process of its own: when its steps began and ended, with compiled code and memory warm."""
    torch.set_num_threads(threads)
    stepper = _Stepper("bwot", random_images(dataset))
    stepper.run(3)
    start = time.time()
    for _ in range(steps // len(stepper.batches)):
        stepper.run(len(stepper.batches))
    return start, time.time()


def _compare_throughput(dataset):
    steps, ratios = 3 * (SIZES[dataset][0] // 128), []
    for _ in range(EPOCH_ROUNDS):
        alone = _seconds_of(dataset, 1, THREADS, steps)
        beside = _seconds_of(dataset, SIDE_BY_SIDE, 1, steps)
        ratios.append(SIDE_BY_SIDE * alone / beside)
    return {"group": "throughput", "processes": SIDE_BY_SIDE, "over_one_with_threads": quartiles(ratios)}  # fmt: skip


def _seconds_of(dataset, processes, threads, steps):
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        spans = list(pool.map(_steps_of, *zip(*[(dataset, threads, steps)] * processes, strict=True)))  # fmt: skip
    return max(end for _, end in spans) - min(start for start, _ in spans)


if __name__ == "__main__":
    main()
