"""Metric heads: from features to embeddings, by fully connected layers."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

LENET_HEADS = {"paper": (512, 256), "code": (1024, 256)}
"""Widths after LeNet-5, the paper's (Fig. 2 and README) and those of the authors' 2D code (inference.py, lenet)."""

SHAPE_HEADS = {"small": (512, 128), "paper": (4096, 2048, 512, 128), "code": (4096, 256)}
"""Widths for 3D shapes; sized for features of a small network, the paper's (Fig. 2), and the authors' 3D code's."""


class MetricHead(nn.Module):
    """Fully connected layers of the given widths with ReLU between them; the last one is linear.

    Args:
        features: length of the features that come in.
        widths: of the layers; the last is the length of the embedding.
    """

    def __init__(self, features: int, widths: Sequence[int]):
        super().__init__()
        layers = []
        for before, width in zip((features, *widths), widths, strict=False):
            layers += [nn.Linear(before, width), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n embedding"]:
        """Embeddings of features."""
        return self.layers(features)
