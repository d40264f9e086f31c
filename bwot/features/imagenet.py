"""torchvision's networks with their published ImageNet weights, cut where the feature is."""

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from bwot.data.download import fetch
from bwot.data.images import DataError

CNN = Literal["resnet50", "alexnet", "vgg11"]
MOST = 600_000_000  # bytes; VGG-11, the largest, has 531 million
_KEPT = []  # libraries of operators, which live as long as their object


def pretrained(name: CNN, folder: str | Path | None = None) -> nn.Module:
    """A network from ImageNet-scaled images (n, 3, 224, 224) to features, with the first weights torchvision published.

    ``resnet50`` gives the 2,048 pooled numbers; ``alexnet`` and ``vgg11`` the 4,096 of the second fully connected layer
    after its ReLU (fc7; the authors' SHREC code has AlexNet's). In training mode the dropout between those layers is on.
    The later weights of ResNet-50 are left aside: the paper's time had these.

    Args:
        name: of the network.
        folder: where the weights' file lies or is put; None is where torchvision itself keeps it,
            ``$TORCH_HOME/hub/checkpoints``, so that a copy made by it is taken.

    Raises:
        DownloadError: that names the file, its address and the place to put it by hand, when offline.
        DataError: for a file whose SHA-256 does not begin with the digits in its name.
    """
    weights = _weights(name, Path(folder or Path(torch.hub.get_dir()) / "checkpoints"))
    with torch.device("meta"):
        network = getattr(torchvision_package().models, name)()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), assign=True)
    return cut(network.requires_grad_(True), name)


def cut(network: nn.Module, name: CNN) -> nn.Module:
    """``network`` of torchvision, in place, without its last layer."""
    if name == "resnet50":
        network.fc = nn.Identity()
    else:
        network.classifier = network.classifier[:-1]
    return network


def _weights(name, folder):
    url = _published(name)
    file = url.rpartition("/")[2]
    return fetch([url], folder / file, partial(_check, file=file), MOST)


def _published(name):
    return torchvision_package().models.get_model_weights(name)["IMAGENET1K_V1"].url


def _check(path, file):
    expected = re.search(r"-([0-9a-f]{8,})\.", file)[1]
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(expected):
        raise DataError(
            f"{path} is not the published file: its sha256 is {found}, expected one that begins with {expected}.\n"
            "Move it away and run again."
        )


def torchvision_package():
    """The package torchvision, also beside a torch for which its compiled operators were not built.

    Its import then fails at the operators for boxes in pictures, which nothing here uses: they are declared for it.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        _KEPT.append(library := torch.library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision
