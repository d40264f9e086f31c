"""LeNet-5, the metric head and their initialisation: shapes, counts and bounds worked out by hand."""

import math

import pytest
import torch
from torch import nn

from bwot.backbones import LeNet5, glorot_
from bwot.heads import LENET_HEADS, MetricHead


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    "channels, size, features",
    [(1, 28, 64 * 7 * 7), (3, 32, 64 * 8 * 8), (1, 8, 64 * 2 * 2), (2, 4, 64), (1, 30, 64 * 7 * 7)],
)
def test_lenet_gives_64_maps_of_a_quarter_of_the_size(channels, size, features):
    network = LeNet5(channels, size)
    assert network.features == features
    assert network(torch.rand(2, channels, size, size)).shape == (2, features)


def test_lenet_for_mnist_has_the_feature_of_the_authors_code():
    """3136 numbers for 28×28 (paper.md 2)."""
    assert LeNet5().features == 3136


@pytest.mark.parametrize("channels", [1, 3])
def test_lenet_has_the_parameters_of_two_convolutions(channels):
    assert count(LeNet5(channels, 28)) == (5 * 5 * channels * 32 + 32) + (5 * 5 * 32 * 64 + 64)


def test_lenet_is_convolution_relu_pooling_twice():
    """Against the definition in torch.nn.functional, layer by layer."""
    network, images = LeNet5(1, 12), torch.rand(2, 1, 12, 12)
    (w1, b1, w2, b2), f = network.parameters(), nn.functional
    x = f.max_pool2d(f.conv2d(f.pad(images, (2, 2, 2, 2)), w1, b1).clamp_min(0), 2, 2)
    x = f.max_pool2d(f.conv2d(f.pad(x, (2, 2, 2, 2)), w2, b2).clamp_min(0), 2, 2)
    torch.testing.assert_close(network(images), x.reshape(2, -1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [-1, 0, 3])
def test_images_too_small_for_two_poolings_are_refused(size):
    with pytest.raises(ValueError, match=f"size must be at least 4 pixels .*, not {size}"):
        LeNet5(1, size)


@pytest.mark.parametrize(
    "widths, parameters",
    [
        (LENET_HEADS["paper"], (3136 * 512 + 512) + (512 * 256 + 256)),
        (LENET_HEADS["code"], (3136 * 1024 + 1024) + (1024 * 256 + 256)),
        ((10,), 3136 * 10 + 10),
        ([6, 5, 4], (3136 * 6 + 6) + (6 * 5 + 5) + (5 * 4 + 4)),
    ],
)
def test_a_head_has_the_parameters_of_its_layers(widths, parameters):
    head = MetricHead(3136, widths)
    assert count(head) == parameters
    assert head(torch.rand(3, 3136)).shape == (3, widths[-1])


def test_the_heads_of_lenet_are_those_of_paper_and_code():
    assert LENET_HEADS == {"paper": (512, 256), "code": (1024, 256)}


def test_a_head_has_relu_between_its_layers_and_ends_linear():
    head, features = MetricHead(5, (4, 3, 2)), torch.randn(64, 5)
    w1, b1, w2, b2, w3, b3 = head.parameters()
    x = (features @ w1.T + b1).clamp_min(0)
    x = (x @ w2.T + b2).clamp_min(0)
    expected = x @ w3.T + b3
    torch.testing.assert_close(head(features), expected)
    assert (expected < 0).any()


@pytest.mark.parametrize(
    "layer, inputs, outputs",
    [
        (nn.Linear(300, 200), 300, 200),
        (nn.Conv2d(3, 32, 5), 3 * 25, 32 * 25),
        (nn.Conv2d(32, 64, 5), 32 * 25, 64 * 25),
    ],
)
def test_glorot_weights_fill_their_bounds_and_biases_are_zero(layer, inputs, outputs):
    """Uniform in ±sqrt(6 / (fan in + fan out)), whose standard deviation is the bound over sqrt(3)."""
    torch.manual_seed(0)
    network = nn.Sequential(layer, nn.ReLU())
    assert glorot_(network) is network
    bound = math.sqrt(6 / (inputs + outputs))
    assert 0.98 * bound < layer.weight.abs().max() <= bound * (1 + 1e-6)
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert abs(layer.weight.mean().item()) < 0.1 * bound
    assert (layer.bias == 0).all()


def test_glorot_reaches_every_layer_of_a_network():
    network = glorot_(nn.Sequential(LeNet5(1, 8), MetricHead(256, (8, 4))))
    biases = [value for name, value in network.named_parameters() if name.endswith("bias")]
    assert len(biases) == 4 and all((bias == 0).all() for bias in biases)


def test_the_seed_fixes_the_initial_weights():
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(glorot_(LeNet5(1, 8)).state_dict()["layers.3.weight"])
    assert torch.equal(networks[0], networks[1]) and not torch.equal(networks[0], networks[2])
