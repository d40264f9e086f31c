"""The book's own extension: the line about a notebook, and the HTML that it mends."""

import sys
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document
from sphinx.errors import ConfigError

from bwot.paths import PROJECT
from bwot.records import find_records, read_record

sys.path.insert(0, str(PROJECT / "book/extension"))
from bwot_book import about, repairs  # noqa: E402

URL = "https://github.com/someone/bwot-book"


@pytest.mark.parametrize(
    "page, notebook",
    [("book/pages/mnist", "images"), ("book/pages/psb", "shapes"), ("book/executed/hard_samples", "hard_samples"), ("book/method", None)],
)  # fmt: skip
def test_a_page_knows_its_notebook(page, notebook):
    assert about.notebook_of(page) == notebook
    assert notebook is None or (PROJECT / "notebooks" / f"{notebook}.ipynb").exists()


def page_of(docname, url):
    """The line on a page, and where it leads."""
    document = new_document("page")
    document += nodes.section("", nodes.title("", "Title"), nodes.paragraph("", "Text"))
    env = SimpleNamespace(docname=docname, note_dependency=lambda path: None, doc2path=lambda name: PROJECT / f"{name}.ipynb")  # fmt: skip
    app = SimpleNamespace(env=env, srcdir=str(PROJECT), config=SimpleNamespace(bwot_repository=url))
    about.add_line(app, document)
    return document[0][1], [
        node["refuri"] for node in document.findall(nodes.reference) if "refuri" in node
    ]


def test_without_an_address_there_are_no_launch_links():
    line, addresses = page_of("book/pages/mnist", "")
    assert addresses == [] and "images.ipynb" in line.astext() and "Colab" not in line.astext()
    records = [read_record(path) for path in find_records(PROJECT / "book/results/mnist")]
    trained = [
        record for record in records if len(record.history) > 1 or record.status == "diverged"
    ]
    assert f"Its {len(records)} records, {len(trained)} of trained networks, took" in line.astext()


def test_launch_links_are_pinned_to_the_release():
    line, addresses = page_of("book/pages/psb", URL)
    assert addresses == [
        f"{URL}/blob/v0.1.0/notebooks/shapes.ipynb",
        "https://colab.research.google.com/github/someone/bwot-book/blob/v0.1.0/notebooks/shapes.ipynb",
        "https://mybinder.org/v2/gh/someone/bwot-book/v0.1.0?urlpath=lab/tree/notebooks/shapes.ipynb",
    ]
    assert f'%pip install "bwot[run,shapes] @ git+{URL}@v0.1.0"' in line.astext()


def test_prose_has_no_line():
    line, _ = page_of("book/method", URL)
    assert line.astext() == "Text"


@pytest.mark.parametrize("given", ["", URL, URL + "/"])
def test_the_address_is_one_setting(given):
    config = SimpleNamespace(html_theme_options={"repository_url": given}, bwot_repository=None)
    about.repository(None, config)
    assert config.bwot_repository == given.rstrip("/")


def test_another_kind_of_address_is_refused():
    config = SimpleNamespace(html_theme_options={"repository_url": "https://example.org/x"})
    with pytest.raises(ConfigError, match="https://github.com/OWNER/NAME or empty, not 'https://example"):  # fmt: skip
        about.repository(None, config)


def test_a_signature_in_lines_is_no_list_of_definitions():
    text = '<dl class="py"><dt class="sig py" id="f">f(\n<dl>\n<dd>a,</dd>\n</dl>\n)</dt><dd>Text</dd></dl>'
    mended = repairs.mend(text)
    assert '<span class="sig-lines">\n<span class="sig-line">a,</span>\n</span>' in mended
    assert mended.endswith("</dt><dd>Text</dd></dl>") and mended.startswith('<dl class="py">')


def test_empty_heads_of_tables_get_a_word_and_entries_a_role_that_is_in_use():
    assert repairs.mend('<th class="head"><p></p></th>') == '<th class="head"><span class="visually-hidden">value</span></th>'  # fmt: skip
    assert repairs.mend('<th class="head"><p>loss</p></th>') == '<th class="head"><p>loss</p></th>'
    assert repairs.mend("<dd><p>Alias for field number 12</p>\n</dd>") == "<dd></dd>"
    wide = repairs.mend('<figure class="align-default scrolls" id="a"><figure class="b">')
    assert wide == '<figure tabindex="0" class="align-default scrolls" id="a"><figure class="b">'
    assert 'role="listitem"' in repairs.mend('<div role="doc-biblioentry">')
