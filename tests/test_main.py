"""The command line: what was asked is checked, and an error says what to do."""

import argparse
import json
import os
import struct
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from bwot import experiments, runs
from bwot.__main__ import _parser, main
from bwot.experiments import Images, Shapes, Sketches
from bwot.records import read_record

QUICK = "run images --preset quick --loss pairwise --seed 3 --epochs 1".split()


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("BWOT_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("BWOT_DATA", raising=False)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def asked(monkeypatch, make_record):
    """What ``run`` is called with, instead of running."""
    calls = []

    def run(settings, data_dir, device, report, tuning, data):
        calls.append((settings, data_dir, device))
        return make_record(values=(0.1, 0.5))

    monkeypatch.setattr(runs, "run", run)
    return calls


# ------------------------------------------------------------------------------ wrong usage


@pytest.mark.parametrize(
    "arguments, named",
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["run"], "EXPERIMENT"),
        (["run", "audio"], "audio"),
        (["run", "images", "--loss", "ot"], "ot"),
        (["run", "images", "--preset", "fast"], "fast"),
        (["run", "images", "--epochs", "2.5"], "2.5"),
        (["run", "images", "--learning-rate", "high"], "high"),
        (["run", "images", "--seed", "one"], "one"),
        (["run", "images", "--colour", "red"], "--colour"),
        (["data"], "action"),
        (["data", "delete"], "delete"),
        (["page"], "notebook"),
        (["page", "images"], "--output"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_names_what_is_wrong(capsys, arguments, named):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and named in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--dataset cifar", "dataset must be one of mnist, cifar10, not 'cifar'"),
        ("--epochs 0", "epochs must be at least 1, not 0"),
        ("--seed -1", "seed must be at least 0, not -1"),
        ("--margin -2", "margin must be positive and finite, not -2.0"),
        ("--lam nan", "lam must be a finite number, not nan"),
        ("--head wide", "head must be one of paper, code, not 'wide'"),
        ("--threads 0", "threads must be from 1 to 1024, not 0"),
        ("--threads 99999999999", "threads must be from 1 to 1024"),
        ("--device nowhere", "device must be cpu, cuda, cuda:1 or the like, or mps, not 'nowhere'"),
        ("--device cpu:3", "not 'cpu:3'"),
    ],
)
def test_a_setting_out_of_range_exits_with_1_and_says_so(capsys, folders, arguments, message):
    assert main(["run", "images", *arguments.split()]) == 1
    said = capsys.readouterr()
    assert message in said.err and said.err.startswith("bwot: ")
    assert not list(folders.rglob("record.json"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_an_accelerator_that_is_not_there_is_named(capsys):
    assert main([*QUICK, "--device", "cuda"]) == 1
    assert "device cuda needs a GPU" in capsys.readouterr().err


def test_a_library_that_is_not_installed_is_named(capsys, folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    assert main("run sketches --loss npair --epochs 1".split()) == 1
    said = capsys.readouterr().err
    assert said.startswith("bwot: ") and "module pytorch_metric_learning, which is not inst" in said
    assert "pip install" in said and not list(folders.rglob("record.json"))


def inside(parser, name):
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return commands.choices[name]


@pytest.mark.parametrize("kind", [Images, Shapes, Sketches])
def test_every_setting_is_an_option_of_its_type(kind):
    parser = inside(inside(_parser(), "run"), kind.NAME)
    options = {action.dest: action for action in parser._actions}
    for field in fields(kind):
        assert field.name in options
        if field.type in (int, float):
            assert options[field.name].type is field.type


def test_options_become_settings(asked, capsys):
    line = "--preset short --loss allpairs --seed 2 --lam 5 --margin 3 --head code --iterations 7"
    assert main(["run", "images", *line.split(), "--data", "here", "--device", "mps"]) == 0
    expected = Images(preset="short", loss="allpairs", seed=2, lam=5.0, margin=3.0, head="code",
                      iterations=7, epochs=10)  # fmt: skip
    assert asked == [(expected, "here", "mps")]
    assert "mnist allpairs seed 2: 10 epochs" in capsys.readouterr().out


def test_the_preset_gives_what_is_not_asked_for(asked):
    main(["run", "images"])
    assert asked[0][0] == Images(epochs=Images.PRESETS["quick"]["epochs"])


# ------------------------------------------------------------------------------ runs


def lines_of(out):
    return [line for line in out.splitlines() if line.startswith("epoch ")]


def test_a_run_in_another_process_gives_the_same_record(folders, capsys):
    output = folders / "new" / "record.json"
    command = [sys.executable, "-m", "bwot", *QUICK, "--output", str(output)]
    environment = os.environ | {"BWOT_RUNS": str(folders / "others"), "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment,
                          cwd=Path(experiments.__file__).parent.parent)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no bar where nobody watches
    assert [line.split()[1] for line in lines_of(done.stdout)] == ["0", "1"]
    torch.manual_seed(11)
    assert main(QUICK) == 0
    theirs = read_record(output)
    ours = read_record(next((folders / "runs").rglob("record.json")))
    for name in ("settings", "scores", "per_query_ap", "replay", "dataset", "loss"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert [row["loss"] for row in ours.history] == [row["loss"] for row in theirs.history]
    assert ours.provenance["key"] == theirs.provenance["key"]
    assert f"map {ours.scores['map']:.4f}" in capsys.readouterr().out


def test_a_diverged_run_is_said_and_recorded(monkeypatch, make_record, folders, capsys):
    record = make_record(values=(0.1,), diverged="epoch 1, step 4")
    monkeypatch.setattr(runs, "run", lambda *_, **__: record)
    assert main([*QUICK, "--output", str(folders / "record.json")]) == 0
    said = capsys.readouterr().err
    assert "DivergedError" in said and "epoch 1, step 4" in said
    assert json.loads((folders / "record.json").read_text())["status"] == "diverged"


def test_a_record_that_cannot_be_written_is_named(asked, folders, capsys):
    (folders / "taken").write_text("a file where a folder has to be")
    assert main(["run", "images", "--output", str(folders / "taken" / "record.json")]) == 1
    assert "taken" in capsys.readouterr().err


@pytest.mark.parametrize("by", ["option", "environment"])
def test_missing_data_name_the_folder_and_the_command(folders, capsys, monkeypatch, by):
    (folders / "empty").mkdir()
    option = ["--data", str(folders / "empty")]
    if by == "environment":
        monkeypatch.setenv("BWOT_DATA", option.pop())
        option.pop()
    assert main(["run", "images", "--preset", "short", *option]) == 1
    said = capsys.readouterr().err
    assert str(folders / "empty" / "mnist") in said and "bwot data download mnist" in said
    assert not (folders / "runs").exists() and not list((folders / "empty").iterdir())


# ------------------------------------------------------------------------------ data


def idx(*dimensions, value=0):
    size = 1
    for length in dimensions:
        size *= length
    return struct.pack(f">{1 + len(dimensions)}I", 0x800 + len(dimensions), *dimensions) + bytes([value]) * size  # fmt: skip


def mnist_like(root):
    """Files of MNIST's layout with other bytes."""
    (root / "mnist").mkdir(parents=True)
    for part, n in (("train", 24), ("t10k", 10)):
        (root / "mnist" / f"{part}-images-idx3-ubyte").write_bytes(idx(n, 28, 28))
        (root / "mnist" / f"{part}-labels-idx1-ubyte").write_bytes(idx(n))


@pytest.mark.parametrize(
    "state, status", [("missing", 0), ("variant", 0), ("damaged", 1)], ids=lambda value: str(value)
)
def test_verify_says_the_state_of_every_set(folders, capsys, state, status):
    if state != "missing":
        mnist_like(folders)
    if state == "damaged":
        (folders / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(idx(10)[:-1])
    assert main(["data", "verify", "--data", str(folders)]) == status
    said = capsys.readouterr().out
    assert str(folders) in said
    (line,) = (line for line in said.splitlines() if line.startswith("  mnist "))
    assert line.split()[1] == state and "MB" in line and "CC BY-SA" in line
    assert any("digits" in line and "embedded" in line for line in said.splitlines())
    assert ("t10k-labels-idx1-ubyte" in said) is True  # each file that is not official is explained


@pytest.mark.parametrize("name", [[], ["imagenet"]], ids=["none", "unknown"])
def test_a_download_names_the_sets_that_there_are(folders, capsys, name):
    assert main(["data", "download", *name, "--data", str(folders)]) == 1
    assert "name the set to download: mnist" in capsys.readouterr().err


# ------------------------------------------------------------------------------ pages


def test_parameters_of_a_page_are_read_as_papermill_reads_them(monkeypatch, folders, capsys):
    seen = []
    monkeypatch.setattr("bwot.publishing.make_page", lambda *all: seen.append(all))
    line = f"page images -p lam 5 -p seeds [1,2] -p dataset mnist --output {folders}/page.ipynb"
    assert main(line.split()) == 0
    (notebook, output, parameters), = seen  # fmt: skip
    assert notebook.name == "images.ipynb" and output == folders / "page.ipynb"
    assert parameters == {"lam": 5, "seeds": [1, 2], "dataset": "mnist"}
    assert "page.ipynb" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line, message",
    [
        ("page nothing", "there is no notebook"),
        ("page images -p lambda_ 5", "images.ipynb has no parameter lambda_; it has dataset, "),
        ("page images -p losses [bwot", "must be YAML"),
    ],
)  # fmt: skip
def test_a_page_that_cannot_be_is_refused(folders, capsys, line, message):
    assert main([*line.split(), "--output", str(folders / "page.ipynb")]) == 1
    assert message in capsys.readouterr().err and not (folders / "page.ipynb").exists()


# ------------------------------------------------------------------------------ tuning


@pytest.fixture
def tuned(folders, monkeypatch, make_record):
    """A file of ``bwot tune`` and what ``run`` is called with."""
    from bwot import tuning

    found = {"criterion": "c", "seed": 100, "chosen": {"learning_rate": 0.04, "margin": 2.0}, "grid": []}  # fmt: skip
    calls = []
    monkeypatch.setattr(tuning, "tune", lambda *_, **__: found)
    monkeypatch.setattr(runs, "run", lambda settings, *_, **given: calls.append((settings, given["tuning"])) or make_record())  # fmt: skip
    assert main(f"tune images --loss active --output {folders}/new/active.json".split()) == 0
    return folders / "new" / "active.json", found, calls


def test_a_run_takes_what_tuning_chose(tuned, capsys):
    path, found, calls = tuned
    assert main(f"tune images --loss active --output {path}".split()) == 0
    assert "chosen: learning_rate 0.04  margin 2" in capsys.readouterr().out
    line = f"run images --loss active --seed 3 --epochs 2 --tuned {path}"
    assert main(line.split()) == 0
    assert calls == [(Images(loss="active", seed=3, epochs=2, learning_rate=0.04, margin=2.0), found)]  # fmt: skip
    assert main("run images --loss active".split()) == 0 and calls[1][1] is None


@pytest.mark.parametrize("other", ["--loss bwot", "--loss active --lam 5", "--loss active --normalise-gradient", "--as-published"])  # fmt: skip
def test_the_tuning_of_something_else_is_refused(tuned, capsys, other):
    path, _, calls = tuned
    assert main(f"run images {other} --tuned {path}".split()) == 1
    assert f"{path} is the tuning of other settings or data" in capsys.readouterr().err
    assert not calls


@pytest.mark.parametrize("content", [None, "garbage"])
def test_a_tuning_that_cannot_be_read_is_named(tuned, capsys, content):
    path, _, calls = tuned
    path.unlink() if content is None else path.write_text(content)
    assert main(f"run images --loss active --tuned {path}".split()) == 1
    assert str(path) in capsys.readouterr().err and not calls


def test_switches_become_settings(tuned):
    calls = tuned[2]
    for switches in ("--as-published", "--normalise-gradient", "--no-as-published"):
        assert main(["run", "images", switches]) == 0
    assert [(each.as_published, each.normalise_gradient) for each, _ in calls] == [
        (True, False),
        (False, True),
        (False, False),
    ]


def test_a_tuning_has_to_be_written_somewhere(capsys):
    with pytest.raises(SystemExit):
        main(["tune", "images"])
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["--loss pixels", "--as-published"])
def test_what_cannot_be_tuned_exits_with_1(folders, capsys, what):
    assert main(f"tune images {what} --output {folders}/x.json".split()) == 1
    assert "no learning rate to tune" in capsys.readouterr().err


def test_a_setting_that_others_fix_is_refused_and_not_dropped(capsys, folders):
    assert main("run images --as-published --learning-rate 0.1".split()) == 1
    assert "--learning-rate 0.1 is not taken: the other settings make it 0.2" in capsys.readouterr().err  # fmt: skip


def test_data_that_a_preset_does_not_take_are_said(asked, capsys):
    assert main("run images --data somewhere --variant mine".split()) == 0
    assert "quick takes embedded stand-ins" in capsys.readouterr().out
