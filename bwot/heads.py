"""Metric heads: from features to embeddings, by fully connected layers."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

LENET_HEADS = {"paper": (512, 256), "code": (1024, 256)}
"""Widths after LeNet-5, the paper's (Fig. 2 and README) and those of the authors' 2D code (inference.py, lenet)."""

SHAPE_HEADS = {"small": (512, 128), "paper": (4096, 2048, 512, 128), "code": (4096, 256)}
"""Widths for 3D shapes; sized for features of a small network, the paper's (Fig. 2), and the authors' 3D code's."""


class HeadPair(NamedTuple):
    """What a head for sketches and one for shapes are made of, which share nothing."""

    sketch: tuple[int, ...]
    shape: tuple[int, ...]
    activation: type[nn.Module] = nn.ReLU
    linear: int = 1  # layers at the end without an activation


def sketch_heads(name: str, features: int) -> HeadPair:
    """Heads for sketches and shapes by name.

    ``scaled``: as wide as the features, half of that, 128. ``paper``: 4096-2048-512-128 with three sigmoids (Fig. 2).
    ``code``: the authors' SHREC code (model.py, sketchNetwork and shapeNetwork), whose last two layers are linear.

    Args:
        name: of :data:`SKETCH_HEADS`.
        features: length of what comes in.
    """
    if name == "paper":
        widths = (4096, 2048, 512, 128)
        return HeadPair(widths, widths, nn.Sigmoid)
    if name == "code":
        return HeadPair((2000, 1000, 500, 100), (2000, 2000, 1000, 500, 100), linear=2)
    widths = (features, max(1, features // 2), 128)
    return HeadPair(widths, widths)


SKETCH_HEADS = {"scaled": (128,), "paper": (128,), "code": (100,)}
"""Names of :func:`sketch_heads` and the length of the embeddings."""


class MetricHead(nn.Module):
    """Fully connected layers of the given widths with an activation between them; the last one is linear.

    Args:
        features: length of the features that come in.
        widths: of the layers; the last is the length of the embedding.
        activation: after every layer but the last ones.
        linear: how many layers at the end have no activation.
    """

    def __init__(
        self,
        features: int,
        widths: Sequence[int],
        activation: type[nn.Module] = nn.ReLU,
        linear: int = 1,
    ):
        super().__init__()
        layers = []
        for number, (before, width) in enumerate(zip((features, *widths), widths, strict=False)):
            layers.append(nn.Linear(before, width))
            if number < len(widths) - linear:
                layers.append(activation())
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n embedding"]:
        """Embeddings of features."""
        return self.layers(features)


def authors_normal_(head: MetricHead) -> MetricHead:
    """Start ``head`` as the authors' SHREC code does (model.py), in place, biases with zeros.

    Weights are normal and cut at two deviations: of 0.01 before a ReLU, of 0.1 in the linear layers at the end.
    """
    layers = list(head.layers)
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Linear):
            deviation = 0.01 if isinstance(after, nn.ReLU) else 0.1
            nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            nn.init.zeros_(layer.bias)
    return head


class UnitLength(nn.Module):
    """Embeddings scaled to length 1 where they are ranked; in training they pass as they are.

    For losses on angles: ranked by Euclidean distance, embeddings of one length stand in the order of their angles.
    """

    def forward(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The embeddings, of length 1 in evaluation mode."""
        return embeddings if self.training else nn.functional.normalize(embeddings)
