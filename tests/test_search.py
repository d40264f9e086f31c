"""Searching: exact neighbours, an index that is whole or refused, drawings of any form, contact sheets, the commands."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from searching import NAMES, SIDE, halves, network_onnx, sketch_onnx, small_content

import bwot
from bwot import __main__ as command_line
from bwot.drawings import read_drawing
from bwot.search import (
    BadIndexError,
    Found,
    Gallery,
    Query,
    Row,
    answered,
    draw_sheet,
    files,
    nearest,
    read_index,
    write_index,
    write_sheet,
)


@pytest.fixture
def folder(tmp_path):
    write_index(tmp_path / "made" / "index", small_content())
    return tmp_path / "made" / "index"


@pytest.fixture
def sketch(tmp_path):
    """The function that writes a drawing: something to the left, in two colours on a sheet."""

    def write(name, mode="L", paper=255, ink=0, size=(90, 60), **options):
        image = Image.new(mode, size, paper)
        width, height = size
        box = (width // 2 - height // 2, height // 10, width // 2 - 1, height - height // 10)
        ImageDraw.Draw(image).rectangle(box, fill=ink)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


# ------------------------------------------------------------------------------ neighbours


@pytest.mark.parametrize("n, length, top", [(1, 1, 1), (7, 3, 3), (5000, 128, 10), (40, 8, 40), (9, 2, 50)])  # fmt: skip
def test_neighbours_are_those_of_the_definition(n, length, top):
    random = np.random.default_rng(n)
    embeddings = random.normal(size=(n, length)).astype(np.float32)
    query = random.normal(size=length).astype(np.float32)
    order, distances = nearest(embeddings, query, top)
    far = [np.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(row, query, strict=True))) for row in embeddings]  # fmt: skip
    expected = sorted(range(n), key=lambda i: (far[i], i))[: min(top, n)]
    assert order.tolist() == expected
    assert distances == pytest.approx([far[i] for i in expected], rel=1e-5)


def test_the_lower_index_comes_first_among_equals_at_the_edge_too():
    embeddings = np.float32([[1, 0], [0, 0], [0, 1], [-1, 0], [0, -1]])
    order, distances = nearest(embeddings, np.zeros(2, np.float32), 3)
    assert order.tolist() == [1, 0, 2] and distances.tolist() == [0, 1, 1]


def test_near_neighbours_far_from_the_origin_are_told_apart():
    embeddings = np.float32([[1000.002, 0], [1000.001, 0], [1000, 0]])
    order, _ = nearest(embeddings, np.float32([1000, 0]), 3)
    assert order.tolist() == [2, 1, 0]


@pytest.mark.parametrize("top, query, message", [(0, [0, 0], "top must be at least 1, not 0"), (1, [0, np.nan], "finite")])  # fmt: skip
def test_what_cannot_be_ranked_is_refused(top, query, message):
    with pytest.raises(ValueError, match=message):
        nearest(np.zeros((3, 2), np.float32), np.float32(query), top)


# ------------------------------------------------------------------------------ the index


def test_an_index_gives_back_what_was_put_in(folder):
    gallery, content = read_index(folder), small_content()
    assert gallery.names == NAMES and gallery.paths == content.paths
    assert (gallery.embeddings == content.embeddings).all() and (gallery.pictures == halves()).all()
    for number, picture in enumerate(halves()):
        assert gallery.embed(picture) == pytest.approx(
            content.embeddings[number], abs=0.04
        )  # edges are resized
        first, *_ = gallery.find(picture, top=2)
        assert first == Found(number, NAMES[number], content.paths[number], pytest.approx(0.1, abs=0.1))  # fmt: skip


def test_a_network_on_ink_needs_no_frozen_one(tmp_path):
    length = SIDE * SIDE
    query = Query(SIDE, sketch_onnx(length, length, ["n", 1, 1, SIDE, SIDE]))
    ink = 1 - halves()[:, ::2, ::2].reshape(4, length).astype(np.float32) / 255
    write_index(tmp_path / "index", small_content(query=query, embeddings=ink))
    assert not (tmp_path / "index" / "network.onnx").exists()
    gallery = read_index(tmp_path / "index")
    assert [gallery.find(picture, 1)[0].index for picture in halves()] == [0, 1, 2, 3]


def test_nothing_but_the_index_is_left(folder):
    assert [path.name for path in folder.parent.iterdir()] == ["index"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "embeddings.npy", "index.json", "network.onnx", "pictures.npy", "sketch.onnx",
    ]  # fmt: skip


def test_an_index_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_own_digest", lambda about: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_index(tmp_path / "index", small_content())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path):
    """NumPy's writing ends without a number of an error, where a file may not grow."""
    code = (
        "import resource, signal, sys; import numpy as np; from searching import small_content; from bwot.search import write_index\n"
        "content = small_content(names=('one',) * 800, paths=('',) * 800, embeddings=np.zeros((800, 12), np.float32),\n"
        "                        pictures=np.zeros((800, 16, 16), np.uint8))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: write_index(sys.argv[1], content)\n"
        "except OSError as error: print(error)"
    )
    root = Path(bwot.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "index"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
    )  # fmt: skip
    assert "the index cannot be written (" in done.stdout, done.stdout + done.stderr
    assert "written: is the disk full?)" in done.stdout and "None" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_of_an_index_goes(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = tmp_path / f".index.{platform.node()}.{process.pid}.part"
    left.mkdir()
    (left / "embeddings.npy").write_bytes(b"half of")
    write_index(tmp_path / "index", small_content())
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_place_below_a_file_is_said(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="the index cannot be written .*file/index"):
        write_index(tmp_path / "file" / "index", small_content())
    with pytest.raises(OSError, match="cannot be written .*file/s.png"):
        write_sheet(tmp_path / "file" / "s.png", [Row("a", halves()[0], [])])


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_what_is_there_is_not_replaced(tmp_path, taken):
    place = tmp_path / "index"
    if taken == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="index is there already: name a folder"):
        write_index(place, small_content())
    assert len(list(tmp_path.rglob("*"))) == (1 if taken == "file" else 2)


