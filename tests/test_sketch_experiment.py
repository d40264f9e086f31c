"""The experiment on sketches: settings that are checked, heads, batches and losses, and whole runs on made-up features."""

import inspect
import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from bwot import baselines, cross_retrieval, provenance, ranklists, training, tuning
from bwot import runs as bwot_runs
from bwot.__main__ import main
from bwot.crossmodal import FourPartLoss
from bwot.data.images import Split
from bwot.data.sketches import SketchData
from bwot.experiments import LOSSES, Images, Shapes, Sketches, campaign, grid
from bwot.heads import MetricHead, UnitLength, authors_normal_, sketch_heads
from bwot.metrics import retrieval_scores
from bwot.records import read_record, unpack, validate, write_record
from bwot.runs import cache_key, run, staleness, trained_network

LENGTH, ROTATIONS, CLASSES = 12, 3, ("ant", "bee", "cat", "dog")
SMALL = {"preset": "short", "batch_size": 24, "epochs": 2, "learning_rate": 0.001}


def made_up(seed=0):
    """Features around a centre for each class and kind; a class of sketches that no shape has, in the test part alone."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(2, 5, LENGTH, generator=generator)

    def sketches(labels):
        noise = torch.randn(len(labels), ROTATIONS, LENGTH, generator=generator)
        return Split(centres[0][labels][:, None] + 0.8 * noise, labels)

    labels = torch.arange(24) % 4
    noise = torch.randn(24, LENGTH, generator=generator)
    parts = {
        "train": sketches(torch.arange(32) % 4),
        "validation": sketches(torch.arange(12) % 4),
        "test": sketches(torch.tensor([*(torch.arange(16) % 4), 4, 4])),
        "shapes": Split(centres[1][labels] + 0.8 * noise, labels),
    }
    return SketchData(
        name="shrec13-15", variant="made up", official=False, sha256="1" * 64, classes=(*CLASSES, "eel"),
        names={part: tuple(f"{part}/{part[0]}{i}" for i in range(len(split.labels))) for part, split in parts.items()},
        **parts,
    )  # fmt: skip


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BWOT_RUNS", str(tmp_path / "runs"))
    found = made_up()
    monkeypatch.setattr(Sketches, "load_data", lambda settings, data_dir=None: found)
    return found


# ------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    "given, message",
    [
        ({"dataset": "mnist"}, "dataset must be one of shrec13-15, shrec13, shrec14, not 'mnist'"),
        ({"loss": "triplet"}, "loss must be one of pairwise, .*lifted, npair, multisimilarity, supcon, features"),
        ({"head": "wide"}, "head must be one of scaled, paper, code, not 'wide'"),
        ({"queries": "all"}, "queries must be one of drawn, rotations, not 'all'"),
        ({"batch_size": 30}, "batch_size must be a multiple of 4"),
        ({"batch_size": 4}, "batch_size must be a multiple of 4 .four batches., at least 8, not 4"),
        ({"network": " "}, "network must name a network"),
        ({"network": "mobilenet"}, "at preset quick there is the network small only"),
        ({"sketch_weight": -1.0}, "the weight of sketches must be at least 0"),
        ({"sketch_weight": 0, "shape_weight": 0, "across_weight": 0}, "one of the weights"),
        ({"balanced_batches": 1}, "balanced_batches must be true or false, not 1"),
        ({"margin": 0.0}, "margin must be positive"),
        ({"loss": "supcon", "margin": -1.0}, "margin must be positive"),
        ({"as_published": True, "loss": "lifted"}, "as published there is the loss bwot only"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(Sketches.__init__)(object.__new__(Sketches), **given)


def test_as_published_every_setting_is_the_authors():
    given = Sketches(
        preset="short", as_published=True, learning_rate=0.5, margin=3.0, head="scaled", balanced_batches=True, across_weight=2.0,
    )  # fmt: skip
    assert given == Sketches(
        preset="short", as_published=True, form="sketches", margin=1.0, lam=10.0, gamma=10.0, iterations=20,
        plan_gradient="kernel", learning_rate=5e-4, decay=1.0, momentum=0.9, batch_size=120, head="code", queries="rotations",
    )  # fmt: skip
    assert training.schedule_of(given).rate(100, []) == 5e-4


def test_its_further_losses_are_no_other_experiments():
    assert Sketches.LOSSES == (*LOSSES, *baselines.NAMES)
    assert Images.LOSSES == Shapes.LOSSES == LOSSES
    for kind in (Images, Shapes):
        with pytest.raises(ValueError, match="loss must be one of"):
            kind(loss="lifted")


def test_a_campaign_has_every_loss_tuned_ten_times():
    names = campaign("shrec13-15", "short")
    assert [f"tuned/lifted-seed{seed}" for seed in range(10)] == [n for n in names if "lifted" in n]
    assert "bwot-seed0" not in names and "as-published/bwot-seed9" in names
    assert {"features-seed0", "untrained-seed9"} < set(names)
    assert [each.seed for each in grid(Sketches, "short", ("supcon",))] == list(range(10))


OTHERS = {
    "dataset": "shrec13", "variant": "a copy", "preset": "short", "loss": "lifted", "seed": 1, "epochs": 3, "learning_rate": 0.02,
    "momentum": 0.8, "decay": 0.9, "batch_size": 80, "head": "code", "margin": 4.0, "form": "images", "lam": 5.0, "gamma": 5.0,
    "iterations": 20, "plan_gradient": "kernel", "as_published": True, "network": "small", "balanced_batches": True,
    "sketch_weight": 2.0, "shape_weight": 2.0, "across_weight": 2.0, "queries": "rotations",
}  # fmt: skip


def test_every_setting_is_tried_below():
    assert OTHERS.keys() == {field.name for field in fields(Sketches)}


@pytest.mark.parametrize("name", OTHERS)
def test_the_key_changes_with_each_setting(name, monkeypatch):
    monkeypatch.setattr(provenance, "code_digest", lambda modules: "this code")
    usual = Sketches(preset="full")
    other = replace(usual, **{name: OTHERS[name]})
    assert cache_key(usual, "a", "cpu") != cache_key(other, "a", "cpu")


# ------------------------------------------------------------------------------ heads


def widths(head):
    return [layer.out_features for layer in head if isinstance(layer, nn.Linear)]


def kinds(head):
    return [type(layer).__name__ for layer in head]


def network(**given):
    return Sketches(preset="short", **given).network_for({"image": [768], "shape": [768]})


@pytest.mark.parametrize(
    "head, sketch, shape",
    [
        ("scaled", [768, 384, 128], [768, 384, 128]),
        ("paper", [4096, 2048, 512, 128], [4096, 2048, 512, 128]),
        ("code", [2000, 1000, 500, 100], [2000, 2000, 1000, 500, 100]),
    ],
)
def test_heads_have_the_widths_of_their_source(head, sketch, shape):
    made = network(head=head)
    assert widths(made.drawings[0].layers) == sketch and widths(made.shapes[0].layers) == shape
    length = Sketches(head=head, loss="cross-entropy").build_loss(5).classifier.in_features
    assert length == sketch[-1]


def test_the_papers_head_has_three_sigmoids_and_the_authors_two_linear_layers_at_the_end():
    paper, code = (network(head=head) for head in ("paper", "code"))
    assert kinds(paper.drawings[0].layers) == ["Linear", "Sigmoid"] * 3 + ["Linear"]
    assert kinds(code.drawings[0].layers) == ["Linear", "ReLU"] * 2 + ["Linear", "Linear"]
    assert kinds(code.shapes[0].layers) == ["Linear", "ReLU"] * 3 + ["Linear", "Linear"]


def test_the_authors_heads_start_with_cut_normal_weights():
    head = authors_normal_(MetricHead(300, (400, 200, 100), linear=2))
    first, middle, last = (layer for layer in head.layers if isinstance(layer, nn.Linear))
    for layer, deviation in ((first, 0.01), (middle, 0.1), (last, 0.1)):
        assert layer.weight.abs().max() <= 2 * deviation and layer.bias.abs().max() == 0
        assert layer.weight.std().item() == pytest.approx(0.88 * deviation, rel=0.02)


def test_a_scaled_head_follows_the_length_of_the_features():
    assert sketch_heads("scaled", 768).sketch == (768, 384, 128)
    assert sketch_heads("scaled", 1).shape == (1, 1, 128)


def test_every_loss_starts_from_the_same_heads_at_a_seed():
    def start(**given):
        return torch.cat([p.flatten() for p in network(**given).parameters()])

    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = start(loss="bwot")
    assert torch.equal(torch.get_rng_state(), before)
    for loss in ("lifted", "supcon", "npair", "untrained"):
        assert torch.equal(first, start(loss=loss))
    assert not torch.equal(first, start(seed=1))
    made = network()
    assert not torch.equal(made.drawings[0].layers[0].weight, made.shapes[0].layers[0].weight)


@pytest.mark.parametrize("loss", baselines.ANGULAR)
def test_losses_of_angles_are_ranked_by_angles(loss):
    made, rows = network(loss=loss), torch.randn(5, 768)
    assert made.drawings(rows).norm(dim=1).std() > 1e-3  # in training they keep their lengths
    embedded = training.embed(made.drawings, rows)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(5))
    plain = training.embed(network(loss="bwot").drawings, rows)
    torch.testing.assert_close(embedded, nn.functional.normalize(plain))
    assert made.training and isinstance(made.shapes[-1], UnitLength)


def test_pictures_pass_a_network_of_their_own_before_the_head():
    made = Sketches().network_for({"image": [1, 1, 32, 32], "shape": [5, 1, 32, 32]})
    embedded = made(torch.rand(2, 1, 1, 32, 32), torch.rand(3, 5, 1, 32, 32))
    assert [each.shape for each in embedded] == [(2, 128), (3, 128)]


def test_frozen_features_are_their_own_embedding():
    made = network(loss="features")
    rows = torch.randn(4, 768)
    assert not list(made.parameters())
    assert all(torch.equal(each, rows) for each in made(rows, rows))
    pictures = Sketches(loss="features").network_for({"image": [1, 1, 4, 4], "shape": [3, 1, 4, 4]})
    drawn, seen = torch.rand(2, 1, 1, 4, 4), torch.rand(2, 3, 1, 4, 4)
    assert torch.equal(pictures.drawings(drawn), drawn.flatten(1))
    assert torch.equal(pictures.shapes(seen), seen.max(1).values.flatten(1))


# ------------------------------------------------------------------------------ losses


def test_the_loss_has_the_weights_of_the_settings():
    loss = Sketches(loss="softmax", lam=5.0, sketch_weight=0.5, shape_weight=2.0, across_weight=3.0).build_loss(4)  # fmt: skip
    assert isinstance(loss, FourPartLoss) and loss.pairs.lam == 5.0
    assert loss.part_weights == {"sketches": 0.5, "shapes": 2.0, "across": 3.0}


@pytest.mark.parametrize("loss", [*Sketches.LOSSES, *Sketches.ZERO_LINES])
def test_every_loss_runs_and_leaves_a_valid_record_that_is_not_stale(data, loss):
    record = run(Sketches(**SMALL, loss=loss))
    validate(record)
    assert record.status == "finished" and staleness(record) is None
    assert record.loss["name"] == loss and record.experiment == "sketches"
    assert len(record.history) == 1 + record.settings["epochs"]
    assert record.dataset["image"] == record.dataset["shape"] == [LENGTH]
    assert record.dataset["sizes"] == {"train": 32, "validation": 12, "test": 18, "shapes": 24}
    assert bool(record.replay) is (loss not in Sketches.ZERO_LINES)
    weighs = loss in LOSSES and loss != "cross-entropy"
    assert ("mass_on_active" in record.history[-1]) is weighs


def test_a_replay_notices_what_changes_training(monkeypatch):
    monkeypatch.setattr(bwot_runs, "REPLAY_STEPS", 4)
    settings = Sketches(preset="short", loss="allpairs", batch_size=40)
    first = bwot_runs.replay(settings)
    assert bwot_runs.replay(settings) == first and len(set(first)) == 4
    for other in ({"seed": 1}, {"margin": 3.0}, {"balanced_batches": True}, {"across_weight": 2.0}, {"network": "small"}):  # fmt: skip
        changed = bwot_runs.replay(replace(settings, **other))
        assert not np.allclose(first, changed, rtol=1e-3)


def test_a_run_killed_after_any_epoch_ends_with_the_same_numbers(data, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(row):
        if row["epoch"] == 1:
            raise Killed

    def numbers(record):
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in record.history]

    whole = run(Sketches(**SMALL))
    monkeypatch.setenv("BWOT_RUNS", str(tmp_path / "again"))
    with pytest.raises(Killed):
        run(Sketches(**SMALL), report=kill)
    again = run(Sketches(**SMALL))
    assert numbers(again) == numbers(whole) and again.scores == whole.scores


def test_a_diverged_run_is_recorded_as_diverged(data):
    record = run(replace(Sketches(**SMALL, loss="pairwise"), learning_rate=1e6))
    validate(record)
    assert record.status == "diverged" and record.scores is None and staleness(record) is None


# ------------------------------------------------------------------------------ what is measured


def distances(a, b):
    return torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")


def test_scores_are_those_of_test_sketches_that_ask_for_all_shapes(data):
    record = run(Sketches(**SMALL))
    made = trained_network(record)
    queries = training.embed(made.drawings, data.test.images[:, 0])
    gallery = training.embed(made.shapes, data.shapes.images)
    expected = retrieval_scores(distances(queries, gallery), data.test.labels, data.shapes.labels)
    for name in ("nn", "ft", "st", "e", "dcg", "map"):
        assert record.scores[name] == pytest.approx(getattr(expected, name), abs=1e-9)
    values = expected.average_precision.numpy()
    assert np.allclose(unpack(record.per_query_ap), values, atol=3e-4, equal_nan=True)
    assert np.isnan(values).sum() == expected.skipped == 2  # the class that no shape has
    by_class = [values[:16][data.test.labels[:16] == label].mean() for label in range(4)]
    assert record.scores["worst_class_map"] == pytest.approx(min(by_class))
    ranks = [rank for rank, *_ in record.scores["curve"]]
    assert ranks[0] == 1 and ranks[-1] == 24 and ranks == sorted(set(ranks))
    for rank, precision, recall in record.scores["curve"]:
        assert precision == pytest.approx(expected.precision[rank - 1].item(), abs=1e-6)
        assert recall == pytest.approx(expected.recall[rank - 1].item(), abs=1e-6)


def test_all_rotations_ask_where_they_shall(data):
    record = run(Sketches(**SMALL, queries="rotations"))
    validate(record)
    made = trained_network(record)
    queries = training.embed(made.drawings, data.test.images.flatten(0, 1))
    gallery = training.embed(made.shapes, data.shapes.images)
    labels = data.test.labels.repeat_interleave(ROTATIONS)
    expected = retrieval_scores(distances(queries, gallery), labels, data.shapes.labels)
    assert record.scores["map"] == pytest.approx(expected.map, abs=1e-9)
    kept = unpack(record.per_query_ap)
    means = expected.average_precision.view(18, ROTATIONS).mean(1).numpy()
    assert np.allclose(kept, means, atol=3e-4, equal_nan=True)
    assert np.nanmean(kept) == pytest.approx(record.scores["map"], abs=3e-4)


def test_embeddings_that_were_deleted_are_computed_again(data, tmp_path):
    record = run(Sketches(**SMALL))
    folder = tmp_path / "runs" / record.provenance["key"]
    with np.load(folder / "embeddings.npz") as kept:
        before = {name: kept[name] for name in kept}
    for name in ("embeddings.npz", "record.json"):
        (folder / name).unlink()
    again = run(Sketches(**SMALL))
    assert again.scores == record.scores and again.per_query_ap == record.per_query_ap
    with np.load(folder / "embeddings.npz") as kept:
        assert sorted(kept) == sorted(before)
        assert all(np.array_equal(kept[name], before[name], equal_nan=True) for name in kept)
    assert before["embeddings"].shape == (18, 128) and before["gallery"].shape == (24, 128)


def test_the_diagnosis_is_a_mean_over_the_four_parts(data):
    settings = Sketches(**SMALL, loss="active", sketch_weight=2.0)
    train = settings.training_samples(data)
    made, loss = settings.network_for(settings.dimensions(data)), settings.build_loss(5)
    steps = settings.sampler(train)(0)[:2]
    found = cross_retrieval.diagnose(made, loss, train, steps)
    masses, ratios = [], []
    for index in steps:
        batches = training.embed_batches(made, train, index)
        for weight, part in loss.parts(**batches):
            same = part["labels"][:, None] == part["ref_labels"]
            masses.append(weight / 5 * (loss.pairs.plan(**part) * same).sum().item())
        norms = [
            torch.cat([g.flatten() for g in torch.autograd.grad(each(**batches), list(made.parameters()), retain_graph=True)]).norm()
            for each in (loss, Sketches(**SMALL, loss="allpairs", sketch_weight=2.0).build_loss(5))
        ]  # fmt: skip
        ratios.append((norms[0] / norms[1]).item())
    assert found["mass_on_positives"] == pytest.approx(sum(masses) / 2, rel=1e-5)
    assert found["gradient_ratio"] == pytest.approx(np.mean(ratios), rel=1e-4)
    assert cross_retrieval.diagnose(made, baselines.baseline("lifted"), train, steps) == {}


def test_tuning_looks_at_validation_sketches_alone(data, monkeypatch):
    monkeypatch.setattr(tuning, "RATES", (0.01, 0.02))
    monkeypatch.setattr(tuning, "MARGINS", (1.0, 1.0))
    monkeypatch.setitem(Sketches.PRESETS, "short", Sketches.PRESETS["short"] | {"rates": (0.01,), "margins": (1.0,), "tuning_epochs": (1, 2)})  # fmt: skip
    settings = Sketches(**SMALL, loss="lifted")
    found = tuning.tune(settings)
    for cell in found["grid"]:
        tried = replace(settings, seed=tuning.SEED, epochs=cell["epochs"], learning_rate=cell["learning_rate"])  # fmt: skip
        train = tried.training_samples(data)
        made = tried.network_for(tried.dimensions(data))
        training.fit(made, tried.build_loss(5), train, training.schedule_of(tried), tried.sampler(train), lambda epoch: {})  # fmt: skip
        answers = cross_retrieval.retrieval(tried, made, data, "validation")
        assert cell["map"] == pytest.approx(answers.scores.map, abs=1e-9)
        assert len(answers.queries) == 12
    nothing = replace(data, sha256="2" * 64, test=Split(torch.zeros(4, 3, LENGTH), torch.zeros(4, dtype=int)))  # fmt: skip
    monkeypatch.setattr(Sketches, "load_data", lambda settings, data_dir=None: nothing)
    assert tuning.tune(settings) == found


# ------------------------------------------------------------------------------ evaluate, rank lists


@pytest.fixture
def recorded(data, tmp_path):
    path = tmp_path / "record.json"
    write_record(run(Sketches(**SMALL)), path)
    return path


def average_precision_of(path, classes):
    """Of a rank list as a track's tool reads it."""
    name, *lines = path.read_text(encoding="ascii").splitlines()
    assert name == path.name
    targets, far = zip(*(line.split() for line in lines), strict=True)
    assert list(map(float, far)) == sorted(map(float, far)) and len(set(targets)) == len(targets)
    hits = [rank for rank, target in enumerate(targets, 1) if classes[target] == classes[name]]
    return np.mean([n / rank for n, rank in enumerate(hits, 1)]) if hits else np.nan


