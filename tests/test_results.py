"""The committed records still speak for the code: settings, data, schema and replay."""

import json

import nbformat
import numpy as np
import pytest

from bwot.paths import PROJECT
from bwot.records import read_record, unpack, validate
from bwot.runs import staleness

RECORDS = sorted((PROJECT / "book" / "results").rglob("*.json"))


@pytest.fixture(params=RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def record(request):
    return read_record(request.param)


def test_it_fits_the_schema_and_is_not_stale(record):
    validate(record)
    assert staleness(record) is None


def test_its_per_query_values_add_up_to_its_score(record):
    assert len(unpack(record.per_query_ap)) == record.dataset["sizes"]["test"]
    assert np.nanmean(unpack(record.per_query_ap)) == pytest.approx(record.scores["map"], abs=3e-4)


def test_it_was_made_by_committed_code(record):
    assert len(record.provenance["commit"]) == 40 and record.provenance["dirty"] is False


@pytest.mark.parametrize("dataset", sorted({path.parent.name for path in RECORDS}))
def test_every_number_of_the_executed_page_comes_from_the_records(dataset):
    """The page shows each record's commit and the scores that its tables are made of."""
    from bwot import tables

    records = [read_record(path) for path in RECORDS if path.parent.name == dataset]
    page = nbformat.read(PROJECT / "book" / "pages" / f"{dataset}.ipynb", as_version=4)
    shown = json.dumps(
        [output for cell in page.cells for output in cell.get("outputs", [])], ensure_ascii=False
    )
    order = {"pairwise": 0, "allpairs": 1, "bwot": 2}
    records.sort(key=lambda record: (order[record.loss["name"]], record.seed))
    for table in (
        tables.result_table,
        tables.authors_section,
        tables.findings,
        tables.provenance_table,
    ):
        assert json.dumps(table(records), ensure_ascii=False)[1:-1] in shown, table.__name__