def test_an_empty_folder_is_taken(tmp_path):
    write_index(tmp_path, small_content())
    assert read_index(tmp_path).names == NAMES


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"names": NAMES[:3]}, "one embedding, path and picture for each of its 3 models"),
        ({"embeddings": np.full((4, 12), np.nan, np.float32)}, "must be finite"),
    ],
)
def test_content_that_makes_no_index_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write_index(tmp_path / "index", small_content(**changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_no_index_is_said_with_the_command(tmp_path, there):
    folder = tmp_path if there else tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError, match="there is no index in .* bwot index MESHES"):
        read_index(folder)


@pytest.mark.parametrize("name", ["embeddings.npy", "network.onnx", "sketch.onnx", "pictures.npy"])
def test_half_an_index_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(BadIndexError, match=f"half an index: {name} is missing"):
        read_index(folder)


@pytest.mark.parametrize("name", ["embeddings.npy", "network.onnx", "sketch.onnx", "pictures.npy"])
def test_a_file_that_is_cut_off_is_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(BadIndexError, match=f"{name} has .* bytes, at indexing it had"):
        read_index(folder)


@pytest.mark.parametrize("name", ["embeddings.npy", "network.onnx", "sketch.onnx"])
def test_other_bytes_than_at_indexing_are_seen(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BadIndexError, match=f"{name} has other bytes than at indexing: sha256"):
        read_index(folder)


def changed(folder, own_digest=True, **changes):
    path = folder / "index.json"
    about = json.loads(path.read_text()) | changes
    if own_digest:
        about["sha256"] = files._own_digest(about)
    path.write_text(json.dumps(about))


@pytest.mark.parametrize("changes", [{"version": 2}, {"format": "index of others"}, {"drawings": 0}, {"version": None}])  # fmt: skip
def test_an_index_of_another_version_is_named(folder, changes):
    changed(folder, **changes)
    with pytest.raises(BadIndexError, match="an index of another version: .*this bwot reads"):
        read_index(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_a_description_that_is_none_is_refused(folder, content):
    (folder / "index.json").write_bytes(content)
    with pytest.raises(BadIndexError, match="index.json is no description of an index"):
        read_index(folder)


def test_a_description_that_was_edited_is_refused(folder):
    changed(folder, own_digest=False, names=["up", "down", "here", "there"])
    with pytest.raises(BadIndexError, match="index.json is damaged"):
        read_index(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ["one"]},
        {"names": None},
        {"paths": []},
        {"shapes": {}},
        {"query": {"size": 16}},
        {"query": {"size": "large", "output": "feature", "scaling": [[0, 0, 0], [1, 1, 1]]}},
        {"query": {"size": 16, "output": "logits", "scaling": [[0, 0, 0], [1, 1, 1]]}},
        {"shapes": {"embeddings.npy": [4, 11], "pictures.npy": [4, 16, 16]}},
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused(folder, changes):
    changed(folder, **changes)
    with pytest.raises(BadIndexError, match="cannot be used"):
        read_index(folder)


@pytest.mark.parametrize("files_", [{}, {"../../secret": {"bytes": 1, "sha256": ""}}, ["x"], None])
def test_only_the_files_of_an_index_are_opened(folder, files_):
    changed(folder, files=files_)
    with pytest.raises(BadIndexError, match="damaged|no description"):
        read_index(folder)


@pytest.mark.parametrize(
    "query, message",
    [
        (Query(16, b"nothing", network_onnx()), "cannot be run by ONNX Runtime"),
        (Query(16, sketch_onnx(7, 7), network_onnx()), "does not take"),
        (Query(16, sketch_onnx(12, 5), network_onnx()), "embeddings of length 5, expected 12"),
        (Query(16, sketch_onnx(), b"nothing"), "cannot be run by ONNX Runtime"),
    ],
)
def test_parts_that_do_not_fit_together_are_seen_before_a_drawing_is(tmp_path, query, message):
    write_index(tmp_path / "index", small_content(query=query))
    with pytest.raises(BadIndexError, match=message):
        read_index(tmp_path / "index")


# ------------------------------------------------------------------------------ sheets


def made_gallery(names):
    pictures = np.tile(halves(), (len(names), 1, 1))[: len(names)]
    return Gallery(tuple(names), ("",) * len(names), np.zeros((len(names), 2), np.float32), pictures, lambda _: np.zeros(2, np.float32))  # fmt: skip


@pytest.mark.parametrize("count, across, lines", [(1, 1, 1), (5, 5, 1), (6, 5, 2), (12, 5, 3)])
def test_a_sheet_has_room_for_all_answers(count, across, lines):
    gallery = made_gallery([f"folder/model{k}" for k in range(count)])
    drawing = np.full((300, 300), 255, np.uint8)
    sheet = draw_sheet([answered("chair", drawing, gallery, gallery.find(drawing, count))] * 2)
    assert sheet.size == (16 + 136 * (1 + across), 8 + 2 * (8 + 168 * lines))
    cells = np.asarray(sheet)[8 : 8 + 120, 8 + 136 : 8 + 136 + 120 * across]
    assert (cells < 50).mean() > 0.3  # the models are there


def test_long_and_strange_names_stay_inside_their_cells():
    names = ["x" * 300, "椅子/" + "椅" * 40, "a\nb\tc\0d", "é" * 60, "‮abc"]
    gallery = made_gallery(names)
    drawing = halves()[0]
    sheet = np.asarray(draw_sheet([answered("t" * 99, drawing, gallery, gallery.find(drawing, 5))]))
    below = sheet[8 + 122 : 8 + 122 + 30]
    for cell in range(1, 6):
        assert (below[:, 8 + 136 * cell - 3 : 8 + 136 * cell - 1] == 255).all()  # between two cells


def test_a_sheet_is_a_png_file_and_nothing_else(tmp_path):
    gallery = made_gallery(["one"])
    rows = [answered("q", halves()[0], gallery, gallery.find(halves()[0]))]
    write_sheet(tmp_path / "new" / "sheet.PNG", rows)
    with Image.open(tmp_path / "new" / "sheet.PNG") as image:
        assert image.format == "PNG"
    with pytest.raises(ValueError, match="written as NAME.png, not sheet.jpg"):
        write_sheet(tmp_path / "sheet.jpg", rows)


# ------------------------------------------------------------------------------ the command


def search(*arguments):
    return command_line.main(["search", *map(str, arguments)])


def test_a_drawing_is_answered_with_ranks_distances_names_and_paths(folder, sketch, capsys):
    assert search(sketch("query.png"), "--index", folder, "--top", 2) == 0
    first, *ranks = capsys.readouterr().out.splitlines()
    assert first.endswith("query.png") and len(ranks) == 2
    rank, distance, name, path = ranks[0].split()
    assert (rank, name, path) == ("1", "left", "/models/left.off") and float(distance) > 0


@pytest.mark.parametrize(
    "name, options",
    [
        ("white-on-black.png", {"paper": 0, "ink": 255}),
        ("red.png", {"mode": "RGB", "paper": "white", "ink": (200, 30, 30)}),
        ("transparent.png", {"mode": "RGBA", "paper": (0, 0, 0, 0), "ink": (0, 0, 0, 255)}),
        ("white-on-nothing.png", {"mode": "RGBA", "paper": (0, 0, 0, 0), "ink": (255, 255, 255, 255)}),
        ("large.png", {"size": (1500, 1111)}),
        ("tiny.png", {"size": (15, 12)}),
        ("tall.png", {"size": (60, 200)}),
        ("photo.jpg", {"size": (300, 200)}),
        ("bits.png", {"mode": "1", "paper": 1, "ink": 0}),
        ("deep.png", {"mode": "I;16", "paper": 65535, "ink": 0}),
    ],
)  # fmt: skip
def test_drawings_of_any_form_find_the_same(folder, sketch, capsys, name, options):
    assert search(sketch(name, **options), "--index", folder) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[2] == "left"


def test_what_is_no_drawing_is_named_and_the_others_are_answered(folder, sketch, tmp_path, capsys):
    good = sketch("good.png")
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "nothing.png").write_bytes(b"")
    empty = sketch("empty.png", ink=255)
    bad = [tmp_path / "broken.png", tmp_path / "text.png", tmp_path / "nothing.png", empty, tmp_path / "missing.png", tmp_path]  # fmt: skip
    sheet = tmp_path / "sheet.png"
    assert search(*bad, good, "--index", folder, "--sheet", sheet) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == str(good) and "left" in said.out and sheet.exists()
    lines = said.err.splitlines()
    assert len(lines) == len(bad) and all(line.startswith("bwot: ") for line in lines)
    for path in bad:
        assert any(str(path) in line for line in lines)
    assert "nothing is drawn on it" in said.err


def test_without_a_drawing_there_is_no_sheet(folder, tmp_path, capsys):
    assert search(tmp_path / "none.png", "--index", folder, "--sheet", tmp_path / "s.png") == 1
    assert not (tmp_path / "s.png").exists()


def test_a_bad_index_is_one_line_of_error(tmp_path, sketch, capsys):
    assert search(sketch("query.png"), "--index", tmp_path / "none") == 1
    assert capsys.readouterr().err.startswith("bwot: there is no index in")


@pytest.mark.parametrize("top", ["0", "-1", "2.5", "ten"])
def test_a_top_that_is_no_number_of_models_exits_with_2(folder, sketch, capsys, top):
    with pytest.raises(SystemExit) as caught:
        search(sketch("query.png"), "--index", folder, f"--top={top}")
    assert caught.value.code == 2 and "at least 1" in capsys.readouterr().err


def test_a_sheet_of_another_kind_is_refused_before_anything_is_answered(folder, sketch, capsys):
    with pytest.raises(SystemExit) as caught:
        search(sketch("query.png"), "--index", folder, "--sheet", "sheet.jpg")
    said = capsys.readouterr()
    assert caught.value.code == 2 and "NAME.png, not sheet.jpg" in said.err and not said.out


def test_searching_does_not_import_torch(folder, sketch):
    code = "import sys; from bwot.__main__ import main; main(); print('torch' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "search", sketch("query.png"), "--index", folder, "--sheet", folder.parent / "s.png"],
        capture_output=True, text=True, cwd=Path(bwot.__file__).parent.parent, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "False False", done.stderr
    assert (folder.parent / "s.png").exists()


def test_a_query_file_is_read_as_training_reads_it(folder, sketch):
    drawing = read_drawing(sketch("query.png"))
    assert drawing.shape == (90, 90) and read_index(folder).find(drawing)[0].name == "left"