def test_rank_lists_score_as_the_record_does(data, recorded, tmp_path, capsys):
    lists = tmp_path / "lists"
    assert main(["evaluate", str(recorded), "--rank-lists", str(lists)]) == 0
    said = capsys.readouterr().out
    record = read_record(recorded)
    assert f"map {record.scores['map']:.4f}" in said and "wrote 18 rank lists" in said
    assert "worst class, " in said and f"map {record.scores['worst_class_map']:.4f}" in said
    models = {f"s{i}": label for i, label in enumerate(data.shapes.labels.tolist())}
    queries = {f"t{i}": label for i, label in enumerate(data.test.labels.tolist())}
    assert {path.name for path in lists.iterdir()} == queries.keys()
    found = [average_precision_of(lists / name, models | queries) for name in queries]
    assert np.allclose(found, unpack(record.per_query_ap), atol=3e-4, equal_nan=True)
    assert np.nanmean(found) == pytest.approx(record.scores["map"], abs=1e-9)
    assert "2 of 18 queries have no model of their class: they are in no mean." in said
    assert main(["evaluate", str(recorded), "--rank-lists", str(lists)]) == 0  # the same ones again
    (lists / "of_another_run").write_text("")
    assert main(["evaluate", str(recorded), "--rank-lists", str(lists)]) == 1
    assert "holds 1 other files, such as of_another_run" in capsys.readouterr().err


