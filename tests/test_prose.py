"""No number of the book is typed by hand: what has a decimal point comes from a record, a formula, code or a generator."""

import re

import nbformat
import pytest

from bwot.paths import PROJECT

DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?!\.?\w)|\d+\.\d+(?=\s?%)")
NOT_PROSE = [
    r"^% begin (\w+):.*?^% end \1$",  # made by a generator, and tested there
    r"^% begin: made.*?^% end: made$",
    r"\$\$.*?\$\$",
    r"\$[^$\n]*(?:\n[^$\n]+)?\$",
    r"\{[\w:]+\}`[^`]*`",  # roles: records, citations, references
    r"`[^`\n]*`",
    r"\]\([^)]*\)",  # the address of a link
    r"https?://\S+",
    r"^:(?:name|width|header-rows|stub-columns|gutter|link):[^\n]*$",
]
ALLOWED = {
    ("book/reproduce.md", "3.11"): "a version of Python",
    ("book/reproduce.md", "3.13"): "a version of Python",
    ("book/using_the_loss.md", "0.1"): "a setting, in the table that tests/test_using.py holds against the snippet that prints it",
}  # fmt: skip
PAGES = sorted((PROJECT / "book").rglob("*.md"))
PAGES = [path for path in PAGES if not {"_build", "executed"} & set(path.relative_to(PROJECT).parts)]  # fmt: skip
NOTEBOOKS = sorted((PROJECT / "book" / "pages").glob("*.ipynb"))


def without_code(text):
    """The lines outside of fences, and inside of those that hold prose."""
    kept, fences = [], []
    for line in text.split("\n"):
        fence = re.match(r"\s*(`{3,})(.*)", line)
        if fence and fences and not fence[2].strip() and len(fence[1]) >= len(fences[-1][0]):
            fences.pop()
        elif fence and (not fences or fences[-1][1]):
            fences.append((fence[1], fence[2].startswith(("{figure}", "{table}", "{list-table}", "{admonition}"))))  # fmt: skip
        elif all(prose for _, prose in fences):
            kept.append(line)
    return "\n".join(kept)


def typed(text):
    """The decimals in the prose of a page."""
    text = without_code(text)
    for pattern in NOT_PROSE:
        text = re.sub(pattern, " ", text, flags=re.DOTALL | re.MULTILINE)
    return DECIMAL.findall(text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_decimal_of_a_page_is_typed(path):
    name = path.relative_to(PROJECT).as_posix()
    found = [number for number in typed(path.read_text(encoding="utf-8")) if (name, number) not in ALLOWED]  # fmt: skip
    assert found == [], f"{name}: take them from a record by a role, or write a setting as a formula"  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_decimal_of_a_chapters_prose_is_typed(path):
    cells = nbformat.read(path, as_version=4).cells
    assert [typed(cell.source) for cell in cells if cell.cell_type == "markdown" and typed(cell.source)] == []  # fmt: skip


def test_what_is_allowed_is_still_there():
    for name, number in ALLOWED:
        assert number in typed((PROJECT / name).read_text(encoding="utf-8")), (name, number)


@pytest.mark.parametrize(
    "text",
    [
        "The mAP is 0.97.", "The mAP is 99.42 ± 0.02 %.", "It is 1.5 times as long", "p below .05 in all", "**0.3** points, (2.5)",
        "| batch-wise | 45.5 |", "* - 0.01", ":::{table} Gains of 3.2 points\n:::", "```{figure} x.svg\n:alt: a line\n\nEnds at 0.9.\n```",
        "% begin numbers: made\n1.0\n% end numbers\n2.5", "`code` 2.5 `code`", "```{figure} x.svg\nA line.\n```\nIt ends at 2.5.\n\n```bash\nx\n```", "```python\nx\n```\n2.5", ":name: x\n\n2.5", "$x$ and 2.5 and $y$",
    ],
)  # fmt: skip
def test_a_typed_number_is_found(text):
    assert len(typed(text)) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "$\\lambda = 0.01$", "$$\nx = 0.5\n$$ (label)", "```python\nlr=0.1\n```", "`lr=0.1`", "{result}`mnist/bwot map .1%`",
        "{cite:p}`a1.2`", "% begin numbers: made by x\n| 1.5 |\n% end numbers", "https://x.org/1.5", "In 10,000 samples. 5 epochs",
        "section 3.4.1", "see [this](a1.5.md)", "about 3 %.", "```{literalinclude} a\n0.5\n```",
    ],
)  # fmt: skip
def test_what_is_no_typed_number_is_not_found(text):
    assert typed(text) == []
