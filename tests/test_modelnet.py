"""ModelNet from small folders in Princeton's layout and as twelve images a shape, and its download from a server here."""

import functools
import hashlib
import io
import os
import shutil
import sys
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from bwot.data import catalogue, modelnet, shapes
from bwot.data.download import DownloadError
from bwot.data.images import DataError

COUNTS = {"bed": (12, 3), "chair": (20, 4), "night_stand": (8, 2)}
SIZES = {10: (40, 9), 40: (40, 9)}
TRIANGLE = "OFF\n3 1 0\n0 0 {}\n1 0 0\n0 1 0\n3 0 1 2\n"


def files(counts=COUNTS):
    """Path below the set's folder → content, every content another."""
    found = {}
    for kind, (training, tests) in counts.items():
        for number in range(training + tests):
            part = "train" if number < training else "test"
            name = f"{kind}/{part}/{kind}_{number + 1:04}.off"
            found[name] = TRIANGLE.format(len(found)).encode()
    return found


@pytest.fixture
def root(tmp_path):
    for name, content in files().items():
        put(tmp_path / "modelnet10" / "ModelNet10" / name, content)
    return tmp_path


@pytest.fixture
def official(monkeypatch):
    """Declare the small split to be the official one, of three classes under both numbers."""
    monkeypatch.setattr(modelnet, "SIZES", {3: (40, 9)})
    monkeypatch.setattr(modelnet, "ADDRESSES", {3: ()})


def put(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_set_has_its_classes_names_files_and_labels(root):
    found = modelnet.load(root, "small")
    assert found.name == "modelnet10" and found.variant == "small" and not found.official
    assert found.classes == ("bed", "chair", "night_stand")
    assert len(found.names) == len(set(found.names)) == len(found.paths) == 49
    for name, path, label in zip(found.names, found.paths, found.labels, strict=True):
        assert path == root / "modelnet10" / "ModelNet10" / f"{name}.off"
        assert found.classes[label] == name.split("/")[0]


def test_the_official_split_is_kept_and_a_tenth_of_training_is_for_validation(root):
    found = modelnet.load(root, "small")
    parts = {
        part: [found.names[i].split("/")[1] for i in found.splits[part]] for part in found.splits
    }
    assert parts == {"train": ["train"] * 36, "validation": ["train"] * 4, "test": ["test"] * 9}
    together = np.concatenate(list(found.splits.values()))
    assert sorted(together) == list(range(49))
    assert np.bincount(found.labels[found.splits["validation"]]).tolist() == [1, 2, 1]
    again = modelnet.load(root, "small").splits
    assert all(np.array_equal(again[part], found.splits[part]) for part in again)


def test_the_fingerprint_is_that_of_the_sorted_list_of_check_sums(root):
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files().items()
    ]
    lines.sort(key=lambda line: line.split()[1])
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert modelnet.load(root, "small").sha256 == expected


@pytest.mark.parametrize("change", ["byte", "name", "file"])
def test_a_changed_byte_name_or_number_of_files_changes_the_fingerprint(root, change):
    before = modelnet.load(root, "small").sha256
    path = root / "modelnet10" / "ModelNet10" / "bed" / "train" / "bed_0001.off"
    if change == "byte":
        path.write_bytes(path.read_bytes().replace(b"0 1 0", b"0 2 0"))
    elif change == "name":
        path.rename(path.with_name("bed_0099.off"))
    else:
        path.unlink()
    assert modelnet.load(root, "small").sha256 != before


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes")
def test_a_name_that_is_no_text_is_shown(root):
    folder = next(root.rglob("train"))
    os.rename(next(folder.glob("*.off")), os.fsencode(folder) + b"/a_\xff.off")
    with pytest.raises(DataError, match=r"whose name is no UTF-8 text: '.*/train/a_\\udcff.off'"):
        modelnet.load(root, "small")


def test_what_systems_and_people_leave_in_folders_changes_nothing(root):
    before = modelnet.load(root, "small")
    home = root / "modelnet10" / "ModelNet10"
    for name in ("README.txt", ".DS_Store", "bed/.DS_Store", "bed/train/._bed_0001.off", "chair/test/notes.txt"):  # fmt: skip
        put(home / name)
    put(root / "modelnet10" / "__MACOSX" / "bed" / "train" / "bed_0001.off")
    put(root / "modelnet10" / "ModelNet10.zip")
    after = modelnet.load(root, "small")
    assert after.names == before.names and after.sha256 == before.sha256


