"""Tuning: the same budget for every loss, a best point with worse ones around it, and nothing that a kill can change."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from bwot import standins, training, tuning
from bwot.data.images import Split
from bwot.experiments import Images
from bwot.tuning import SEED, TuningError, halve, read_tuning, tune, write_tuning

RATES, MARGINS = (0.005, 0.01, 0.02, 0.04), (2.0, 5.0, 12.5)
GRID = [(rate, margin) for rate in RATES for margin in MARGINS]
STAGES = (1, 3)


class Killed(BaseException):
    """Stands for a signal: nothing in the package may catch it."""


class Surface:
    """A validation mAP that falls from a peak on, and longer training that helps every point alike."""

    def __init__(self, rate, margin, diverges=lambda rate, margin, epochs: False):
        self.peak, self.diverges, self.calls = (rate, margin), diverges, []

    def height(self, point):
        return 0.5 - sum(0.01 * math.log(x / at) ** 2 for x, at in zip(point, self.peak, strict=True))  # fmt: skip

    def __call__(self, point, epochs):
        self.calls.append((point, epochs))
        cell = {"learning_rate": point[0], "margin": point[1], "epochs": epochs}
        if self.diverges(*point, epochs):
            return cell | {"diverged": "epoch 1, step 1"}
        return cell | {"map": self.height(point) + 0.1 * epochs}


def best_of(grid):
    """The point of the highest mAP among those trained longest."""
    sound = [point for point in grid if "map" in grid[point]]
    longest = max(grid[point]["epochs"] for point in sound)
    return max((p for p in sound if grid[p]["epochs"] == longest), key=lambda p: grid[p]["map"])


# ------------------------------------------------------------------------------ the budget


@pytest.mark.parametrize("peak", GRID)
def test_every_loss_trains_the_whole_grid_and_then_its_best_third(peak):
    surface = Surface(*peak)
    halve(surface, GRID, STAGES, margins=True)
    assert surface.calls[: len(GRID)] == [(point, 1) for point in GRID]
    first = [point for point, epochs in surface.calls if epochs == 1]
    second = [point for point, epochs in surface.calls if epochs == 3]
    third = sorted(first, key=surface.height, reverse=True)[: math.ceil(len(first) / 3)]
    assert second[: len(third)] == third
    assert len(set(surface.calls)) == len(surface.calls)  # nothing twice


def test_where_the_best_is_inside_the_budget_is_that_of_the_grid():
    counts = []
    for peak in (0.01, 5.0), (0.02, 5.0):
        surface = Surface(*peak)
        halve(surface, GRID, STAGES, margins=True)
        counts.append([epochs for _, epochs in surface.calls])
    assert counts[0] == counts[1] and counts[0].count(1) == 12 and counts[0].count(3) == 5


# ------------------------------------------------------------------------------ the best is inside


@pytest.mark.parametrize("peak", [(0.01, 5.0), (0.04, 12.5), (0.64, 5.0), (0.00125, 2.0), (0.16, 78.125)],
                         ids=["inside", "corner", "rate above", "rate below", "both above"])  # fmt: skip
def test_the_search_goes_on_until_the_best_has_worse_neighbours(peak):
    grid = halve(Surface(*peak), GRID, STAGES, margins=True)
    rate, margin = best_of(grid)
    assert (rate, margin) == peak
    for point in (rate / 2, margin), (rate * 2, margin), (rate, margin / 2.5), (rate, margin * 2.5):
        assert grid[point]["epochs"] == 3 and grid[point]["map"] < grid[peak]["map"]


DIVERGED = {"epochs": 1, "diverged": "epoch 1, step 2"}


def test_points_no_better_than_the_best_untrained_network_have_collapsed(make_record):
    """By the mAP of the validation part where an untrained network has it."""
    starts = [make_record("untrained", seed, (0.1 + 0.1 * seed,)) for seed in (0, 1)]
    grid = [{"epochs": 1, "map": value} for value in (0.1, 0.2, 0.21)] + [DIVERGED]
    assert tuning.collapsed(grid, starts) == 2
    starts[1].history[0]["validation_map"] = 0.15
    assert tuning.collapsed(grid, starts) == 1


def test_a_loss_without_a_margin_tries_rates_alone():
    surface = Surface(0.16, 78.0)
    grid = halve(surface, [(rate, 5.0) for rate in RATES], STAGES, margins=False)
    assert {margin for _, margin in grid} == {5.0} and best_of(grid) == (0.16, 5.0)


@pytest.mark.parametrize("peak", [(1e9, 1e9), (1e-12, 1e-9)], ids=["up", "down"])
def test_a_search_that_grows_ends(peak):
    grid = halve(Surface(*peak), GRID, STAGES, margins=True)
    rates, margins = ({point[i] for point in grid} for i in (0, 1))
    assert min(rates) >= 1e-5 and max(rates) <= 10 and min(margins) >= 0.1 and max(margins) <= 1000
    rate, margin = best_of(grid)
    assert (rate > 5 and margin > 400) or (rate < 2e-5 and margin < 0.3)


@pytest.mark.parametrize("start", GRID)
def test_going_up_and_down_comes_back_to_the_same_point(start):
    reached, open_ends = set(), [start]
    while open_ends:
        point = open_ends.pop()
        if point not in reached:
            reached.add(point)
            around = tuning._neighbours(point, margins=True)
            assert all(point in tuning._neighbours(each, margins=True) for each in around)
            open_ends += around
    assert len({rate for rate, _ in reached}) < 25


# ------------------------------------------------------------------------------ divergence


def test_a_rate_that_diverges_is_a_worse_neighbour_and_is_not_tried_longer():
    surface = Surface(0.02, 5.0, diverges=lambda rate, margin, epochs: rate > 0.02)
    grid = halve(surface, GRID, STAGES, margins=True)
    assert best_of(grid) == (0.02, 5.0)
    assert [call for call in surface.calls if call[0] == (0.04, 5.0)] == [((0.04, 5.0), 1)]
    assert "diverged" in grid[0.04, 5.0] and "map" not in grid[0.04, 5.0]


def test_a_point_that_diverges_in_the_second_stage_is_not_chosen():
    surface = Surface(0.02, 5.0, diverges=lambda rate, margin, epochs: rate == 0.02 and epochs == 3)
    grid = halve(surface, GRID, STAGES, margins=True)
    assert best_of(grid)[0] != 0.02 and grid[0.02, 5.0]["diverged"]


def test_where_the_whole_third_diverges_in_the_second_stage_the_next_best_is_taken():
    surface = Surface(0.04, 5.0, diverges=lambda rate, margin, epochs: rate > 0.005 and epochs == 3)
    grid = halve(surface, GRID, STAGES, margins=True)
    assert best_of(grid) == (0.005, 5.0)


@pytest.mark.parametrize("stage", STAGES)
def test_divergence_everywhere_is_an_error(stage):
    surface = Surface(0.02, 5.0, diverges=lambda rate, margin, epochs: epochs == stage)
    with pytest.raises(TuningError, match=r"diverged at all of \d+ rates and margins: begin with"):
        halve(surface, GRID, STAGES, margins=True)


# ------------------------------------------------------------------------------ tuning on images


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Three batches of digits, and a grid of three rates."""
    monkeypatch.setenv("BWOT_RUNS", str(tmp_path / "runs"))
    digits = standins.digits()
    data = replace(
        digits,
        train=Split(digits.train.images[:384], digits.train.labels[:384]),
        validation=Split(digits.validation.images[:40], digits.validation.labels[:40]),
    )
    monkeypatch.setattr(Images, "load_data", lambda settings, data_dir=None: data)
    monkeypatch.setattr(tuning, "RATES", (0.01, 0.04))
    monkeypatch.setattr(tuning, "MARGINS", (5.0, 5.0))
    return data


