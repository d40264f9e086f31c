"""Two kinds of samples that share one space of embeddings: drawings and shapes.

Each kind has a network of its own; a loss takes the embeddings of both. Losses are called as those on two batches are: the
drawings come as ``embeddings`` and ``labels``, the shapes as ``ref_emb`` and ``ref_labels``. The first half of either is
its first batch, the second half its second one.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from bwot.batches import check_batches
from bwot.data.images import Split
from bwot.pairs import PairLoss

PARTS = ("sketches", "shapes", "across", "across")
"""The four terms of the loss, in the order in which :meth:`FourPartLoss.parts` gives their batches."""


@dataclass(frozen=True)
class Modalities:
    """Training samples of both kinds; of drawings each rotation is one, those of a drawing one after another."""

    drawings: Split
    shapes: Split

    @property
    def images(self) -> Shaped[Tensor, "n ..."]:
        """The samples of the first kind; where they are, all are."""
        return self.drawings.images


def modalities(drawings: Split, shapes: Split, device: torch.device | str = "cpu") -> Modalities:
    """Training samples on a device, from drawings in rotations, (n, r, ...), and shapes."""
    labels = drawings.labels.repeat_interleave(drawings.images.shape[1])
    return Modalities(
        Split(as_views(drawings.images).to(device), labels.to(device)),
        Split(shapes.images.to(device), shapes.labels.to(device)),
    )


def as_views(drawings: Shaped[Tensor, "n r ..."]) -> Shaped[Tensor, "nr ..."]:
    """Each rotation as a sample of its own: a feature (d,), or a picture (1, h, w) as a shape's one view (1, 1, h, w).

    Drawings and views are ink on white paper alike, so both pass :func:`bwot.training.as_input` in the same way.
    """
    flat = drawings.flatten(0, 1)
    return flat[:, None] if flat.ndim == 4 else flat


class TwoNetworks(nn.Module):
    """A network for drawings and one for shapes, which share nothing but the space of their embeddings."""

    def __init__(self, drawings: nn.Module, shapes: nn.Module):
        super().__init__()
        self.drawings, self.shapes = drawings, shapes

    def forward(
        self, drawings: Shaped[Tensor, "n ..."], shapes: Shaped[Tensor, "m ..."]
    ) -> tuple[Float[Tensor, "n e"], Float[Tensor, "m e"]]:
        """Embeddings of both."""
        return self.drawings(drawings), self.shapes(shapes)


class FourPartLoss(nn.Module):
    """The authors' loss for sketches and shapes: one on pairs for each of four pairings (SHREC code, build_model).

    Both batches of sketches with each other, both batches of shapes, and either batch of sketches with one of shapes. Each
    pairing has weights, such as a transport plan, of its own.

    Args:
        pairs: the loss of each pairing.
        sketches: weight of the pairing of sketches.
        shapes: of the pairing of shapes.
        across: of either of the two pairings of sketches with shapes.
    """

    def __init__(
        self, pairs: PairLoss, sketches: float = 1.0, shapes: float = 1.0, across: float = 1.0
    ):
        super().__init__()
        self.pairs = pairs
        self.part_weights = dict(sketches=sketches, shapes=shapes, across=across)
        for name, weight in self.part_weights.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"the weight of {name} must be at least 0 and finite, not {weight}.")  # fmt: skip
        if not any(self.part_weights.values()):
            raise ValueError("one of the weights of sketches, shapes and across must be positive.")

    def forward(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        indices_tuple: None = None,
        ref_emb: Float[Tensor, "m d"] | None = None,
        ref_labels: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, ""]:
        """The weighted sum of the four parts.

        Args:
            embeddings: of two batches of sketches, one after the other.
            labels: their classes.
            indices_tuple: must be None: there are four sets of pairs.
            ref_emb: of two batches of shapes.
            ref_labels: their classes.

        Raises:
            ValueError: where the shapes are missing, either kind has an odd number of rows, or as for the pairs.
        """
        parts = self.parts(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        return sum(weight * self.pairs(**batches) for weight, batches in parts)

    def parts(self, embeddings, labels, indices_tuple=None, ref_emb=None, ref_labels=None):
        """Weight and batches of the parts that weigh anything; arguments and errors as for the loss."""
        if indices_tuple is not None or ref_emb is None:
            raise ValueError("the loss of four parts needs ref_emb, the shapes, and no indices_tuple.")  # fmt: skip
        check_batches(embeddings, labels, ref_emb, ref_labels)
        if len(embeddings) % 2 or len(ref_emb) % 2:
            raise ValueError(
                f"two batches of sketches and two of shapes have even numbers of rows, not {len(embeddings)} and {len(ref_emb)}."
            )
        sketches, shapes = (
            list(zip(rows.chunk(2), classes.chunk(2), strict=True))
            for rows, classes in ((embeddings, labels), (ref_emb, ref_labels))
        )
        paired = (sketches, shapes, (sketches[0], shapes[0]), (sketches[1], shapes[1]))
        return [
            (self.part_weights[name], dict(zip(("embeddings", "labels", "ref_emb", "ref_labels"), (*a, *b), strict=True)))
            for name, (a, b) in zip(PARTS, paired, strict=True)
            if self.part_weights[name]
        ]  # fmt: skip

    def with_pairs(self, pairs: PairLoss) -> "FourPartLoss":
        """The same parts and weights with another loss on pairs."""
        return FourPartLoss(pairs, **self.part_weights)
