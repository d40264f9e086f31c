"""Files of features: what is computed, what is kept when it is cut off, and what is refused."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image
from torch import nn

from bwot.data.download import DownloadError
from bwot.data.images import DataError
from bwot.features import (
    IMAGENET,
    UNIT,
    Features,
    FeaturesError,
    OnnxNetwork,
    compute_features,
    imagenet,
    network_input,
    pooled,
    read_features,
    read_pictures,
)
from bwot.features.imagenet import pretrained
from bwot.features.modules import TorchNetwork
from bwot.features.partial import Partial

NAMES = [f"shape {number}" for number in range(21)]
VIEWS, SIZE, DATA = 4, 8, "d" * 64


class Fake:
    """A network of NumPy: the three means over a picture and the corner values, times a factor."""

    scaling, size, length = UNIT, SIZE, 5

    def __init__(self, factor=1.0, name="fake"):
        self.factor, self.settings, self.calls = factor, {"name": name}, 0

    def __call__(self, images):
        self.calls += 1
        corners = images[:, 0, 0, [0, -1]]
        return self.factor * np.concatenate([images.mean((2, 3)), corners], axis=1)


def pictures(name):
    """The pictures of a shape: random, but always the same for a name."""
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    return np.random.default_rng(seed).integers(0, 256, (VIEWS, SIZE, SIZE), np.uint8)


def compute(path, network=None, names=NAMES, given=pictures, **changes):
    arguments = {"views": VIEWS, "data_sha256": DATA} | changes
    return compute_features(path, names, given, network or Fake(), **arguments)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "features.npy"


@pytest.fixture
def finished(path):
    compute(path)
    return path


# ------------------------------------------------------------------------------ pixels


def test_a_grey_picture_stands_in_all_three_channels_from_0_to_1():
    grey = pictures("a")
    expected = torch.tensor(grey)[:, None].expand(-1, 3, -1, -1).float() / 255
    np.testing.assert_array_equal(network_input(grey, SIZE), expected.numpy())


def test_colours_are_scaled_channel_by_channel():
    colours = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), np.uint8)
    out = network_input(colours, 6, IMAGENET)
    for view, row, column, channel in np.ndindex(2, 6, 6, 3):
        value = colours[view, row, column, channel] / 255
        expected = (value - IMAGENET.mean[channel]) / IMAGENET.std[channel]
        assert out[view, channel, row, column] == pytest.approx(expected, abs=1e-6)


def test_a_grey_picture_is_scaled_as_its_copy_in_colour():
    grey = pictures("a")
    colour = np.repeat(grey[..., None], 3, axis=3)
    np.testing.assert_array_equal(
        network_input(grey, SIZE, IMAGENET), network_input(colour, SIZE, IMAGENET)
    )


@pytest.mark.parametrize("side, size", [(40, 16), (33, 20), (10, 32)])
@pytest.mark.parametrize("rgb", [(), (3,)])
def test_pictures_are_resized_with_anti_aliasing(side, size, rgb):
    """Against torch's anti-aliased interpolation; a value is rounded once in each direction."""
    given = np.random.default_rng(0).integers(0, 256, (2, side, side, *rgb), np.uint8)
    planes = torch.tensor(given).float()
    planes = planes.permute(0, 3, 1, 2) if rgb else planes[:, None].expand(-1, 3, -1, -1)
    expected = nn.functional.interpolate(planes, (size, size), mode="bilinear", antialias=True)
    np.testing.assert_allclose(255 * network_input(given, size), expected.numpy(), atol=1.01)


def test_a_fine_chequerboard_becomes_grey_when_it_shrinks():
    board = (255 * (np.indices((64, 64)).sum(0) % 2)).astype(np.uint8)[None]
    inner = network_input(board, 8)[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, 0.5, atol=0.02)


@pytest.mark.parametrize(
    "shape, message", [((2, 6, 8), "square, not 6×8"), ((2, 6, 6, 2), r"not \(2, 6, 6, 2\)")]
)
def test_pictures_that_no_network_takes_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        network_input(np.zeros(shape, np.uint8), 6)