@pytest.fixture
def epochs(monkeypatch):
    """The rate and the number of every epoch that is trained."""
    trained, one_epoch = [], training._one_epoch

    def watched(step, pairs, epoch, *others):
        trained.append((step.optimiser.param_groups[0]["lr"] / 0.95 ** (epoch - 1), epoch))
        return one_epoch(step, pairs, epoch, *others)

    monkeypatch.setattr(training, "_one_epoch", watched)
    return trained


SETTINGS = Images(loss="allpairs")


def map_by_loops(embeddings, labels):
    """Mean average precision of all against all others, for embeddings without ties."""
    values = []
    for i, query in enumerate(embeddings):
        others = [j for j in range(len(labels)) if j != i]
        ranked = sorted(others, key=lambda j: (query - embeddings[j]).square().sum().item())
        hits = [rank for rank, j in enumerate(ranked, 1) if labels[j] == labels[i]]
        values += [sum(n / rank for n, rank in enumerate(hits, 1)) / len(hits)] if hits else []
    return sum(values) / len(values)


def test_a_cell_is_the_map_of_the_validation_part_after_its_epochs(few):
    found = tune(SETTINGS)
    for cell in found["grid"]:
        settings = Images(loss="allpairs", learning_rate=cell["learning_rate"], epochs=cell["epochs"])  # fmt: skip
        network = replace(settings, seed=SEED).build_network((1, 8, 8))
        training.fit(network, settings.build_loss(10), few.train, training.schedule_of(settings),
                     partial(replace(settings, seed=SEED).batches, len(few.train.labels)), lambda epoch: {})  # fmt: skip
        embeddings = training.embed(network, few.validation.images).double()
        expected = map_by_loops(embeddings, few.validation.labels.tolist())
        assert cell["map"] == pytest.approx(expected, abs=1e-6)
    longest = [cell for cell in found["grid"] if cell["epochs"] == 2]
    best = max(longest, key=lambda cell: cell["map"])
    assert found["chosen"] == {"learning_rate": best["learning_rate"], "margin": 5.0}
    assert [c["learning_rate"] for c in found["grid"]] == [0.01, 0.02, 0.04]


