"""Networks from images to features."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LeNet5(nn.Module):
    """LeNet-5 as the authors' 2D code has it, up to the flattened feature (inference.py, lenet).

    Convolutions 5×5 of 32 and 64 channels with "same" padding, ReLU and 2×2 max pooling; here the pooling comes before
    the ReLU: the same values for a quarter of its work.

    Args:
        channels: of the images.
        size: height and width of the images, in pixels; at least 4.
        bfloat16: compute in bfloat16; weights and features stay float32. Twice as fast on a CPU with matrix units.
    """

    def __init__(self, channels: int = 1, size: int = 28, bfloat16: bool = False):
        super().__init__()
        self.bfloat16 = bfloat16
        if size < 4:
            raise ValueError(f"size must be at least 4 pixels (two poolings by 2), not {size}.")
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 32, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(32, 64, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.features = 64 * (size // 4) ** 2

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n features"]:
        """Features of images with values in [0, 1]."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.layers(images).float()


def glorot_(network: nn.Module) -> nn.Module:
    """Start every layer of ``network`` with Glorot-uniform weights and zero biases, in place, as TF-slim's defaults do."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network
