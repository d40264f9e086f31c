"""The workflow that publishes the book: valid by GitHub's schema, and of commands that exist here."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / ".github/workflows/book.yml"
JOBS = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]


def lint(path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True)


def test_it_is_valid():
    done = lint(WORKFLOW)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mistyped_key_would_be_found(tmp_path):
    text = WORKFLOW.read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(text.replace("runs-on:", "run-on:", 1), encoding="utf-8")
    assert wrong.read_text() != text and lint(wrong).returncode != 0


def test_its_make_targets_exist():
    steps = [step.get("run", "") for job in JOBS.values() for step in job["steps"]]
    asked = set(re.findall(r"\bmake (\w+)", "\n".join(steps)))
    there = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))  # fmt: skip
    assert asked == {"test", "pdf"} and asked <= there


def test_what_it_hands_on_is_what_the_makefile_writes():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    paths = [step["with"]["path"] for step in JOBS["book"]["steps"] if "path" in step.get("with", {})]  # fmt: skip
    assert paths == ["book/_build/bwot.pdf", "book/_build/html"]
    assert f"--output {paths[0]}" in makefile and f"{paths[1]}/index.html" in makefile


def test_only_the_jobs_that_publish_may_write():
    rights = {name: set(job.get("permissions", {})) for name, job in JOBS.items()}
    assert rights == {"book": set(), "publish": {"pages", "id-token"}, "release": {"contents"}}
    assert all(JOBS[name]["needs"] == "book" for name in ("publish", "release"))
