"""The Princeton Shape Benchmark from small folders in its layouts, and its classification files whole and broken."""

import hashlib
import io
import zipfile

import numpy as np
import pytest

from bwot.data import psb
from bwot.data.images import DataError

TRAIN = """PSB 1
5 10

animal 0 0
dog animal 3
1
2
3
biped animal 2
120
121
plant 0 1
7

tree plant 4
8
9
10
11
"""
TEST = """PSB 1
3 5

plant 0 0

tree plant 3
20
21
22

fish 0 2
230
231
"""
MODELS = [1, 2, 3, 7, 8, 9, 10, 11, 20, 21, 22, 120, 121, 230, 231]


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def model(number):
    return f"OFF\n3 1 0\n0 0 {number}\n1 0 0\n0 1 0\n3 0 1 2\n"


def in_db(number):
    return f"db/{number // 100}/m{number}/m{number}.off"


@pytest.fixture(params=["psb", "psb/benchmark"])
def root(tmp_path, request):
    home = tmp_path / request.param
    for number in MODELS:
        put(home / in_db(number), model(number))
    for train, test in psb.CLASSIFICATIONS.values():
        put(home / "classification" / "v1" / train, TRAIN)
        put(home / "classification" / "v1" / test, TEST)
    return tmp_path


def home_of(root):
    return root / "psb" / "benchmark" if (root / "psb" / "benchmark").exists() else root / "psb"


def test_models_have_the_class_of_their_file_over_the_union_of_classes(root):
    found = psb.load(root, "small")
    assert found.classes == ("biped", "dog", "fish", "plant", "tree")
    assert found.names == tuple(f"m{number}" for number in MODELS)
    assert [path.read_text() for path in found.paths] == [model(number) for number in MODELS]
    kinds = [found.classes[label] for label in found.labels]
    assert kinds == ["dog"] * 3 + ["plant"] + ["tree"] * 7 + ["biped"] * 2 + ["fish"] * 2
    assert found.variant == "small" and not found.official and found.missing == ()


def test_the_parts_are_those_of_the_benchmark_and_a_third_of_training_is_for_validation(root):
    found = psb.load(root, "small")
    numbers = {p: [MODELS[i] for i in found.splits[p]] for p in found.splits}
    assert numbers["test"] == [20, 21, 22, 230, 231]
    assert sorted(numbers["train"] + numbers["validation"]) == [1, 2, 3, 7, 8, 9, 10, 11, 120, 121]
    assert len(numbers["validation"]) == 5, "a third has no two of one class"
    again = psb.load(root, "small").splits
    assert all(np.array_equal(again[part], found.splits[part]) for part in again)


@pytest.mark.parametrize("classification", ["base", "coarse1", "coarse2", "coarse3"])
def test_each_classification_is_read_from_its_own_files(root, classification):
    train = psb.CLASSIFICATIONS[classification][0]
    text = TRAIN.replace("dog", "hound")
    put(home_of(root) / "classification" / "v1" / train, text)
    assert "hound" in psb.load(root, "small", classification).classes
    others = [name for name in psb.CLASSIFICATIONS if name != classification]
    assert all("dog" in psb.load(root, "small", name).classes for name in others)


def test_models_in_one_folder_are_found_too(root):
    home = home_of(root)
    (home / "off").mkdir()
    for number in MODELS:
        (home / in_db(number)).rename(home / "off" / f"m{number}.off")
    assert psb.load(root, "small").names == tuple(f"m{number}" for number in MODELS)


def test_models_without_a_file_are_counted_in_the_variant_and_named(root):
    for number in (3, 230):
        (home_of(root) / in_db(number)).unlink()
    found = psb.load(root, "small")
    assert found.variant == "small, 13 of 15 models" and found.missing == ("m3", "m230")
    assert len(found.names) == 13 and len(found.splits["test"]) == 4
    (report,) = psb.judge(root)
    assert report.state == "variant" and "13 of 15 models" in report.detail
    assert "no file for m3, m230" in report.detail


