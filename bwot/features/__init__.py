"""Features of pictures by a frozen network: one memory-mapped array file a data set, that is whole or not there.

For example, with any ONNX file and the strips of 20 views that :mod:`bwot.rendering` writes::

    network = OnnxNetwork("mobilenet.onnx")
    strip = lambda name: read_pictures(f"views/{name}.png", 20)
    features = compute_features("cache/psb.npy", names, strip, network, 20, data_sha256)
    pooled(features)  # (n, d): the maximum over the views

This much imports without torch. Networks of torch are in :mod:`bwot.features.modules`, those of torchvision in
:mod:`bwot.features.imagenet`.
"""

from bwot.features.extraction import compute_features
from bwot.features.files import Features, FeaturesError, pooled, read_features
from bwot.features.networks import Network, OnnxNetwork
from bwot.features.pixels import IMAGENET, UNIT, Scaling, network_input, read_pictures

__all__ = [
    "IMAGENET", "UNIT", "Features", "FeaturesError", "Network", "OnnxNetwork", "Scaling",
    "compute_features", "network_input", "pooled", "read_features", "read_pictures",
]  # fmt: skip
