"""Time of a training step and of an epoch, beside what they are measured against.

`python benchmarks/training.py` prints two tables: a step with the batch-wise loss and with the all-pairs control over the
same step with the pair-wise control, in alternating rounds; and an epoch of :func:`bwot.training.fit` over the bare forward,
backward and optimiser steps on the same batches already in memory. Shapes are MNIST's, the values random: neither matters
for time.
"""

import statistics
import time
from functools import partial

import torch

from bwot.data.images import Split
from bwot.data.sampling import batch_pairs
from bwot.experiments import Images
from bwot.training import Schedule, as_input, fit

THREADS, ROUNDS, STEPS_A_ROUND = 2, 12, 10
EPOCH_IMAGES, EPOCH_ROUNDS = 55_000 // 5, 3


def main() -> None:
    torch.set_num_threads(THREADS)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (EPOCH_IMAGES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    train = Split(images, torch.randint(10, (EPOCH_IMAGES,), generator=generator))
    print(f"LeNet-5, 64 + 64 images of 28×28, {THREADS} threads, torch {torch.__version__}")
    _compare_steps(train)
    _compare_epochs(train)


class _Stepper:
    """Bare training steps of one loss over batches that are in memory."""

    def __init__(self, loss: str, train: Split):
        settings = Images(loss=loss)
        self.network, self.loss = settings.build_network((1, 28, 28)), settings.build_loss(10)
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
    print(
        f"\n{'step':<15}{'ms, median':>12}{'over pair-wise, median':>25}{'quartiles':>16}   target 1.10 for bwot"
    )
    for name in steppers:
        ratios = [each[name] / each["pairwise"] for each in rounds]
        low, median, high = statistics.quantiles(ratios, n=4)
        milliseconds = 1e3 * statistics.median(each[name] for each in rounds)
        print(f"{name:<15}{milliseconds:>12.1f}{median:>25.3f}{low:>9.3f} {high:.3f}")


def _compare_epochs(train):
    bare, ratios = _Stepper("bwot", train), []
    settings = Images(loss="bwot")
    for _ in range(EPOCH_ROUNDS):
        seconds = bare.run(len(bare.batches)) * len(bare.batches)
        network = settings.build_network((1, 28, 28))
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
    print(
        f"\nan epoch of fit over its {len(bare.batches)} bare steps: median {statistics.median(ratios):.3f}, target 1.15"
    )


if __name__ == "__main__":
    main()
