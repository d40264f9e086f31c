"""Pictures a second through a frozen MobileNet, with reading and preparing included, beside the bare network.

`python benchmarks/features.py [FILE.onnx]` draws strips of 12 grey views of 224×224 as PNG files, makes their features with
:func:`bwot.features.compute_features`, and prints wall and processor time a picture. Without a file the network is MobileNet v1
(0.75, 224) with random weights, which takes as long. On a machine that is busy with other work, only the processor times count.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from bwot.features import OnnxNetwork, compute_features, read_pictures

SHAPES, VIEWS, SIZE, ROUNDS, WARM_UP = 40, 12, 224, 3, 1
TARGET = 230  # pictures a second on two idle cores


def mobilenet_onnx(path: Path, width: float, size: int, seed: int = 0) -> Path:
    """Write MobileNet v1 with random weights as an ONNX file: input ``image`` in [0, 1], outputs ``feature`` and ``logits``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random, nodes, stored = np.random.default_rng(seed), [], {}

    def store(name, values):
        stored[name] = np.asarray(values, np.float32)
        return name

    def convolution(number, before, after, kernel, stride, groups):
        fan = before // groups * kernel**2
        shape = (after, before // groups, kernel, kernel)
        weight = store(f"w{number}", random.normal(0, np.sqrt(2 / fan), shape))
        bias = store(f"b{number}", random.normal(0, 0.1, after))
        pads = [0] * 4 if kernel == 1 else [0, 0, 1, 1] if stride == 2 else [1] * 4
        given = {"strides": [stride, stride], "pads": pads, "group": groups}
        nodes.append(helper.make_node("Conv", [nodes[-1].output[0], weight, bias], [f"c{number}"], **given))  # fmt: skip
        nodes.append(helper.make_node("Clip", [f"c{number}", "zero", "six"], [f"r{number}"]))

    for name, value in (("one", 1), ("two", 2), ("zero", 0), ("six", 6)):
        store(name, value)
    nodes.append(helper.make_node("Mul", ["image", "two"], ["doubled"]))
    nodes.append(helper.make_node("Sub", ["doubled", "one"], ["scaled"]))
    channels = [int(width * each) for each in (32, 64, 128, 128, 256, 256, *6 * [512], 1024, 1024)]
    convolution(0, 3, channels[0], 3, 2, 1)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    for number, (before, after) in enumerate(zip(channels, channels[1:], strict=False)):
        convolution(2 * number + 1, before, before, 3, strides[number], before)
        convolution(2 * number + 2, before, after, 1, 1, 1)
    nodes.append(helper.make_node("GlobalAveragePool", [nodes[-1].output[0]], ["map"]))
    nodes.append(helper.make_node("Flatten", ["map"], ["feature"]))
    classifier = store("classifier", random.normal(0, 0.05, (10, channels[-1])))
    nodes.append(helper.make_node("Gemm", ["feature", classifier], ["logits"], transB=1))
    take = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, size, size])
    give = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", length])
        for name, length in (("feature", channels[-1]), ("logits", 10))
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "mobilenet", [take], give, weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def draw_strips(folder: Path) -> list[str]:
    """PNG files of soft grey discs on white, about as large as those of rendered shapes; their names."""
    random, names = np.random.default_rng(0), [f"shape{number}" for number in range(SHAPES)]
    for name in names:
        strip = Image.new("L", (SIZE, VIEWS * SIZE), 255)
        draw = ImageDraw.Draw(strip)
        for view in range(VIEWS):
            x, y = random.uniform(60, SIZE - 60, 2)
            radius = random.uniform(30, 60)
            box = (x - radius, y - radius + view * SIZE, x + radius, y + radius + view * SIZE)
            draw.ellipse(box, fill=int(random.integers(60, 200)))
        strip.filter(ImageFilter.GaussianBlur(6)).save(folder / f"{name}.png")
    return names


def timed(work) -> tuple[float, float]:
    """Wall and processor seconds of a call, all its threads together."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    threads = min(2, os.cpu_count())
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names = draw_strips(folder)
        file = sys.argv[1] if len(sys.argv) > 1 else mobilenet_onnx(folder / "mobilenet.onnx", 0.75, SIZE)  # fmt: skip
        network, bare = OnnxNetwork(file), OnnxNetwork(file, threads=threads)
        images = np.random.default_rng(0).random((16, 3, SIZE, SIZE), np.float32)

        def whole():
            compute_features(
                folder / f"{time.perf_counter_ns()}.npy", names,
                lambda name: read_pictures(folder / f"{name}.png", VIEWS), network, VIEWS, "", workers=threads,
            )  # fmt: skip

        ways = {
            "network alone": (lambda: [bare(images) for _ in range(20)], 20 * len(images)),
            "files → features": (whole, SHAPES * VIEWS),
        }
        rounds = {name: [] for name in ways}
        for number in range(ROUNDS + WARM_UP):
            for name, (work, count) in ways.items():
                seconds = timed(work)
                if number >= WARM_UP:
                    rounds[name].append([each / count for each in seconds])
    print(f"{SHAPES * VIEWS} pictures of {SIZE}×{SIZE}, MobileNet v1 (0.75), {threads} threads, medians of {ROUNDS}")  # fmt: skip
    print(f"{'':<18}{'pictures/s':>12}{'processor ms a picture':>25}")
    for name, values in rounds.items():
        wall, processor = (statistics.median(each) for each in zip(*values, strict=True))
        target = f"   target {TARGET} pictures/s" if name != "network alone" else ""
        print(f"{name:<18}{1 / wall:>12.0f}{1e3 * processor:>25.2f}{target}")


if __name__ == "__main__":
    main()
