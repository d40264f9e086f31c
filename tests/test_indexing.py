"""From a run's networks and mesh files to what answers, in this process and from a folder; nothing is trained here."""

import os

import numpy as np
import pytest
import torch
from searching import network_onnx

from bwot import indexing, mesh_models, ranklists, sketch_standins
from bwot.__main__ import main
from bwot.data.images import Split
from bwot.data.sketches import SketchData, Standard
from bwot.experiments import Sketches
from bwot.features import OnnxNetwork
from bwot.indexing import Trained, build_index, gallery_of, own_models
from bwot.mesh_models import mesh_files, read_models
from bwot.records import write_record
from bwot.search import read_index

CUBE = """OFF
8 6 0
-1 -1 -1
1 -1 -1
1 1 -1
-1 1 -1
-1 -1 {height}
1 -1 {height}
1 1 {height}
-1 1 {height}
4 0 1 2 3
4 4 5 6 7
4 0 1 5 4
4 1 2 6 5
4 2 3 7 6
4 3 0 4 7
"""


@pytest.fixture
def meshes(tmp_path):
    """Boxes of several heights in folders, two of them the same, and files that hold none."""
    folder = tmp_path / "meshes"
    for name, height in (("box.off", 1), ("tall/box.off", 9), ("tall/Tower.OFF", 30), ("flat/plate.off", -0.9), ("flat/again.off", 1)):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(CUBE.format(height=height))
    (folder / "broken.off").write_text("OFF\n8 6 0\n1 2")
    (folder / "flat" / "empty.obj").write_text("")
    (folder / "notes.txt").write_text("about the boxes")
    return folder


