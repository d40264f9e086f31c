"""The authors' text files of features as one array file, and what is malformed in either."""

import numpy as np
import pytest
import torch

from bwot.__main__ import main
from bwot.data.feature_lists import convert, read_converted
from bwot.data.images import DataError
from bwot.sketch_pipeline import sketch_data

LENGTH = 4


def put(folder, name, items, files, absolute=False):
    """A list of ``items`` (name, label) with so many files each; the numbers of a file are those of its place."""
    lines, rows = [], []
    for item, label in items:
        for k in range(files):
            path = folder / "features" / f"{item}_{18 * k}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            row = np.random.default_rng(len(rows) + 1000 * label).standard_normal(LENGTH).round(4)
            path.write_text("\n".join(f"{number:.4f}" for number in row) + "\n")
            lines.append(f"{path if absolute else path.relative_to(folder)} {label}")
            rows.append(row)
    (folder / name).write_text("\n".join(lines) + "\n")
    return np.array(rows, np.float32).reshape(len(items), files, LENGTH)


TRAIN = [(f"train{k}", k % 2) for k in range(10)]
TEST = [(f"test{k}", k % 2) for k in range(3)]
SHAPES = [(f"shape{k}", k % 3) for k in range(5)]


@pytest.fixture
def lists(tmp_path):
    rows = (
        put(tmp_path, "train.txt", TRAIN, 3),
        put(tmp_path, "test.txt", TEST, 3, absolute=True),
        put(tmp_path, "shapes.txt", SHAPES, 2),
    )
    return tmp_path, rows


def converted(folder, rotations=3, views=2):
    return convert(
        folder / "train.txt",
        folder / "test.txt",
        folder / "shapes.txt",
        folder / "out.npz",
        rotations,
        views,
    )


def test_all_numbers_arrive_with_their_names_labels_and_split(lists):
    folder, (train, test, shapes) = lists
    found = read_converted(converted(folder), "shrec14")
    assert np.array_equal(found.sketches, np.concatenate([train, test]))
    assert np.array_equal(found.shapes, shapes.max(1))
    assert found.sketch_labels.tolist() == [label for _, label in TRAIN + TEST]
    assert found.shape_labels.tolist() == [label for _, label in SHAPES]
    assert found.sketch_names[0] == "features/train0_0" and found.shape_names[4].endswith(
        "shape4_0"
    )
    assert found.splits["test"].tolist() == [10, 11, 12]
    assert len(found.splits["validation"]) == 2
    assert sorted(np.concatenate(list(found.splits.values()))) == list(range(13))
    assert found.classes == ("0", "1", "2")
    assert found.name == "shrec14" and "out.npz" in found.variant and not found.official


def test_the_file_has_no_pickle_and_is_plain_numpy(lists):
    with np.load(converted(lists[0]), allow_pickle=False) as file:
        assert file["sketches"].shape == (13, 3, LENGTH)
        assert file["test"].tolist() == [False] * 10 + [True] * 3


def test_a_run_takes_the_file_for_a_network(lists):
    path = converted(lists[0])
    data = sketch_data("shrec14", str(path))
    assert data.train.images.shape == (8, 3, LENGTH) and data.train.images.dtype == torch.float32
    assert data.shapes.images.shape == (5, LENGTH)
    of_train = data.train.images.flatten(0, 1)
    assert torch.allclose(of_train.mean(0), torch.zeros(LENGTH), atol=1e-6)
    assert torch.allclose(of_train.std(0, unbiased=False), torch.ones(LENGTH), atol=1e-5)
    assert torch.allclose(data.shapes.images.mean(0), torch.zeros(LENGTH), atol=1e-6)
    assert data.names["shapes"] == read_converted(path, "shrec14").shape_names
    with pytest.raises(ValueError, match="no pictures"):
        data.pictures("test", [0])