def test_the_fingerprint_counts_the_models_and_the_classification(root):
    home = home_of(root)
    names = [in_db(number) for number in MODELS]
    names += [f"classification/v1/base/{part}.cla" for part in ("test", "train")]
    lines = [f"{hashlib.sha256((home / n).read_bytes()).hexdigest()}  {n}\n" for n in sorted(names)]
    found = psb.load(root, "small").sha256
    assert found == hashlib.sha256("".join(lines).encode()).hexdigest()
    put(home / in_db(1), model(2))
    assert psb.load(root, "small").sha256 != found


def test_another_set_has_to_be_named(root, monkeypatch):
    with pytest.raises(
        DataError, match="lists 10 training and 5 test models, expected 907 and 907"
    ):
        psb.load(root)
    monkeypatch.setattr(psb, "SIZES", (10, 5))
    assert psb.load(root).variant == "as downloaded, no check-sum is published"
    (home_of(root) / in_db(3)).unlink()
    with pytest.raises(DataError, match="has no file for 1 of 15 models: m3"):
        psb.load(root)


def test_what_is_not_there_is_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="classification/v1.*\n.*data download psb"):
        psb.load(tmp_path / "nowhere")
    for number in (20, 21, 22, 230, 231):
        (home_of(root) / in_db(number)).unlink()
    with pytest.raises(FileNotFoundError, match="no models to train or to test"):
        psb.load(root, "small")
    (home_of(root) / "classification" / "v1" / "base" / "test.cla").unlink()
    with pytest.raises(FileNotFoundError, match="test.cla"):
        psb.load(root, "small")
    assert psb.judge(root)[0].state == "missing"
    with pytest.raises(ValueError, match="base, coarse1, coarse2, coarse3, not 'fine'"):
        psb.load(root, "small", "fine")


def test_a_model_in_both_parts_is_refused(root):
    put(home_of(root) / "classification" / "v1" / "base" / "test.cla", TEST.replace("230", "7"))
    with pytest.raises(DataError, match="model 7 is in train.cla too"):
        psb.load(root, "small")


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "some.cla"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return psb.read_cla(path)

    return read


def test_the_tree_is_that_of_the_file(read):
    nodes = read(TRAIN)
    assert [(n.name, n.parent, n.models) for n in nodes] == [
        ("animal", None, ()),
        ("dog", "animal", (1, 2, 3)),
        ("biped", "animal", (120, 121)),
        ("plant", None, (7,)),
        ("tree", "plant", (8, 9, 10, 11)),
    ]
    assert psb.under(nodes, "animal") == (1, 2, 3, 120, 121)
    assert psb.under(nodes, "plant") == (7, 8, 9, 10, 11)
    assert psb.under(nodes, "tree") == (8, 9, 10, 11)
    with pytest.raises(ValueError, match="no class is called 'shrub'"):
        psb.under(nodes, "shrub")


@pytest.mark.parametrize(
    "text",
    [TRAIN.replace("\n", "\r\n"), TRAIN.replace("\n", " \t\n\n"), TRAIN.rstrip(), "\n" + TRAIN],
    ids=["CRLF", "blanks", "no line end at the end", "an empty line first"],
)
def test_the_quirks_of_real_classifications_change_nothing(read, text):
    assert read(text) == read(TRAIN)


