"""What a loss is called with: two batches of embeddings and labels, or one, and which pairs take part; checked."""

import torch
from jaxtyping import Bool
from torch import Tensor


class NonFiniteError(ValueError):
    """Embeddings that are NaN or infinite, or too large to square: training has diverged."""


def looks(tensor: Tensor) -> bool:
    """May its values be looked at? On the CPU; elsewhere that waits for the device, and breaks a graph that is compiled."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def allowed_pairs(indices: tuple[Tensor, ...], among: Bool[Tensor, "n m"]) -> Bool[Tensor, "n m"]:
    """The pairs ``(a1, p)`` and ``(a2, n)`` of four index tensors, as far as they are ``among`` the possible ones.

    None of them where the four are empty: a miner that found nothing.

    Raises:
        ValueError: for triplets, and where pairs are named but none of them is left.
    """
    if len(indices) != 4:
        raise ValueError(
            f"indices_tuple must be four index tensors (a1, p, a2, n), not {len(indices)}: mine pairs."
        )
    allowed = torch.zeros_like(among)
    allowed[indices[0], indices[1]] = True
    allowed[indices[2], indices[3]] = True
    allowed &= among
    if looks(allowed) and not nothing_mined(indices) and not bool(allowed.any()):
        raise ValueError("indices_tuple must allow at least one pair of two different samples.")
    return allowed


def nothing_mined(indices: tuple[Tensor, ...] | None) -> bool:
    """Whether index tensors are given and all of them are empty."""
    return indices is not None and not any(len(each) for each in indices)


def check_batches(
    embeddings: Tensor, labels: Tensor, ref_emb: Tensor | None, ref_labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The other batch and its labels, the same ones where none is given; all of them checked.

    Raises:
        ValueError: for shapes or lengths that do not fit, an empty batch, one sample against itself.
        NonFiniteError: for embeddings that are NaN or infinite.
    """
    check_shapes(embeddings, labels, ref_emb, ref_labels)
    _check_finite("embeddings", embeddings)
    if ref_emb is not None:
        _check_finite("ref_emb", ref_emb)
        return ref_emb, ref_labels
    if len(labels) == 1:
        raise ValueError("one sample against itself has no pair: give at least two, or ref_emb.")
    return embeddings, labels


def check_shapes(
    embeddings: Tensor, labels: Tensor, ref_emb: Tensor | None, ref_labels: Tensor | None
) -> None:
    """The part of :func:`check_batches` that does not look at values and lets one sample pass.

    Raises:
        ValueError: for shapes or lengths that do not fit, an empty batch.
    """
    if not torch.compiler.is_compiling() and torch._C._functorch.is_batchedtensor(embeddings):
        raise TypeError(
            "a loss on pairs has no vmap rule: loop over the batches, or give sinkhorn their costs."
        )
    _check_shape("embeddings", embeddings, labels)
    if (ref_emb is None) != (ref_labels is None):
        raise ValueError("ref_emb and ref_labels must be given together.")
    if ref_emb is not None:
        _check_shape("ref_emb", ref_emb, ref_labels, embeddings.shape[-1])


def _check_shape(name, embeddings, labels, width=None):
    if embeddings.ndim != 2 or 0 in embeddings.shape or width not in (None, embeddings.shape[1]):
        raise ValueError(
            f"{name} must have shape (samples, {width or 'features'}), neither 0, not {tuple(embeddings.shape)}."
        )
    if not embeddings.is_floating_point():
        raise ValueError(f"{name} must be floating-point, not {embeddings.dtype}.")
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"{name} has {len(embeddings)} rows but its labels have shape {tuple(labels.shape)}."
        )


def _check_finite(name, embeddings):
    if looks(embeddings) and not bool(embeddings.isfinite().all()):
        rows = int((~embeddings.isfinite()).any(1).sum())
        raise NonFiniteError(f"{name} must be finite; {rows} of {len(embeddings)} rows are not.")