def test_a_strip_is_read_as_its_views(tmp_path):
    views = pictures("a")
    Image.fromarray(views.reshape(-1, SIZE)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_pictures(tmp_path / "a.png", VIEWS), views)


def test_colours_are_read_as_red_green_blue(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_pictures(tmp_path / "a.png"), colours[None])


def test_what_is_transparent_becomes_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = 10, 20, 30, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    out = read_pictures(tmp_path / "a.png")[0]
    assert out[0, 0].tolist() == [10, 20, 30] and (out[1] == 255).all()


def test_palettes_and_bits_are_read_as_what_they_show(tmp_path):
    grey = np.array([[0, 255], [255, 0]], np.uint8)
    Image.fromarray(grey).convert("1").save(tmp_path / "bits.png")
    Image.fromarray(grey).convert("RGB").quantize(2).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_pictures(tmp_path / "bits.png")[0], grey)
    np.testing.assert_array_equal(read_pictures(tmp_path / "palette.png")[0, ..., 1], grey)


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    good = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(good, "png")
    broken = {"cut": good.getvalue()[:900], "rubbish": b"no picture", "empty": b""}
    broken["flipped"] = good.getvalue()[:200] + b"\0" * 40 + good.getvalue()[240:]
    for name, content in broken.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.png cannot be read as a picture"):
            read_pictures(tmp_path / f"{name}.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="mode I;16, expected 8 bits a channel"):
        read_pictures(tmp_path / "deep.png")
    with pytest.raises(FileNotFoundError):
        read_pictures(tmp_path / "none.png")


def test_a_strip_of_another_number_of_views_is_refused(tmp_path):
    Image.fromarray(np.zeros((30, 10), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="is 30 pixels high, expected a multiple of its 4 views"):
        read_pictures(tmp_path / "a.png", 4)


# ------------------------------------------------------------------------------ computing


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_features_are_those_of_a_loop_over_shapes_and_views(path, dtype):
    features = compute(path, dtype=dtype)
    assert features.names == tuple(NAMES) and features.data_sha256 == DATA
    assert features.values.shape == (21, VIEWS, 5) and features.values.dtype == dtype
    for number, name in enumerate(NAMES):
        for view, picture in enumerate(pictures(name)):
            image = np.repeat(picture[None, None] / 255, 3, axis=1)
            expected = Fake()(image)[0]
            np.testing.assert_allclose(
                features.values[number, view], expected, rtol=1e-3 if dtype == "float16" else 1e-6
            )


def test_the_array_is_a_plain_numpy_file_and_its_description_plain_json(finished):
    values = np.load(finished, allow_pickle=False)
    assert values.shape == (21, VIEWS, 5) and values.dtype == "<f2"
    about = json.loads(finished.with_suffix(".json").read_text())
    assert about["names"] == NAMES
    assert about["sha256"] == hashlib.sha256(finished.read_bytes()).hexdigest()
    assert about["settings"]["network"] == {"name": "fake"}
    assert about["settings"]["preprocessing"]["size"] == SIZE
    assert sorted(each.name for each in finished.parent.iterdir()) == [
        "features.json",
        "features.npy",
    ]


def test_the_values_are_memory_mapped_and_cannot_be_written(finished):
    values = read_features(finished).values
    assert isinstance(values, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 0


def test_finished_features_are_not_computed_again(finished):
    network = Fake()
    np.testing.assert_array_equal(compute(finished, network).values, np.load(finished))
    assert network.calls == 0


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_bytes_do_not_depend_on_the_workers(finished, tmp_path, workers):
    def slow_at_times(name):
        time.sleep(0.01 * (NAMES.index(name) % 3))
        return pictures(name)

    compute(tmp_path / "other.npy", given=slow_at_times, workers=workers)
    assert (tmp_path / "other.npy").read_bytes() == finished.read_bytes()


def test_pictures_are_prepared_by_several_threads(path):
    seen, both = set(), threading.Barrier(2, timeout=20)

    def together(name):
        if NAMES.index(name) in (0, 4):  # the first of the first two calls
            both.wait()
        seen.add(threading.get_ident())
        return pictures(name)

    compute(path, given=together, workers=2)
    assert len(seen) == 2 and threading.get_ident() not in seen


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"network": Fake(name="other")},
            "network is {'name': 'fake'}, expected {'name': 'other'}",
        ),
        ({"data_sha256": "e" * 64}, f"data_sha256 is {DATA}, expected eeee"),
        ({"dtype": "float32"}, "dtype is float16, expected float32"),
        ({"views": 2}, "views is 4, expected 2"),
        ({"names": NAMES[:-1]}, "holds 21 shapes, expected 20"),
        ({"names": [NAMES[1], NAMES[0], *NAMES[2:]]}, "number 0 is 'shape 0', expected 'shape 1'"),
    ],
)
def test_a_finished_file_of_other_settings_is_refused_and_kept(finished, changes, message):
    before = finished.read_bytes()
    with pytest.raises(FeaturesError, match=message):
        compute(finished, **changes)
    assert finished.read_bytes() == before


