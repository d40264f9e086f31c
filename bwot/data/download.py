"""Fetch a published file once, from the first of its mirrors that gives the right bytes.

A download is written to ``<name>.part`` beside its place and moved there only when its check has passed: a file under
its final name is whole and right. What was cut off stays as ``<name>.part``, and the next call goes on from there. What
came whole and is not the published file is kept as ``<name>.wrong``.
pooch, the library for this, starts a cut-off file over; here a reader's slow line matters more than a short module.
"""

import errno
import fcntl
import os
import shutil
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from bwot.data.images import DataError
from bwot.progress import watched

TIMEOUT = 30.0  # seconds without a byte
BLOCK = 1 << 16


class DownloadError(OSError):
    """No mirror gave the file, or it could not be written; the message says why and what to do."""


class _MirrorFailed(Exception):
    """One mirror did not give the file; the next may."""


def fetch(urls: Sequence[str], path: Path, check: Callable[[Path], None], most: int) -> Path:
    """``path``, downloaded from the first of ``urls`` that gives a file which passes ``check``.

    A file that is there already is checked and never replaced.

    Args:
        urls: addresses of the same file, http or https, in the order to try.
        path: where it goes; missing folders are made.
        check: raises :class:`~bwot.data.images.DataError` for a file that is not the published one.
        most: bytes that the file cannot exceed; a mirror that sends more is given up.

    Raises:
        DownloadError: that gives each address with its reason and how to place the file by hand; or that the disk is
            full or not writable, or that another process fetches this file.
        DataError: from ``check``, for a file that was there before.
    """
    if path.exists():
        check(path)
        return path
    failures = []
    for url in urls:
        try:
            _fetch_from(url, path, check, most)
        except _MirrorFailed as failure:
            failures.append(f"{url}\n{textwrap.indent(str(failure), '    ')}")
        except OSError as error:
            raise DownloadError(_why_not_written(path, error)) from error
        else:
            return path
    raise DownloadError(_why_not_fetched(path, failures))


def _fetch_from(url, path, check, most):
    partial, wrong = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.wrong")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("ab") as stream:
        _lock(stream, path)
        if path.exists():  # another process finished it between our look and our lock
            return
        try:
            _receive_checked(url, stream, partial, check, most)
        except DataError as error:
            os.replace(partial, wrong)
            reason = str(error).replace(str(partial), str(wrong))
            raise _MirrorFailed(f"sent other bytes, kept as {wrong.name}:\n{reason}") from error
        finally:
            if partial.exists() and not os.fstat(stream.fileno()).st_size:
                partial.unlink()
        os.replace(partial, path)


def _receive_checked(url, stream, partial, check, most):
    appended = _receive(url, stream, most)
    try:
        check(partial)
    except DataError:
        if not appended:
            raise
        # The first part may be of another mirror's or an older file: once more, from the start.
        _restart(stream)
        _receive(url, stream, most)
        check(partial)


def _receive(url, stream, most):
    """Append to ``stream`` what it lacks of the file at ``url``, or write it anew where the server gives no part.

    True where bytes that were there before are part of the result.
    """
    start = stream.tell()
    response = _open(url, start)
    if response is None:
        return True
    with response:
        start = start if response.status == 206 else 0
        total = None if response.length is None else start + response.length
        if total is not None and total > most:
            raise _MirrorFailed(f"announces {total:,} bytes, expected at most {most:,}")
        if not start:
            _restart(stream)
        with _progress(url, start, total) as advance:
            for block in _blocks(response):
                stream.write(block)
                advance(len(block))
                if stream.tell() > most:
                    _restart(stream)
                    raise _MirrorFailed(f"sends more than the {most:,} bytes expected at most")
    stream.flush()
    os.fsync(stream.fileno())
    if total is not None and stream.tell() < total:
        raise _MirrorFailed(f"the connection was cut after {stream.tell():,} of {total:,} bytes")
    return start > 0


def _open(url, start):
    """The answer to a request for the bytes from ``start``; None where the server has none beyond them.

    None can also mean that the file became shorter: the check after it tells.
    """
    headers = {"User-Agent": "bwot", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = _opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return None
        raise _MirrorFailed(f"HTTP status {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise _MirrorFailed(_reason(error)) from error
    sent = response.headers.get("Content-Range", "no range")
    if response.status == 206 and not sent.startswith(f"bytes {start}-"):
        response.close()
        raise _MirrorFailed(f"sent {sent}, expected bytes {start}-")
    return response


def _opener():
    """Without urllib's handlers of file:, ftp: and data:, also where a server redirects there."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _blocks(response):
    """Blocks of the body; an error of the network is the mirror's, so that any other is the disk's."""
    while True:
        try:
            block = response.read(BLOCK)
        except (OSError, HTTPException) as error:
            raise _MirrorFailed(_reason(error)) from error
        if not block:
            return
        yield block


def _reason(error):
    reason = getattr(error, "reason", error)
    return f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)


@contextmanager
def _progress(url, start, total):
    if not watched():
        yield lambda received: None
        return
    from tqdm.auto import tqdm

    name = url.rsplit("/", 1)[-1]
    with tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name) as bar:
        yield bar.update


def _restart(stream):
    stream.seek(0)
    stream.truncate()


def _lock(stream, path):
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            error.errno, "another process is fetching it; wait for that one", str(path)
        ) from error


def _why_not_fetched(path, failures):
    addresses = "\n  ".join(failures)
    return (
        f"{path.name} could not be fetched:\n  {addresses}\n"
        "Run again: what came so far is kept and continued. Or fetch the file by hand, from one of these addresses or"
        f" from anyone who has it, and place it as {path}"
    )


def _why_not_written(path, error):
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk of {path.parent} is full ({shutil.disk_usage(path.parent).free:,} bytes free). What came is kept"
            f" as {path.name}.part: free some space and run again, it goes on from there."
        )
    return f"{path} cannot be written: {error}."
