"""Frozen networks, from scaled images to features; any ONNX file is one. Imports without torch."""

import hashlib
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from bwot.features.pixels import UNIT, Scaling


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
        output: name of the output that is the feature; further axes of length 1 or more are flattened. None: the one called
            ``feature``, or the only one.
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
        output: str | None = None,
        scaling: Scaling = UNIT,
        size: int = 224,
        threads: int = 1,
    ):
        content = Path(path).read_bytes()
        self._session = onnx_session(path, content, threads)
        outputs = [each.name for each in self._session.get_outputs()]
        if output is None:
            output = outputs[0] if len(outputs) == 1 else "feature"
        if output not in outputs:
            raise ValueError(f"{path} has no output {output!r}; it has: {', '.join(outputs)}.")
        self._output, self.scaling = output, scaling
        self._input, self._single, self.size = _only_input(path, self._session, size)
        digest = hashlib.sha256(content).hexdigest()
        self.settings = {"name": Path(path).stem, "sha256": digest, "output": output}
        self.length = length_of(self, path)

    def __call__(self, images: Float32[np.ndarray, "n 3 h w"]) -> Float32[np.ndarray, "n d"]:
        """Features of scaled images; safe to call from several threads at once."""
        parts = np.split(images, len(images)) if self._single else [images]
        out = [self._session.run([self._output], {self._input: part})[0] for part in parts]
        return np.concatenate(out).reshape(len(images), -1).astype(np.float32, copy=False)


def onnx_session(path: str | Path, content: bytes, threads: int = 1):
    """What runs an ONNX file on the CPU.

    Args:
        path: where it was read from, for the error.
        content: of the file.
        threads: that one call uses.

    Raises:
        ValueError: where ONNX Runtime cannot run it.
    """
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


def length_of(network, name: str | Path) -> int:
    """The length of the features of a :class:`Network` that is not finished yet, from those of two black pictures."""
    black = np.zeros((2, 3, network.size, network.size), np.float32)
    try:
        length = network(black).shape[1]
    except Exception as error:  # of ONNX Runtime or of torch: whatever the network is wrong about
        reason = f"{name} cannot take pictures of 3×{network.size}×{network.size}: {error}"
        raise ValueError(reason) from error
    if not length:
        raise ValueError(f"{name} gives features of length 0, expected 1 or more.")
    return length