@pytest.mark.parametrize(
    "given, message",
    [
        (lambda name: pictures(name)[:3], r"pictures of 'shape 0' must be uint8 of shape \(4, h, w\).*not uint8 of \(3, 8, 8\)"),
        (lambda name: pictures(name) / 255, "not float64"),
        (lambda name: pictures(name)[:, :4], "pictures of 'shape 0' cannot be used: .*square, not 4×8"),
    ],
)  # fmt: skip
def test_pictures_that_do_not_fit_are_named(path, given, message):
    with pytest.raises(ValueError, match=message):
        compute(path, given=given)
    assert not path.exists()


@pytest.mark.parametrize("names", [[], ["a", "b", "a"]])
def test_names_have_to_be_unique_and_some(path, names):
    with pytest.raises(ValueError, match="names must be one or more, each once"):
        compute(path, names=names)


def test_a_file_that_is_not_named_npy_is_refused(tmp_path):
    with pytest.raises(ValueError, match="NAME.npy, not features.bin"):
        compute(tmp_path / "features.bin")


@pytest.mark.parametrize("factor, dtype", [(1e6, "float16"), (np.inf, "float32"), (np.nan, "float32")])  # fmt: skip
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_features_that_do_not_fit_the_file_are_refused(path, factor, dtype):
    with pytest.raises(ValueError, match="features of 'shape 0' are not finite or above"):
        compute(path, Fake(factor), dtype=dtype)
    assert not path.exists()


def test_features_that_need_float32_are_kept_in_it(path):
    assert compute(path, Fake(1e6), dtype="float32").values.max() > 65504


# ------------------------------------------------------------------------------ cut off and continued


def stop_after(count):
    """Pictures that fail from the given shape on."""

    def given(name):
        if NAMES.index(name) >= count:
            raise RuntimeError("cut off")
        return pictures(name)

    return given


@pytest.fixture
def cut(path):
    """A file that was cut off after 12 of 21 shapes."""
    with pytest.raises(RuntimeError, match="cut off"):
        compute(path, given=stop_after(12), workers=1)
    assert not path.exists() and path.with_name("features.npy.part").exists()
    return path


def computed_from(path, network=None, **changes):
    """The shapes that a call asks pictures of, and the bytes of its array."""
    asked = []

    def given(name):
        asked.append(name)
        return pictures(name)

    compute(path, network, given=given, workers=1, **changes)
    return asked, path.read_bytes()


@pytest.fixture
def whole(tmp_path):
    """The bytes of a file that was computed in one go."""
    compute(tmp_path / "whole.npy")
    return (tmp_path / "whole.npy").read_bytes()


def test_what_was_cut_off_goes_on_where_it_was(cut, whole):
    assert computed_from(cut) == (NAMES[12:], whole)


