"""Frozen networks, from scaled images to features: any ONNX file, any torch module."""

import hashlib
import threading
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from bwot.features.pixels import IMAGENET, UNIT, Scaling


@runtime_checkable
class Network(Protocol):
    """What :func:`~bwot.features.compute_features` needs of a network; it is called from several threads at once."""

    settings: dict[str, str]  # what its features depend on: its name and check-sum, ...
    size: int  # side of its images, in pixels
    scaling: Scaling
    length: int  # of its features

    def __call__(self, images: Float32[np.ndarray, "n 3 h w"]) -> Float32[np.ndarray, "n d"]:
        """Features of images that were scaled with ``scaling``."""
        ...


class OnnxNetwork:
    """A network in an ONNX file, run by ONNX Runtime on the CPU.

    The file must hold its weights itself and take one input, float32 of shape (batch, 3, side, side). A batch that the
    file fixes to 1 is run picture by picture.

    Args:
        path: of the file.
        output: name of the output that is the feature; further axes of length 1 or more are flattened.
        scaling: what the network expects; a file often does more scaling inside.
        size: side of the images where the file leaves it open, in pixels; otherwise the file's own counts.
        threads: that one call uses. :func:`~bwot.features.compute_features` makes as many calls at once as it has
            workers, so one is best there.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where ONNX Runtime cannot run it, its input is another, or it has no such output; that names the
            outputs it has.
    """

    def __init__(
        self,
        path: str | Path,
        output: str = "feature",
        scaling: Scaling = UNIT,
        size: int = 224,
        threads: int = 1,
    ):
        content = Path(path).read_bytes()
        self._session = _session(path, content, threads)
        outputs = [each.name for each in self._session.get_outputs()]
        if output not in outputs:
            raise ValueError(f"{path} has no output {output!r}; it has: {', '.join(outputs)}.")
        self._output, self.scaling = output, scaling
        self._input, self._single, self.size = _only_input(path, self._session, size)
        digest = hashlib.sha256(content).hexdigest()
        self.settings = {"name": Path(path).stem, "sha256": digest, "output": output}
        self.length = _length(self, path)

    def __call__(self, images: Float32[np.ndarray, "n 3 h w"]) -> Float32[np.ndarray, "n d"]:
        """Features of scaled images; safe to call from several threads at once."""
        parts = np.split(images, len(images)) if self._single else [images]
        out = [self._session.run([self._output], {self._input: part})[0] for part in parts]
        return np.concatenate(out).reshape(len(images), -1).astype(np.float32, copy=False)


def _session(path, content, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors alone
    try:
        return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class
        raise ValueError(f"{path} cannot be run by ONNX Runtime: {error}") from error


def _only_input(path, session, size):
    """Name of the input, whether its batch is one picture, and the side of the picture."""
    inputs = session.get_inputs()
    found = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
    refusal = ValueError(f"{path} takes {found}; expected one input tensor(float) [batch, 3, side, side].")  # fmt: skip
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        raise refusal
    batch, channels, height, width = inputs[0].shape
    open_batch = not isinstance(batch, int)
    height, width = (side if isinstance(side, int) else size for side in (height, width))
    if channels not in (3, None) and isinstance(channels, int) or height != width:
        raise refusal
    if not (open_batch or batch == 1):
        raise refusal
    return inputs[0].name, not open_batch, height


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
        self.length = _length(self, name)

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


def _length(network, name):
    """The length of the features, from those of two black pictures."""
    black = np.zeros((2, 3, network.size, network.size), np.float32)
    try:
        return network(black).shape[1]
    except Exception as error:  # of ONNX Runtime or of torch: whatever the network is wrong about
        reason = f"{name} cannot take pictures of 3×{network.size}×{network.size}: {error}"
        raise ValueError(reason) from error
