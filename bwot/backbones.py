"""Networks from images to features, and from the views of a shape to one feature.

Each image network tells the length of its features as ``features``. Sizes are in pixels; pixel values lie in [0, 1].
"""

from pathlib import Path

import numpy as np
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
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


class SmallNet(nn.Module):
    """Four convolutions for small grey pictures, trained from scratch: 64 px, 2,048 features, fast on a CPU.

    5×5 with stride 2 to 16 channels, then 3×3 to 32, 64 and 128 channels with 2×2 max pooling each; batch normalisation
    and ReLU after every one. What is left, 128 maps of a sixteenth of the size, is flattened, as in :class:`LeNet5`.
    Weights lie in channels-last order, in which a CPU trains it 1.7 times as fast.

    Args:
        channels: of the images.
        size: height and width of the images; a multiple of 16.
    """

    def __init__(self, channels: int = 1, size: int = 64):
        super().__init__()
        if size < 16 or size % 16:
            raise ValueError(f"size must be a multiple of 16 pixels (halved 4 times), not {size}.")
        layers = [nn.Conv2d(channels, 16, 5, 2, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        for before, width in ((16, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten()).to(memory_format=torch.channels_last)
        self.features = 128 * (size // 16) ** 2

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n features"]:
        """Features of images with values in [0, 1]."""
        return self.layers(images.contiguous(memory_format=torch.channels_last))


class MobileNetV1(nn.Module):
    """MobileNet of Howard et al. (2017, arXiv 1704.04861, table 1) up to the pooled feature, batch norms folded.

    A 3×3 convolution with stride 2, then 13 pairs of a 3×3 convolution of each channel alone and a 1×1 convolution, ReLU6
    after all 27, and the mean over the map. Each batch normalisation is part of the convolution before it, as in files
    that are made for inference: when fine-tuned, nothing is normalised any more, so small rates are needed. Where the
    stride is 2, zeros are added right and below alone, as in TensorFlow, where published weights come from.

    Args:
        width: factor of the numbers of channels; .75 gives 768 features.
    """

    def __init__(self, width: float = 0.75):
        super().__init__()
        channels = [int(width * each) for each in (32, 64, *2 * [128], *2 * [256], *6 * [512], *2 * [1024])]  # fmt: skip
        if channels[0] < 1:
            raise ValueError(f"width must leave at least one of 32 channels, not {width}.")
        layers = _convolution(3, channels[0], 3, stride=2)
        for number, (before, after) in enumerate(zip(channels, channels[1:], strict=False)):
            layers += _convolution(before, before, 3, 2 if number in (1, 3, 5, 11) else 1, before)
            layers += _convolution(before, after, 1)
        self.layers = nn.Sequential(*layers)
        self.features = channels[-1]

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n features"]:
        """Features of colour images with values in [0, 1], sides a multiple of 32 pixels (224 as published)."""
        if images.shape[2] % 32 or images.shape[3] % 32:
            raise ValueError(f"images must have sides of a multiple of 32 pixels, not {tuple(images.shape[2:])}.")  # fmt: skip
        return self.layers(2 * images - 1).mean((2, 3))


def _convolution(before, after, kernel, stride=1, groups=1):
    padding = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
    inside = kernel // 2 if stride == 1 else 0
    return [*padding, nn.Conv2d(before, after, kernel, stride, inside, groups=groups), nn.ReLU6()]


def load_onnx_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Put the weights of an ONNX file into the convolutions and linear layers of ``network``, in place, in their order.

    The n-th convolution of the graph goes into the n-th of the network, and likewise linear layers (Gemm); layers
    that the graph has beyond those of the network, such as a classifier's, are left out. Names play no part; shapes,
    strides and padding have to agree, what stands between the layers is not compared. Needs the package ``onnx``.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a file that is no ONNX model, that has batch normalisations of its own, or whose layers are not
            those of the network; nothing is changed then.
    """
    graph = _read_graph(Path(path))
    if norms := [node for node in graph.node if node.op_type == "BatchNormalization"]:
        raise ValueError(f"{path} has {len(norms)} batch normalisations: export it in inference mode, which folds them.")  # fmt: skip
    pairs = [
        *_paired(network, nn.Conv2d, graph, "Conv", path),
        *_paired(network, nn.Linear, graph, "Gemm", path),
    ]
    with torch.no_grad():
        for layer, weight, bias in pairs:
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)
    return network


def _read_graph(path):
    import onnx

    try:
        return onnx.load(path).graph
    except OSError:
        raise
    except Exception as error:  # of protobuf, whose classes differ between its versions
        raise ValueError(f"{path} is no ONNX model: {error}.") from error


def _paired(network, kind, graph, operator, path):
    """(layer, weight, bias) of each layer of one kind, where file and network agree on all of them."""
    from onnx import helper, numpy_helper

    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == operator]
    layers = _layers(network, kind)
    if len(nodes) < len(layers):
        raise ValueError(f"{path} has {len(nodes)} {operator} layers, the network {len(layers)}.")
    pairs = []
    for number, ((layer, expected), node) in enumerate(zip(layers, nodes, strict=False)):
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        weight, bias = ([stored.get(name) for name in node.input[1:]] + [None])[:2]
        if operator == "Gemm" and weight is not None and not given.get("transB", 0):
            weight = weight.T
        found = _layout(weight, bias, given)
        if found != expected and found != {**expected, "bias": False}:
            raise ValueError(f"{operator} layer {number} of {path} has {found}, expected {expected}.")  # fmt: skip
        bias = np.zeros(len(weight), "f4") if bias is None else bias
        pairs.append((layer, torch.tensor(weight), torch.tensor(bias)))
    return pairs


def _layers(network, kind):
    """The layers of one kind in their order, each with what the file's has to agree with it in."""
    found, around = [], (0, 0, 0, 0)
    for layer in network.modules():
        if isinstance(layer, kind):
            found.append((layer, _own_layout(layer, around)))
        around = layer.padding if isinstance(layer, nn.ZeroPad2d) else (0, 0, 0, 0)
    return found


def _own_layout(layer, around):
    layout = {"weights": list(layer.weight.shape), "bias": layer.bias is not None}
    if isinstance(layer, nn.Linear):
        return layout
    left, right, top, bottom = around
    (high, wide), pads = layer.padding, (top, left, bottom, right)
    pads = [pad + own for pad, own in zip(pads, (high, wide, high, wide), strict=True)]
    return layout | {
        "strides": list(layer.stride), "pads": pads, "dilations": list(layer.dilation), "groups": layer.groups,
    }  # fmt: skip


def _layout(weight, bias, given):
    """As :func:`_own_layout`, of a layer of a file; ``None`` for weights that it computes and does not store."""
    layout = {"weights": None if weight is None else list(weight.shape), "bias": bias is not None}
    if weight is None or weight.ndim != 4:
        return layout
    strides, pads = list(given.get("strides", [1, 1])), list(given.get("pads", [0] * 4))
    if given.get("auto_pad") == b"SAME_UPPER":  # sides are multiples of the stride
        both = [max(0, size - step) for size, step in zip(weight.shape[2:], strides, strict=True)]
        pads = [pad // 2 for pad in both] + [pad - pad // 2 for pad in both]
    return layout | {
        "strides": strides, "pads": pads, "dilations": list(given.get("dilations", [1, 1])), "groups": given.get("group", 1),
    }  # fmt: skip


class ViewPool(nn.Module):
    """The maximum over the views of a shape, number by number.

    Where views are equal, one of them is the winner and has the whole gradient.
    """

    def forward(self, features: Float[Tensor, "n v d"]) -> Float[Tensor, "n d"]:
        """One feature a shape from those of its views, whose order plays no part."""
        return features.max(dim=1).values


class MVCNN(nn.Module):
    """A multi-view network after Su et al. (2015, arXiv 1505.00880): one CNN for all views, their maximum, a head.

    The maximum is taken of what ``cnn`` gives. The authors' 3D code takes it after the second fully connected layer
    (mvcnn_optimal_transport.py, FineTuneModel): there, those layers are the end of ``cnn`` and the head is
    ``nn.Identity()``. With ``cnn=nn.Identity()`` the input is cached features, (n, v, d).

    >>> MVCNN(nn.Identity(), nn.Linear(768, 128))(torch.rand(5, 12, 768)).shape
    torch.Size([5, 128])

    Args:
        cnn: from images to features.
        head: from the pooled feature to the embedding.
    """

    def __init__(self, cnn: nn.Module, head: nn.Module):
        super().__init__()
        self.cnn, self.pool, self.head = cnn, ViewPool(), head

    def forward(self, views: Float[Tensor, "n v *view"]) -> Float[Tensor, "n embedding"]:
        """Embeddings of shapes from their pictures (n, v, c, h, w) in [0, 1], or from features of those (n, v, d)."""
        features = self.cnn(views.flatten(0, 1))
        return self.head(self.pool(features.unflatten(0, views.shape[:2])))
