"""One set of versions: pyproject.toml gives ranges, requirements.lock the pins, environment.yml refers to both."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCK = [
    line
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line and not line.startswith("#")
]
MACHINES = [
    {
        "python_version": python,
        "python_full_version": f"{python}.{patch}",
        "sys_platform": platform,
        "platform_machine": machine,
        "os_name": "posix",
        "implementation_name": "cpython",
    }
    for python, patch in [("3.11", 0), ("3.11", 9), ("3.12", 4), ("3.13", 1)]
    for platform, machine in [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
]


def declared():
    """Every requirement that pyproject.toml states, those that name the project's own extras apart."""
    stated = [*PYPROJECT["build-system"]["requires"], *PROJECT["dependencies"]]
    for extra in PROJECT["optional-dependencies"].values():
        stated += extra
    return [text for text in dict.fromkeys(stated) if Requirement(text).name != PROJECT["name"]]


def pinned(machine):
    """Canonical name → version for what the lock installs on ``machine``; refuses two pins of one package."""
    pins = {}
    for requirement in map(Requirement, LOCK):
        if requirement.marker is None or requirement.marker.evaluate(machine):
            name = canonicalize_name(requirement.name)
            assert name not in pins, f"{name} is pinned twice for {machine}"
            pins[name] = next(iter(requirement.specifier)).version
    return pins


def test_every_line_of_the_lock_is_one_exact_public_version():
    loose = [line for line in LOCK if not re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*( ; .+)?", line)]
    assert not loose, f"expected name==version, with a marker at most, not {loose}"


def test_the_lock_leaves_accelerator_libraries_to_the_wheel_of_torch():
    assert not [line for line in LOCK if re.match("nvidia|cuda", line)]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: "-".join(machine.values()))
def test_the_lock_pins_each_requirement_once_and_within_its_range(machine):
    pins = pinned(machine)
    for requirement in map(Requirement, declared()):
        if requirement.marker is not None and not requirement.marker.evaluate(machine):
            continue
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"expected {requirement} in requirements.lock: run make lock"
        assert version in requirement.specifier, f"{version} is not {requirement}: run make lock"


def test_the_machines_are_those_that_pyproject_admits():
    admitted = SpecifierSet(PROJECT["requires-python"])
    candidates = [f"3.{minor}" for minor in range(9, 20)]
    assert {m["python_version"] for m in MACHINES} == {
        v for v in candidates if f"{v}.0" in admitted
    }


def test_conda_users_get_the_lock_and_an_admitted_python():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(d.removeprefix("python=") for d in dependencies if str(d).startswith("python="))
    assert f"{python}.0" in SpecifierSet(PROJECT["requires-python"])
    assert dependencies[-1] == {"pip": ["-r requirements.lock", "-e ."]}
    assert len(dependencies) == 3, (
        "expected python, pip and the pip section: versions live in the lock"
    )


def imported(source):
    """Top-level names that one Python file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text(), source.name)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


FOLDERS = ["bwot", "benchmarks", "book/extension", "tests"]
OWN = {path.stem for folder in FOLDERS for path in (ROOT / folder).rglob("*")} | {*FOLDERS}


@pytest.fixture(scope="module")
def distributions():
    """Import name → names of the installed distributions that bring it."""
    return packages_distributions()


PEERS = {
    "ot": "POT",
    "ott": "ott-jax",
}  # of benchmarks/requirements.txt, where `make test` does not install them


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_imported_package_is_declared(folder, distributions):
    names = {name for source in (ROOT / folder).rglob("*.py") for name in imported(source)}
    requirements = ROOT / folder / "requirements.txt"
    peers = requirements.read_text().splitlines() if requirements.exists() else []
    stated = [*declared(), *(line for line in peers if not line.startswith("#"))]
    known = {canonicalize_name(Requirement(text).name) for text in stated}
    undeclared = {
        name
        for name in names - OWN - set(sys.stdlib_module_names)
        if known.isdisjoint(
            map(canonicalize_name, distributions.get(name, [PEERS.get(name, name)]))
        )
    }
    assert not undeclared, (
        f"{folder} imports {sorted(undeclared)}: name them in pyproject.toml (peers: in benchmarks/requirements.txt)"
    )


def test_the_citation_names_this_version_and_prefers_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["preferred-citation"]["title"] in PROJECT["description"]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_says_which_python_it_needs(tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.6\nexit 1\n')
    old.chmod(0o755)
    asked = ["make", "-C", str(tmp_path), "book", f"PYTHON={old}"]
    answer = subprocess.run(asked, capture_output=True, text=True)
    assert answer.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in answer.stderr
    assert "Python 3.9.6" in answer.stderr
    assert not (tmp_path / ".venv").exists()
