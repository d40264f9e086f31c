"""SHREC'13, SHREC'14 and the 15-class subset from small folders in their layouts, whole and broken."""

import zipfile

import numpy as np
import pytest

from bwot.data import catalogue, psb, shrec, shrec13_15
from bwot.data.download import DownloadError
from bwot.data.images import DataError

CLASSES = {"airplane": (0, 12), "floor_lamp": (3, 40), "bicycle": (5,)}


def put(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{path.name} {content}")


def cla(classes):
    lines = ["PSB 1", f"{len(classes)} {sum(map(len, classes.values()))}", ""]
    for name, models in classes.items():
        lines += [f"{name}\t 0 {len(models)}", *(f"{number:06}" for number in models), ""]
    return "\r\n".join(lines)


def put_classes(path, classes=CLASSES):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cla(classes).encode())


def fill13(home, nested=""):
    """The layout of SHREC'13; with ``nested``, each archive unpacked into a folder of its own name."""

    def folder(name):
        return home / name / name if nested == "twice" else home / nested / name

    for k in range(5):
        for name in ("airplane", "floor lamp", "bicycle"):
            put(folder("SHREC13_SBR_TRAINING_SKETCHES") / name / "train" / f"{10 * k}.png", name)
    for k in range(3):
        for name in ("airplane", "floor lamp", "bicycle"):
            put(folder("SHREC13_SBR_TESTING_SKETCHES") / name / "test" / f"{10 * k + 1}.png", name)
    for numbers in CLASSES.values():
        for number in numbers:
            put(folder("SHREC13_SBR_TARGET_MODELS") / "models" / f"m{number}.off")
    put_classes(home / "SHREC2013_Sketch_Evaluation" / "SHREC13_SBR_Model.cla")


def fill14(home):
    """The layout of SHREC'14."""
    for part, count in (("train", 5), ("test", 3)):
        for k in range(count):
            for name in ("airplane", "floor_lamp", "bicycle"):
                put(home / "SHREC14LSSTB_SKETCHES" / name / part / f"{10 * k}{part[1]}.png", name)
    for numbers in CLASSES.values():
        for number in numbers:
            put(home / "SHREC14LSSTB_TARGET_MODELS" / f"M{number:06}.off")
    put_classes(home / "SHREC14_Sketch_Evaluation_CVIU" / "SHREC14_SBR_Model.cla")


@pytest.fixture
def root(tmp_path):
    fill13(tmp_path / "shrec13")
    fill14(tmp_path / "shrec14")
    return tmp_path


@pytest.mark.parametrize("year", [13, 14])
def test_sketches_and_models_share_one_space_of_classes(root, year):
    found = shrec.load(root, year=year)
    assert found.classes == ("airplane", "bicycle", "floor_lamp")
    assert len(found.sketch_names) == 24
    assert len(found.shape_names) == 5
    for name, label in zip(found.sketch_names, found.sketch_labels, strict=True):
        assert name.split("/")[0] == found.classes[label]
    for path, label in zip(found.shape_paths, found.shape_labels, strict=True):
        assert int(path.stem[1:]) in CLASSES[found.classes[label]]
    assert not found.official
    assert not found.missing


@pytest.mark.parametrize("year", [13, 14])
def test_the_split_is_that_of_the_folders_and_validation_is_of_other_sketches(root, year):
    found = shrec.load(root, year=year)
    for part, folder in (("train", "train"), ("validation", "train"), ("test", "test")):
        paths = [found.sketch_paths[i] for i in found.splits[part]]
        assert {path.parent.name for path in paths} == {folder}
    assert {part: len(indices) for part, indices in found.splits.items()} == {
        "train": 12,
        "validation": 3,
        "test": 9,
    }
    assert np.array_equal(np.sort(np.concatenate(list(found.splits.values()))), np.arange(24))
    of_each = found.sketch_labels[found.splits["validation"]]
    assert sorted(of_each.tolist()) == [0, 1, 2]


