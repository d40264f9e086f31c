"""The list of records: every folder has a table, every number of the prose a table to link to."""

import re

from bwot import ledger, report
from bwot.origins import label_of
from bwot.paths import PROJECT
from bwot.records import find_records, write_record

RESULTS = PROJECT / report.RESULTS


def test_a_loss_has_a_row_in_the_table_of_its_folder(tmp_path, make_record):
    for seed in (0, 1, 2):
        lost = {"diverged": "epoch 1, step 3"} if seed == 2 else {}
        write_record(make_record("bwot", seed, **lost), tmp_path / f"mnist/tuned/bwot-seed{seed}.json")  # fmt: skip
    write_record(make_record("pixels", 0, (0.1,)), tmp_path / "mnist/pixels-seed0.json")
    text = ledger.tables(tmp_path)
    assert ":name: records-mnist-tuned\n" in text and text.startswith("## MNIST\n")
    assert "| batch-wise OT, `bwot` | 0 to 2 | 1 | 2 | 10.0 | cpu | `0123456789` |" in text
    assert "`book/results/mnist/`: scored without training." in text


def test_without_records_the_page_says_so(tmp_path):
    assert ledger.tables(tmp_path) == "There is no record yet."


def test_every_folder_with_a_committed_record_has_a_table_and_every_number_one_to_link_to():
    page = (PROJECT / "book/records.md").read_text(encoding="utf-8")
    there = set(re.findall(r":name: (records-[\w-]+)", page))
    folders = {path.parent.relative_to(RESULTS).as_posix() for path in find_records(RESULTS)}
    assert there == {label_of(folder) for folder in folders}
    used = {folder for names in report.roles(PROJECT).values() for folder, _ in names}
    assert {label_of(folder) for folder in used} <= there
