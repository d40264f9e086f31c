"""How long a drawing takes to find models: `python -m benchmarks.search [INDEX]`.

From a cold start, `bwot search` in a process of its own; once loaded, a query; and the ranking alone, of 100,000 embeddings of
length 128. Without an index that `bwot index` wrote one is made: 199 models, MobileNet v1 (0.75, 224) and a head of 768-384-128,
both with random weights, which take as long. On a machine that is busy with other work, only the processor times count.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.features import mobilenet_onnx
from bwot.drawings import read_drawing
from bwot.search import Content, Query, nearest, read_index, write_index

MODELS, MANY, LENGTH, ROUNDS = 199, 100_000, 128, 7
TARGETS = {"cold start": 4.0, "query": 0.150, "ranking": 0.050}  # seconds


def made_index(folder: Path) -> Path:
    """An index of models of nothing, with networks as large as real ones."""
    random = np.random.default_rng(0)
    query = Query(224, head_onnx((768, 768, 384, LENGTH)), mobilenet_onnx(folder / "mobilenet.onnx", 0.75, 224).read_bytes())  # fmt: skip
    names = tuple(f"model{number}" for number in range(MODELS))
    embeddings = random.normal(size=(MODELS, LENGTH)).astype(np.float32)
    pictures = random.integers(0, 256, (MODELS, 96, 96), np.uint8)
    write_index(folder / "index", Content(names, names, embeddings, pictures, query, {}))
    return folder / "index"


def head_onnx(widths: tuple[int, ...]) -> bytes:
    """Fully connected layers with ReLUs between them and random weights, as the content of an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper

    random, nodes, weights, last = np.random.default_rng(0), [], [], "given"
    for number, shape in enumerate(zip(widths, widths[1:], strict=False)):
        values = random.normal(0, shape[0] ** -0.5, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{number}"))
        final = number == len(widths) - 2
        out = "embedding" if final else f"h{number}"
        nodes.append(helper.make_node("Gemm", [last, f"w{number}"], [out]))
        if not final:
            nodes.append(helper.make_node("Relu", [out], [f"r{number}"]))
        last = f"r{number}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
            for name, width in (("given", widths[0]), ("embedding", widths[-1]))]  # fmt: skip
    graph = helper.make_graph(nodes, "head", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def drawn(path: Path) -> Path:
    """A drawing of the size of TU-Berlin's: some strokes."""
    sheet = Image.new("L", (1111, 1111), 255)
    points = np.random.default_rng(0).uniform(100, 1000, (40, 2))
    ImageDraw.Draw(sheet).line([tuple(point) for point in points], fill=0, width=8)
    sheet.save(path)
    return path


def timed(work: Callable, who: int) -> tuple[float, float]:
    """Medians of wall and processor seconds of a call; the latter of this process or of its children."""
    rounds = []
    for _ in range(ROUNDS + 1):
        wall, before = time.perf_counter(), resource.getrusage(who)
        work()
        after = resource.getrusage(who)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rounds.append((time.perf_counter() - wall, processor))
    return tuple(statistics.median(values) for values in zip(*rounds[1:], strict=True))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        index = Path(sys.argv[1]) if len(sys.argv) > 1 else made_index(folder)
        sketch, gallery = drawn(folder / "sketch.png"), read_index(index)
        many = np.random.default_rng(0).normal(size=(MANY, LENGTH)).astype(np.float32)
        command = [sys.executable, "-m", "bwot", "search", sketch, "--index", index, "--sheet", folder / "sheet.png"]  # fmt: skip
        one, children = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
        start = lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
        rows = {
            "cold start": timed(start, children),
            "query": timed(lambda: gallery.find(read_drawing(sketch)), one),
            "ranking": timed(lambda: nearest(many, many[0], 10), one),
        }
        print(f"{len(gallery.names)} models; ranking: {MANY:,} embeddings of length {LENGTH}; {os.cpu_count()} cores, medians of {ROUNDS}, in ms")  # fmt: skip
        print(f"{'':<12}{'wall':>10}{'processor':>12}{'target':>10}")
        for name, (wall, processor) in rows.items():
            print(f"{name:<12}{1e3 * wall:>10.1f}{1e3 * processor:>12.1f}{1e3 * TARGETS[name]:>10.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