def test_an_unfinished_file_of_another_network_is_begun_anew(cut):
    asked, content = computed_from(cut, Fake(2.0, "double"))
    assert asked == NAMES
    np.testing.assert_allclose(
        np.load(io.BytesIO(content))[0, 0, 0], 2 * pictures(NAMES[0])[0].mean() / 255, rtol=1e-3
    )


def test_an_unfinished_file_of_other_names_is_begun_anew(cut):
    names = [f"other {number}" for number in range(21)]
    asked, _ = computed_from(cut, names=names)
    assert asked == names and read_features(cut).names == tuple(names)


def test_rows_that_no_line_of_the_journal_vouches_for_are_computed_again(cut, whole):
    part = cut.with_name("features.npy.part")
    part.write_bytes(part.read_bytes() + b"half a row")
    assert computed_from(cut) == (NAMES[12:], whole)


def test_a_line_of_the_journal_that_was_cut_off_does_not_count(cut, whole):
    journal = cut.with_name("features.npy.journal")
    journal.write_bytes(journal.read_bytes()[:-20])
    assert computed_from(cut) == (NAMES[8:], whole)


@pytest.mark.parametrize("position, first", [(5, 0), (150, 0), (-200, 4), (-1, 8)])
def test_a_damaged_part_is_computed_again_from_there(cut, whole, position, first):
    part = cut.with_name("features.npy.part")
    content = bytearray(part.read_bytes())
    content[position] ^= 1
    part.write_bytes(content)
    assert computed_from(cut) == (NAMES[first:], whole)


@pytest.mark.parametrize("ending, content", [("journal", b""), ("journal", b"\xff\n{}\n"), ("part", b"")])  # fmt: skip
def test_a_lost_journal_or_part_is_begun_anew(cut, whole, ending, content):
    cut.with_name(f"features.npy.{ending}").write_bytes(content)
    assert computed_from(cut) == (NAMES, whole)


def test_what_was_killed_between_the_two_files_is_finished(path, whole, monkeypatch):
    def killed(old, new):
        if new == path:
            raise KeyboardInterrupt
        return replace(old, new)

    replace = os.replace
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        compute(path)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match="not computed, or not to the end"):
        read_features(path)
    assert computed_from(path) == ([], whole)


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from test_features import compute, pictures
from pathlib import Path

def slow(name):
    time.sleep(0.05)
    return pictures(name)

compute(Path(sys.argv[1]), given=slow, workers=2)
"""


def in_a_process(code, path):
    return [sys.executable, "-c", code, str(path), str(Path(__file__).parent)]


def test_a_killed_process_is_continued_and_ends_with_the_same_bytes(path, whole):
    journal = path.with_name("features.npy.journal")
    process = subprocess.Popen(in_a_process(KILLED, path), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") >= 3:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert not path.exists() and not path.with_suffix(".json").exists()
    asked, content = computed_from(path)
    assert content == whole and 0 < len(asked) <= len(NAMES) - 8


FULL = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from test_features import compute, NAMES
from pathlib import Path

resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
try:
    compute(Path(sys.argv[1]), workers=1)
except OSError as error:
    print(error)
"""


def test_a_disk_that_is_full_leaves_nothing_half(path, whole):
    """A limit on the size of files stands for the disk: the kernel refuses the write in the middle of a row."""
    done = subprocess.run(in_a_process(FULL, path), capture_output=True, text=True, timeout=120)
    assert "features cannot be written" in done.stdout and str(path) in done.stdout, done.stderr
    assert "what is finished is kept, so run again" in done.stdout
    assert not path.exists() and not path.with_suffix(".json").exists()
    asked, content = computed_from(path)
    assert content == whole and 0 < len(asked) < len(NAMES)


def test_a_file_that_another_process_computes_is_left_to_it(cut):
    held = Partial(cut, (21, VIEWS, 5), "float16", NAMES, {})
    before = cut.with_name("features.npy.part").read_bytes()
    held._rows = open(held.data, "r+b", 0)
    held._lock()
    with pytest.raises(BlockingIOError, match="another process computes it"):
        compute(cut)
    held._rows.close()
    assert cut.with_name("features.npy.part").read_bytes() == before


