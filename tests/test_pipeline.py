"""From folders in the publishers' layouts to records, by the command line: meshes, and images that a set brings."""

import json
import os
import re
import shutil
import struct
import zlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from benchmarks.features import mobilenet_onnx
from bwot.__main__ import main
from bwot.albums import collect_folder
from bwot.backbones import MobileNetV1, load_onnx_weights
from bwot.data.images import DataError
from bwot.data.shapes import split_training
from bwot.meshes import Mesh
from bwot.paths import PROJECT
from bwot.pipeline import ARRANGEMENTS, Views, load_shapes, make_views, shape_data, strip_of
from bwot.records import read_record
from bwot.rendering import camera_frames, read_strip, render
from bwot.solids import solid

FAMILIES = {"chair": "chair", "night_stand": "table", "xbox": "mug"}
TRAINING, TEST = 12, 3


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("BWOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BWOT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("BWOT_PROGRESS", "off")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # in this process, which has compiled all


def shapes():
    """(class, part, name, mesh) of a small set."""
    for kind, family in FAMILIES.items():
        for number in range(1, TRAINING + TEST + 1):
            part = "train" if number <= TRAINING else "test"
            yield kind, part, f"{kind}_{number:04}", solid(family, number)


def off(mesh: Mesh, glued: bool) -> str:
    """As ModelNet has it: every second header stands on one line with the counts."""
    counts = f"{len(mesh.vertices)} {len(mesh.faces)} 0"
    rows = [f"OFF{counts}" if glued else f"OFF\n{counts}"]
    rows += [" ".join(f"{value:.6g}" for value in vertex) for vertex in mesh.vertices]
    rows += ["3 " + " ".join(map(str, face)) for face in mesh.faces]
    return "\n".join(rows) + "\n"


@pytest.fixture
def meshes(tmp_path):
    """The folder of the data sets, with ModelNet40 in small."""
    for number, (kind, part, name, mesh) in enumerate(shapes()):
        path = tmp_path / "data" / "modelnet40" / "ModelNet40" / kind / part / f"{name}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(off(mesh, glued=number % 2 == 0))
    return tmp_path / "data"


@pytest.fixture
def images(tmp_path):
    """The same as shaded images of 40 pixels, in the layout of the multi-view CNN's authors."""
    for kind, part, name, mesh in shapes():
        folder = tmp_path / "data" / "modelnet40-views" / kind / part
        folder.mkdir(parents=True, exist_ok=True)
        for number, view in enumerate(render(mesh, "ring", 40, samples=1), start=1):
            Image.fromarray(view).convert("RGB").save(folder / f"{name}.obj.shaded_v{number:03}.png")  # fmt: skip
    return tmp_path / "data"


@pytest.fixture
def network(tmp_path):
    """An ONNX file: the mean and the largest answer of eight random patterns of 16 pixels."""
    weights = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["map"], strides=[16, 16]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("GlobalMaxPool", ["map"], ["most"]),
        helper.make_node("Concat", ["mean", "most"], ["feature"], axis=1),
    ]
    take = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])
    give = helper.make_tensor_value_info("feature", TensorProto.FLOAT, ["batch", 16, 1, 1])
    graph = helper.make_graph(nodes, "g", [take], [give], [numpy_helper.from_array(weights, "weights")])  # fmt: skip
    path = tmp_path / "patterns.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)  # fmt: skip
    return path


def record_of(dataset, root, network, tmp_path):
    output = tmp_path / "record.json"
    status = main([
        "run", "shapes", "--dataset", dataset, "--variant", "three classes", "--preset", "short", "--epochs", "2",
        "--network", str(network), "--data", str(root), "--output", str(output),
    ])  # fmt: skip
    assert status == 0
    return read_record(output)


@pytest.mark.parametrize("dataset", ["modelnet40", "modelnet40-views"])
@pytest.mark.parametrize("kind", ["small", "onnx"])
def test_a_folder_in_the_layout_of_modelnet40_becomes_a_record(dataset, kind, request, tmp_path, network):  # fmt: skip
    root = request.getfixturevalue("meshes" if dataset == "modelnet40" else "images")
    record = record_of(dataset, root, network if kind == "onnx" else "small", tmp_path)
    assert record.status == "finished" and len(record.history) == 3
    assert record.dataset["name"] == dataset and record.dataset["variant"] == "three classes"
    assert record.dataset["sizes"] == {"train": 30, "validation": 6, "test": 9}
    assert record.dataset["image"] == ([16] if kind == "onnx" else [12, 1, 64, 64])
    assert record.scores.keys() >= {"map", "accuracy", "class_accuracy", "head_accuracy"}