def test_the_scores_of_each_query_are_written(data, recorded, tmp_path, capsys):
    assert main(["evaluate", str(recorded), "--per-query", str(tmp_path / "q.csv")]) == 0
    header, *rows = (line.split(",") for line in (tmp_path / "q.csv").read_text().splitlines())
    assert header == ["query", "class", "nn", "ft", "st", "e", "dcg", "map"] and len(rows) == 18
    assert rows[5][:2] == ["test/t5", "bee"] and rows[17] == ["test/t17", "eel", *6 * [""]]
    record = read_record(recorded)
    for place, name in enumerate(header[2:], 2):
        mean = np.mean([float(row[place]) for row in rows[:16]])
        assert mean == pytest.approx(record.scores[name], abs=1e-5)


def test_rotations_are_counted_on_in_their_names(data):
    answers = cross_retrieval.retrieval(Sketches(loss="features", queries="rotations"), Sketches(loss="features").network_for({"image": [LENGTH], "shape": [LENGTH]}), data, "test")  # fmt: skip
    names = ranklists.query_names(data, answers)
    assert len(names) == 54 and names[:4] == ["test/t0-r0", "test/t0-r1", "test/t0-r2", "test/t1-r0"]  # fmt: skip


@pytest.mark.parametrize("name", ["test/ä", "test/a b"])
def test_a_name_that_no_rank_list_can_have_is_named(data, recorded, tmp_path, monkeypatch, capsys, name):  # fmt: skip
    strange = replace(data, names=data.names | {"test": (name, *data.names["test"][1:])})
    monkeypatch.setattr(Sketches, "load_data", lambda settings, data_dir=None: strange)
    assert main(["evaluate", str(recorded), "--rank-lists", str(tmp_path / "lists")]) == 1
    assert "ASCII names without white space, not " in capsys.readouterr().err
    assert not (tmp_path / "lists").exists()


def test_the_record_of_other_data_or_another_experiment_is_refused(data, recorded, tmp_path, monkeypatch, capsys, make_record):  # fmt: skip
    other = replace(data, sha256="3" * 64)
    monkeypatch.setattr(Sketches, "load_data", lambda settings, data_dir=None: other)
    assert main(["evaluate", str(recorded)]) == 1
    assert "those at hand have " + "3" * 64 in capsys.readouterr().err
    images = tmp_path / "images.json"
    write_record(make_record(), images)
    assert main(["evaluate", str(images)]) == 1
    assert "and this is one of images, finished" in capsys.readouterr().err
    content = json.loads(recorded.read_text()) | {"status": "diverged"}
    images.write_text(json.dumps(content))
    assert main(["evaluate", str(images)]) == 1
    assert "and this is one of sketches, diverged" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "none.json")]) == 1
