"""The committed records still speak for the code: settings, data, schema and replay."""

import json

import nbformat
import numpy as np
import pytest

from bwot.paths import PROJECT
from bwot.records import find_records, read_record, unpack, validate
from bwot.runs import staleness

RESULTS = PROJECT / "book" / "results"
RECORDS = find_records(RESULTS)


@pytest.fixture(params=RECORDS, ids=lambda path: str(path.relative_to(RESULTS).with_suffix("")))
def record(request):
    return read_record(request.param)


def test_it_fits_the_schema_and_is_not_stale(record):
    validate(record)
    assert staleness(record) is None


def test_its_per_query_values_add_up_to_its_score_unless_it_diverged(record):
    if record.status == "diverged":
        assert record.scores is None and record.per_query_ap is None
        return
    assert len(unpack(record.per_query_ap)) == record.dataset["sizes"]["test"]
    assert np.nanmean(unpack(record.per_query_ap)) == pytest.approx(record.scores["map"], abs=3e-4)


def test_it_was_made_by_committed_code(record):
    assert len(record.provenance["commit"]) == 40 and record.provenance["dirty"] is False


PAGES = sorted((PROJECT / "book" / "pages").glob("*.ipynb"))


def records_in(folder, losses, seeds):
    """The records of some losses in a folder, in the order in which the notebook makes them; seeds None: all there are."""
    found = [read_record(path) for path in sorted(folder.glob("*-seed*.json"))]
    found = [r for r in found if r.loss["name"] in losses and (seeds is None or r.seed in seeds)]
    return sorted(found, key=lambda record: (losses.index(record.loss["name"]), record.seed))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_number_of_the_executed_page_comes_from_the_records(page):
    """The page shows each record's commit and the scores that its tables are made of."""
    from bwot import findings, longer, origins, tables

    content = nbformat.read(page, as_version=4)
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    shown = json.dumps(outputs, ensure_ascii=False)
    given = {}
    for cell in content.cells:
        if set(cell.metadata.get("tags", [])) & {"parameters", "injected-parameters"}:
            exec(cell.source, given)
    results = PROJECT / "book" / "results" / page.stem
    folders = {
        "common": results,
        "tuned": results / "tuned",
        "as published": results / "as-published",
        "end to end": results / "end-to-end",
    }
    groups = {
        name: records_in(
            folders[name], given["losses"], [0] if name == "end to end" else given["seeds"]
        )
        for name in given["comparisons"]
    }
    zero_lines = (
        records_in(results, ["pixels", "features", "untrained"], given["seeds"])
        if given["zero_lines"]
        else []
    )
    main = groups[given["comparisons"][0]]
    trained_on, others = (find(main, RESULTS) for find in (longer.full_length, longer.next_best))
    kinds = groups | {origins.ZERO_LINES: zero_lines, "full length": trained_on, origins.NEXT_BEST: others} | findings.sides(main, RESULTS)  # fmt: skip
    published = groups.get("as published", main)
    images = main[0].experiment == "images"
    beside = {name: zero_lines for name in groups} | {"end to end": ()}
    if images:  # the authors' settings have another head
        beside["as published"] = [each for each in zero_lines if each.loss["name"] == "pixels"]
    expected = [tables.result_table(group, beside[name]) for name, group in groups.items()]
    beside = tables.authors_section(published) if images else tables.scores_beside(main, published)
    expected += [beside, findings.points(main)]
    expected += [findings.headline(groups | {"full length": trained_on}), origins.provenance(kinds)]  # fmt: skip
    if images:
        expected += [longer.text(main, trained_on), longer.next_best_text(main, others)]
    for text in expected:
        assert json.dumps(text, ensure_ascii=False)[1:-1] in shown, text