def test_models_are_called_as_their_files(root):
    assert shrec.load(root, year=13).shape_names == ("m0", "m12", "m3", "m40", "m5")
    assert shrec.load(root, year=14).shape_names[:2] == ("M000000", "M000003")


@pytest.mark.parametrize("nested", ["twice", "SHREC"])
def test_folders_inside_folders_are_found(root, tmp_path, nested):
    other = tmp_path / "other"
    fill13(other / "shrec13", nested)
    assert shrec.load(other).sketch_names == shrec.load(root).sketch_names
    assert shrec.load(other).shape_names == shrec.load(root).shape_names


def test_what_macos_leaves_behind_is_not_looked_at(root):
    expected = shrec.load(root)
    home = root / "shrec13"
    put(home / "__MACOSX" / "SHREC13_SBR_Model.cla")
    put(home / "SHREC13_SBR_TARGET_MODELS" / "models" / "._m0.off")
    put(home / "SHREC13_SBR_TRAINING_SKETCHES" / "airplane" / "train" / "._10.png")
    put(home / "SHREC13_SBR_TRAINING_SKETCHES" / ".DS_Store")
    assert shrec.load(root).sha256 == expected.sha256


def test_a_smaller_set_is_named_and_not_refused(root):
    found = shrec.load(root, "a sample")
    assert found.variant == (
        "a sample, 5 of 1,258 models, 3 of 90 classes, other than 50 + 30 sketches of airplane, bicycle, floor_lamp"
    )


def test_a_set_of_the_published_size_is_named_by_nothing(tmp_path):
    home = tmp_path / "shrec13"
    classes = {f"class{k}": range(20 * k, 20 * k + 13 + (k < 88)) for k in range(90)}
    for name, models in classes.items():
        for number in models:
            put(home / "SHREC13_SBR_TARGET_MODELS" / "models" / f"m{number}.off")
        for k in range(50):
            put(home / "SHREC13_SBR_TRAINING_SKETCHES" / name / "train" / f"{k}.png")
        for k in range(50, 80):
            put(home / "SHREC13_SBR_TESTING_SKETCHES" / name / "test" / f"{k}.png")
    put_classes(home / "SHREC2013_Sketch_Evaluation" / "SHREC13_SBR_Model.cla", classes)
    found = shrec.load(tmp_path)
    assert found.variant == "as downloaded, no check-sum is published"
    assert [len(found.splits[part]) for part in ("train", "validation", "test")] == [
        3600,
        900,
        2700,
    ]


def test_models_without_a_file_are_named(root):
    (root / "shrec14" / "SHREC14LSSTB_TARGET_MODELS" / "M000012.off").unlink()
    found = shrec.load(root, year=14)
    assert found.missing == ("m12",)
    assert "4 of 8,987 models" in found.variant


def test_a_class_without_models_is_left_out_and_named(root):
    (root / "shrec13" / "SHREC13_SBR_TARGET_MODELS" / "models" / "m5.off").unlink()
    found = shrec.load(root)
    assert found.classes == ("airplane", "floor_lamp")
    assert not any("bicycle" in name for name in found.sketch_names)
    assert found.variant.endswith("without bicycle, of which there is no model")


def test_a_class_without_sketches_stays_in_the_gallery(root):
    for folder in ("TRAINING", "TESTING"):
        home = root / "shrec13" / f"SHREC13_SBR_{folder}_SKETCHES" / "bicycle"
        for path in sorted(home.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    found = shrec.load(root)
    assert "m5" in found.shape_names
    assert not (found.sketch_labels == found.classes.index("bicycle")).any()


def test_a_sketch_in_both_parts_is_refused(root):
    put(root / "shrec13" / "SHREC13_SBR_TESTING_SKETCHES" / "airplane" / "test" / "10.png")
    with pytest.raises(DataError, match="airplane/10 2 times, expected once"):
        shrec.load(root)


@pytest.mark.parametrize("year", [13, 14])
@pytest.mark.parametrize("part", ["sketches", "models", "classes"])
def test_what_is_not_there_is_named_with_the_page_and_the_folder(root, year, part):
    layout, home = shrec.LAYOUTS[year], root / f"shrec{year}"
    name = {"sketches": layout.sketches[0], "models": layout.models, "classes": layout.classes}[
        part
    ]
    (path,) = home.glob(name if part != "classes" else f"*/{name}")
    path.rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError) as error:
        shrec.load(root, year=year)
    for word in (name, str(home), *layout.pages):
        assert word in str(error.value)


