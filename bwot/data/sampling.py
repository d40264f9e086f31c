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


def modality_batches(
    drawings: int, shapes: int, batch_size: int, seed: int, epoch: int
) -> Int64[Tensor, "steps 4 quarter"]:
    """Indices of the four batches of every step: two of drawings, two of shapes (authors' SHREC code, 4 × 30).

    Either kind has a shuffled walk of its own, independent of the other's, that is cut into blocks; a block's halves are
    the two batches, and an incomplete last block is dropped. The walk over the drawings is the epoch; the shapes, which
    are fewer, are walked again and again, in a new order each time.

    Args:
        drawings: how many samples of drawings there are; each rotation is one.
        shapes: how many shapes.
        batch_size: samples a step, all four batches together; a multiple of 4.
        seed: of the run, from 0.
        epoch: from 0.

    Raises:
        ValueError: for a ``batch_size`` that is no multiple of 4, fewer samples of a kind than half of it, or a negative
            seed or epoch.

    >>> modality_batches(171_000, 8_987, 120, seed=0, epoch=1).shape
    torch.Size([2850, 4, 30])
    """
    quarter = _quarter(batch_size, drawings, shapes, seed, epoch)
    steps = drawings // (2 * quarter)
    walks = [
        _walk(kind, steps, 2 * quarter, np.random.default_rng((seed, epoch, number)))
        for number, kind in enumerate((drawings, shapes))
    ]
    return torch.cat([walk.view(steps, 2, quarter) for walk in walks], dim=1)


def balanced_modality_batches(
    drawing_labels: Int64[Tensor, " n"],
    shape_labels: Int64[Tensor, " m"],
    batch_size: int,
    seed: int,
    epoch: int,
) -> Int64[Tensor, "steps 4 quarter"]:
    """As :func:`modality_batches`, with all classes equally often, up to one, in each batch.

    The four batches of a step have the same classes, those that both kinds have; the members are drawn at random, each
    by itself. Where a batch is smaller than the number of classes, it has as many of them as it has samples.

    Raises:
        ValueError: as :func:`modality_batches`, and where no class has both drawings and shapes.
    """
    quarter = _quarter(batch_size, len(drawing_labels), len(shape_labels), seed, epoch)
    steps = len(drawing_labels) // (2 * quarter)
    rng = np.random.default_rng((seed, epoch, 2))
    kinds = [labels.numpy() for labels in (drawing_labels, shape_labels)]
    classes = np.intersect1d(*kinds)
    if not len(classes):
        raise ValueError("balanced batches need a class that has both drawings and shapes.")
    rounds = -(-quarter // len(classes))
    drawn = rng.permuted(np.tile(classes, (steps, rounds, 1)), axis=2).reshape(steps, -1)
    drawn = drawn[:, None, :quarter]
    halves = []
    for labels in kinds:
        order, (known, counts) = np.argsort(labels, kind="stable"), np.unique(labels, return_counts=True)  # fmt: skip
        place = np.searchsorted(known, drawn)
        member = (rng.random((steps, 2, quarter)) * counts[place]).astype(np.int64)
        halves.append(order[(counts.cumsum() - counts)[place] + member])
    return torch.from_numpy(np.concatenate(halves, axis=1))


def _quarter(batch_size, drawings, shapes, seed, epoch):
    """Samples of one of four batches; arguments checked."""
    if batch_size < 4 or batch_size % 4:
        raise ValueError(f"batch_size must be a multiple of 4 (four batches), not {batch_size}.")
    for kind, count in (("drawings", drawings), ("shapes", shapes)):
        if count < batch_size // 2:
            raise ValueError(
                f"half of batch_size = {batch_size} are {kind}, and there are only {count}."
            )
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed and epoch must not be negative, and are {seed} and {epoch}.")
    return batch_size // 4


def _walk(n, steps, size, rng):
    """``steps`` blocks of ``size`` from as many permutations of ``n`` as it takes, without their incomplete last blocks."""
    blocks = n // size
    rounds = -(-steps // blocks)
    orders = np.stack([rng.permutation(n)[: blocks * size] for _ in range(rounds)])
    return torch.from_numpy(orders.reshape(-1, size)[:steps]).long()
