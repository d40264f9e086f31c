"""Runs: a function of settings, data, code and machine; computed once, whole or not at all."""

import ast
import dataclasses
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from bwot import accuracy, evaluation, metrics, provenance, standins, training
from bwot import runs as bwot_runs
from bwot.data import mnist
from bwot.data.images import Split
from bwot.data.sampling import batch_pairs
from bwot.experiments import Images, Shapes, Sketches
from bwot.records import read_record, unpack, validate, write_record
from bwot.runs import cache_key, run, staleness

REPLAY = [5.0 - 0.01 * step for step in range(20)]
PACKAGE = Path(bwot_runs.__file__).parent


class Killed(BaseException):
    """Stands for a signal: nothing in the package may catch it."""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN", 0.0)  # short epochs are kept too
    monkeypatch.setenv("BWOT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def small(runs, monkeypatch):
    """Few digits, and no replay: what it would give is planted."""
    digits = standins.digits()
    few = replace(
        digits,
        train=Split(digits.train.images[:256], digits.train.labels[:256]),
        test=Split(digits.test.images[:60], digits.test.labels[:60]),
    )
    monkeypatch.setattr(Images, "load_data", lambda settings, data_dir=None: few)
    monkeypatch.setattr(bwot_runs, "replay", lambda settings: list(REPLAY))
    return few


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs on a part of the digits, and its folder."""
    with pytest.MonkeyPatch.context() as patched:
        root = tmp_path_factory.mktemp("finished")
        patched.setenv("BWOT_RUNS", str(root))
        data = small.__wrapped__(root, patched)
        torch.manual_seed(1)
        before = torch.get_rng_state()
        fitted_on, svc_predictions = [], accuracy.svc_predictions

        def watched(train, *others):
            fitted_on.append(len(train))
            return svc_predictions(train, *others)

        patched.setattr(evaluation, "SVC_SAMPLES", 100)
        patched.setattr(accuracy, "svc_predictions", watched)
        record = run(Images(epochs=2))
        assert torch.equal(torch.get_rng_state(), before)
    return record, root / record.provenance["key"], data, fitted_on


def refuse(*_, **__):
    raise AssertionError("nothing is to be computed here")


def numbers(record):
    """All of a record but what the clock and the memory say."""
    clock = ("seconds", "evaluation_seconds")
    content = asdict(record)
    content["history"] = [
        {k: v for k, v in r.items() if k not in clock} for r in content["history"]
    ]
    for name in ("seconds", "started", "peak_memory_mb"):
        del content["provenance"][name]
    return content


# ------------------------------------------------------------------------------ the cache key

OTHERS = {
    "dataset": "cifar10",
    "variant": "a copy",
    "preset": "short",
    "loss": "pairwise",
    "seed": 1,
    "epochs": 3,
    "learning_rate": 0.02,
    "momentum": 0.8,
    "decay": 0.9,
    "batch_size": 64,
    "head": "code",
    "margin": 4.0,
    "form": "images",
    "lam": 5.0,
    "gamma": 5.0,
    "iterations": 20,
    "plan_gradient": "kernel",
    "normalise_gradient": True,
    "as_published": True,
}


def test_every_setting_is_tried_below():
    assert OTHERS.keys() == {field.name for field in dataclasses.fields(Images)}


@pytest.mark.parametrize("name", OTHERS)
def test_the_key_changes_with_each_setting(name, monkeypatch):
    monkeypatch.setattr(provenance, "code_digest", lambda modules: "this code")
    assert cache_key(Images(), "a", "cpu") != cache_key(Images(**{name: OTHERS[name]}), "a", "cpu")


@pytest.mark.parametrize(
    "owner, name, value",
    [
        (provenance, "code_digest", lambda modules: "another code"),
        (provenance, "software", lambda: {"torch": "1.0"}),
        (provenance, "device_name", lambda device: "an accelerator"),
        (torch, "get_num_threads", lambda: 17),
    ],
    ids=["code", "versions", "device", "threads"],
)
def test_the_key_changes_with_the_code_and_the_machine(monkeypatch, owner, name, value):
    before = cache_key(Images(), "a", "cpu")
    assert cache_key(Images(), "b", "cpu") != before == cache_key(Images(), "a", "cpu")
    monkeypatch.setattr(owner, name, value)
    assert cache_key(Images(), "a", "cpu") != before


@pytest.mark.parametrize("name", ["margin", "lam", "epochs", "seed", "batch_size", "iterations"])
def test_the_key_is_the_same_with_and_without_a_point(untyped, name):
    whole, point = untyped(**{name: 8}), untyped(**{name: 8.0})
    assert cache_key(whole, "data", "cpu") == cache_key(point, "data", "cpu")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The package's sources in a folder of their own, where a test may change them."""
    shutil.copytree(PACKAGE, tmp_path / "bwot", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "bwot" / "provenance.py"))
    return tmp_path / "bwot"


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    "module, old, new",
    [
        ("pairs.py", "TINY = 1e-12", "# a comment\n\n\nTINY = 1e-12  # and another"),
        ("controls.py", '"""The plain mean', '"""Some other words on the plain mean'),
        ("training.py", '"""Factor on the learning rate', '"""What the rate is multiplied by'),
        ("evaluation.py", '"""What is measured', '"""All that is measured'),
    ],
    ids=["comments", "docstring", "text of an attribute", "docstring of the module"],
)
def test_documentation_is_no_part_of_the_key(copied, module, old, new):
    before = provenance.code_digest(bwot_runs._MODULES)
    change(copied / module, old, new)
    assert provenance.code_digest.__wrapped__(bwot_runs._MODULES) == before


