"""The book on paper: all of it as one PDF.

Jupyter Book writes the whole book as one page (its builder ``singlehtml``); Chromium prints that page, with the rules for
paper of the book's style sheet, and with the headings as the outline. It is printed twice: no style sheet can tell the table of
contents the page that a chapter begins on, and the first print can.
"""

import re
import shutil
from pathlib import Path

from bwot.records import write_atomically

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
OBJECT = re.compile(rb"(\d+) 0 obj\s*<<\s*/Type /Page\b(?!s)")
"""A page as Chromium's PDF writer leaves it, readable and in its order."""
ANCHOR = re.compile(rb"/(\S*) \[(\d+) 0 R /XYZ ")
"""A named place on a page, with the number of the page's object."""
# Script that takes what pages_of returns: numbers into the contents, the authors below the title.
CONTENTS = """pages => {
  for (const link of document.querySelectorAll("#jb-print-toc a[href^='#']")) link.dataset.page = pages[link.hash.slice(1)] ?? "";
  document.querySelector("#jb-print-docs-body h1")?.after(...document.querySelectorAll("p.component-author"));
}"""
WAIT = 600_000  # milliseconds, of a busy machine; an idle one takes half a minute


class PrintError(RuntimeError):
    """Nothing to print, or nothing to print with; says what to do."""


def browser() -> str:
    """Path of an installed Chromium.

    Raises:
        PrintError: where there is none.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        raise PrintError(
            f"the PDF needs a Chromium, and none of {', '.join(BROWSERS)} is on the PATH: install one (Debian and Ubuntu: "
            "apt-get install chromium; macOS: brew install --cask chromium)."
        )
    return found


def one_page(folder: Path) -> Path:
    """The page of the builder ``singlehtml``, put where its addresses lead.

    Sphinx writes it beside the first page of the book, and gives it addresses as if it lay at the top.

    Raises:
        PrintError: where the folder holds no such page.
    """
    written = folder / "book" / "index.html"
    if not written.exists():
        raise PrintError(f"expected {written}, which `jupyter-book build --builder singlehtml` writes: run `make pdf`.")  # fmt: skip
    text = written.read_text(encoding="utf-8")
    page = folder / "whole.html"
    page.write_text(re.sub(r'href="book/index\.html#', 'href="#', text), encoding="utf-8")
    return page


def pages_of(printed: bytes) -> dict[str, int]:
    """Anchor to the page that it stands on, counted from 1, of what Chromium printed."""
    order = {number: place for place, number in enumerate(OBJECT.findall(printed), 1)}
    return {
        re.sub(rb"#([0-9A-F]{2})", lambda code: bytes.fromhex(code[1].decode()), name).decode(errors="replace"): order[number]
        for name, number in ANCHOR.findall(printed)
        if number in order
    }  # fmt: skip


def print_book(folder: Path, output: Path) -> None:
    """Print what ``singlehtml`` left in ``folder`` to ``output``; nothing is fetched.

    Raises:
        PrintError: without a Chromium, or without the page.
    """
    binary, page = browser(), one_page(folder)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=binary, args=FLAGS)
        context = chromium.new_context(viewport={"width": 1000, "height": 1400}, color_scheme="light")  # fmt: skip
        context.add_init_script("localStorage.setItem('mode', 'light'); localStorage.setItem('theme', 'light')")  # fmt: skip
        context.route(re.compile("^(?!file:|data:|blob:)"), lambda route: route.abort())
        tab = context.new_page()
        tab.set_default_timeout(WAIT)
        tab.goto(page.resolve().as_uri(), wait_until="load")
        tab.evaluate("async () => { await window.MathJax?.startup?.promise }")
        tab.evaluate(CONTENTS, {})
        printed = tab.pdf(prefer_css_page_size=True)
        tab.evaluate(CONTENTS, pages_of(printed))
        printed = tab.pdf(prefer_css_page_size=True, outline=True, tagged=True)
        chromium.close()
    write_atomically(output, printed)
