"""Training and embedding: plain loops, with a checkpoint after an epoch.

A run is a function of its settings alone: the order of an epoch's batches is drawn from (seed, epoch), so one that was
killed goes on from its last checkpoint and ends with the same bits.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from bwot.baselines import UnionLoss
from bwot.batches import NonFiniteError
from bwot.checkpoints import restore, save_checkpoint
from bwot.controls import AllPairsLoss
from bwot.crossmodal import Modalities
from bwot.data.images import Split
from bwot.gpu.replay import Replayed
from bwot.progress import progress

LOWEST_RATE = 1e-7  # authors' 3D code, adjust_learning_rate
SECONDS_BETWEEN = 0.5
"""From one checkpoint to the next, at least. An epoch on cached features takes a tenth of a second, and writing one a tenth of that."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Stochastic gradient descent as in the authors' codes; the rate by epochs (2D, run.py) or by a score (3D)."""

    epochs: int
    learning_rate: float
    momentum: float = 0.9
    decay: float = 0.95
    """Factor on the learning rate, after each epoch, or each time that the score which steers it stands still twice."""
    weight_decay: float = 0.0
    steered_by: str | None = None
    """Name of the score in the history that lowers the rate when it stands still; with None the rate falls every epoch."""
    normalise_gradient: bool = False
    """Rescale each step's gradient at the embeddings to the length that the all-pairs mean's has there."""

    def rate(self, epoch: int, history: list[dict]) -> float:
        """Learning rate of an epoch, from 1, after those of ``history``, which begins with epoch 0."""
        if self.steered_by is None:
            return self.learning_rate * self.decay ** max(0, epoch - 1)
        scores = [row[self.steered_by] for row in history[1:]]
        return max(self.learning_rate * self.decay ** (stalls(scores) // 2), LOWEST_RATE)


def schedule_of(settings) -> Schedule:
    """The part of the settings of an experiment that says how long and how fast to train."""
    names = {field.name for field in fields(Schedule)} & {field.name for field in fields(settings)}
    return Schedule(**{name: getattr(settings, name) for name in sorted(names)})


def stalls(scores: Sequence[float]) -> int:
    """How often the best of the last three scores was below the best before (authors' 3D code, main loop).

    >>> stalls([0.5, 0.6, 0.55, 0.58, 0.59, 0.61])
    1
    """
    return sum(
        max(scores[end - 3 : end]) < max(scores[: end - 3]) for end in range(4, len(scores) + 1)
    )


class DivergedError(ArithmeticError):
    """Training whose loss is no longer finite."""

    def __init__(self, epoch: int, step: int, history: list[dict]):
        super().__init__(
            f"the loss stopped being finite at epoch {epoch}, step {step}: lower the learning rate."
        )
        self.where, self.history = f"epoch {epoch}, step {step}", history


def as_input(samples: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Samples as the networks take them: pixels in [0, 1] (authors' run.py), and features as they are.

    Colours, where no value means "nothing", go to [-0.5, 0.5]: in [0, 1] the common part of all images is learned first,
    and the batch-wise loss collapsed on CIFAR-10 at the rate that is best with centred ones. Views (n, v, c, h, w) show
    ink on white paper: the paper becomes 0.
    """
    if samples.is_floating_point():
        return samples
    pixels = samples.float().div_(255)
    if samples.ndim == 5:
        return pixels.neg_().add_(1)
    return pixels.sub_(0.5) if samples.shape[1] == 3 else pixels


@torch.no_grad()
def embed(
    network: nn.Module, images: Shaped[Tensor, "n ..."], block: int = 500
) -> Float[Tensor, "n e"]:
    """Embeddings of all samples, computed in blocks of ``block``; the network is left in the mode it was in.

    Raises:
        NonFiniteError: for embeddings that are NaN or infinite.
    """
    mode = network.training
    network.eval()
    embeddings = torch.cat([network(as_input(part)) for part in images.split(block)])
    network.train(mode)
    if not bool(embeddings.isfinite().all()):
        raise NonFiniteError("embeddings must be finite, but some are NaN or infinite.")
    return embeddings


def embed_batches(
    network: nn.Module, train: Split | Modalities, batches: Int64[Tensor, "batches size"]
) -> dict[str, Tensor]:
    """The arguments of a loss for one batch, which meets itself, or two, given by the indices of their samples.

    Two batches pass the network together. Of two kinds of samples there are two batches each, those of drawings first:
    both of a kind are the embeddings of that kind.
    """
    if isinstance(train, Modalities):
        return _embed_modalities(network, train, *batches.chunk(2))
    index = batches.flatten()
    embeddings = network(as_input(train.images[index])).chunk(len(batches))
    labels = train.labels[index].chunk(len(batches))
    given = {"embeddings": embeddings[0], "labels": labels[0]}
    if len(batches) == 2:
        given |= {"ref_emb": embeddings[1], "ref_labels": labels[1]}
    return given


def _embed_modalities(network, train, drawings, shapes):
    kinds = (train.drawings, drawings.flatten()), (train.shapes, shapes.flatten())
    embeddings = network(*(as_input(kind.images[index]) for kind, index in kinds))
    labels = (kind.labels[index] for kind, index in kinds)
    names = ("embeddings", "ref_emb", "labels", "ref_labels")
    return dict(zip(names, (*embeddings, *labels), strict=True))


def fit(
    network: nn.Module,
    loss: nn.Module,
    train: Split | Modalities,
    schedule: Schedule,
    batches: Callable[[int], Int64[Tensor, "steps batches size"]],
    after_epoch: Callable[[int], dict],
    checkpoint: Path | None = None,
    report: Callable[[dict], None] = lambda row: None,
) -> list[dict]:
    """Train ``network`` in place and return one row an epoch, that of the untrained network first.

    On a GPU nothing waits for the device inside an epoch: a step is replayed from a CUDA graph (what it calls must not read
    values on the host), and a loss that is not finite is seen at the end of the epoch. Convolutions are deterministic there,
    in TF32.

    Args:
        network: from samples, see :func:`as_input`, to embeddings.
        loss: called as ``loss(embeddings=, labels=)``, with ``ref_emb=`` and ``ref_labels=`` for two batches; what it learns
            or remembers is trained and kept with the network.
        train: the training samples, of one kind or two, on the device of the network.
        schedule: how long and how fast.
        batches: from an epoch to the indices of the samples of its steps, for one batch or two, or for two of each kind.
        after_epoch: from the epoch (0: untrained) to what shall be kept in its row, such as scores.
        checkpoint: where to keep the state after the last epoch and after each before it, of those shorter than
            :data:`SECONDS_BETWEEN` after some; training goes on from there if the file exists.
        report: takes each row when it is complete.

    Raises:
        DivergedError: as soon as the loss is not finite.
        CheckpointError: for a checkpoint that cannot be read or is that of another network.
        OSError: where the checkpoint cannot be written.
    """
    kept = time.perf_counter()
    trained = [*network.parameters(), *loss.parameters()]
    optimiser = torch.optim.SGD(
        [{"params": trained}],
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        fused=True,  # one pass over the weights instead of four: half of a step with a small batch
    )
    parts = {"network": network, "loss": loss, "optimiser": optimiser}
    history = restore(checkpoint, parts) if checkpoint else []
    step = _Step(network, loss, optimiser, train, schedule.normalise_gradient)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=True):
        for epoch in range(len(history), schedule.epochs + 1):
            rate = schedule.rate(epoch, history)
            step.set_rate(rate)
            steps = batches(epoch)
            start = time.perf_counter()
            mean = None
            if epoch:
                mean = _one_epoch(step, steps, epoch, history)
            row = {
                "epoch": epoch,
                "loss": mean,
                "seconds": time.perf_counter() - start if epoch else 0.0,
                "learning_rate": rate,
            }
            try:
                history.append(row | after_epoch(epoch))
            except NonFiniteError as error:  # the last step of the epoch was one too far
                raise DivergedError(epoch, len(steps), history) from error
            due = epoch == schedule.epochs or time.perf_counter() - kept >= SECONDS_BETWEEN
            if checkpoint and due:
                save_checkpoint(checkpoint, parts, history)
                kept = time.perf_counter()
            report(history[-1])
    return history


class _Step:
    """One step of training; the sum of the losses is kept where it is computed."""

    def __init__(self, network, loss, optimiser, train, normalise_gradient):
        self.network, self.loss, self.optimiser, self.train = network, loss, optimiser, train
        self.normalise_gradient = normalise_gradient
        self.device = train.images.device
        self.total = torch.zeros((), device=self.device)
        reads = isinstance(loss, UnionLoss)  # the library's losses look for pairs on the host
        self.take = self._take if reads else Replayed(self._take)

    def set_rate(self, rate: float):
        """The learning rate; on a GPU in a tensor, which a graph reads each time that it is replayed."""
        group = self.optimiser.param_groups[0]
        if not self.train.images.is_cuda:
            group["lr"] = rate
        elif isinstance(group["lr"], Tensor) and group["lr"].is_cuda:
            group["lr"].fill_(rate)
        else:
            group["lr"] = torch.tensor(rate, device=self.device)

    def _take(self, index):
        batches = embed_batches(self.network, self.train, index)
        value = self.loss(**batches)
        length = _gradient_length(self.loss, value, batches) if self.normalise_gradient else 1.0
        self.optimiser.zero_grad()
        (value * length).backward()
        self.optimiser.step()
        self.total += value.detach()


def _one_epoch(step, steps, epoch, history) -> float:
    """Mean loss over the steps of an epoch."""
    step.loss.train()
    step.total.zero_()
    looked_at = not step.total.is_cuda  # a look waits for the device
    for number, index in enumerate(progress(steps.to(step.device), f"epoch {epoch}"), start=1):
        try:
            step.take(index)
        except NonFiniteError as error:
            raise DivergedError(epoch, number, history) from error
        if (looked_at or number == len(steps)) and not math.isfinite(step.total.item()):
            raise DivergedError(epoch, number, history)
    return step.total.item() / len(steps)


def all_pairs_like(loss):
    """The all-pairs mean with the errors of a loss on pairs."""
    return AllPairsLoss(loss.margin, loss.form, loss.positive_margin)


def _gradient_length(loss, value, batches):
    """Length of the all-pairs mean's gradient at the embeddings over that of ``value``'s; 1 where the latter is 0."""
    embeddings = [batches[name] for name in ("embeddings", "ref_emb") if name in batches]
    own, plain = (
        torch.cat(torch.autograd.grad(each, embeddings, retain_graph=True)).norm()
        for each in (value, all_pairs_like(loss)(**batches))
    )
    return torch.where(own > 0, plain / own, 1.0)