def samples(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def run_of(settings, data, frozen, make_record):
    network = settings.network_for(settings.dimensions(data)).eval()
    record = make_record(
        experiment="sketches", preset=settings.preset, dataset={"name": data.name}, settings={"network": settings.network},
    )  # fmt: skip
    return Trained(record, data, network, frozen, None)


def data_of(drawings, shapes, **more):
    labels = torch.arange(len(shapes)) % 2
    part = Split(drawings, torch.arange(len(drawings)) % 2)
    return SketchData(
        name="shrec13", variant="made up", official=False, sha256="2" * 64, classes=("box", "cup"), train=part, validation=part,
        test=part, shapes=Split(shapes, labels), names={"shapes": tuple(f"s{i}" for i in range(len(shapes)))}, **more,
    )  # fmt: skip


@pytest.fixture
def quick(make_record):
    """Small networks as the first numbers make them, for pictures of the stand-ins' size."""
    data = data_of(samples(4, 1, 1, 32, 32), samples(5, 6, 1, 32, 32))
    return run_of(Sketches(preset="quick"), data, None, make_record)


@pytest.fixture
def frozen(tmp_path, monkeypatch, make_record):
    """Heads on features of twelve numbers by a frozen network."""
    monkeypatch.setenv("BWOT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "net.onnx"
    path.write_bytes(network_onnx())
    numbers = np.linspace(0.1, 1.2, 12, dtype=np.float32)
    standards = {
        "sketches": Standard(numbers, numbers + 1),
        "shapes": Standard(numbers / 2, numbers),
    }
    data = data_of(torch.randn(4, 3, 12), torch.randn(5, 12), standards=standards)
    settings = Sketches(preset="short", network=str(path), dataset="shrec13")
    return run_of(settings, data, OnnxNetwork(path), make_record)


def drawing(seed=0):
    picture = np.full((100, 100), 255, np.uint8)
    rows, columns = np.random.default_rng(seed).integers(5, 95, (2, 300))
    picture[rows, columns] = 0
    return picture


# ------------------------------------------------------------------------------ files


def test_files_are_called_after_their_place_in_the_folder(meshes):
    names = mesh_files([meshes])
    assert sorted(names.values()) == ["box", "broken", "flat/again", "flat/empty", "flat/plate", "tall/Tower", "tall/box"]  # fmt: skip
    assert all(path.is_file() for path in names)


def test_equal_names_become_whole(meshes):
    names = mesh_files([meshes / "box.off", meshes / "tall" / "box.off", meshes / "tall"])
    assert sorted(names.values()) == sorted(["Tower", (meshes / "box.off").as_posix(), (meshes / "tall/box.off").as_posix()])  # fmt: skip


@pytest.mark.parametrize(
    "name, kind, message",
    [
        ("nowhere", FileNotFoundError, "nowhere does not exist"),
        ("notes.txt", ValueError, "notes.txt is no mesh file: its suffix must be one of .off"),
        ("bare", ValueError, "bare and the folders in it have no mesh files"),
    ],
)
def test_what_has_no_meshes_is_refused(meshes, name, kind, message):
    (meshes / "bare" / "inner").mkdir(parents=True)
    with pytest.raises(kind, match=message):
        mesh_files([meshes, meshes / name])


# ------------------------------------------------------------------------------ models


def test_models_of_the_stand_ins_networks_are_seen_as_those(quick, meshes):
    models = read_models(quick, [meshes], up="z")
    assert models.names == ("box", "flat/again", "flat/plate", "tall/Tower", "tall/box")
    assert models.samples.shape == (5, 6, 1, 32, 32) and models.pictures.shape == (5, 32, 32)
    expected = sketch_standins.seen(mesh_models_read(meshes / "tall" / "box.off"))
    assert (models.samples[4, :, 0].numpy() == expected).all()
    assert (models.samples[0] == models.samples[1]).all()  # the same box
    assert {each.name for each in models.broken} == {"broken", "flat/empty"}
    reasons = {each.name: each.reason for each in models.broken}
    assert reasons["flat/empty"] == "the file is empty." and "cut off" in reasons["broken"]


def test_a_file_whose_name_is_no_text_is_named_and_left_out(quick, meshes):
    name = os.fsencode(meshes) + b"/\xffbox.off"
    try:
        with open(name, "wb") as stream:
            stream.write((meshes / "tall" / "box.off").read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    models = read_models(quick, [meshes])
    assert len(models.names) == 5
    (told,) = (each for each in models.broken if "UTF-8" in each.reason)
    assert str(told.path).encode() and told.path.name.endswith("box.off")


def mesh_models_read(path):
    from bwot.meshes import read_mesh

    return read_mesh(path)


def test_the_axis_that_points_up_is_heeded(quick, meshes):
    flat, upright = (read_models(quick, [meshes / "tall" / "box.off"], up).samples for up in ("y", "z"))  # fmt: skip
    assert (flat != upright).any()


def test_only_broken_files_make_no_index(quick, meshes):
    with pytest.raises(ValueError, match="none of 1 mesh files can be drawn:\n.*broken.off"):
        read_models(quick, [meshes / "broken.off"])


def test_features_are_pooled_and_standardised_as_those_of_the_runs_shapes(
    frozen, meshes, monkeypatch
):
    from bwot.rendering import folders

    monkeypatch.setattr(folders.os, "cpu_count", lambda: 1)  # in this process
    models = read_models(frozen, [meshes])
    assert models.names == ("box", "flat/again", "flat/plate", "tall/Tower", "tall/box")
    assert models.samples.shape == (5, 12) and models.pictures.shape == (5, 96, 96)
    assert (models.samples[0] == models.samples[1]).all() and len(set(models.broken)) == 2
    read = mesh_models._drawn(frozen, [meshes / "flat" / "plate.off"], "y")
    (strip,) = (read.read(key) for key in read.keys.values())
    dark = [[1 - view[r : r + 4, c : c + 4].mean() / 255 for r in (0, 4) for c in (0, 4)] for view in shrunk(strip)]  # fmt: skip
    pooled = np.tile(np.max(dark, axis=0), 3)
    mean, deviation = frozen.data.standards["shapes"]
    assert models.samples[2].numpy() == pytest.approx((pooled - mean) / deviation, abs=0.02)
    calls = []
    monkeypatch.setattr(folders, "_make", lambda job: calls.append(job))
    again = read_models(frozen, [meshes / "tall"])  # drawn already, from the cache
    assert again.names == ("Tower", "box") and not calls
    assert (again.samples == models.samples[3:]).all()


def shrunk(strip):
    from PIL import Image

    way = Image.Resampling.BILINEAR
    return [np.asarray(Image.fromarray(view).resize((8, 8), way), float) for view in strip]


# ------------------------------------------------------------------------------ answers


def test_an_index_answers_as_the_networks_in_this_process(quick, frozen, tmp_path):
    for name, run in (("quick", quick), ("frozen", frozen)):
        count = len(run.data.names["shapes"])
        pictures = np.zeros((count, 8, 8), np.uint8)
        models = indexing.Models(run.data.names["shapes"], ("",) * count, run.data.shapes.images, pictures)  # fmt: skip
        here = gallery_of(run, models)
        build_index(run, models, tmp_path / name)
        there = read_index(tmp_path / name)
        assert (there.embeddings == here.embeddings).all() and here.embeddings.std() > 0
        for seed in (0, 1):
            ours, theirs = here.find(drawing(seed), count), there.find(drawing(seed), count)
            assert [each.name for each in ours] == [each.name for each in theirs]
            assert [each.distance for each in ours] == pytest.approx([each.distance for each in theirs], rel=1e-4)  # fmt: skip


def test_a_drawing_is_embedded_as_in_an_evaluation(quick):
    from bwot.crossmodal import as_views
    from bwot.drawings import rotations
    from bwot.training import embed

    picture = rotations(drawing(), 32, count=1)
    expected = embed(quick.network.drawings, as_views(torch.from_numpy(picture)[None, :, None]))
    found = gallery_of(quick, own_models(quick)).embed(drawing())
    assert found == pytest.approx(expected[0].numpy(), rel=1e-5, abs=1e-6)


def test_features_of_a_drawing_are_standardised_as_those_of_the_training_sketches(frozen):
    models = indexing.Models(("a",), ("",), torch.zeros(1, 12), np.zeros((1, 8, 8), np.uint8))
    mean, deviation = frozen.data.standards["sketches"]
    feature = np.full(12, 1 - 255 / 255, np.float32)  # of white paper
    with torch.no_grad():
        expected = frozen.network.drawings(torch.from_numpy((feature - mean) / deviation)[None])
    found = gallery_of(frozen, models).embed(np.full((50, 50), 255, np.uint8))
    assert found == pytest.approx(expected[0].numpy(), rel=1e-5, abs=1e-6)


def test_models_of_the_run_are_its_gallery(quick):
    models = own_models(quick)
    assert models.names == tuple(f"s{i}" for i in range(5)) and models.paths == ("",) * 5
    assert (models.pictures == quick.data.shapes.images[:, 0, 0].numpy()).all()


def test_a_network_file_that_was_changed_is_seen(frozen, tmp_path):
    (tmp_path / "net.onnx").write_bytes(network_onnx(scale=2.0))
    models = indexing.Models(("a",), ("",), torch.zeros(1, 12), np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="has just been changed"):
        build_index(frozen, models, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_features_of_an_unknown_network_are_no_head_for_drawings(monkeypatch, make_record):
    settings = Sketches(preset="short", network="features.npz")
    monkeypatch.setattr(indexing, "settings_and_data", lambda record, root: (settings, None))
    with pytest.raises(
        ValueError, match="features from features.npz, and what made those is not known"
    ):
        indexing.trained_run(make_record())


# ------------------------------------------------------------------------------ the command


@pytest.fixture
def prepared(quick, monkeypatch, tmp_path, make_record):
    """A record in a file, and the run of it."""
    monkeypatch.setattr(indexing, "trained_run", lambda record, root: quick)
    threads = torch.get_num_threads()
    write_record(
        make_record(provenance=make_record().provenance | {"threads": 1}), tmp_path / "run.json"
    )
    yield tmp_path / "run.json"
    torch.set_num_threads(threads)


def index(*arguments):
    return main(["index", *map(str, arguments)])


def test_meshes_become_an_index_and_broken_ones_are_told(
    prepared, meshes, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(indexing, "onnx_of", lambda *_: b"")  # its own test is above
    assert index(meshes, "--head", prepared, "--output", tmp_path / "index") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"5 models are in {tmp_path / 'index'}"
    assert said[1].startswith("2 files could not be drawn") and "broken.off" in said[2]
    assert (tmp_path / "index" / "index.json").exists()


def test_without_meshes_the_runs_shapes_are_indexed(prepared, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(indexing, "onnx_of", lambda *_: b"")
    assert index("--head", prepared, "--output", tmp_path / "index") == 0
    assert capsys.readouterr().out.startswith("5 models are in")


@pytest.mark.parametrize("what", ["taken", "nowhere", "record"])
def test_what_is_wrong_is_said_before_anything_is_computed(
    prepared, meshes, tmp_path, capsys, monkeypatch, what
):
    monkeypatch.setattr(indexing, "trained_run", None)
    given, output = meshes, tmp_path / "index"
    if what == "taken":
        output = meshes
    elif what == "nowhere":
        given = tmp_path / "nowhere"
    else:
        prepared.write_text("{}")
    assert index(given, "--head", prepared, "--output", output) == 1
    assert {"taken": "is there already", "nowhere": "does not exist", "record": "no record"}[what] in capsys.readouterr().err  # fmt: skip


@pytest.mark.parametrize("status, experiment", [("finished", "images"), ("diverged", "sketches")])
def test_only_finished_runs_on_sketches_have_heads(make_record, status, experiment):
    record = make_record(status=status, experiment=experiment)
    with pytest.raises(ValueError, match="expected the record of a finished run on sketches"):
        ranklists.settings_and_data(record)
