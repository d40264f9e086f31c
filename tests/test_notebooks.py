"""The notebooks: shape and style, and that their checked cells can fail."""

import os
import shutil
import statistics
import subprocess
import sys

import nbformat
import pytest

from bwot.paths import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def has_tag(cell, tag):
    return tag in cell.metadata.get("tags", [])


def test_it_is_valid_and_names_its_language(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.language == "python"


def test_parameters_follow_the_imports(notebook):
    first, second = code_cells(notebook)[:2]
    assert "import" in first.source
    assert second.metadata.tags == ["parameters", "hide-input"]


def test_code_cells_are_short(notebook):
    lines = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert max(lines) <= 20 and statistics.median(lines) <= 8, lines


def test_most_code_is_introduced_by_prose(notebook):
    cells = notebook.cells
    told = [before.cell_type == "markdown" or has_tag(before, "parameters") or after.metadata.get("tags") == ["hide-input"]
            for before, after in zip(cells, cells[1:], strict=False) if after.cell_type == "code"]  # fmt: skip
    assert sum(told) >= 0.75 * len(told), told


def test_only_checked_cells_keep_outputs(notebook):
    checked = [cell for cell in code_cells(notebook) if has_tag(cell, "nbval-check-output")]
    assert len(checked) >= 5
    for cell in code_cells(notebook):
        assert bool(cell.outputs) == (cell in checked), cell.source[:60]
        assert has_tag(cell, "keep_output") == (cell in checked)
        # nbval takes outputs without a count for those of a cell that was never run
        assert (cell.execution_count is not None) == (cell in checked)


def test_every_figure_has_alternative_text_and_a_caption(notebook):
    for cell in code_cells(notebook):
        assert (
            cell.source.count("figures.show(")
            == cell.source.count("alt=")
            == cell.source.count("caption=")
        )


@pytest.mark.parametrize(
    "module, constant, other",
    [
        ("losses.py", "(-gamma * error", "(-0.5 * gamma * error"),
        ("losses.py", "iterations: int = 50", "iterations: int = 1"),
    ],
)
def test_a_changed_constant_fails_the_checked_cells(tmp_path, module, constant, other):
    shutil.copytree(
        PROJECT / "bwot", tmp_path / "bwot", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(PROJECT / "notebooks" / "hard_samples.ipynb", tmp_path)
    path = tmp_path / "bwot" / module
    source = path.read_text(encoding="utf-8")
    assert constant in source
    path.write_text(source.replace(constant, other), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", "--nbval-lax", "hard_samples.ipynb"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (
        done.returncode == 1
        and "Notebook cell execution failed" in done.stdout
        or "mismatch" in done.stdout
    ), done.stdout
