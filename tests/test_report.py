"""What is made from records: written where it belongs, and named where it is missing, changed or stale."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bwot import paths, report, runs
from bwot.__main__ import main
from bwot.experiments import Images, settings_of
from bwot.paths import PROJECT
from bwot.records import read_record, write_record
from bwot.sharpness import RECORD

KEPT = ("mnist/bwot-seed0.json", "mnist/bwot-seed1.json", "mnist/pairwise-seed0.json", "mnist/as-published/bwot-seed0.json")  # fmt: skip
ROLES = "The first {result}`mnist/bwot map` and the second {result}`mnist/pairwise map @1 .1%`.\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with few committed records and the pages that show them; a replay gives what the record has."""
    for name in KEPT:
        (tmp_path / report.RESULTS / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / report.RESULTS / name, tmp_path / report.RESULTS / name)
    shutil.copytree(PROJECT / RECORD.parent, tmp_path / RECORD.parent)
    for page in report.PARTS:
        (tmp_path / page).write_text((PROJECT / page).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "book" / "pages").mkdir()
    (tmp_path / "book" / "pages" / "mnist.ipynb").write_text("{}")
    for page, roles in (
        ("deviations", ""),
        ("index", ROLES),
    ):  # they name records that are not among the few
        text = (tmp_path / f"book/{page}.md").read_text(encoding="utf-8").replace("{result}", "{other}")  # fmt: skip
        (tmp_path / f"book/{page}.md").write_text(text + roles, encoding="utf-8")
    shutil.copy(PROJECT / "_toc.yml", tmp_path)
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    replays = [(settings_of(r), r.replay) for r in map(read_record, _records(tmp_path))]
    monkeypatch.setattr(runs, "replay", lambda settings: dict(replays)[settings])
    assert main(["report"]) == 0
    return tmp_path


def _records(root):
    return sorted((root / report.RESULTS).rglob("*-seed*.json"))


def checked(capsys):
    """Exit status of the check and what it says."""
    status = main(["report", "--check"])
    return status, capsys.readouterr().err


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# ------------------------------------------------------------------------------ the committed pages


@pytest.mark.parametrize("page", report.PARTS)
def test_the_committed_page_is_what_the_records_say(page):
    text = (PROJECT / page).read_text(encoding="utf-8")
    for name, make in report.PARTS[page].items():
        there = report._marked(name).search(text)[2]
        assert report.differences(there, make(PROJECT)) == []


def test_every_number_in_the_prose_has_a_record():
    assert report.missing_records(PROJECT) == []


# ------------------------------------------------------------------------------ writing and checking


def test_what_was_written_passes_and_is_not_written_again(project, capsys):
    assert checked(capsys) == (0, "")
    before = {page: (project / page).stat().st_mtime_ns for page in report.PARTS}
    assert main(["report"]) == 0 and "nothing has changed" in capsys.readouterr().out
    assert {page: (project / page).stat().st_mtime_ns for page in report.PARTS} == before


def test_a_check_writes_nothing(project, capsys):
    page = project / "book/scoreboard.md"
    edit(page, "96.00", "96.10")
    text = page.read_text(encoding="utf-8")
    assert checked(capsys)[0] == 1 and page.read_text(encoding="utf-8") == text


def test_a_missing_row_is_named(project, capsys):
    page = project / "book/scoreboard.md"
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    page.write_text("".join(li for li in lines if not li.startswith("| FT | last | 56.40")))  # fmt: skip
    status, said = checked(capsys)
    assert status == 1
    assert "book/scoreboard.md: the row “FT, last” of the table scoreboard-shrec14-bwot is missing" in said  # fmt: skip


def test_a_row_that_nothing_stands_behind_is_named(project, capsys):
    page = project / "book/scoreboard.md"
    edit(page, "| NN | last |", "| NNN | last | 99.00 | x |\n| NN | last |")  # fmt: skip
    status, said = checked(capsys)
    assert status == 1 and "“NNN, last” of the table scoreboard-shrec13-bwot has no record" in said  # fmt: skip


def test_a_number_that_is_not_the_records_is_named(project, capsys):
    edit(project / "book/scoreboard.md", "98.3", "98.4")
    status, said = checked(capsys)
    assert status == 1 and "says" in said and "the records say" in said and "scoreboard-mnist" in said  # fmt: skip