def test_nothing_but_empty_folders_is_refused(root):
    home = root / "shrec14" / "SHREC14LSSTB_SKETCHES"
    for path in home.rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="has 0 training and 0 test sketches"):
        shrec.load(root, year=14)


def test_an_empty_folder_of_models_is_refused(root):
    for path in (root / "shrec14" / "SHREC14LSSTB_TARGET_MODELS").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="has no models"):
        shrec.load(root, year=14)


def test_the_fingerprint_is_of_sketches_models_and_classes(root):
    first = shrec.load(root).sha256
    for path in (
        root / "shrec13" / "SHREC13_SBR_TESTING_SKETCHES" / "airplane" / "test" / "1.png",
        root / "shrec13" / "SHREC13_SBR_TARGET_MODELS" / "models" / "m0.off",
        root / "shrec13" / "SHREC2013_Sketch_Evaluation" / "SHREC13_SBR_Model.cla",
    ):
        with path.open("a") as stream:
            stream.write("\n")
        second = shrec.load(root).sha256
        assert second != first
        first = second


def test_other_years_are_refused():
    with pytest.raises(ValueError, match="year must be 13 or 14, not 15"):
        shrec.load(year=15)


def test_a_first_look_is_kept_and_changes_are_noticed(root):
    assert shrec.judge(root)[0].state == "variant"
    shrec.download(root)
    assert shrec.judge(root)[0].state == "variant"
    put(root / "shrec13" / "SHREC13_SBR_TARGET_MODELS" / "models" / "m0.off", "changed")
    (report,) = shrec.judge(root)
    assert report.state == "damaged"
    assert "not what" in report.detail


def test_what_cannot_be_fetched_says_where_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"itl\.nist\.gov.*2014/SBR"):
        shrec.download(tmp_path, year=14)


def head(side):
    """The first bytes of a square PNG."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + 2 * side.to_bytes(4, "big")


def small_subset(root):
    """Sketches and models of the 15 classes, three models each, one of them in a class below."""
    for name, (first, _) in shrec13_15.SKETCHES.items():
        for number in range(first, first + 80):
            path = root / "tu_berlin" / "png" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(head(1111) + path.name.encode())
    home, lists = root / "psb", ({}, {})
    for k, name in enumerate(shrec13_15.SKETCHES):
        called = shrec13_15.MODELS.get(name, name)
        lists[k % 2][called] = (100 * k, 100 * k + 1)
        for number in (100 * k, 100 * k + 1, 100 * k + 2):
            put(home / "off" / f"m{number}.off")
    for part, path in zip(lists, psb.CLASSIFICATIONS["base"], strict=True):
        text = [f"PSB 1\n{2 * len(part)} {3 * len(part)}"]
        for name, numbers in part.items():
            text.append(f"{name} 0 2\n{numbers[0]}\n{numbers[1]}")
            text.append(f"small_{name} {name} 1\n{numbers[0] + 2}")
        put_text = home / "classification" / "v1" / path
        put_text.parent.mkdir(parents=True, exist_ok=True)
        put_text.write_text("\n".join(text))
    return root


def test_the_subset_pairs_sketches_with_models_of_the_same_thing(tmp_path):
    found = shrec13_15.load(small_subset(tmp_path))
    assert len(found.classes) == 15
    cat = found.classes.index("cat")
    assert [n for n, x in zip(found.shape_names, found.shape_labels, strict=True) if x == cat] == [
        "m300",
        "m301",
        "m302",
    ]
    assert len(found.sketch_names) == 1200
    assert (
        found.variant
        == "15-class subset, as downloaded, no check-sum is published, 45 of 199 models"
    )


def test_the_subset_has_50_training_and_30_test_sketches_of_each_class(tmp_path):
    found = shrec13_15.load(small_subset(tmp_path))
    for part, count in (("train", 40), ("validation", 10), ("test", 30)):
        assert np.bincount(found.sketch_labels[found.splits[part]]).tolist() == [count] * 15


def test_the_split_of_the_subset_is_that_of_shrec14(tmp_path):
    """A few lines of the lists of SHREC'14, and the rule for cat."""
    found = shrec13_15.load(small_subset(tmp_path))
    test = {found.sketch_names[i] for i in found.splits["test"]}
    assert {"ant/243", "ant/245", "ant/247"} <= test
    assert not {"ant/241", "ant/242", "ant/244", "ant/246"} & test
    assert {name for name in test if name.startswith("cat/")} == {
        f"cat/{number}" for number in range(3841 + 50, 3841 + 80)
    }