def test_a_set_without_two_test_shapes_of_a_class_is_refused_before_anything_is_drawn(meshes, tmp_path):  # fmt: skip
    for path in (meshes / "modelnet40").rglob("test/*_001[45].off"):
        path.unlink()
    with pytest.raises(DataError, match="no two test shapes of modelnet40 are of one class"):
        shape_data("modelnet40", "small", meshes, "small")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("dataset", ARRANGEMENTS)
def test_a_shape_is_shown_from_above(dataset):
    arrangement, count, up = ARRANGEMENTS[dataset]
    camera = camera_frames(arrangement, up)[Views(None, arrangement, count).shown]
    assert 0.4 < camera[2, "xyz".index(up)] < 0.7, "between 24 and 45 degrees"


def test_a_set_of_one_class_is_refused_before_anything_is_drawn(meshes, tmp_path):
    for kind in ("chair", "xbox"):
        shutil.rmtree(meshes / "modelnet40" / "ModelNet40" / kind)
    with pytest.raises(DataError, match="modelnet40 has one class, expected two or more"):
        shape_data("modelnet40", "small", meshes, "small")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("network", ["nowhere.onnx", "rubbish.onnx", "mobilenet"])
def test_a_network_that_cannot_be_had_is_told_before_anything_is_drawn(meshes, tmp_path, network, monkeypatch):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rubbish.onnx").write_bytes(b"no network")
    with pytest.raises((FileNotFoundError, ValueError), match=network):
        shape_data("modelnet40", network, meshes, "small")
    assert not (tmp_path / "cache").exists()


def test_shapes_that_cannot_be_drawn_are_all_named_and_the_others_are_drawn(meshes, tmp_path, capsys):  # fmt: skip
    home = meshes / "modelnet40" / "ModelNet40"
    (home / "chair" / "train" / "chair_0003.off").write_text("OFF\n1000000000000 1 0\n0 0 0\n")
    (home / "xbox" / "test" / "xbox_0014.off").write_bytes(b"")
    arguments = "run shapes --dataset modelnet40 --variant small --preset short --network small"
    assert main([*arguments.split(), "--data", str(meshes)]) == 1
    told = capsys.readouterr().err
    assert "2 of 45 shapes cannot be drawn" in told
    assert "chair_0003.off: the header declares 1,000,000,000,000 vertices" in told
    assert "xbox_0014.off: the file is empty" in told
    assert len(list((tmp_path / "cache").rglob("*.png"))) == 43
    for path in (home / "night_stand").rglob("*.off"):
        path.write_text("OFF\n")
    assert main(f"views modelnet40 --variant small --data {meshes}".split()) == 1
    told = capsys.readouterr().err
    assert "17 of 45 shapes cannot be drawn" in told and len(told.splitlines()) == 18


def test_the_command_tells_of_a_missing_network_before_anything_is_drawn(meshes, tmp_path, capsys):
    given = f"features modelnet40 --variant small --network nowhere.onnx --data {meshes}"
    assert main(given.split()) == 1
    assert "nowhere.onnx" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_the_command_says_when_the_test_set_steers(capsys):
    quick, large = "run shapes --preset quick --epochs 1", "--batch-size 60"
    for given, says in (
        (f"{large} --steered-by map", True),
        ("--as-published", True),
        (large, False),
    ):
        assert main(f"{quick} {given}".split()) == 0
        assert ("TEST shapes steers" in capsys.readouterr().out) == says


