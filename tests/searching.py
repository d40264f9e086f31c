"""A small index made by hand, for the tests of what searches: ONNX files without torch."""

import numpy as np
from onnx import TensorProto, helper

from bwot.search import Content, Query

SIDE, PICTURE = 8, 16
NAMES = ("left", "right", "above", "below")
PATHS = ("/models/left.off", "/models/right.off", "", "")


def network_onnx(scale=1.0):
    """Means of darkness in the four quarters of a picture, twelve numbers with the three channels, as an ONNX file."""
    take = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    give = helper.make_tensor_value_info("feature", TensorProto.FLOAT, ["n", 12])
    nodes = [
        helper.make_node("Sub", ["scale", "image"], ["dark"]),
        helper.make_node("AveragePool", ["dark"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["pooled"], ["feature"]),
    ]
    stored = [helper.make_tensor("scale", TensorProto.FLOAT, [], [scale])]
    return _file(nodes, take, give, stored)


def sketch_onnx(length=12, out=12, given=None):
    """The first numbers of what is given, as they are."""
    shape = given or ["n", length]
    take = helper.make_tensor_value_info("given", TensorProto.FLOAT, shape)
    give = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", out])
    nodes = [
        helper.make_node("Flatten", ["given"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["embedding"]),
    ]
    weight = np.eye(length, out, dtype=np.float32)
    stored = [helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel())]
    return _file(nodes, take, give, stored)


def _file(nodes, take, give, stored):
    graph = helper.make_graph(nodes, "graph", [take], [give], stored)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def halves():
    """Four pictures, 16 × 16, each with one half black."""
    pictures = np.full((4, PICTURE, PICTURE), 255, np.uint8)
    half = PICTURE // 2
    pictures[0, :, :half] = pictures[1, :, half:] = pictures[2, :half] = pictures[3, half:] = 0
    return pictures


def small_content(**changes):
    """Models whose embeddings are the means of the quarters of their pictures."""
    pictures = halves()
    quarters = 1 - pictures.reshape(4, 2, 8, 2, 8).mean((2, 4)).reshape(4, 4) / 255
    given = {
        "names": NAMES,
        "paths": PATHS,
        "embeddings": np.tile(quarters, 3).astype(np.float32),
        "pictures": pictures,
        "query": Query(16, sketch_onnx(), network_onnx()),
        "run": {"key": "0" * 20},
    }
    return Content(**given | changes)