def test_a_file_that_was_finished_meanwhile_is_not_touched(finished):
    before = finished.read_bytes()
    with pytest.raises(FileExistsError, match="another process has just finished it"):
        with Partial(finished, (21, VIEWS, 5), "float16", NAMES, {}):
            pass
    assert finished.read_bytes() == before


# ------------------------------------------------------------------------------ reading


def test_reading_checks_names_and_data(finished):
    features = read_features(finished, NAMES, DATA)
    assert isinstance(features, Features) and features.preprocessing["mean"] == [0, 0, 0]
    with pytest.raises(FeaturesError, match="number 20 is 'shape 20', expected 'x'"):
        read_features(finished, [*NAMES[:20], "x"])
    with pytest.raises(FeaturesError, match=f"sha256 {DATA}, expected 0000"):
        read_features(finished, data_sha256="0" * 64)


def test_a_changed_byte_is_found_by_the_check_sum(finished):
    content = bytearray(finished.read_bytes())
    content[-3] ^= 1
    finished.write_bytes(content)
    with pytest.raises(FeaturesError, match="is damaged: its sha256 is .*, expected"):
        read_features(finished)
    assert read_features(finished, verify=False).values.shape == (21, VIEWS, 5)


def write_objects(finished):
    np.save(finished, np.array([{}] * 3, dtype=object), allow_pickle=True)


def write_another_shape(finished):
    np.save(finished, np.zeros((21, VIEWS, 6), np.float16))


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-10]), "is damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:50]), "is damaged"),
        (lambda file: file.write_bytes(b""), "is damaged"),
        (lambda file: file.write_bytes(b"rubbish" * 100), "is damaged"),
        (lambda file: file.write_bytes(file.read_bytes() + b"more"), "4 bytes follow its array"),
        (write_objects, "is damaged"),
        (write_another_shape, r"holds float16 of shape \[21, 4, 6\], expected float16 of \[21, 4, 5\]"),
    ],
    ids=["end missing", "array missing", "empty", "rubbish", "longer", "objects", "other shape"],
)  # fmt: skip
@pytest.mark.parametrize("verify", [True, False])
def test_a_damaged_array_is_named_with_what_to_do(finished, damage, message, verify):
    damage(finished)
    with pytest.raises(FeaturesError, match=rf"features.npy .*{message}[\s\S]*compute them again"):
        read_features(finished, verify=verify)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("shape 3", "shape X"),
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "",
    ],
    ids=["other name", "half", "a list", "no keys", "empty"],
)
def test_a_damaged_description_is_named(finished, change):
    sidecar = finished.with_suffix(".json")
    sidecar.write_text(change(sidecar.read_text()))
    with pytest.raises(FeaturesError, match="features.json is damaged"):
        read_features(finished)


def test_a_missing_file_of_the_two_is_named(finished):
    finished.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="features.json is missing"):
        read_features(finished)
    finished.unlink()
    with pytest.raises(FileNotFoundError, match="features.npy is missing"):
        read_features(finished)


@pytest.mark.parametrize("block", [1, 40, 1 << 24])
def test_pooling_takes_the_largest_of_the_views_number_by_number(finished, monkeypatch, block):
    monkeypatch.setattr("bwot.features.files.BLOCK", block)
    features = read_features(finished)
    out = pooled(features)
    assert out.dtype == np.float32 and out.shape == (21, 5)
    for number, position in np.ndindex(21, 5):
        assert out[number, position] == max(features.values[number, v, position] for v in range(VIEWS))  # fmt: skip


# ------------------------------------------------------------------------------ networks


def small_onnx(path, batch="batch", channels=3, side=SIZE, kind=1, names=("feature", "map")):
    """A file with one convolution, its mean as ``feature`` (n, 2, 1, 1) and the map as ``map``."""
    weight = np.random.default_rng(0).normal(size=(2, channels, 3, 3)).astype("f4")
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["feature"]),
    ]
    given = helper.make_tensor_value_info("image", kind, [batch, channels, side, side])
    outputs = [helper.make_tensor_value_info(name, kind, None) for name in names]
    stored = [numpy_helper.from_array(weight, "w")]
    graph = helper.make_graph(nodes, "small", [given], outputs, stored)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path, weight


