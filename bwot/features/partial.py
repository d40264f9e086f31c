"""A file of features while it grows: killed at any moment, it goes on where it was.

Rows are appended to ``NAME.npy.part``; after each group a line with its check-sum is added to ``NAME.npy.journal``, whose
first line holds the settings. What no line vouches for is cut off when the file is opened again.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float

from bwot.features.files import write_sidecar


class Partial:
    """The growing file; used in a ``with``, so that it is closed and free for others afterwards.

    Args:
        path: of the finished array.
        shape: of it, (n, views, d).
        dtype: ``float16`` or ``float32``.
        names: of the n shapes.
        settings: what the features depend on, for the file beside the array.

    Raises:
        BlockingIOError: where another process computes the same file.
        OSError: that names the file, where it cannot be written.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: str, names: Sequence[str], settings: dict):  # fmt: skip
        self.path, self.shape, self.names, self.settings = path, tuple(shape), names, settings
        self.dtype = np.dtype(dtype)
        self.data, self.journal = (path.with_name(path.name + end) for end in (".part", ".journal"))
        self.done = 0
        """Shapes that are finished."""

    def __enter__(self):
        with _naming(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._rows, self._lines = _open(self.data), _open(self.journal)
            try:
                self._lock()
                self._resume()
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(self, *error):
        self._close()
        if not self.done:
            self.data.unlink(missing_ok=True)
            self.journal.unlink(missing_ok=True)

    def append(self, rows: Float[np.ndarray, "k views d"]) -> None:
        """Add the next k shapes."""
        with _naming(self.path):
            content = rows.astype(self.dtype, copy=False).tobytes()
            _write(self._rows, content)
            _write(self._lines, _line({"shapes": len(rows), "sha256": _digest(content)}))
        self.done += len(rows)

    def finish(self) -> None:
        """Move the array in place, with the file that says what it is."""
        with _naming(self.path):
            os.fsync(self._rows.fileno())
            write_sidecar(self.path, self.data, self.shape, self.dtype.name, self.names, self.settings)  # fmt: skip
            os.replace(self.data, self.path)
        self.journal.unlink(missing_ok=True)

    def _lock(self):
        try:
            fcntl.flock(self._rows, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            reason = "another process computes it; wait for that one"
            raise BlockingIOError(error.errno, reason, str(self.path)) from error
        if self.path.exists():  # what was opened may be the finished file under its former name
            reason = "another process has just finished it; run again"
            raise FileExistsError(errno.EEXIST, reason, str(self.path))

    def _close(self):
        self._rows.close()
        self._lines.close()

    def _resume(self):
        """Keep the rows that the journal vouches for, where it is of these settings; otherwise begin anew."""
        head, first = self._head(), self._first_line()
        lines = self._lines.read().split(b"\n")[:-1]  # what follows the last newline was cut off
        kept_rows, kept_lines = len(head), len(first)
        if lines[:1] == [first[:-1]] and self._rows.read(len(head)) == head:
            for line in lines[1:]:
                size = self._vouched(line)
                if not size:
                    break
                kept_rows, kept_lines = kept_rows + size, kept_lines + len(line) + 1
        else:
            self._restart(head, first)
        for stream, length in ((self._rows, kept_rows), (self._lines, kept_lines)):
            stream.truncate(length)
            stream.seek(length)

    def _restart(self, head, first):
        for stream, content in ((self._lines, first), (self._rows, head)):
            stream.truncate(0)
            stream.seek(0)
            _write(stream, content)

    def _vouched(self, line):
        """The bytes of the next rows if they are what a line of the journal says, else 0."""
        try:
            entry = json.loads(line)
            size = int(entry["shapes"]) * prod(self.shape[1:]) * self.dtype.itemsize
        except (ValueError, KeyError, TypeError):
            return 0
        content = self._rows.read(size)
        if len(content) != size or _digest(content) != entry["sha256"]:
            return 0
        self.done += entry["shapes"]
        return size

    def _first_line(self):
        about = {"shape": self.shape, "dtype": self.dtype.name, "settings": self.settings, "names": self.names}  # fmt: skip
        return _line({"sha256 of all that is asked for": _digest(_line(about))} | self.settings)

    def _head(self):
        """The bytes that a .npy file has before its numbers."""
        stream = io.BytesIO()
        about = {"descr": self.dtype.newbyteorder("<").str, "fortran_order": False, "shape": self.shape}  # fmt: skip
        np.lib.format.write_array_header_1_0(stream, about)
        return stream.getvalue()


def _open(path):
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)


def _line(content):
    return json.dumps(content, sort_keys=True).encode() + b"\n"


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _write(stream, content):
    """Write all of ``content``; an unbuffered stream may take less at once."""
    left = memoryview(content)
    while left:
        left = left[stream.write(left) :]


@contextmanager
def _naming(path):
    """Errors of the disk name the file, and say that what is finished is kept."""
    try:
        yield
    except (BlockingIOError, FileExistsError):  # they say what is to be said
        raise
    except OSError as error:
        reason = f"features cannot be written ({error.strerror or error}); what is finished is kept, so run again"
        raise OSError(error.errno, reason, str(path)) from error
