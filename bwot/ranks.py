"""The batches of all ranks of a torch.distributed process group as one batch, with gradients.

Every rank gets the same rows, those of rank 0 first, and computes the same loss of them. The backward pass adds up what
all ranks ask of a row and hands it to the rank that the row came from, so each rank's gradient is that of the *sum* of
the ranks' losses, ``world size`` times that of one process on the whole batch. DistributedDataParallel averages over the
ranks, which takes the factor out again. Who adds gradients over the ranks instead divides the loss by the world size.

Each call is a collective, forward and backward: every rank has to make it, in the same order. A rank that dies ends the
others with a ``RuntimeError`` (gloo, at once) or when torchrun stops them; one that stays away lets them wait for the
``timeout`` given to ``torch.distributed.init_process_group``, which is 30 minutes with gloo and 10 with NCCL unless set.
"""

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ABSENT = [0, 0, 0]


def gather_batches(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    ref_emb: Float[Tensor, "m d"] | None = None,
    ref_labels: Int[Tensor, " m"] | None = None,
) -> tuple[
    Float[Tensor, "all_n d"],
    Int[Tensor, " all_n"],
    Float[Tensor, "all_m d"] | None,
    Int[Tensor, " all_m"] | None,
]:
    """The arguments of a loss, each with the rows of all ranks, in the order of the ranks.

    Ranks may have different numbers of rows. Embeddings keep their type and carry gradients to all ranks, labels become
    int64. Without a process group, or with one rank, the arguments come back as they are.

    Args:
        embeddings: this rank's, one row a sample.
        labels: class of each row.
        ref_emb: this rank's part of the other batch; on all ranks or on none.
        ref_labels: its classes.

    Raises:
        ValueError: on every rank, where widths or types differ between ranks, or only some have ``ref_emb``.
        RuntimeError: where another rank is gone or does not come within the process group's timeout.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return embeddings, labels, ref_emb, ref_labels
    sizes, ref_sizes = _sizes(embeddings, ref_emb)
    whole = _Gather.apply(embeddings, sizes), _all_rows(labels.long(), sizes)
    if ref_emb is None:
        return *whole, None, None
    return *whole, _Gather.apply(ref_emb, ref_sizes), _all_rows(ref_labels.long(), ref_sizes)


class _Gather(torch.autograd.Function):
    # torch.distributed.nn.functional.all_gather takes even sizes only and is deprecated

    @staticmethod
    def forward(ctx, rows, sizes):
        ctx.sizes = sizes
        return _all_rows(rows, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.split(ctx.sizes)[dist.get_rank()], None


def _all_rows(rows, sizes):
    # the collective takes one shape: shorter parts are filled up with zeros and cut again
    filling = [0, 0] * (rows.ndim - 1) + [0, max(sizes) - len(rows)]
    own = functional.pad(rows, filling).contiguous()
    parts = [torch.empty_like(own) for _ in sizes]
    dist.all_gather(parts, own)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _sizes(embeddings, ref_emb):
    """Rows of each rank in the two batches, after a look whether the ranks fit together."""
    own = [
        ABSENT if batch is None else [len(batch), batch.shape[1], DTYPES.index(batch.dtype)]
        for batch in (embeddings, ref_emb)
    ]
    ones = [1] * dist.get_world_size()
    ranks = _all_rows(torch.tensor([own], device=embeddings.device), ones).tolist()
    given = [[_described(batch) for batch in rank] for rank in ranks]
    for number, rank in enumerate(given):
        if rank != given[0]:
            raise ValueError(
                "all ranks must give embeddings of one width and type, and all of them ref_emb or none; "
                f"rank 0 gave embeddings {given[0][0]} and ref_emb {given[0][1]}, "
                f"rank {number} {rank[0]} and {rank[1]}: call the loss alike on every rank."
            )
    return zip(*[[batch[0] for batch in rank] for rank in ranks], strict=True)


def _described(batch):
    _, width, dtype = batch
    return "None" if batch == ABSENT else f"(samples, {width}) of {DTYPES[dtype]}"
