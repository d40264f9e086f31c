"""Texts of numbers, line by line, and polygons as triangles: what the formats share, and the one error of all."""

import re
import warnings
from typing import NamedTuple

import numpy as np

MOST = 1 << 25
"""Lines, numbers, vertices, or lists that are read of one file. Memory and time go with them, and the densest file that is
within takes about 6 GB and a minute."""
COMMENT = re.compile(rb"(?<!\.)#[^\n]*")
BLOCK = 1 << 16  # bytes that are rid of comments at a time
NUMBER = re.compile(rb"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)", re.IGNORECASE)


class MeshError(ValueError):
    """A file holds no mesh that can be read; the message gives the file, the line where there is one, and the reason."""


def refuse_many(count, what):
    """Raise for more of something than memory and time are meant for."""
    if count > MOST:
        raise MeshError(f"the file has {count:,} {what}, at most {MOST:,} are read.")


def as_doubles(values):
    """Numbers of a file as float64; some NaNs warn when they are converted, and are told of by :func:`refuse_infinite`."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


def refuse_infinite(vertices, where="vertex", numbers=None):
    """Raise for the first row that is not finite; it is called by its number, or by one of those given."""
    finite = np.isfinite(vertices).all(axis=1)
    if not finite.all():
        number = np.argmin(finite) if numbers is None else numbers[np.argmin(finite)]
        raise MeshError(f"{where} {number}: a coordinate is not finite.")


class Rows(NamedTuple):
    """The lines of a text that hold numbers; row r is ``values[starts[r] : starts[r] + counts[r]]``, of ``lines[r]``.

    In a file of bytes a row has no line; what it is called by is its number as a ``unit``.
    """

    values: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    lines: np.ndarray
    unit: str = "line"

    def part(self, start, stop):
        """Some of the rows."""
        return Rows(self.values, *(each[start:stop] for each in self[1:4]), self.unit)

    def refuse(self, wrong, reason):
        """Raise for the first row that is ``wrong``, if one is; ``reason`` is a function of the row."""
        if wrong.any():
            row = int(np.argmax(wrong))
            raise MeshError(f"{self.unit} {self.lines[row]}: {reason(row)}.")


def plain(content):
    """A text with one kind of line ends and no comments (``1.#IND`` is no comment, but a number that went wrong)."""
    content = (
        content.removeprefix(b"\xef\xbb\xbf")
        .rstrip(b"\0\x1a")
        .replace(b"\r\n", b"\n")
        .replace(b"\r", b"\n")
    )
    refuse_many(content.count(b"\n"), "lines")
    return b"".join(_uncommented(content)) if b"#" in content else content


def _uncommented(content):
    """Its lines without comments, block by block: a text of nothing else would become very many pieces at once."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start + BLOCK) + 1 or len(content)
        yield COMMENT.sub(b"", content[start:end])
        start = end


def rows_of(text, lines):
    """The numbers of a text, all at once; ``lines`` is the number in the file of each of its lines, or of the first."""
    characters = np.frombuffer(text + b"\n", np.uint8)
    blank = (characters == 32) | ((characters >= 9) & (characters <= 13))
    begins = ~blank & np.append(True, blank[:-1])
    ends = np.flatnonzero(characters == 10)
    counts = np.add.reduceat(begins, np.append(0, ends[:-1] + 1), dtype=np.int64)
    refuse_many(int(counts.sum()), "numbers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it stops early is seen below
        try:
            values = np.fromstring(text, sep=" ")
        except ValueError:
            values = np.empty(0)
    lines = np.arange(lines, lines + len(ends)) if isinstance(lines, int) else np.asarray(lines)
    if len(values) != counts.sum():
        raise MeshError(_no_number(text, lines))
    filled = counts > 0
    return Rows(values, (np.cumsum(counts) - counts)[filled], counts[filled], lines[filled])


def _no_number(text, lines):
    rows = zip(lines, text.split(b"\n"), strict=True)
    wrong = ((at, word) for at, row in rows for word in row.split() if not NUMBER.fullmatch(word))
    line, word = next(wrong, ("?", b"what is none"))
    return f"line {line}: expected a number, found {shown(word)}."


def shown(word):
    """The beginning of what was found, for a message."""
    return repr(word.strip()[:20].decode("ascii", "backslashreplace"))


def vertices_of(rows):
    """The first three numbers of each row."""
    rows.refuse(rows.counts < 3, lambda row: f"a vertex of {rows.counts[row]} numbers, expected 3")
    vertices = rows.values[rows.starts[:, None] + np.arange(3)]
    refuse_infinite(vertices, "line", rows.lines)
    return vertices


def polygons_of(rows, first, sizes, count, shown):
    """(f, 3): the polygon of each row, its ``sizes`` values from ``first`` on, as triangles around its first corner."""
    owners, within = spread(sizes)
    places = first[owners] + within
    corners = rows.values[places]
    wrong = (corners != np.floor(corners)) | ~((corners >= 0) & (corners < count))
    rows._replace(lines=rows.lines[owners]).refuse(
        wrong, lambda at: f"the index {shown[places[at]]:.15g} is none of the {count} vertices"
    )
    fans, within = spread(np.maximum(sizes - 2, 0))
    start = (np.cumsum(sizes) - sizes)[fans]
    triangles = np.stack([start, start + within + 1, start + within + 2], axis=1)
    return corners.astype(np.int64)[triangles]


def spread(sizes):
    """For items in groups of the given sizes, one after another: the group of each, and its place there from 0."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return groups, np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
