"""Training and embedding: plain loops, with a checkpoint after every epoch.

A run is a function of its settings alone: the order of an epoch's batches is drawn from (seed, epoch), so one that was
killed goes on from its last checkpoint and ends with the same bits.
"""

import io
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from bwot.controls import AllPairsLoss
from bwot.data.images import Split
from bwot.data.sampling import batch_pairs
from bwot.losses import NonFiniteError, PairLoss, squared_distances
from bwot.progress import progress
from bwot.records import write_atomically

CHECK_EVERY = 50
"""Steps between looks at the loss on an accelerator, where each look waits for the device; on the CPU every step."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Stochastic gradient descent as in the authors' 2D code (run.py)."""

    epochs: int
    learning_rate: float
    momentum: float = 0.9
    decay: float = 0.95
    """Factor on the learning rate after each epoch."""
    batch_size: int = 128
    """Two batches of half this size a step."""
    normalise_gradient: bool = False
    """Rescale each step's gradient at the embeddings to the length that the all-pairs mean's has there."""


class DivergedError(ArithmeticError):
    """Training whose loss is no longer finite."""

    def __init__(self, epoch: int, step: int, history: list[dict]):
        super().__init__(
            f"the loss stopped being finite at epoch {epoch}, step {step}: lower the learning rate."
        )
        self.where, self.history = f"epoch {epoch}, step {step}", history


class CheckpointError(ValueError):
    """A checkpoint that cannot be read."""


