"""The README says what is so: its example runs, its table comes from the records, its tree and floors exist."""

import re
from pathlib import Path

import pytest
from test_architecture import FLOORS

from bwot.experiments import experiment_of
from bwot.experiments.plan import FOLDERS
from bwot.paths import PROJECT
from bwot.records import read_record
from bwot.tables import summary_table

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_first_example_runs():
    example, *_ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope = {}
    exec(example, scope)
    assert scope["weights"].shape == (64, 64) and scope["network"].weight.grad.isfinite().all()


CHAPTERS = [path.stem for path in (PROJECT / "book" / "pages").glob("*.ipynb")]
RESULTS = [
    path
    for way in ("tuned", "full length")
    for dataset in sorted(CHAPTERS)
    if (path := PROJECT / "book" / "results" / dataset / FOLDERS[way]).is_dir()
]


@pytest.mark.parametrize("folder", RESULTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_results_are_those_of_the_records(folder):
    records = [read_record(path) for path in sorted(folder.glob("*-seed*.json"))]
    losses = experiment_of(folder.parent.name).LOSSES
    expected = summary_table([each for each in records if each.loss["name"] in losses])
    assert expected in README, f"put this table into README.md:\n{expected}"


def test_every_file_in_the_tree_exists():
    (tree,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    for line in tree.splitlines():
        folder = PROJECT / "bwot" if line.startswith("  ") else PROJECT
        names = re.match(r"\s*((?:\S+ )*\S+)", line)[1].split("   ")[0].split()
        for name in names:
            if "." in name or name.endswith("/") or name == names[0]:
                assert (folder / name).exists(), name


def test_every_module_is_in_the_tree():
    for path in Path(PROJECT / "bwot").glob("*.py"):
        assert path.name == "__init__.py" or f" {path.name}" in README, path.name


def test_the_floors_are_those_that_are_tested():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE)
    drawn = [set(re.findall(r"`(\w+)`", names)) for _, names in rows]
    assert drawn == [set(floor) for floor in FLOORS]
