"""The re-run as a graph: what it would do, what it refuses, and what a failing notebook leaves standing."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml
from sphinx.util.matching import get_matching_files

from bwot.experiments import LOSSES, Images, Sketches
from bwot.paths import PROJECT


def snakemake(*arguments, cwd=PROJECT):
    environment = os.environ | {"PYTHONPATH": str(cwd)}
    environment.pop("BWOT_RUNS", None)
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_a_dry_run_of_the_real_thing_names_every_run_and_says_how_long(tmp_path):
    results = tmp_path / "results"
    done = snakemake("-n", "book", "--config", "preset=short", f"results={results}")
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    for loss in LOSSES:
        assert f"{results}/cifar10/tuning/{loss}.json" in told
        for seed in Images.PRESETS["short"]["seeds"]:
            for way in ("", "tuned/"):
                assert f"{results}/mnist/{way}{loss}-seed{seed}.json" in told
    assert "core-hours" in told and "GB" in told


@pytest.mark.parametrize(
    "setting, named",
    [
        ("prest=short", "preset, datasets, variant, data, results, device"),
        ("preset=shrt", "quick, short, full"),
    ],
)
def test_a_mistyped_setting_is_refused_with_the_names_there_are(setting, named):
    done = snakemake("-n", "book", "--config", setting)
    assert done.returncode != 0
    assert named in done.stdout + done.stderr


def test_one_data_set_of_another_variant_can_be_asked_for(tmp_path):
    asked = ["preset=short", f"results={tmp_path}", "datasets=cifar10", "variant=a copy of mine"]
    done = snakemake("-n", "-p", "book", "--config", *asked)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    assert "--variant 'a copy of mine'" in told and "bwot data verify" in told
    assert f"{tmp_path}/mnist" not in told
    refused = snakemake("-n", "book", "--config", "datasets=cifar")
    assert refused.returncode != 0 and "mnist, cifar10" in refused.stdout + refused.stderr


def test_sketches_have_their_own_losses_and_sides(tmp_path):
    asked = ["preset=short", f"results={tmp_path}", "datasets=shrec13-15"]
    done = snakemake("-n", "-p", "book", "--config", *asked)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    folder = f"{tmp_path}/shrec13-15"
    for loss in Sketches.LOSSES:
        assert (
            f"{folder}/tuning/{loss}.json" in told and f"{folder}/tuned/{loss}-seed9.json" in told
        )
    assert f"--lam 5.0 --output {folder}/lam5/tuning/bwot.json" in told
    assert f"--lam 5.0 --tuned {folder}/lam5/tuning/bwot.json --output {folder}/lam5/bwot-seed9.json" in told  # fmt: skip
    assert f"losses '[{', '.join(Sketches.LOSSES)}]'" in told and f"{folder}/bwot-seed0" not in told


def copy_of_the_project(folder):
    for name in ("bwot", "book", "notebooks"):
        shutil.copytree(
            PROJECT / name,
            folder / name,
            ignore=shutil.ignore_patterns("__pycache__", "_build", "executed"),
        )
    for name in ("Snakefile", "_config.yml", "_toc.yml"):
        shutil.copy(PROJECT / name, folder)


def test_a_stale_record_fails_the_build_and_its_pages_are_named(tmp_path):
    copy_of_the_project(tmp_path)
    results = tmp_path / "book" / "results"
    for path in results.rglob("*-seed*.json"):  # a replay of each would take a minute
        if path != results / "mnist" / "bwot-seed0.json":
            path.unlink()
    record = json.loads((results / "mnist" / "bwot-seed0.json").read_text())
    record["replay"][7] *= 1.1
    (results / "mnist" / "bwot-seed0.json").write_text(json.dumps(record))
    done = snakemake("runs/report.ok", cwd=tmp_path)
    assert done.returncode != 0 and not (tmp_path / "runs" / "report.ok").exists()
    said = next(line for line in done.stderr.splitlines() if "is stale" in line)
    assert "book/index.md, book/pages/mnist.ipynb" in said.replace("book/deviations.md, ", "")
    assert "book/results/mnist/bwot-seed0.json is stale: its replay starts" in said
    planned = snakemake("-n", "book", cwd=tmp_path)
    assert "rule report:" in planned.stdout + planned.stderr  # no book before it


def test_a_failing_notebook_stops_no_other_and_is_kept(tmp_path):
    copy_of_the_project(tmp_path)
    for name, source in (("hard_samples", "1 / 0"), ("images", "print(preset)")):
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        parameters = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
        notebook.cells = [parameters, nbformat.v4.new_code_cell(source)]
        nbformat.write(notebook, path)
    pages = ("book/executed/hard_samples.ipynb", "book/executed/mnist.ipynb")
    done = snakemake("--keep-going", *pages, cwd=tmp_path)
    assert done.returncode != 0
    assert (tmp_path / pages[1]).exists() and not (tmp_path / pages[0]).exists()
    last = done.stderr[-3000:]
    assert "hard_samples.ipynb: cell" in last and "ZeroDivisionError" in last
    assert (tmp_path / "runs" / "logs" / "hard_samples.failed.ipynb").exists()


def test_no_page_is_taken_from_what_tools_leave_in_the_project(tmp_path):
    """Environments of the benchmarks, caches and runs hold pages of other projects: the book is built of its own."""
    excluded = yaml.safe_load((PROJECT / "_config.yml").read_text())["exclude_patterns"]
    foreign = (".venv/lib/a.md", ".venv-bench/lib/site-packages/b/README.md", "cache/c.md", "runs/logs/d.md", "book/pages/.ipynb_checkpoints/e.ipynb")  # fmt: skip
    for name in (*foreign, "book/index.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list(get_matching_files(tmp_path, exclude_patterns=excluded)) == ["book/index.md"]