def test_the_test_part_chooses_nothing(few, monkeypatch):
    expected = tune(SETTINGS)
    nothing = Split(torch.zeros_like(few.test.images), few.test.labels.flip(0))
    monkeypatch.setattr(Images, "load_data", lambda *_: replace(few, test=nothing, sha256="f" * 64))
    assert tune(SETTINGS) == expected


def test_what_is_tuned_and_the_seed_play_no_part(few, epochs):
    expected = tune(SETTINGS)
    epochs.clear()
    for given in ({"learning_rate": 0.3}, {"margin": 7.0}, {"epochs": 9}, {"seed": 5}):
        assert tune(replace(SETTINGS, **given)) == expected
    assert epochs == []


def test_the_margin_plays_no_part_for_a_loss_without_one(few):
    found = tune(Images(loss="cross-entropy", margin=7.0))
    assert {cell["margin"] for cell in found["grid"]} == {Images.margin} == {found["chosen"]["margin"]}  # fmt: skip
    assert not tuning.has_margin(Images(loss="cross-entropy")) and tuning.has_margin(SETTINGS)


def test_each_point_that_is_done_is_reported(few):
    lines = []
    found = tune(SETTINGS, report=lines.append)
    starts = [
        "rate 0.01  margin 5  1 epochs",
        "rate 0.02  margin 5  1 epochs",
        "rate 0.04  margin 5  1 epochs",
    ]
    assert [line.partition("  mAP")[0] for line in lines[:3]] == starts
    for cell in found["grid"]:
        line = f"rate {cell['learning_rate']:g}  margin 5  {cell['epochs']} epochs  mAP {cell['map']:.4f}"
        assert line in lines


@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_tuning_killed_after_any_point_goes_on_there(few, epochs, tmp_path, monkeypatch, at):
    expected = tune(SETTINGS)
    whole = sorted(epochs)
    epochs.clear()
    monkeypatch.setenv("BWOT_RUNS", str(tmp_path / "again"))
    seen = []

    def kill(line):
        seen.append(line)
        if len(seen) == at:
            raise Killed

    try:
        tune(SETTINGS, report=kill)
    except Killed:
        assert len(seen) == at
    assert tune(SETTINGS) == expected and sorted(epochs) == whole


def test_a_tuning_killed_within_a_point_goes_on_from_its_checkpoint(few, epochs, tmp_path, monkeypatch):  # fmt: skip
    expected = tune(SETTINGS)
    whole = sorted(epochs)
    epochs.clear()
    monkeypatch.setenv("BWOT_RUNS", str(tmp_path / "again"))

    def killed(*_):
        raise Killed

    for _ in range(2):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(
                tuning, "write_atomically", killed
            )  # its epochs are done, its cell is not written
            tune(SETTINGS)
    assert epochs == [(pytest.approx(0.01), 1)]
    assert tune(SETTINGS) == expected and sorted(epochs) == whole