def test_the_page_says_how_to_fine_tune_a_network(meshes, tmp_path):
    page = (PROJECT / "book" / "reproduce.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    file = mobilenet_onnx(tmp_path / "tiny.onnx", 0.125, 64)
    for shown, here in {
        '"modelnet10", "data", None': f'"modelnet40", {str(meshes)!r}, "small"', '"cuda"': '"cpu"', "shapes, 224": "shapes, 64",
        "MobileNetV1()": "MobileNetV1(0.125)", '"data/weights/mobilenet_v1_075_224.onnx"': repr(str(file)), "180": "2",
    }.items():  # fmt: skip
        assert shown in code
        code = code.replace(shown, here)
    made = {}
    exec(code, made)
    before = load_onnx_weights(MobileNetV1(0.125), file)
    moved = [(a != b).any() for a, b in zip(before.parameters(), made["cnn"].parameters(), strict=True)]  # fmt: skip
    assert sum(moved) > len(moved) / 2 and all(each.isfinite().all() for each in made["network"].parameters())  # fmt: skip


def test_images_that_a_set_brings_are_what_a_network_gets(images):
    found = load_shapes("modelnet40-views", images, "small")
    data = shape_data("modelnet40-views", "small", images, "small")
    views = make_views(found, 64)
    for part in ("train", "test"):
        index = found.splits[part][0]
        given = [Image.open(path).convert("L").resize((64, 64), Image.Resampling.BILINEAR) for path in found.paths[index]]  # fmt: skip
        np.testing.assert_array_equal(read_strip(strip_of(views, found.names[index])), given)
        np.testing.assert_array_equal(getattr(data, part).images[0, :, 0], given)
        np.testing.assert_array_equal(data.views(part, 0), given)


@pytest.mark.parametrize(
    ("sizes", "share", "validation"),
    [((90, 60), 3, (30, 20)), ((12, 12, 12), 10, (2, 2, 2)), ((30, 20, 10), 10, (3, 2, 1)), ((4, 4, 4), 10, (2, 2, 2)), ((2, 2, 2), 3, (1, 1, 1))],
)  # fmt: skip
def test_the_validation_part_has_shapes_to_find_where_that_can_be(sizes, share, validation):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    parts = split_training(labels, np.arange(len(labels)), share, least=2)
    assert sorted([*parts["train"], *parts["validation"]]) == list(range(len(labels)))
    assert tuple(np.bincount(labels[parts["validation"]])) == validation


def album(folder, change=lambda number, picture: picture):
    """Twelve pictures of a grey ramp of 20 pixels, each darker than the one before."""
    paths = []
    for number in range(12):
        ramp = np.arange(400, dtype=np.uint8).reshape(20, 20) // 2 + number
        paths.append(folder / f"{number}.png")
        change(number, Image.fromarray(ramp)).save(paths[-1])
    return tuple(paths)


def test_colours_become_grey_and_what_is_transparent_white(tmp_path):
    def change(number, picture):
        if number == 3:
            return Image.new("RGB", (20, 20), (255, 0, 0))
        if number == 5:
            picture.putalpha(Image.fromarray(np.zeros((20, 20), np.uint8)))
        return picture

    paths = album(tmp_path, change)
    both = [paths, paths]
    assert collect_folder(both, ["a/b", "c"], tmp_path / "out", 20, processes=2) == []
    views = read_strip(tmp_path / "out" / "a" / "b.png")
    assert (views[3] == 76).all() and (views[5] == 255).all(), ".299 of red is grey 76"
    np.testing.assert_array_equal(views[7], np.asarray(Image.open(paths[7])))


def gigapixels(side):
    """The beginning of a PNG that says how large it is."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\5IDAT"
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "7.png cannot be read as a picture"),
        (lambda path: path.write_bytes(b""), "7.png cannot be read as a picture"),
        (lambda path: path.unlink(), "7.png"),
        (lambda path: Image.new("L", (20, 30)).save(path), "7.png must be square, not 20×30 pixels"),
        (lambda path: Image.new("I;16", (20, 20)).save(path), "7.png cannot be read .* 8 bits"),
        (lambda path: path.write_bytes(gigapixels(12_000)), "it has 12000 × 12000 pixels, expected 134,217,728 at most"),
        (lambda path: path.write_bytes(gigapixels(60_000)), "7.png cannot be read .*3600000000 pixels"),
    ],
    ids=["cut off", "empty", "missing", "not square", "16 bits", "large", "a bomb"],
)  # fmt: skip
def test_a_broken_picture_is_named_and_the_other_shapes_are_collected(tmp_path, damage, reason):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    paths = [album(tmp_path / "one"), album(tmp_path / "two")]
    damage(paths[0][7])
    (broken,) = collect_folder(paths, ["one", "two"], tmp_path / "out", 16, processes=1)
    assert broken.name == "one"
    with pytest.raises(ValueError, match=reason):
        raise ValueError(broken.reason)
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["two.png"]


def test_collected_pictures_are_kept_and_made_again_where_one_changed(tmp_path):
    paths = album(tmp_path)
    out = tmp_path / "out"
    collect_folder([paths], ["a"], out, 16, processes=1)
    first = (out / "a.png").stat().st_mtime_ns
    collect_folder([paths], ["a"], out, 16, processes=1)
    assert (out / "a.png").stat().st_mtime_ns == first
    Image.new("L", (20, 20), 9).save(paths[4])
    collect_folder([paths], ["a"], out, 16, processes=1)
    assert (read_strip(out / "a.png")[4] == 9).all()
    assert json.loads((out / "settings.json").read_text())["style"] == "given"
    with pytest.raises(ValueError, match="other settings"):
        collect_folder([paths], ["a"], out, 20, processes=1)