def as_input(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Pixels in [0, 1] (authors' run.py); in colour, where no value means "nothing", in [-0.5, 0.5].

    With colours in [0, 1] the common part of all images is learned first: the batch-wise loss collapsed on CIFAR-10 at
    the rate that is best with centred ones.
    """
    pixels = images.float().div_(255)
    return pixels.sub_(0.5) if images.shape[1] == 3 else pixels


@torch.no_grad()
def embed(
    network: nn.Module, images: UInt8[Tensor, "n c h w"], block: int = 500
) -> Float[Tensor, "n e"]:
    """Embeddings of all images, computed in blocks of ``block``; the network is left in the mode it was in.

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


def embed_pair(
    network: nn.Module, train: Split, pair: Int64[Tensor, "2 half"]
) -> dict[str, Tensor]:
    """The arguments of a loss for two batches, given by the indices of their samples; they pass the network together."""
    index = pair.flatten()
    first, second = network(as_input(train.images[index])).chunk(2)
    labels, others = train.labels[index].chunk(2)
    return {"embeddings": first, "labels": labels, "ref_emb": second, "ref_labels": others}


def fit(
    network: nn.Module,
    loss: nn.Module,
    train: Split,
    schedule: Schedule,
    seed: int,
    after_epoch: Callable[[int], dict],
    checkpoint: Path | None = None,
    report: Callable[[dict], None] = lambda row: None,
) -> list[dict]:
    """Train ``network`` in place and return one row an epoch, that of the untrained network first.

    Args:
        network: from images in [0, 1] to embeddings.
        loss: called as ``loss(embeddings, labels, ref_emb=, ref_labels=)``; what it learns or remembers is trained and
            kept with the network.
        train: the training images, on the device of the network.
        schedule: how long and how fast.
        seed: of the batches.
        after_epoch: from the epoch (0: untrained) to what shall be kept in its row, such as scores.
        checkpoint: where to keep the state after each epoch; training goes on from there if the file exists.
        report: takes each row when it is complete.

    Raises:
        DivergedError: as soon as the loss is not finite.
        CheckpointError: for a checkpoint that cannot be read or is that of another network.
        OSError: where the checkpoint cannot be written.
    """
    trained = [*network.parameters(), *loss.parameters()]
    optimiser = torch.optim.SGD(
        [{"params": trained}], lr=schedule.learning_rate, momentum=schedule.momentum
    )
    parts = {"network": network, "loss": loss, "optimiser": optimiser}
    history = _restore(checkpoint, parts) if checkpoint else []
    for epoch in range(len(history), schedule.epochs + 1):
        rate = schedule.learning_rate * schedule.decay ** max(0, epoch - 1)
        optimiser.param_groups[0]["lr"] = rate
        pairs = batch_pairs(len(train.labels), schedule.batch_size, seed, epoch)
        start = time.perf_counter()
        mean = None
        if epoch:
            mean = _one_epoch(parts, train, pairs, epoch, history, schedule.normalise_gradient)
        row = {
            "epoch": epoch,
            "loss": mean,
            "seconds": time.perf_counter() - start if epoch else 0.0,
            "learning_rate": rate,
        }
        try:
            history.append(row | after_epoch(epoch))
        except NonFiniteError as error:  # the last step of the epoch was one too far
            raise DivergedError(epoch, len(pairs), history) from error
        if checkpoint:
            _save(checkpoint, parts, history)
        report(history[-1])
    return history


def _one_epoch(parts, train, pairs, epoch, history, normalise_gradient) -> float:
    """Mean loss over the pairs of batches of an epoch."""
    network, loss, optimiser = parts["network"], parts["loss"], parts["optimiser"]
    loss.train()
    total = torch.zeros((), device=train.images.device)
    every = 1 if train.images.device.type == "cpu" else CHECK_EVERY
    pairs = pairs.to(train.images.device)
    for step, pair in enumerate(progress(pairs, f"epoch {epoch}"), start=1):
        try:
            batches = embed_pair(network, train, pair)
            value = loss(**batches)
            length = _gradient_length(loss, value, batches) if normalise_gradient else 1.0
        except NonFiniteError as error:
            raise DivergedError(epoch, step, history) from error
        optimiser.zero_grad()
        (value * length).backward()
        optimiser.step()
        total += value.detach()
        if (step % every == 0 or step == len(pairs)) and not total.isfinite():
            raise DivergedError(epoch, step, history)
    return total.item() / len(pairs)


def _plain(loss):
    return AllPairsLoss(loss.margin, loss.form, loss.positive_margin)


def _gradient_length(loss, value, batches):
    """Length of the all-pairs mean's gradient at the embeddings over that of ``value``'s; 1 where the latter is 0."""
    embeddings = [batches["embeddings"], batches["ref_emb"]]
    own, plain = (
        torch.cat(torch.autograd.grad(each, embeddings, retain_graph=True)).norm()
        for each in (value, _plain(loss)(**batches))
    )
    return torch.where(own > 0, plain / own, 1.0)


def diagnose(
    network: nn.Module, loss: nn.Module, train: Split, pairs: Int64[Tensor, "steps 2 half"]
) -> dict[str, float]:
    """Means over the given pairs of batches of what a loss weighs and how hard it pulls.

    ``mass_on_positives``: share of the weights on pairs of one class. ``mass_on_active``: share on pairs with an error.
    ``gradient_ratio``: norm of the gradient in the parameters over that of the all-pairs mean with the same errors.
    Nothing for a loss that is not one on pairs.
    """
    if not isinstance(loss, PairLoss):
        return {}
    loss.eval()
    plain = _plain(loss)
    rows = [
        _diagnose_pair(network, loss, plain, embed_pair(network, train, pair)) for pair in pairs
    ]
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    return dict(zip(("mass_on_positives", "mass_on_active", "gradient_ratio"), means, strict=True))


def _diagnose_pair(network, loss, plain, batches):
    weights = loss.plan(**batches)
    same = batches["labels"][:, None] == batches["ref_labels"]
    active = (
        loss.pair_errors(squared_distances(batches["embeddings"], batches["ref_emb"]), same) > 0
    )
    norms = [_gradient_norm(network, each(**batches)) for each in (loss, plain)]
    return (
        (weights * same).sum().item(),
        (weights * active).sum().item(),
        norms[0] / max(norms[1], 1e-30),
    )


def _gradient_norm(network, value) -> float:
    gradients = torch.autograd.grad(value, list(network.parameters()), retain_graph=True)
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
    if not math.isfinite(norm):  # the embeddings are finite still, and the next step's are not
        raise NonFiniteError("the gradient's norm must be finite, and it is not.")
    return norm


def _save(path, parts, history):
    state = {name: part.state_dict() for name, part in parts.items()} | {"history": history}
    stream = io.BytesIO()
    torch.save(state, stream)
    write_atomically(path, stream.getvalue())


def load_checkpoint(path: Path) -> dict:
    """The state in a checkpoint: ``network``, ``loss``, ``optimiser``, ``history``; tensors and plain values only, on the CPU.

    Raises:
        CheckpointError: if the file is damaged or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the check-sums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} in it has another check-sum")
        state = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}")
        return state
    except Exception as error:  # what a damaged file leads to depends on its bytes
        raise CheckpointError(
            f"{path} is no readable checkpoint ({error}): delete it to start this run again."
        ) from error


def _restore(path, parts) -> list[dict]:
    if not path.exists():
        return []
    state = load_checkpoint(path)
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        if [row["epoch"] for row in state["history"]] != list(range(len(state["history"]))):
            raise ValueError("its history does not run from epoch 0 on")
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint of this run ({error}): delete it to start this run again."
        ) from error
    return state["history"]