def test_a_record_that_is_gone_is_noticed_in_prose_and_table(project, capsys):
    (project / report.RESULTS / "mnist/pairwise-seed0.json").unlink()
    status, said = checked(capsys)
    assert status == 1
    assert "book/index.md: the numbers of mnist/pairwise have no record in book/results/mnist" in said  # fmt: skip
    assert "of the table scoreboard-mnist-pairwise says" in said


def test_changed_words_between_the_marks_are_noticed(project, capsys):
    edit(project / "book/scoreboard.md", "The authors' numbers: ", "Their numbers: ")
    status, said = checked(capsys)
    assert status == 1 and "the text between the marks" in said


def test_a_page_without_its_marks_is_refused(project, capsys):
    edit(
        project / "book/deviations.md", "% begin sharpness: made by", "% begins sharpness: made by"
    )
    status, said = checked(capsys)
    assert status == 1 and "book/deviations.md must hold the lines `% begin sharpness" in said


def test_the_record_of_the_plans_is_computed_again(project, capsys):
    edit(project / RECORD, '"lam": 5.0', '"lam": 6.0')
    status, said = checked(capsys)
    assert status == 1 and "book/deviations.md: book/results/plans/sharpness.json is missing or stale" in said  # fmt: skip
    assert main(["report"]) == 0 and checked(capsys) == (0, "")


# ------------------------------------------------------------------------------ stale


def stale_settings(record):
    return replace(record, settings=record.settings | {"colour": "red"})


def stale_data(record):
    return replace(record, dataset=record.dataset | {"sha256": "e" * 64})


def stale_replay(record):
    return replace(record, replay=[value * 1.01 for value in record.replay])


@pytest.mark.parametrize(
    "plant, reason",
    [
        (stale_settings, "its settings are no longer understood"),
        (stale_data, "its data have the fingerprint eee"),
        (stale_replay, "its replay starts"),
        (lambda record: replace(record, schema=0), "has schema 0"),
        (lambda record: replace(record, scores={"map": 2.0}), "field $.scores"),
    ],
    ids=["settings", "data", "replay", "schema version", "schema"],
)
def test_a_stale_record_fails_the_check_and_its_pages_are_named(project, capsys, plant, reason):
    path = project / report.RESULTS / "mnist/bwot-seed1.json"
    write_record(plant(read_record(path)), path)
    status, said = checked(capsys)
    assert status == 1
    line = next(line for line in said.splitlines() if "bwot-seed1.json" in line)
    assert reason in line
    for page in ("book/index.md", "book/pages/mnist.ipynb", "book/scoreboard.md", "book/deviations.md"):  # fmt: skip
        assert page in line


def test_a_page_that_does_not_show_a_stale_record_is_not_named(project, capsys):
    path = project / report.RESULTS / "mnist/as-published/bwot-seed0.json"
    write_record(stale_replay(read_record(path)), path)
    status, said = checked(capsys)
    line = next(line for line in said.splitlines() if "is stale" in line)
    assert status == 1 and "book/method.md" not in line and "book/pages/mnist.ipynb" in line


def test_the_book_is_not_built_before_the_check():
    """The rule of the book asks for the stamp that only a check without faults leaves."""
    text = (PROJECT / "Snakefile").read_text(encoding="utf-8")
    book, check = (text.partition(f"\nrule {name}:")[2].partition("\nrule ")[0] for name in ("book", "report"))  # fmt: skip
    assert '"runs/report.ok"' in book.partition("output:")[0]
    assert (
        'touch("runs/report.ok")' in check and "bwot report --check" in check and "exit 1" in check
    )


def test_a_planted_record_really_is_of_todays_settings(project):
    record = read_record(project / report.RESULTS / "mnist/bwot-seed1.json")
    assert runs.staleness(record) is None and Images(**record.settings).seed == 1


def test_records_are_replayed_with_one_thread_whatever_the_machine_has(project, monkeypatch):
    used, before = [], torch.get_num_threads()
    monkeypatch.setattr(report, "staleness", lambda record: used.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    report.stale_records(project)
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert set(used) == {1} and after == 2