@pytest.mark.parametrize(
    "module, old, new",
    [
        ("pairs.py", "TINY = 1e-12", "TINY = 1e-11"),
        ("data/sampling.py", "batch_size // 2", "batch_size // 4"),
        ("training.py", "momentum: float = 0.9", "momentum: float = 0.8"),
    ],
)
def test_a_changed_constant_changes_the_key(copied, module, old, new):
    before = provenance.code_digest(bwot_runs._MODULES)
    change(copied / module, old, new)
    assert provenance.code_digest.__wrapped__(bwot_runs._MODULES) != before


def source(module):
    """The file of a module; that of a folder says what it offers."""
    path = PACKAGE / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(module):
    """The modules of the package that one of them imports at its top or inside."""
    for node in ast.walk(ast.parse(source(module).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bwot":
            base = node.module.removeprefix("bwot").lstrip(".")
            for name in [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]:
                if name and source(name).exists():
                    yield name


@pytest.mark.parametrize("kind", [Images, Shapes, Sketches])
def test_the_key_covers_every_module_that_a_number_can_depend_on(kind):
    reached, open_ends = {"experiments"}, ["runs", f"experiments.{kind.NAME}"]
    while open_ends:
        module = open_ends.pop()
        if module not in reached:
            reached.add(module)
            open_ends += imported(module)
    files_alone = {"paths", "progress", "provenance", "records", "data.download"}
    modules = {name for name in reached if source(name).name != "__init__.py"}
    assert modules - files_alone == {*bwot_runs._MODULES, *kind.MODULES}


# ------------------------------------------------------------------------------ a finished run


def test_a_record_is_valid_and_complete(finished):
    record, folder, data, _ = finished
    validate(record)
    assert record.status == "finished" and record.diverged is None
    assert record.settings == asdict(Images(epochs=2)) and record.replay == REPLAY
    assert [row["epoch"] for row in record.history] == [0, 1, 2]
    assert record.history[0]["loss"] is None and record.history[2]["loss"] < 5
    assert record.dataset["sizes"] == {"train": 256, "validation": 145, "test": 60}
    assert record.dataset["sha256"] == data.sha256 and not record.dataset["official"]
    assert record.loss == {"name": "bwot", "margin": 5.0, "form": "sketches", "lam": 10.0,
                           "gamma": 10.0, "iterations": 50, "plan_gradient": "constant"}  # fmt: skip
    assert read_record(folder / "record.json") == record


def test_the_scores_are_those_of_the_last_epoch(finished):
    record, *_ = finished
    last = record.history[-1]
    assert {k: v for k, v in record.scores.items() if "accuracy" not in k} == {
        name: last[name] for name in ("nn", "ft", "st", "e", "dcg", "map", "tied")
    }


def test_the_accuracy_is_fitted_on_a_part_of_the_training_images_where_the_authors_plot_it(
    finished,
):
    record, *_, fitted_on = finished
    assert fitted_on == [100, 100]
    assert [row["epoch"] for row in record.history if "accuracy" in row] == [1, 2]


def test_the_embeddings_of_the_test_images_are_kept(finished):
    record, folder, data, _ = finished
    with np.load(folder / "embeddings.npz", allow_pickle=False) as kept:
        assert sorted(kept) == ["average_precision", "embeddings", "fit_embeddings", "fit_labels", "labels", "predicted"]  # fmt: skip
        labels, embeddings = kept["labels"], kept["embeddings"]
    assert embeddings.dtype == np.float32 and embeddings.shape == (60, 256)
    assert labels.tolist() == data.test.labels.tolist()
    wide = torch.from_numpy(embeddings).double()
    scores = metrics.retrieval_scores(
        torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist"),
        data.test.labels,
        data.test.labels,
        exclude_self=True,
    )
    assert scores.map == pytest.approx(record.scores["map"], abs=1e-9)
    assert scores.nn == pytest.approx(record.scores["nn"])
    assert np.allclose(
        unpack(record.per_query_ap), scores.average_precision, atol=3e-4, equal_nan=True
    )


def test_the_accuracy_can_be_computed_again_from_what_is_kept(finished):
    record, folder, *_ = finished
    with np.load(folder / "embeddings.npz", allow_pickle=False) as kept:
        classifier = SVC(gamma="auto").fit(kept["fit_embeddings"], kept["fit_labels"])
        guessed = classifier.predict(kept["embeddings"])
        assert (guessed == kept["predicted"]).mean() > 0.95  # in single precision, unlike ours
        share = (kept["predicted"] == kept["labels"]).mean()
    assert share == pytest.approx(record.scores["accuracy"])


def test_embeddings_that_were_deleted_are_computed_again(small, runs):
    record = run(Images(epochs=1, loss="pairwise"))
    folder = runs / record.provenance["key"]
    for name in ("embeddings.npz", "record.json"):
        (folder / name).unlink()
    assert numbers(run(Images(epochs=1, loss="pairwise"))) == numbers(record)
    assert (folder / "embeddings.npz").exists()


def test_the_trained_network_gives_these_embeddings(finished, monkeypatch):
    record, folder, data, _ = finished
    monkeypatch.setenv("BWOT_RUNS", str(folder.parent))
    network = bwot_runs.trained_network(record)
    with np.load(folder / "embeddings.npz", allow_pickle=False) as kept:
        assert np.array_equal(training.embed(network, data.test.images).numpy(), kept["embeddings"])


def test_a_network_whose_checkpoint_was_deleted_is_computed_again(small, runs):
    record = run(Images(epochs=1, loss="pairwise"))
    folder = runs / record.provenance["key"]
    (folder / "checkpoint.pt").unlink()
    network = bwot_runs.trained_network(record)
    with np.load(folder / "embeddings.npz", allow_pickle=False) as kept:
        assert np.array_equal(
            training.embed(network, small.test.images).numpy(), kept["embeddings"]
        )
    assert numbers(read_record(folder / "record.json")) == numbers(record)


def test_a_record_is_not_computed_twice(finished, small, untyped, monkeypatch):
    record, folder, *_ = finished
    monkeypatch.setenv("BWOT_RUNS", str(folder.parent))
    monkeypatch.setattr(training, "fit", refuse)
    assert run(untyped(epochs=2.0, lam=10)) == record
    with pytest.raises(AssertionError, match="nothing is to be computed"):
        run(Images(epochs=2, seed=1))


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_killed_run_ends_with_the_same_record(finished, small, runs, monkeypatch, epoch):
    monkeypatch.setattr(evaluation, "SVC_SAMPLES", 100)

    def kill(row):
        if row["epoch"] == epoch:
            raise Killed

    torch.manual_seed(2)
    with pytest.raises(Killed):
        run(Images(epochs=2), report=kill)
    assert not list(runs.rglob("record.json"))
    torch.manual_seed(3)
    again = []
    record = run(Images(epochs=2), report=again.append)
    assert [row["epoch"] for row in again] == list(range(epoch + 1, 3))
    assert numbers(record) == numbers(finished[0])


def test_a_killed_run_keeps_its_seconds(small, monkeypatch):
    def kill(row):
        row["seconds"] = 1000.0 * row["epoch"]
        if row["epoch"] == 1:
            raise Killed

    saved = training.save_checkpoint
    monkeypatch.setattr(
        training,
        "save_checkpoint",
        lambda path, parts, history: saved(
            path, parts, [row | {"seconds": 1000.0} for row in history]
        ),
    )
    with pytest.raises(Killed):
        run(Images(epochs=2, loss="pairwise"), report=kill)
    assert run(Images(epochs=2, loss="pairwise")).provenance["seconds"] > 2000


# ------------------------------------------------------------------------------ divergence


def test_a_diverged_run_is_recorded_and_not_repeated(small, runs, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("BWOT_RUNS", str(runs))
    monkeypatch.setattr(Images, "load_data", lambda settings, data_dir=None: small)
    settings = Images(epochs=2, loss="pairwise", learning_rate=1e6)  # its replay diverges too
    record = run(settings)
    validate(record)
    assert record.status == "diverged" and record.diverged.startswith("epoch 1, step ")
    assert record.scores is None and record.per_query_ap is None
    assert [row["epoch"] for row in record.history] == [0]
    assert 1 <= len(record.replay) < 20 and np.isfinite(record.replay).all()
    assert staleness(record) is None
    monkeypatch.setattr(training, "fit", refuse)
    assert run(settings) == record


# ------------------------------------------------------------------------------ records that are there


def test_a_finished_record_is_taken_from_the_folder_of_results(
    finished, small, tmp_path, monkeypatch
):
    record = replace(finished[0], provenance=finished[0].provenance | {"torch": "1.0", "key": "x"})
    write_record(record, tmp_path / "results" / "mnist" / "bwot-seed0.json")
    monkeypatch.setattr(training, "fit", refuse)
    assert run(Images(epochs=2), results_dir=tmp_path / "results") == record
    for other in (Images(epochs=2, seed=1), Images(epochs=2, lam=9.0)):
        with pytest.raises(AssertionError, match="nothing is to be computed"):
            run(other, results_dir=tmp_path / "results")


@pytest.mark.parametrize(
    "planted",
    [
        {"replay": [value * 1.01 for value in REPLAY]},
        {"replay": REPLAY[:10]},
        {"settings": asdict(Images(epochs=2)) | {"colour": "red"}},
    ],
    ids=["replay", "short replay", "settings"],
)
def test_a_stale_record_is_not_taken(finished, small, tmp_path, monkeypatch, planted):
    write_record(replace(finished[0], **planted), tmp_path / "results" / "old.json")
    monkeypatch.setattr(training, "fit", refuse)
    with pytest.raises(AssertionError, match="nothing is to be computed"):
        run(Images(epochs=2), results_dir=tmp_path / "results")


def test_a_record_of_other_data_is_not_taken(finished, small, tmp_path, monkeypatch):
    other = replace(finished[0], dataset=finished[0].dataset | {"sha256": "f" * 64})
    write_record(other, tmp_path / "results" / "other.json")
    monkeypatch.setattr(training, "fit", refuse)
    with pytest.raises(AssertionError, match="nothing is to be computed"):
        run(Images(epochs=2), results_dir=tmp_path / "results")


# ------------------------------------------------------------------------------ stale or not


def test_a_record_within_a_thousandth_of_its_replay_is_not_stale(finished, small):
    record = finished[0]
    assert staleness(record) is None
    assert staleness(replace(record, replay=[value * 1.0005 for value in REPLAY])) is None
    later = replace(record, provenance=record.provenance | {"torch": "9.9", "commit": "other"})
    assert staleness(later) is None


def test_official_data_have_the_published_fingerprint(finished, small):
    record = finished[0]
    published = record.dataset | {"official": True, "sha256": mnist.FINGERPRINT}
    assert staleness(replace(record, dataset=published)) is None
    reason = staleness(replace(record, dataset=published | {"sha256": "e" * 64}))
    assert "e" * 64 in reason and mnist.FINGERPRINT in reason


@pytest.mark.parametrize("at", [0, 10, 19])
def test_a_replay_with_another_loss_is_stale(finished, small, at):
    planted = list(REPLAY)
    planted[at] *= 1.005
    assert "replay" in staleness(replace(finished[0], replay=planted))


@pytest.mark.parametrize(
    "planted",
    [{"colour": "red"}, {"loss": "unknown"}, {"margin": -1.0}, {"epochs": "two"}],
    ids=str,
)
def test_settings_that_are_no_longer_understood_are_stale(finished, small, planted):
    record = replace(finished[0], settings=finished[0].settings | planted)
    assert "settings are no longer understood" in staleness(record)


def test_the_replay_has_twenty_losses_and_is_the_same_each_time():
    settings = Images(loss="pairwise")
    torch.manual_seed(1)
    first = bwot_runs.replay(settings)
    torch.manual_seed(2)
    assert bwot_runs.replay(settings) == first and len(first) == 20
    data = standins.digits().train
    start = settings.build_network((1, 8, 8))
    a, b = batch_pairs(1152, 128, 0, 1)[0]
    x, y = (start(data.images[half].float() / 255) for half in (a, b))
    squared = (x - y).square().sum(1)
    same = data.labels[a] == data.labels[b]
    assert first[0] == pytest.approx(
        torch.where(same, squared, (5 - squared).relu()).mean().item(), rel=1e-4
    )
    assert len(set(first)) == 20


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"learning_rate": 0.05}, {"margin": 4.0}, {"loss": "allpairs"}], ids=str
)
def test_the_replay_notices_what_changes_training(monkeypatch, other):
    monkeypatch.setattr(bwot_runs, "REPLAY_STEPS", 6)
    settings = Images(loss="pairwise")
    assert not np.allclose(
        bwot_runs.replay(settings), bwot_runs.replay(replace(settings, **other)), rtol=1e-3
    )