@pytest.mark.parametrize("nested", ["ModelNet10/ModelNet10", "archive/ModelNet10", "."])
def test_another_nesting_is_found(root, tmp_path, nested):
    before = modelnet.load(root, "small")
    aside = tmp_path / "aside"
    (root / "modelnet10" / "ModelNet10").rename(aside)
    shutil.rmtree(root / "modelnet10")
    (root / "modelnet10" / nested).parent.mkdir(parents=True, exist_ok=True)
    aside.rename(root / "modelnet10" / nested)
    after = modelnet.load(root, "small")
    assert after.names == before.names and after.sha256 == before.sha256


def test_a_set_may_lie_elsewhere_behind_a_link(root, tmp_path):
    before = modelnet.load(root, "small")
    (root / "modelnet10" / "ModelNet10").rename(tmp_path / "elsewhere")
    (root / "modelnet10" / "ModelNet10").symlink_to(tmp_path / "elsewhere")
    assert modelnet.load(root, "small").sha256 == before.sha256


def test_a_link_that_leads_back_is_no_class(tmp_path):
    (tmp_path / "modelnet10").mkdir()
    (tmp_path / "modelnet10" / "again").symlink_to(tmp_path / "modelnet10")
    with pytest.raises(FileNotFoundError, match="modelnet10 has no class"):
        modelnet.load(tmp_path)


def test_a_folder_that_is_not_there_or_empty_is_named_with_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="modelnet40 is not there.*\n.*download modelnet40"):
        modelnet.load(tmp_path, classes=40)
    (tmp_path / "modelnet10").mkdir()
    with pytest.raises(FileNotFoundError, match="modelnet10 has no class"):
        modelnet.load(tmp_path)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_without_shapes_of_a_part_is_named(root, part):
    shutil.rmtree(root / "modelnet10" / "ModelNet10" / "chair" / part)
    with pytest.raises(DataError, match=f"chair has no shape in {part}"):
        modelnet.load(root, "small")
    (root / "modelnet10" / "ModelNet10" / "chair" / part).mkdir()
    with pytest.raises(DataError, match=f"chair has no shape in {part}"):
        modelnet.load(root, "small")


def test_a_folder_that_is_no_class_is_not_passed_over(root):
    put(root / "modelnet10" / "ModelNet10" / "sofa" / "sofa" / "train" / "sofa_0001.off")
    with pytest.raises(DataError, match="sofa has no shape in train and in test"):
        modelnet.load(root, "small")


def test_another_split_has_to_be_named(root):
    with pytest.raises(DataError, match="40 training and 9 test shapes in 3 classes, expected 3,991 and 908 in 10") as error:  # fmt: skip
        modelnet.load(root)
    assert 'load(variant="…")' in str(error.value)


def test_the_official_split_is_taken_without_a_name_and_is_still_not_official(root, official):
    (root / "modelnet10").rename(root / "modelnet3")
    found = modelnet.load(root, classes=3)
    assert found.variant == "as downloaded, no check-sum is published" and not found.official


def test_points_in_place_of_meshes_have_to_be_named(root, official):
    (root / "modelnet10").rename(root / "modelnet3")
    for path in (root / "modelnet3").rglob("*.off"):
        path.write_text("OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n")
    with pytest.raises(DataError, match="points alone in bed_0001.off, expected meshes"):
        modelnet.load(root, classes=3)
    assert modelnet.load(root, "points", classes=3).variant == "points"


def test_too_few_shapes_for_a_validation_part_are_refused(tmp_path):
    for name, content in files({"bed": (4, 1), "sofa": (5, 1)}).items():
        put(tmp_path / "modelnet10" / name, content)
    with pytest.raises(DataError, match="9 training shapes, expected 10 or more"):
        modelnet.load(tmp_path, "small")


@pytest.mark.parametrize("classes", [0, 11, 20])
def test_there_is_a_modelnet_of_10_and_of_40_classes(tmp_path, classes):
    with pytest.raises(ValueError, match=f"10 or 40, not {classes}"):
        modelnet.load(tmp_path, classes=classes)


