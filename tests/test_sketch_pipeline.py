"""From small sets of sketches and shapes to samples: views, rotations and features, kept and resumed."""

import shutil

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image, ImageDraw

from bwot import sketch_pipeline
from bwot.__main__ import main
from bwot.drawings import read_drawing, rotations
from bwot.features import pooled, read_features
from bwot.sketch_pipeline import load_sketches, sketch_data

SIDE, LENGTH = 8, 5
CLASSES = ("cube", "tent")


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def mesh(name, k):
    """A box or a roof, a little other for each k."""
    top = [[x, y, 1 + k / 4] for x in (0, 1) for y in (0, 1)]
    if name == "tent":
        top = [[x, 0.5, 1 + k / 4] for x in (0, 1) for _ in (0, 1)]
    points = [[x, y, 0] for x in (0, 1) for y in (0, 1)] + top
    faces = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    rows = [" ".join(map(str, point)) for point in points]
    rows += ["4 " + " ".join(map(str, face)) for face in faces]
    return "OFF\n8 6 0\n" + "\n".join(rows) + "\n"


def sketch(path, name, k):
    image = Image.new("L", (40, 40), 255)
    draw = ImageDraw.Draw(image)
    corners = [(8, 30), (30, 30), (30, 10), (8, 10)] if name == "cube" else [(8, 30), (30, 30), (19, 8)]  # fmt: skip
    draw.line([(x + k, y) for x, y in (*corners, corners[0])], fill=0, width=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def network(path):
    """An ONNX file whose features are a fixed mixture of the pixels."""
    weight = np.random.default_rng(0).standard_normal((3 * SIDE * SIDE, LENGTH)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["feature"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("image", kind, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("feature", kind, None)], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)  # fmt: skip
    return str(path)


def fill(folder):
    """SHREC'14 with two classes of five training and two test sketches and two models, and a network."""
    home = folder / "data" / "shrec14"
    text, number = ["PSB 1", "2 4"], 0
    for name in CLASSES:
        text.append(f"{name} 0 2")
        for k in range(2):
            put(home / "SHREC14LSSTB_TARGET_MODELS" / f"M{number:06}.off", mesh(name, k))
            text.append(f"{number}")
            number += 1
        for k in range(7):
            part = "train" if k < 5 else "test"
            sketch(home / "SHREC14LSSTB_SKETCHES" / name / part / f"{k}.png", name, k)
    put(home / "SHREC14_Sketch_Evaluation" / "SHREC14_SBR_Model.cla", "\n".join(text))
    network(folder / "small.onnx")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The set with its views and features."""
    folder = tmp_path_factory.mktemp("prepared")
    fill(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BWOT_CACHE", str(folder / "cache"))
        made(folder)
    return folder


@pytest.fixture
def root(prepared, tmp_path, monkeypatch):
    """A copy of the prepared set."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("BWOT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def made(root):
    return sketch_data("shrec14", str(root / "small.onnx"), root / "data")


def test_features_come_of_every_rotation_and_of_the_views_together(root):
    data = made(root)
    assert data.train.images.shape == (8, 20, LENGTH) and data.train.images.dtype == torch.float32
    assert data.validation.images.shape == (2, 20, LENGTH)
    assert data.test.images.shape == (4, 20, LENGTH)
    assert data.shapes.images.shape == (4, LENGTH)
    assert data.shapes.labels.tolist() == [0, 0, 1, 1]
    assert data.names["test"] == ("cube/5", "cube/6", "tent/5", "tent/6")
    assert data.names["shapes"] == ("M000000", "M000001", "M000002", "M000003")


def test_each_modality_is_standardised_by_its_own_training_part(root):
    data = made(root)
    for values in (data.train.images.flatten(0, 1), data.shapes.images):
        assert torch.allclose(values.mean(0), torch.zeros(LENGTH), atol=1e-4)
        assert torch.allclose(values.std(0, unbiased=False), torch.ones(LENGTH), atol=1e-3)


def test_the_kept_files_are_what_the_samples_are_made_of(root):
    data, found = made(root), load_sketches("shrec14", root / "data", None)
    (folder,) = (root / "cache").iterdir()
    kept = read_features(folder / "small-rotations1-224.npy", found.sketch_names, found.sha256)
    values = kept.values.astype(np.float32)
    of_train = values[found.splits["train"]]
    expected = (values[found.splits["test"]] - of_train.mean((0, 1))) / of_train.std((0, 1))
    assert np.allclose(data.test.images.numpy(), expected, atol=1e-4)
    shapes = pooled(read_features(folder / "small-dodecahedron-224.npy", found.shape_names))
    expected = (shapes - shapes.mean(0)) / shapes.std(0)
    assert np.allclose(data.shapes.images.numpy(), expected, atol=1e-4)


def test_a_second_call_computes_nothing(root, monkeypatch):
    first = made(root)
    monkeypatch.setattr(sketch_pipeline, "read_drawing", None)
    second = made(root)
    assert first.sha256 == second.sha256
    assert torch.equal(first.train.images, second.train.images)


def test_a_killed_call_goes_on_where_it_was(root, monkeypatch):
    expected, read = made(root).train.images, []
    for path in (root / "cache").rglob("*rotations*"):
        path.unlink()

    def failing(path):
        read.append(path)
        if len(read) > 6:
            raise KeyboardInterrupt
        return read_drawing(path)

    monkeypatch.setattr(sketch_pipeline, "read_drawing", failing)
    with pytest.raises(KeyboardInterrupt):
        made(root)
    before = len(set(read))
    read.clear()
    monkeypatch.setattr(sketch_pipeline, "read_drawing", lambda path: read.append(path) or read_drawing(path))  # fmt: skip
    assert torch.equal(made(root).train.images, expected)
    assert before >= 6 and len(read) < 14


def test_the_small_network_gets_pictures_themselves(root):
    data = sketch_data("shrec14", "small", root / "data")
    assert data.train.images.shape == (8, 20, 1, 64, 64)
    assert data.shapes.images.shape == (4, 20, 1, 64, 64)
    path = load_sketches("shrec14", root / "data", None).sketch_paths[5]
    assert np.array_equal(data.test.images[0, :, 0].numpy(), rotations(read_drawing(path), 64))


def test_pictures_to_look_at_are_drawings_and_first_views(root):
    data = made(root)
    drawings, views = data.pictures("test", [0, 3]), data.pictures("shapes", [1])
    assert drawings.shape == (2, 224, 224) and views.shape == (1, 224, 224)
    for picture in (*drawings, *views):
        assert picture[0, 0] == 255 and picture.min() < 200


def test_other_drawings_are_other_data(root):
    first = made(root).sha256
    sketch(root / "data" / "shrec14" / "SHREC14LSSTB_SKETCHES" / "cube" / "train" / "0.png", "tent", 3)  # fmt: skip
    assert made(root).sha256 != first


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nbroken"])
def test_a_broken_sketch_is_named(root, content):
    path = root / "data" / "shrec14" / "SHREC14LSSTB_SKETCHES" / "tent" / "train" / "2.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tent/train/2\.png cannot be read as a drawing"):
        made(root)


def test_a_broken_model_is_named(root):
    put(root / "data" / "shrec14" / "SHREC14LSSTB_TARGET_MODELS" / "M000002.off", "OFF\nbroken")
    with pytest.raises(ValueError, match=r"1 of 4 shapes cannot be drawn:\n.*M000002\.off"):
        made(root)


def test_unknown_sets_are_refused():
    with pytest.raises(ValueError, match="dataset must be one of shrec13, shrec13-15, shrec14"):
        load_sketches("psb", None, None)


def test_the_commands_are_the_steps_and_say_where_things_are(root, capsys):
    options = ["shrec14", "--data", str(root / "data"), "--variant", "a sample"]
    assert main(["views", *options]) == 0
    said = capsys.readouterr().out
    assert "a sample, 4 of 8,987 models" in said
    (folder,) = (root / "cache").iterdir()
    assert f"20 views of each of 4 shapes are in {folder / 'dodecahedron-224'}" in said
    assert len(list((folder / "dodecahedron-224").glob("*.png"))) == 4
    assert main(["features", *options, "--network", str(root / "small.onnx")]) == 0
    said = capsys.readouterr().out
    assert f"5 features of each of 20 rotations of 14 sketches are in {folder / 'small-rotations1-224.npy'}" in said  # fmt: skip
    assert f"5 features of each of 20 views of 4 shapes are in {folder / 'small-dodecahedron-224.npy'}" in said  # fmt: skip
    assert set(folder.glob("*.npy")) == {folder / "small-rotations1-224.npy", folder / "small-dodecahedron-224.npy"}  # fmt: skip


def test_the_commands_know_sets_of_shapes(root, capsys):
    for part in ("train", "test"):
        for k in range(10):
            put(
                root / "data" / "modelnet10" / "cube" / part / f"cube_{part}{k}.off",
                mesh("cube", k),
            )
    options = ["modelnet10", "--data", str(root / "data"), "--variant", "cubes"]
    assert main(["features", *options, "--network", str(root / "small.onnx")]) == 0
    said = capsys.readouterr().out
    assert "12 views of each of 20 shapes" in said and "5 features of each of 12 views" in said
    assert "sketches" not in said


def test_the_commands_name_what_is_missing(root, capsys):
    assert main(["views", "shrec13", "--data", str(root / "data")]) == 1
    assert "SHREC13_SBR_Model.cla" in capsys.readouterr().err
    assert main(["features", "shrec14", "--data", str(root / "data")]) == 1
    assert "mobilenet" in capsys.readouterr().err