# ------------------------------------------------------------------------------ zero lines, classifier, as published


@pytest.mark.parametrize(
    "given",
    [{"loss": "pixels"}, {"loss": "untrained"}, {"loss": "cross-entropy", "epochs": 1}, {"as_published": True, "epochs": 1}],
    ids=str,
)  # fmt: skip
def test_every_kind_of_run_leaves_a_valid_record_that_is_not_stale(small, runs, monkeypatch, given):
    monkeypatch.undo()
    monkeypatch.setenv("BWOT_RUNS", str(runs))
    monkeypatch.setattr(Images, "load_data", lambda settings, data_dir=None: small)
    record = run(Images(**given))
    validate(record)
    assert record.status == "finished" and staleness(record) is None
    assert len(record.history) == 1 + record.settings["epochs"]
    weighs = record.loss["name"] == "bwot"
    assert ("mass_on_active" in record.history[-1]) is weighs
    assert bool(record.replay) is bool(record.settings["epochs"])
    network = bwot_runs.trained_network(record)
    with np.load(runs / record.provenance["key"] / "embeddings.npz") as kept:
        ours = training.embed(network, small.test.images).numpy()
        assert np.array_equal(ours, kept["embeddings"])


def test_a_softmax_network_is_scored_by_its_own_head_too(small, runs):
    record = run(Images(loss="cross-entropy", epochs=1))
    validate(record)
    folder = runs / record.provenance["key"]
    head = bwot_runs.checkpoints.load_checkpoint(folder / "checkpoint.pt")["loss"]
    weight, bias = head["classifier.weight"].numpy(), head["classifier.bias"].numpy()
    with np.load(folder / "embeddings.npz") as kept:
        right = (kept["embeddings"] @ weight.T + bias).argmax(1) == kept["labels"]
    assert 0 < right.mean() < 1
    assert [record.scores["head_accuracy"]] == [row["head_accuracy"] for row in record.history[1:]]
    assert record.scores["head_accuracy"] == pytest.approx(right.mean())
    assert "head_accuracy" not in run(Images(loss="untrained")).scores


def test_data_that_the_caller_has_read_are_not_read_again(small, monkeypatch):
    settings = Images(loss="untrained")
    wanted = run(settings)
    monkeypatch.setattr(Images, "load_data", lambda *_: pytest.fail("read twice"))
    assert run(settings, data=small) == wanted


def test_a_tuning_is_kept_in_the_record_of_who_asks_with_it(small):
    found = {"criterion": "c", "seed": 1, "chosen": {"learning_rate": 0.01, "margin": 5.0}, "grid": []}  # fmt: skip
    settings = Images(loss="untrained")
    assert run(settings).tuning is None
    assert run(settings, tuning=found).tuning == found  # it is no part of the key
    assert run(settings).tuning is None