@pytest.mark.parametrize("pattern", ["{}_{:03}.png", "{}.obj.shaded_v{:03}.png", "{}_{:03}.jpg"])
@pytest.mark.parametrize("held_out", ["test", "val"])
def test_twelve_images_a_shape_are_in_the_order_of_their_numbers(tmp_path, pattern, held_out):
    for name in files():
        kind, part, shape = name.removesuffix(".off").split("/")
        for view in range(12, 0, -1):
            where = tmp_path / "modelnet40-views" / "modelnet40_images_new_12x" / kind
            folder = held_out if part == "test" else part
            put(where / folder / pattern.format(shape, view), f"{shape} {view}".encode())
    found = modelnet.load_views(tmp_path, "small")
    assert len(found.paths) == 49 and len(found.splits["test"]) == 9
    for name, paths in zip(found.names, found.paths, strict=True):
        shape = name.rsplit("/", 1)[1]
        assert [path.read_text() for path in paths] == [f"{shape} {view}" for view in range(1, 13)]
    assert found.classes == ("bed", "chair", "night_stand")
    with pytest.raises(DataError, match="expected 9,843 and 2,468 in 40"):
        modelnet.load_views(tmp_path)
    missing = found.paths[0][4]
    missing.unlink()
    with pytest.raises(DataError, match="bed_0001 has the views 001, 002, 003, 004, 006,"):
        modelnet.load_views(tmp_path, "small")


def test_images_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="modelnet40-views is not there.*\n.*shaded_images"):
        modelnet.load_views(tmp_path)


