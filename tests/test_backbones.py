"""Networks beside LeNet-5: the small one, MobileNet against ONNX Runtime, and the pooling of views."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.features import mobilenet_onnx
from bwot.backbones import MVCNN, MobileNetV1, SmallNet, ViewPool, load_onnx_weights
from bwot.paths import data_root

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
PUBLISHED = Path(os.environ.get("BWOT_MOBILENET") or data_root() / "weights" / "mobilenet_v1_075_224.onnx")  # fmt: skip


def features_of(path, images):
    """What ONNX Runtime makes of images."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.tensor(session.run(["feature"], {"image": images.numpy()})[0])


@pytest.fixture
def tiny(tmp_path):
    """An ONNX file of a narrow MobileNet for 64 px, written without this package."""
    return mobilenet_onnx(tmp_path / "tiny.onnx", width=0.125, size=64, seed=3)


# ------------------------------------------------------------------------------ the small network


@pytest.mark.parametrize("channels, size, features", [(1, 64, 2048), (3, 32, 512), (1, 16, 128)])
def test_the_small_network_gives_128_maps_of_a_sixteenth_of_the_size(channels, size, features):
    network = SmallNet(channels, size)
    assert network.features == features
    assert network(torch.rand(2, channels, size, size)).shape == (2, features)


def test_the_small_network_has_four_convolutions_and_their_norms():
    weights = 16 * 25 + 32 * 16 * 9 + 64 * 32 * 9 + 128 * 64 * 9
    norms = 2 * (16 + 32 + 64 + 128)
    assert sum(each.numel() for each in SmallNet().parameters()) == weights + norms


def test_the_small_network_is_its_definition():
    """Layer by layer in torch.nn.functional, in the mode of training."""
    network, x, f = SmallNet(1, 32), torch.rand(4, 1, 32, 32), nn.functional
    expected = x
    for number, weight in enumerate(p for p in network.parameters() if p.ndim == 4):
        expected = f.conv2d(f.pad(expected, 4 * [weight.shape[-1] // 2]), weight, stride=1 if number else 2)  # fmt: skip
        expected = f.max_pool2d(expected, 2) if number else expected
        mean, var = expected.mean((0, 2, 3), keepdim=True), expected.var((0, 2, 3), correction=0, keepdim=True)  # fmt: skip
        expected = ((expected - mean) / (var + 1e-5).sqrt()).clamp_min(0)
    torch.testing.assert_close(network(x), expected.flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [0, 8, 60])
def test_sizes_that_cannot_be_halved_four_times_are_refused(size):
    with pytest.raises(ValueError, match=f"multiple of 16 pixels .*, not {size}"):
        SmallNet(1, size)


# ------------------------------------------------------------------------------ MobileNet


def test_mobilenet_with_the_weights_of_a_file_gives_what_onnx_runtime_gives(tiny):
    network, images = load_onnx_weights(MobileNetV1(0.125), tiny), torch.rand(3, 3, 64, 64)
    assert network.features == 128
    expected = features_of(tiny, images)
    assert expected.std() > 0.01
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_the_published_mobilenet_gives_what_onnx_runtime_gives():
    if not PUBLISHED.exists():
        pytest.skip(f"needs {PUBLISHED}; BWOT_MOBILENET names another place")
    torch.manual_seed(0)
    network, images = load_onnx_weights(MobileNetV1(), PUBLISHED), torch.rand(3, 3, 224, 224)
    assert network.features == 768
    torch.testing.assert_close(network(images), features_of(PUBLISHED, images), rtol=0, atol=1e-4)


def test_mobilenet_can_be_fine_tuned(tiny):
    network = load_onnx_weights(MobileNetV1(0.125), tiny)
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    gradients = [each.grad for each in network.parameters()]
    assert all(each is not None and each.isfinite().all() for each in gradients)
    assert gradients[0].abs().sum() > 0


def test_images_of_other_sides_than_mobilenet_halves_are_refused():
    with pytest.raises(ValueError, match=r"multiple of 32 pixels, not \(48, 64\)"):
        MobileNetV1(0.125)(torch.rand(1, 3, 48, 64))


def test_a_width_that_leaves_no_channel_is_refused():
    with pytest.raises(ValueError, match="width must leave at least one of 32 channels, not 0.01"):
        MobileNetV1(0.01)


# ------------------------------------------------------------------------------ weights from ONNX files


def changed(path, change):
    """The file with its graph changed."""
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)
    return path


def first_convolution(graph):
    return next(node for node in graph.node if node.op_type == "Conv")


def set_strides(graph):
    next(a for a in first_convolution(graph).attribute if a.name == "strides").ints[:] = [1, 1]


def set_pads(graph):
    next(a for a in first_convolution(graph).attribute if a.name == "pads").ints[:] = [1, 1, 1, 1]


def compute_weights(graph):
    first_convolution(graph).input[1] = "computed"


def add_norm(graph):
    graph.node.add(op_type="BatchNormalization")


def drop_last_convolution(graph):
    graph.node.remove([node for node in graph.node if node.op_type == "Conv"][-1])


@pytest.mark.parametrize(
    "change, message",
    [
        (set_strides, r"Conv layer 0 of .*tiny.onnx has .*'strides': \[1, 1\].*expected .*\[2, 2\]"),
        (set_pads, r"'pads': \[1, 1, 1, 1\].*expected .*'pads': \[0, 0, 1, 1\]"),
        (compute_weights, "'weights': None"),
        (add_norm, "has 1 batch normalisations: export it in inference mode"),
        (drop_last_convolution, "has 26 Conv layers, the network 27"),
    ],
)  # fmt: skip
def test_a_file_with_other_layers_is_refused_and_changes_nothing(tiny, change, message):
    network = MobileNetV1(0.125)
    before = [each.clone() for each in network.parameters()]
    with pytest.raises(ValueError, match=message):
        load_onnx_weights(network, changed(tiny, change))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))


