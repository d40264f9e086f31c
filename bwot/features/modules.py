"""Any torch module as a frozen network."""

import hashlib
import threading

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from bwot.features.networks import length_of
from bwot.features.pixels import IMAGENET, Scaling


class TorchNetwork:
    """A torch module as a frozen network; it is put into evaluation mode and stays the caller's.

    Calls wait for each other, since torch spreads one over its own threads; pictures are prepared meanwhile.

    Args:
        module: from images (n, 3, h, w) to features (n, d), such as :func:`~bwot.features.pretrained` gives.
        name: of the network, for the settings; its structure and weights are check-summed beside it.
        size: side of its images, in pixels.
        scaling: what it was trained with.
        device: torch device to run on; the module is moved there.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        size: int = 224,
        scaling: Scaling = IMAGENET,
        device: str = "cpu",
    ):
        self.module, self.size, self.scaling = module.eval().to(device), size, scaling
        self._device, self._turn = device, threading.Lock()
        self.settings = {"name": name, "sha256": _digest(module)}
        self.length = length_of(self, name)

    def __call__(self, images: Float32[np.ndarray, "n 3 h w"]) -> Float32[np.ndarray, "n d"]:
        """Features of scaled images; safe to call from several threads at once."""
        with self._turn, torch.inference_mode():
            features = self.module(torch.from_numpy(images).to(self._device))
            return features.flatten(1).float().cpu().numpy()


def _digest(module):
    """SHA-256 of the structure and the weights of a module."""
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