def archive(contents, prefix="ModelNet3/"):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in contents.items():
            packed.writestr(f"{prefix}{name}", content)
    return stream.getvalue()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Silence: the base class writes each request to the terminal."""


@pytest.fixture
def serve(tmp_path, official, monkeypatch):
    """Serve bytes as the archive; the data root to download into."""
    served = tmp_path / "served"
    served.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("BWOT_PROGRESS", "off")
    handler = functools.partial(Quiet, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/ModelNet3.zip"
        monkeypatch.setattr(modelnet, "ADDRESSES", {3: (url,)})
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()

        def serve(content):
            (served / "ModelNet3.zip").write_bytes(content)
            return tmp_path / "data"

        yield serve
        server.shutdown()


def below(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_a_download_is_unpacked_loaded_and_remembered(serve):
    root = serve(archive(files() | {"README.txt": b"", "bed/train/.DS_Store": b""}))
    assert modelnet.download(root, 3) == [root / "modelnet3"]
    found = modelnet.load(root, classes=3)
    assert [path.read_bytes() for path in found.paths] == list(dict(sorted(files().items(), key=lambda item: (item[0].split("/")[0], "test" in item[0], item[0]))).values())  # fmt: skip
    expected = ["ModelNet3.zip", "fingerprint.txt", *(f"ModelNet3/{name}" for name in files())]
    assert below(root / "modelnet3") == sorted(expected)
    assert found.sha256 in (root / "modelnet3" / "fingerprint.txt").read_text()
    assert modelnet.judge(root, 3)[0].state == "variant", "no check-sum is published"


def test_a_set_that_is_there_is_not_fetched_again(root, official):
    (root / "modelnet10").rename(root / "modelnet3")
    assert modelnet.download(root, 3) == [root / "modelnet3"]
    assert not (root / "modelnet3" / "fingerprint.txt").exists()


def test_an_archive_placed_by_hand_is_unpacked(tmp_path, official):
    put(tmp_path / "modelnet3" / "ModelNet3.zip", archive(files()))
    modelnet.download(tmp_path, 3)
    assert len(modelnet.load(tmp_path, classes=3).names) == 49


def test_a_set_that_changed_since_its_download_is_damaged(serve):
    root = serve(archive(files()))
    modelnet.download(root, 3)
    put(root / "modelnet3" / "ModelNet3" / "bed" / "train" / "bed_0001.off", TRIANGLE.encode())
    (report,) = modelnet.judge(root, 3)
    assert report.state == "damaged" and "fingerprint.txt" in report.detail


LEAVING = {
    "up": "bed/train/../../../../outside.off",
    "absolute": "/bed/train/outside.off",
    "backslash": "bed/train/..\\..\\outside.off",
}


@pytest.mark.parametrize("name", LEAVING.values(), ids=LEAVING)
def test_a_path_that_leaves_the_folder_is_not_followed(serve, name):
    contents = files()
    contents.pop("bed/train/bed_0001.off")
    root = serve(archive(contents | {name: b"out"}))
    with pytest.raises(DownloadError, match="39 training and 9 test shapes"):
        modelnet.download(root, 3)
    assert not [path for path in below(root.parent) if "outside" in path]
    root = serve(archive(files() | {name: b"out"}))
    modelnet.download(root, 3)
    assert not [path for path in below(root.parent) if "outside" in path]


def test_a_folder_called_dots_is_refused(serve):
    contents = files({"bed": (40, 9)})
    root = serve(archive({name.replace("bed/", "../"): c for name, c in contents.items()}))
    with pytest.raises(DownloadError, match="0 training and 0 test shapes"):
        modelnet.download(root, 3)


def test_a_link_becomes_a_file_and_is_not_followed(serve, tmp_path):
    put(tmp_path / "secret", b"secret")
    stream = io.BytesIO(archive(dict(list(files().items())[1:])))
    with zipfile.ZipFile(stream, "a") as packed:
        link = zipfile.ZipInfo("ModelNet3/bed/train/bed_0001.off")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, str(tmp_path / "secret"))
    root = serve(stream.getvalue())
    modelnet.download(root, 3)
    path = root / "modelnet3" / "ModelNet3" / "bed" / "train" / "bed_0001.off"
    assert not path.is_symlink() and path.read_bytes() == str(tmp_path / "secret").encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>Sign in", "no whole zip archive"),
        (archive(files())[:-40], "no whole zip archive"),
        (archive(files({"bed": (40, 8)})), "40 training and 8 test shapes"),
        (archive(files(), prefix="Other/"), "0 training and 0 test shapes"),
    ],
    ids=["a web page", "cut off", "one shape too few", "another set"],
)
def test_another_file_is_no_archive_of_the_set(serve, content, reason):
    root = serve(content)
    with pytest.raises(DownloadError, match=reason):
        modelnet.download(root, 3)
    assert below(root) == ["modelnet3/ModelNet3.zip.wrong"]


def test_an_archive_with_damaged_content_leaves_no_half_set(serve):
    content = bytearray(archive(files()))
    at = content.index(b"chair_0001.off") + len(b"chair_0001.off") + 4
    content[at] ^= 0xFF
    root = serve(bytes(content))
    with pytest.raises(DataError, match="no whole zip archive"):
        modelnet.download(root, 3)
    assert below(root) == ["modelnet3/ModelNet3.zip"]
    assert [path.name for path in (root / "modelnet3").iterdir()] == ["ModelNet3.zip"]


def test_a_killed_unpacking_starts_over(serve, monkeypatch):
    root = serve(archive(files()))
    put(root / "modelnet3" / ".ModelNet3.part" / "bed" / "train" / "old.off", b"of a killed run")
    modelnet.download(root, 3)
    assert len(modelnet.load(root, classes=3).names) == 49
    assert not (root / "modelnet3" / ".ModelNet3.part").exists()


def test_a_member_that_is_too_large_is_refused(serve, monkeypatch):
    monkeypatch.setattr(shapes, "MOST_MEMBER", 1000)
    root = serve(archive(files() | {"bed/train/bed_0001.off": bytes(1001)}))
    with pytest.raises(DownloadError, match="1,001 bytes, expected at most 1,000"):
        modelnet.download(root, 3)


def test_the_catalogue_tells_the_states_apart(root):
    states = {status.name: status for status in catalogue.verify(root)}
    assert states["modelnet10"].state == "variant" and states["modelnet40"].state == "missing"
    assert "36 train, 4 validation, 9 test shapes in 3 classes" in states["modelnet10"].detail
    assert states["modelnet10"].size == sum(map(len, files().values()))
    shutil.rmtree(root / "modelnet10" / "ModelNet10" / "bed" / "test")
    states = {status.name: status for status in catalogue.verify(root)}
    assert states["modelnet10"].state == "damaged"