def test_the_command_writes_the_same(lists, capsys):
    folder, _ = lists
    first = converted(folder).read_bytes()
    line = "--train train.txt --test test.txt --shapes shapes.txt --output new.npz".split()
    paths = [str(folder / word) if "." in word else word for word in line]
    assert main(["convert", *paths, "--rotations", "3", "--views", "2"]) == 0
    assert (folder / "new.npz").read_bytes() == first
    assert f"wrote {folder / 'new.npz'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line, reason",
    [
        ("features/train0_0.txt", "expected `path label`"),
        ("features/train0_0.txt airplane", "expected `path label`"),
        ("features/train0_0.txt -1", "expected `path label`"),
        ("a b 1", "expected `path label`"),
        ("features/train0_0.txt 7", "expected one label for 3 files"),
    ],
)
def test_a_malformed_line_of_a_list_is_named(lists, line, reason):
    path = lists[0] / "train.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], line, *lines[5:]]))
    with pytest.raises(DataError, match=rf"train\.txt, lines? [45].*{reason}"):
        converted(lists[0])


@pytest.mark.parametrize("rotations", [7, 20])
def test_files_that_do_not_come_out_even_are_refused(lists, rotations):
    with pytest.raises(DataError, match=rf"train\.txt lists 30 files, expected .* {rotations}"):
        converted(lists[0], rotations)


@pytest.mark.parametrize(
    "content, reason",
    [
        ("", "it is empty"),
        ("1\n2\n3\n", "has 3 numbers, expected 4"),
        ("1\n2\n3\n4\n5\n", "has 5 numbers, expected 4"),
        ("1\n2\nthree\n4\n", "line 3 is 'three'"),
        ("1\nnan\n3\n4\n", "line 2 is 'nan'"),
        ("1\n2\n3\n1e60\n", "line 4 is '1e60'"),
        ("1\n2\n3\n0x10\n", "line 4 is '0x10'"),
    ],
)
def test_a_malformed_file_of_features_is_named(lists, content, reason):
    path = lists[0] / "features" / "train3_18.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"train3_18\.txt .*{reason}"):
        converted(lists[0])


def test_bytes_that_are_no_text_are_named(lists):
    (lists[0] / "features" / "train3_18.txt").write_bytes(b"\xff\xfe1\n2")
    with pytest.raises(DataError, match=r"train3_18\.txt cannot be read as text"):
        converted(lists[0])


@pytest.mark.parametrize("name", ["features/shape2_0.txt", "test.txt"])
def test_a_file_that_is_not_there_is_named(lists, name):
    (lists[0] / name).unlink()
    with pytest.raises(DataError, match=name):
        converted(lists[0])


def test_nothing_is_written_where_something_is_wrong(lists):
    (lists[0] / "features" / "shape2_0.txt").write_text("no number")
    with pytest.raises(DataError):
        converted(lists[0])
    assert not (lists[0] / "out.npz").exists()


def test_other_names_for_the_array_file_are_refused(lists):
    with pytest.raises(ValueError, match=r"named NAME\.npz, not out\.npy"):
        convert(
            *(lists[0] / f"{name}.txt" for name in ("train", "test", "shapes")),
            lists[0] / "out.npy",
        )


@pytest.mark.parametrize("broken", ["cut", "other", "no file", "pickle", "rows", "labels", "kind"])
def test_a_broken_array_file_is_named(lists, broken):
    path = converted(lists[0])
    with np.load(path) as file:
        arrays = dict(file)
    if broken == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif broken == "other":
        np.savez(path, shapes=arrays["shapes"])
    elif broken == "no file":
        path.write_bytes(b"nothing")
    elif broken == "pickle":
        np.savez(path, **arrays | {"shape_names": np.array([{}] * 5, object)})
    elif broken == "rows":
        np.savez(path, **arrays | {"test": arrays["test"][:-1]})
    elif broken == "labels":
        np.savez(path, **arrays | {"shape_labels": arrays["shape_labels"] - 1})
    else:
        np.savez(path, **arrays | {"sketches": arrays["sketches"].astype(complex)})
    with pytest.raises(DataError, match=r"out\.npz"):
        read_converted(path, "shrec14")