@pytest.mark.parametrize("batch", ["batch", 1])
@pytest.mark.parametrize("side", [SIZE, "side"])
def test_an_onnx_network_gives_its_output_flattened(tmp_path, batch, side):
    path, weight = small_onnx(tmp_path / "small.onnx", batch, side=side)
    network = OnnxNetwork(path, size=SIZE)
    assert (network.size, network.length) == (SIZE, 2)
    images = np.random.default_rng(1).random((5, 3, SIZE, SIZE), np.float32)
    expected = nn.functional.conv2d(torch.tensor(images), torch.tensor(weight)).mean((2, 3))
    np.testing.assert_allclose(network(images), expected.numpy(), atol=1e-5)
    assert OnnxNetwork(path, "map", size=SIZE).length == 2 * (SIZE - 2) ** 2


def test_the_settings_of_an_onnx_network_hold_the_check_sum_of_its_file(tmp_path):
    path, _ = small_onnx(tmp_path / "small.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert OnnxNetwork(path).settings == {"name": "small", "sha256": digest, "output": "feature"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"channels": 1}, r"takes image tensor\(float\) \['batch', 1, 8, 8\]; expected one input"),
        ({"batch": 4}, r"takes image tensor\(float\) \[4, 3, 8, 8\]; expected one input"),
        ({"kind": 11}, r"takes image tensor\(double\)|cannot be run by ONNX Runtime"),
        ({"side": 2}, "cannot take pictures of 3×2×2"),
    ],
)
def test_an_onnx_file_with_another_input_is_refused(tmp_path, changes, message):
    path, _ = small_onnx(tmp_path / "small.onnx", **changes)
    with pytest.raises(ValueError, match=message):
        OnnxNetwork(path)


def test_an_onnx_file_whose_feature_has_no_number_is_refused(tmp_path):
    given = helper.make_tensor_value_info("image", 1, ["n", 3, SIZE, SIZE])
    output = helper.make_tensor_value_info("feature", 1, None)
    node = helper.make_node("Slice", ["image", "first", "first", "axis"], ["feature"])
    stored = [numpy_helper.from_array(np.array([k]), name) for k, name in ((0, "first"), (1, "axis"))]  # fmt: skip
    graph = helper.make_graph([node], "nothing", [given], [output], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "nothing.onnx")
    with pytest.raises(ValueError, match="nothing.onnx gives features of length 0"):
        OnnxNetwork(tmp_path / "nothing.onnx")


def test_the_outputs_that_a_file_has_are_named(tmp_path):
    path, _ = small_onnx(tmp_path / "small.onnx")
    with pytest.raises(ValueError, match="has no output 'logits'; it has: feature, map."):
        OnnxNetwork(path, "logits")


def test_the_only_output_of_a_file_is_its_feature_whatever_it_is_called(tmp_path):
    path, _ = small_onnx(tmp_path / "small.onnx", names=("map",))
    assert OnnxNetwork(path).settings["output"] == "map"


def test_a_file_that_is_no_onnx_model_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="a.onnx cannot be run by ONNX Runtime"):
        OnnxNetwork(tmp_path / "a.onnx")
    with pytest.raises(FileNotFoundError):
        OnnxNetwork(tmp_path / "b.onnx")


def test_features_of_an_onnx_network_end_in_a_file(tmp_path, path):
    network = OnnxNetwork(small_onnx(tmp_path / "small.onnx")[0])
    features = compute(path, network)
    np.testing.assert_allclose(
        features.values[3], network(network_input(pictures(NAMES[3]), SIZE)), rtol=1e-3, atol=1e-4
    )


def torch_module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1))  # fmt: skip


