"""Which samples make a batch, and which make a subset: functions of their arguments alone.

Nothing is kept between calls, so a run that was interrupted goes on with the batches it would have had, and every
loss meets the same batches at the same seed.
"""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from bwot.data.images import Split


def batch_pairs(n: int, batch_size: int, seed: int, epoch: int) -> Int64[Tensor, "steps 2 half"]:
    """Indices of the two batches of every step of an epoch, drawn without replacement from ``n`` samples.

    A permutation is cut into blocks of ``batch_size``; a block's first half is one batch, its second half the other,
    and the incomplete last block is dropped (the authors' run.py takes two consecutive batches of 64 a step).

    Args:
        n: number of training samples.
        batch_size: samples a step, both batches together; even.
        seed: of the run, from 0.
        epoch: from 0; each has a permutation of its own.

    Raises:
        ValueError: if ``batch_size`` is odd or not positive, ``n`` is smaller, or seed or epoch is negative.

    >>> batch_pairs(55_000, 128, seed=0, epoch=1).shape
    torch.Size([429, 2, 64])
    """
    if batch_size < 2 or batch_size % 2:
        raise ValueError(
            f"batch_size must be even and positive (two equal batches), not {batch_size}."
        )
    return _blocks(n, batch_size, seed, epoch).view(-1, 2, batch_size // 2)


def single_batches(n: int, batch_size: int, seed: int, epoch: int) -> Int64[Tensor, "steps 1 size"]:
    """As :func:`batch_pairs`, with one batch of ``batch_size`` a step (the authors' 3D code: 20 shapes meet each other).

    Raises:
        ValueError: if ``batch_size`` is less than 2, ``n`` is smaller, or seed or epoch is negative.
    """
    if batch_size < 2:
        raise ValueError(f"batch_size must be at least 2, not {batch_size}.")
    return _blocks(n, batch_size, seed, epoch)[:, None]


def _blocks(n, size, seed, epoch):
    """A permutation of the samples cut into blocks, without the incomplete last one."""
    if n < size:
        raise ValueError(f"an epoch needs at least batch_size = {size} samples, and there are {n}.")
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed and epoch must not be negative, and are {seed} and {epoch}.")
    steps = n // size
    order = np.random.default_rng((seed, epoch)).permutation(n)[: steps * size]
    return torch.from_numpy(order).long().view(steps, size)


def stratified_subset(labels: Int64[Tensor, " n"], size: int, seed: int) -> Int64[Tensor, " size"]:
    """Ascending indices of exactly ``size`` samples that keep the shares of the classes.

    A class gets its share of ``size`` rounded down or up: up where the remainder is largest, the lower class first
    among equals. Which of its samples, the seed decides.

    Raises:
        ValueError: if ``size`` is not between 1 and the number of labels.

    >>> stratified_subset(torch.tensor([0, 1, 0, 1, 0, 0]), size=3, seed=0).shape
    torch.Size([3])
    """
    if not 1 <= size <= len(labels):
        raise ValueError(
            f"size must be between 1 and the {len(labels)} labels there are, not {size}."
        )
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels.numpy(), return_counts=True)
    # In whole numbers, so that no rounding of the platform decides a tie.
    takes, remainders = np.divmod(counts * size, len(labels))
    takes[np.argsort(-remainders, kind="stable")[: size - takes.sum()]] += 1
    chosen = [
        rng.permutation(np.flatnonzero(labels.numpy() == label))[:take]
        for label, take in zip(classes, takes, strict=True)
    ]
    return torch.from_numpy(np.sort(np.concatenate(chosen))).long()


def parted(split: Split, size: int, seed: int = 0) -> tuple[Split, Split]:
    """What is left of ``split``, and the ``size`` samples that :func:`stratified_subset` takes; each in its order."""
    taken = stratified_subset(split.labels, size, seed)
    rest = torch.ones(len(split.labels), dtype=torch.bool)
    rest[taken] = False
    return Split(split.images[rest], split.labels[rest]), Split(
        split.images[taken], split.labels[taken]
    )