BROKEN = {
    "no bytes": ("", "line 1: expected `PSB 1`"),
    "another file": ("OFF\n3 1 0\n", "line 1: expected `PSB 1`"),
    "another version": (TRAIN.replace("PSB 1", "PSB 2"), "line 1: expected `PSB 1`"),
    "binary rubbish": (b"PSB 1\n\xff\xfe", "line 2: a byte that is no ASCII character"),
    "no counts": ("PSB 1\n", "line 2: expected 2 numbers, found nothing"),
    "counts that are words": (TRAIN.replace("5 10", "five ten"), "line 2: expected 2 numbers, found 'five ten'"),
    "one class too many": (TRAIN.replace("5 10", "6 10"), "has 5 classes and 10 models, its line 2 says 6 and 10"),
    "one model too few": (TRAIN.replace("5 10", "5 9"), "has 5 classes and 10 models, its line 2 says 5 and 9"),
    "cut off": (TRAIN[:-6], "line 15: 'tree' has 2 of 4 models, then the file ends"),
    "cut off in a class": (TRAIN[: TRAIN.index(" plant 4")], "line 15: expected `name parent count`, found 'tree'"),
    "a count too small": (TRAIN.replace("dog animal 3", "dog animal 2"), "line 8: expected `name parent count`, found '3'"),
    "a count too large": (TRAIN.replace("dog animal 3", "dog animal 4"), "line 9: expected a number, found 'biped animal 2'"),
    "a million million models": (TRAIN.replace("tree plant 4", "tree plant 1000000000000"), "line 15: expected a number, found '1000000000000'"),
    "a negative count": (TRAIN.replace("tree plant 4", "tree plant -4"), "line 15: expected a number, found '-4'"),
    "a parent that is unknown": (TRAIN.replace("dog animal", "dog beast"), "line 5: the class 'dog' has the parent 'beast', unknown so far"),
    "its own parent": (TRAIN.replace("dog animal", "dog dog"), "line 5: the class 'dog' has the parent 'dog'"),
    "a class twice": (TRAIN.replace("biped animal", "dog animal"), "line 9: the class 'dog' stands here again"),
    "a model twice": (TRAIN.replace("121", "3"), "line 11: model 3 is in 'dog' already"),
    "a model twice in a class": (TRAIN.replace("121", "120"), "model 120 is in 'biped' already"),
    "a word as model": (TRAIN.replace("121", "m121"), "line 11: expected a number, found 'm121'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_classification_is_refused_by_name_line_and_reason(read, case):
    text, reason = BROKEN[case]
    with pytest.raises(DataError) as error:
        read(text)
    assert "some.cla" in str(error.value) and reason in str(error.value), str(error.value)


def test_a_broken_classification_makes_the_set_damaged(root):
    put(home_of(root) / "classification" / "v1" / "base" / "train.cla", "PSB 1\n")
    (report,) = psb.judge(root)
    assert report.state == "damaged" and "train.cla, line 2" in report.detail


@pytest.mark.parametrize("prefix", ["benchmark/", "psb_v1/benchmark/"])
def test_an_archive_is_unpacked_and_its_fingerprint_kept(tmp_path, monkeypatch, prefix):
    monkeypatch.setattr(psb, "SIZES", (10, 5))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in MODELS:
            archive.writestr(prefix + in_db(number), model(number))
            archive.writestr(prefix + in_db(number).replace(".off", "_thumb.jpg"), b"")
        for train, test in psb.CLASSIFICATIONS.values():
            archive.writestr(f"{prefix}classification/v1/{train}", TRAIN)
            archive.writestr(f"{prefix}classification/v1/{test}", TEST)
        archive.writestr(f"{prefix}db/../../../outside.off", b"")
    (tmp_path / "psb").mkdir()
    (tmp_path / "psb" / "psb_v1.zip").write_bytes(stream.getvalue())
    assert psb.download(tmp_path) == [tmp_path / "psb"]
    found = psb.load(tmp_path)
    assert found.names == tuple(f"m{number}" for number in MODELS)
    assert found.sha256 in (tmp_path / "psb" / "fingerprint.txt").read_text()
    assert not list(tmp_path.rglob("*outside*")) and not list(tmp_path.rglob("*.jpg"))
    put(tmp_path / "psb" / "benchmark" / in_db(1), model(2))
    assert psb.judge(tmp_path)[0].state == "damaged"


def test_an_archive_without_all_models_is_refused_and_kept(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("benchmark/" + in_db(1), model(1))
    (tmp_path / "psb").mkdir()
    (tmp_path / "psb" / "psb_v1.zip").write_bytes(stream.getvalue())
    with pytest.raises(
        DataError,
        match="1 models and 0 of the 8 .cla files .*\n.*expected 1,814|1 models and 0 of the 8",
    ):
        psb.download(tmp_path)
    assert [path.name for path in (tmp_path / "psb").iterdir()] == ["psb_v1.zip"]
