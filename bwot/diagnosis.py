"""What a loss weighs and how hard it pulls, on batches of training samples."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bwot.batches import NonFiniteError
from bwot.controls import JointLoss, PairwiseLoss
from bwot.data.images import Split
from bwot.pairs import PairLoss, squared_distances
from bwot.training import all_pairs_like, embed_batches


def diagnose(
    network: nn.Module,
    loss: nn.Module,
    train: Split,
    steps: Int64[Tensor, "steps batches size"],
) -> dict[str, float]:
    """Means over the given steps of what a loss weighs and how hard it pulls.

    ``mass_on_positives``: share of the weights on pairs of one class. ``mass_on_active``: share on pairs with an error.
    ``gradient_ratio``: norm of the gradient in the parameters over that of the all-pairs mean with the same errors.
    Of a pair loss beside a classifier it is the former. Nothing for a loss that is not one on pairs.
    """
    pairs = loss.pairs if isinstance(loss, JointLoss) else loss
    if not isinstance(pairs, PairLoss):
        return {}
    pairs.eval()
    plain = all_pairs_like(pairs)
    rows = [
        _diagnose_step(network, pairs, plain, embed_batches(network, train, index))
        for index in steps
    ]
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    return dict(zip(("mass_on_positives", "mass_on_active", "gradient_ratio"), means, strict=True))


def _diagnose_step(network, loss, plain, batches):
    if isinstance(loss, PairwiseLoss) and "ref_emb" not in batches:
        batches = _halved(batches)  # as the loss itself does: its pairs are those of the halves
    weights = loss.plan(**batches)
    embeddings, labels = batches["embeddings"], batches["labels"]
    same = labels[:, None] == batches.get("ref_labels", labels)
    squared = squared_distances(embeddings, batches.get("ref_emb", embeddings))
    active = loss.pair_errors(squared, same) > 0
    return (
        (weights * same).sum().item(),
        (weights * active).sum().item(),
        gradient_ratio(network, loss(**batches), plain(**batches)),
    )


def _halved(batches):
    half = len(batches["labels"]) // 2
    first, second = ({k: v[i * half : (i + 1) * half] for k, v in batches.items()} for i in (0, 1))
    return first | {"ref_emb": second["embeddings"], "ref_labels": second["labels"]}


def gradient_ratio(network: nn.Module, value: Float[Tensor, ""], other: Float[Tensor, ""]) -> float:
    """Norm of the gradient of a value in the parameters of a network over that of another value.

    Raises:
        NonFiniteError: where either norm is none.
    """
    return _gradient_norm(network, value) / max(_gradient_norm(network, other), 1e-30)


def _gradient_norm(network, value):
    """A parameter that the value does not depend on adds nothing."""
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
    if not math.isfinite(norm):  # the embeddings are finite still, and the next step's are not
        raise NonFiniteError("the gradient's norm must be finite, and it is not.")
    return norm