def test_padding_may_be_named_instead_of_counted(tiny):
    def name_it(graph):
        for node in graph.node:
            if node.op_type == "Conv":
                node.attribute.remove(next(a for a in node.attribute if a.name == "pads"))
                node.attribute.append(onnx.helper.make_attribute("auto_pad", "SAME_UPPER"))

    images, path = torch.rand(1, 3, 64, 64), changed(tiny, name_it)
    network = load_onnx_weights(MobileNetV1(0.125), path)
    torch.testing.assert_close(network(images), features_of(path, images), rtol=1e-4, atol=1e-4)


def test_a_network_of_another_width_is_refused(tiny):
    with pytest.raises(ValueError, match=r"has {'weights': \[4, 3, 3, 3\].*expected .*\[8, 3"):
        load_onnx_weights(MobileNetV1(0.25), tiny)


def test_a_bias_is_never_dropped(tiny):
    network = nn.Conv2d(3, 4, 3, 2, 0, bias=False)
    with pytest.raises(ValueError, match="'bias': True.*expected .*'bias': False"):
        load_onnx_weights(nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), network), tiny)


@pytest.mark.parametrize("transposed", [0, 1])
def test_linear_layers_are_loaded_whichever_way_they_lie(tmp_path, transposed):
    """A layer without a bias in the file gets a bias of zero."""
    weight = np.random.default_rng(0).normal(size=(2, 5)).astype("f4")
    stored = onnx.numpy_helper.from_array(weight if transposed else weight.T.copy(), "w")
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=transposed)
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [], [stored])), tmp_path / "g.onnx")  # fmt: skip
    layer, x = load_onnx_weights(nn.Linear(5, 2), tmp_path / "g.onnx"), torch.rand(3, 5)
    torch.testing.assert_close(layer(x), x @ torch.tensor(weight).T)


def test_a_file_that_is_no_onnx_model_is_named(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\x0a\xff\xff no model")
    with pytest.raises(ValueError, match="a.onnx is no ONNX model"):
        load_onnx_weights(MobileNetV1(), tmp_path / "a.onnx")
    with pytest.raises(FileNotFoundError, match="b.onnx"):
        load_onnx_weights(MobileNetV1(), tmp_path / "b.onnx")


# ------------------------------------------------------------------------------ views


def make_network():
    torch.manual_seed(0)
    cnn = SmallNet(1, 32)
    return MVCNN(cnn, nn.Linear(cnn.features, 7)).eval()


def test_a_multi_view_network_is_a_loop_over_shapes_and_views():
    network, views = make_network(), torch.rand(3, 5, 1, 32, 32)
    expected = []
    for shape in views:
        features = [network.cnn(view[None])[0] for view in shape]
        largest = [max(each[number] for each in features) for number in range(network.cnn.features)]
        expected.append(network.head(torch.stack(largest)))
    torch.testing.assert_close(network(views), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_the_order_of_the_views_plays_no_part():
    network, views = make_network(), torch.rand(3, 6, 1, 32, 32)
    torch.testing.assert_close(network(views[:, torch.randperm(6)]), network(views))
    assert not torch.allclose(network(views[[1, 2, 0]]), network(views))


def test_cached_features_of_views_go_through_pooling_and_head_alone():
    whole, views = make_network(), torch.rand(3, 5, 1, 32, 32)
    cached = MVCNN(nn.Identity(), whole.head)
    features = torch.stack([whole.cnn(shape) for shape in views])
    torch.testing.assert_close(cached(features), whole(views))


def test_the_authors_order_pools_after_the_fully_connected_layers():
    layers = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    views = torch.randn(2, 3, 6)
    expected = torch.stack([layers(shape).amax(0) for shape in views])
    torch.testing.assert_close(MVCNN(layers, nn.Identity())(views), expected)


def test_the_gradient_reaches_the_winning_view_alone():
    views = torch.tensor([[[1.0, 5.0], [3.0, 4.0], [2.0, 0.0]]], requires_grad=True)
    pool = ViewPool()(views)
    assert pool.tolist() == [[3.0, 5.0]]
    pool.backward(torch.tensor([[10.0, 20.0]]))
    assert views.grad.tolist() == [[[0.0, 20.0], [10.0, 0.0], [0.0, 0.0]]]


def test_of_equal_views_one_alone_has_the_gradient():
    views = torch.zeros(1, 4, 1, requires_grad=True)
    ViewPool()(views).sum().backward()
    assert sorted(views.grad.flatten().tolist()) == [0.0, 0.0, 0.0, 1.0]


def test_a_multi_view_network_trains_on_pictures_of_bytes():
    """Two classes, black and white views among grey ones: a few steps bring the loss down."""
    network = make_network().train()
    pictures = torch.full((8, 4, 1, 32, 32), 128, dtype=torch.uint8)
    pictures[:4, 1], pictures[4:, 2] = 0, 255
    labels = torch.tensor([0] * 4 + [1] * 4)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        losses.append(nn.functional.cross_entropy(network(pictures / 255), labels))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.3 * losses[0]
