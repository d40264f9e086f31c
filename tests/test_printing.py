"""The book as a PDF: refused with what to do where nothing can be printed, and printed where it can."""

import subprocess
import sys

import pytest

from bwot import printing
from bwot.__main__ import main
from bwot.paths import PROJECT

PAGE = (
    '<style>a::after { content: " on " attr(data-page) } .chapter { break-before: page }</style>'
    '<div id="jb-print-docs-body"><h1>The book</h1><nav id="jb-print-toc"><a href="book/index.html#a/chapter">Second</a>'
    '<a href="book/index.html#there">First</a><a href="book/index.html#nowhere">None</a></nav></div>'
    '<h1 class="chapter" id="there">One</h1><h1 class="chapter" id="a/chapter">Two</h1><p class="component-author">By us</p>'
)


@pytest.fixture
def built(tmp_path):
    """What the builder singlehtml leaves."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "index.html").write_text(PAGE, encoding="utf-8")
    return tmp_path


def test_links_within_the_book_stay_within_the_page(built):
    page = printing.one_page(built)
    assert page.parent == built and 'href="#there"' in page.read_text(encoding="utf-8")


def test_without_a_browser_it_says_what_to_install(built, monkeypatch, capsys):
    monkeypatch.setattr(printing.shutil, "which", lambda name: None)
    assert main(["pdf", str(built), "--output", str(built / "book.pdf")]) == 1
    said = capsys.readouterr().err
    assert "needs a Chromium" in said and "apt-get install chromium" in said
    assert not (built / "book.pdf").exists()


def test_without_the_page_it_says_what_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(printing.shutil, "which", lambda name: "/usr/bin/true")
    with pytest.raises(printing.PrintError, match="make pdf"):
        printing.print_book(tmp_path, tmp_path / "book.pdf")


def test_a_page_is_printed(built, browser):
    """By a process of its own: this one has a browser open, for the skip where none is installed."""
    output = built / "book.pdf"
    command = [sys.executable, "-m", "bwot", "pdf", str(built), "--output", str(output)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = output.read_bytes()
    assert printed.startswith(b"%PDF-") and b"/Outlines" in printed


def test_the_contents_name_the_page_of_every_chapter_and_the_title_its_authors(built, browser):
    tab = browser.new_page()
    tab.goto(printing.one_page(built).as_uri())
    tab.evaluate(printing.CONTENTS, {})
    pages = printing.pages_of(tab.pdf())
    assert {name: pages[name] for name in ("there", "a/chapter")} == {"there": 2, "a/chapter": 3}
    tab.evaluate(printing.CONTENTS, pages)
    shown = tab.evaluate("[...document.querySelectorAll('a')].map(link => link.dataset.page)")
    assert shown == ["3", "2", ""]
    assert tab.locator("h1:first-child + .component-author").inner_text() == "By us"
    tab.close()


def test_a_link_to_a_chapter_leads_to_the_page_of_its_title(browser, tmp_path):
    """By the book's style sheet; the markup is that of the builder singlehtml."""
    style = (PROJECT / "book/static/custom.css").read_text(encoding="utf-8")
    page = tmp_path / "whole.html"
    page.write_text(
        f'<style>{style}</style><a href="#document-a">A</a><a href="#a">a</a><article class="bd-article"><section><h1>Book</h1>'
        '<div class="toctree-wrapper"><span id="document-a"></span><section id="a"><h2>A</h2></section></div></section></article>',
        encoding="utf-8",
    )  # fmt: skip
    tab = browser.new_page()
    tab.goto(page.as_uri())
    pages = printing.pages_of(tab.pdf(prefer_css_page_size=True))
    tab.close()
    assert pages["document-a"] == pages["a"] > 1
