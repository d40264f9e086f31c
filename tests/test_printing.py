"""The book as a PDF: refused with what to do where nothing can be printed, and printed where it can."""

import subprocess
import sys

import pytest

from bwot import printing
from bwot.__main__ import main
from bwot.paths import PROJECT

PAGE = (
    '<h1>The book</h1><p><a href="book/index.html#there">there</a></p><h1 id="there">Chapter</h1>'
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