def test_a_point_that_diverged_in_the_second_stage_is_sound_in_the_first_when_asked_again(few, monkeypatch):  # fmt: skip
    one_epoch = training._one_epoch

    def diverging(step, pairs, epoch, history):
        if epoch == 2 and step.optimiser.param_groups[0]["lr"] == pytest.approx(0.95 * best):
            raise training.DivergedError(epoch, 1, history)
        return one_epoch(step, pairs, epoch, history)

    lines, again = [], []
    best = tune(SETTINGS)["chosen"]["learning_rate"]
    monkeypatch.setattr(training, "_one_epoch", diverging)
    monkeypatch.setenv("BWOT_RUNS", str(tuning.runs_root() / "diverging"))
    found = tune(SETTINGS, report=lines.append)
    assert any("diverged at epoch 2, step 1" in line for line in lines)
    assert tune(SETTINGS, report=again.append) == found and again == lines


def test_a_rate_at_which_every_point_diverges_is_named(few, monkeypatch):
    monkeypatch.setitem(Images.PRESETS["quick"], "rates", (1e9,))
    with pytest.raises(TuningError, match="diverged at all of 1 rates and margins"):
        tune(SETTINGS)


@pytest.mark.parametrize("given", [*({"loss": loss} for loss in Images.ZERO_LINES), {"as_published": True}], ids=str)  # fmt: skip
def test_what_has_no_rate_to_tune_is_refused(few, given):
    with pytest.raises(TuningError, match="there is no learning rate to tune"):
        tune(Images(**given))


# ------------------------------------------------------------------------------ files

FOUND = {
    "criterion": tuning.CRITERION,
    "seed": SEED,
    "chosen": {"learning_rate": 0.02, "margin": 12.5},
    "grid": [
        {"learning_rate": 0.02, "margin": 12.5, "epochs": 3, "map": 0.9},
        {"learning_rate": 0.04, "margin": 12.5, "epochs": 1, "diverged": "epoch 1, step 3"},
    ],
}


@pytest.fixture
def written(few, tmp_path):
    path = tmp_path / "results" / "mnist" / "tuning" / "allpairs.json"
    write_tuning(FOUND, replace(SETTINGS, learning_rate=0.3, margin=9.0), few.sha256, "cpu", path)
    return path


def test_what_is_written_is_read_back(few, written):
    assert read_tuning(written, SETTINGS, few.sha256) == FOUND
    others = replace(SETTINGS, epochs=3, seed=8, learning_rate=0.5, margin=1.0)
    assert read_tuning(written, others, few.sha256) == FOUND
    provenance = json.loads(written.read_text())["provenance"]
    assert provenance.keys() >= {"commit", "torch", "device", "precision", "threads"}


@pytest.mark.parametrize(
    "given",
    [{"loss": "bwot"}, {"lam": 5.0}, {"form": "images"}, {"normalise_gradient": True}, {"preset": "short"}],
    ids=str,
)  # fmt: skip
def test_the_tuning_of_other_settings_is_not_taken(few, written, given):
    assert read_tuning(written, replace(SETTINGS, **given), few.sha256) is None


def test_the_tuning_on_the_same_grid_serves_a_longer_training(few, tmp_path):
    short = replace(SETTINGS, preset="short")
    write_tuning(FOUND, SETTINGS, few.sha256, "cpu", tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    content["settings"]["preset"] = "short"
    (tmp_path / "t.json").write_text(json.dumps(content))
    for settings in (short, replace(short, preset="full", epochs=50)):
        assert read_tuning(tmp_path / "t.json", settings, few.sha256) == FOUND


def test_the_tuning_of_other_data_is_not_taken(written):
    assert read_tuning(written, SETTINGS, "f" * 64) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b'{"settings": 3}',
        {"chosen": {}},
        {"chosen": "0.02"},
        {"chosen": {"learning_rate": "fast", "margin": 5.0}},
        {"chosen": {"learning_rate": -1, "margin": 5.0}},
        {"settings": {"colour": "red"}},
        {"settings": {"loss": "unknown"}},
    ],
    ids=str,
)
def test_a_file_that_is_no_tuning_is_named(few, written, content):
    if isinstance(content, dict):
        content = json.dumps(json.loads(written.read_text()) | content).encode()
    written.write_bytes(content)
    with pytest.raises(TuningError) as caught:
        read_tuning(written, SETTINGS, few.sha256)
    assert f"{written} is no result of a tuning" in str(caught.value)


def test_a_finished_tuning_is_taken_from_the_folder_of_results(few, written, epochs):
    results = written.parents[2]
    assert tune(SETTINGS, results_dir=results) == FOUND and epochs == []
    other = tune(replace(SETTINGS, lam=5.0), results_dir=results)
    assert other != FOUND and epochs