def test_missing_sketches_of_the_subset_are_named(tmp_path):
    root = small_subset(tmp_path)
    (root / "tu_berlin" / "png" / "ant" / "241.png").unlink()
    found = shrec13_15.load(root)
    assert found.missing == ("ant/241",)
    assert "other than 50 + 30 sketches of ant" in found.variant


def test_sketches_of_another_size_are_named(tmp_path):
    root = small_subset(tmp_path)
    (root / "tu_berlin" / "png" / "ant" / "241.png").write_bytes(head(150))
    variant = shrec13_15.load(root, "smaller").variant
    assert "smaller, sketches of 150 × 150 pixels instead of 1111 × 1111, 45 of 199" in variant


@pytest.mark.parametrize("folder", ["tu_berlin", "psb"])
def test_a_missing_collection_is_named(tmp_path, folder):
    root = small_subset(tmp_path)
    (root / folder).rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match=folder):
        shrec13_15.load(root)


def archive_of_sketches(root, path):
    """The sketches below ``root`` as the published archive has them, and a class that is not asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as content:
        for file in sorted((root / "tu_berlin" / "png").rglob("*.png")):
            content.write(file, f"png/{file.parent.name}/{file.name}")
        content.writestr("png/airplane/1.png", "not asked for")
        content.writestr("png/filelist.txt", "airplane/1.png")


def test_the_archive_of_sketches_is_unpacked_and_its_fingerprint_kept(tmp_path):
    source, root = small_subset(tmp_path / "source"), tmp_path / "root"
    root.mkdir()
    (source / "psb").rename(root / "psb")
    archive_of_sketches(source, root / "tu_berlin" / "sketches_png.zip")
    shrec13_15.download(root)
    assert len(list((root / "tu_berlin" / "png").rglob("*.png"))) == 1200
    (report,) = shrec13_15.judge(root)
    assert report.state == "variant"
    put(root / "tu_berlin" / "png" / "ant" / "241.png", "changed")
    assert shrec13_15.judge(root)[0].state == "damaged"


def test_an_archive_without_all_sketches_is_refused(tmp_path):
    root = small_subset(tmp_path)
    (root / "tu_berlin" / "png" / "ant" / "241.png").unlink()
    archive_of_sketches(root, root / "tu_berlin" / "sketches_png.zip")
    (root / "tu_berlin" / "png").rename(root / "elsewhere")
    with pytest.raises(DataError, match="has 1,199 sketches of the 15 classes"):
        shrec13_15.download(root)


def test_a_mirror_that_is_not_there_is_named(tmp_path, monkeypatch):
    root = small_subset(tmp_path)
    (root / "tu_berlin").rename(root / "elsewhere")
    monkeypatch.setattr(shrec13_15, "ADDRESSES", ("http://127.0.0.1:9/sketches_png.zip",))
    with pytest.raises(DownloadError, match="sketches_png.zip could not be fetched"):
        shrec13_15.download(root)


def test_the_catalogue_knows_the_sets(root):
    states = {status.name: status.state for status in catalogue.verify(root)}
    assert states["shrec13"] == states["shrec14"] == "variant"
    assert states["shrec13-15"] == "missing"