def test_a_torch_network_is_its_module_in_evaluation_mode(path):
    module = torch_module()
    network = TorchNetwork(module, "small", size=SIZE)
    assert network.length == 4 and network.scaling == IMAGENET and not module.training
    features = compute(path, network, dtype="float32")
    images = torch.tensor(network_input(pictures(NAMES[2]), SIZE, IMAGENET))
    expected = module(images).flatten(1).detach()
    np.testing.assert_allclose(features.values[2], expected.numpy(), rtol=1e-4, atol=1e-6)


def test_the_settings_of_a_torch_network_follow_weights_and_structure():
    def digest(module):
        return TorchNetwork(module, "small", size=SIZE).settings["sha256"]

    module, other = torch_module(), torch_module()
    assert digest(module) == digest(other)
    other[1].running_mean[0] += 1e-3
    assert digest(module) != digest(other)
    other = torch_module()
    other[0].stride = (2, 2)
    assert digest(module) != digest(other)


# ------------------------------------------------------------------------------ torchvision's networks


@pytest.fixture
def models():
    """torchvision's networks, also where its import needs help."""
    return imagenet.torchvision_package().models


@pytest.mark.parametrize("name, length", [("resnet50", 2048), ("alexnet", 4096), ("vgg11", 4096)])
def test_networks_are_cut_where_the_feature_is(models, name, length):
    """On the meta device: shapes alone are computed."""
    with torch.device("meta"):
        network = imagenet.cut(getattr(models, name)(), name)
        assert network(torch.rand(2, 3, 224, 224)).shape == (2, length)


def test_the_feature_of_alexnet_is_its_second_linear_layer_after_relu(models):
    whole = models.alexnet().eval()
    kept = {}
    whole.classifier[5].register_forward_hook(lambda layer, given, out: kept.update(fc7=out))
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        whole(images)
        torch.testing.assert_close(imagenet.cut(whole, "alexnet")(images), kept["fc7"])


@pytest.mark.parametrize("name, digits", [("resnet50", "0676ba61"), ("alexnet", "7be5be79"), ("vgg11", "8a719046")])  # fmt: skip
def test_the_published_weights_are_the_first_ones(models, name, digits):
    assert imagenet._published(name).endswith(f"-{digits}.pth")
    assert imagenet._published(name).startswith("https://download.pytorch.org/models/")


@pytest.fixture
def saved(models, tmp_path, monkeypatch):
    """Random weights of ResNet-50 where torchvision keeps its files, as if they had been published."""
    torch.manual_seed(0)
    network = models.resnet50()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "weights")
    digest = hashlib.sha256((folder / "weights").read_bytes()).hexdigest()
    (folder / "weights").rename(folder / f"resnet50-{digest[:8]}.pth")
    address = f"http://127.0.0.1:9/resnet50-{digest[:8]}.pth"  # nobody listens there
    monkeypatch.setattr(imagenet, "_published", lambda name: address)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return network, folder / f"resnet50-{digest[:8]}.pth"


def test_weights_that_torchvision_keeps_are_taken(saved):
    whole, _ = saved
    network, images = pretrained("resnet50").eval(), torch.rand(1, 3, 64, 64)
    whole.eval().fc = nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(network(images), whole(images))
    assert all(each.requires_grad for each in network.parameters())


def test_weights_with_other_bytes_are_refused_and_kept(saved):
    _, path = saved
    with path.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"other bytes")
    with pytest.raises(
        DataError, match=r"is not the published file: its sha256 is [\s\S]*Move it away"
    ):
        pretrained("resnet50")
    assert path.exists()


def test_offline_the_message_says_where_to_put_the_file(saved):
    _, path = saved
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(DownloadError, match=rf"127.0.0.1:9/{path.name}[\s\S]*place it as {path}"):
        pretrained("resnet50")


def test_a_folder_of_ones_own_may_hold_the_weights(saved, tmp_path):
    _, path = saved
    (tmp_path / "mine").mkdir()
    path.rename(tmp_path / "mine" / path.name)
    assert pretrained("resnet50", tmp_path / "mine").fc is not None
