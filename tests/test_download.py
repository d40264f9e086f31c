"""Fetching from mirrors: a server on this machine that serves parts, ignores ranges, cuts off, lies or refuses."""

import hashlib
import io
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bwot.data import download
from bwot.data.download import DownloadError, fetch, watched
from bwot.data.images import DataError

CONTENT = bytes(range(256)) * 2000
SIZE = len(CONTENT)
START = 100_000  # bytes of an earlier attempt


class Handler(BaseHTTPRequestHandler):
    """The first word of the path is the manner in which it answers."""

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append((self.path.strip("/"), asked))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        try:
            getattr(self, self.path.strip("/").split("/")[0])(start)
        except ConnectionError:
            self.close_connection = True

    def ranged(self, start, content=CONTENT):
        if start >= len(content):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        if not start:
            return self.answer(200, content)
        extent = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.answer(206, content[start:], {"Content-Range": extent})

    def rangeless(self, start):
        self.answer(200, CONTENT)

    def cut(self, start):
        """Half of what is left, under the length of all of it."""
        body = CONTENT[start:]
        extent = {"Content-Range": f"bytes {start}-{SIZE - 1}/{SIZE}"} if start else {}
        self.answer(206 if start else 200, body[: len(body) // 2], extent, length=len(body))
        self.close_connection = True

    def shifted(self, start):
        self.answer(
            206, CONTENT[start + 1 :], {"Content-Range": f"bytes {start + 1}-{SIZE - 1}/{SIZE}"}
        )

    def page(self, start):
        self.answer(200, b"<html>Sign in to this network</html>")

    def newer(self, start):
        """Another file under the same address."""
        self.ranged(start, bytes(reversed(CONTENT)) + b"more")

    def announced(self, start):
        self.answer(200, b"", length=10**12)

    def endless(self, start):
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(1 << 16))

    def silent(self, start):
        self.server.released.wait(10)

    def absent(self, start):
        self.answer(404, b"")

    def moved(self, start):
        self.answer(302, b"", {"Location": "/ranged"})

    def astray(self, start):
        self.answer(302, b"", {"Location": "ftp://127.0.0.1/file"})

    def answer(self, status, body, headers=None, length=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Silence: the base class writes each request to the terminal."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("BWOT_PROGRESS", "off")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.released = [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server
        server.released.set()
        server.shutdown()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set" / "file.gz"


def check(path):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != hashlib.sha256(CONTENT).hexdigest():
        raise DataError(f"{path} is not the published file, found {found}")


def get(server, path, *manners, most=2 * SIZE):
    return fetch([f"{server.url}/{manner}" for manner in manners], path, check, most)


def leave_partial(path, content):
    path.parent.mkdir()
    partial = path.with_name("file.gz.part")
    partial.write_bytes(content)
    return partial


def names(path):
    return sorted(entry.name for entry in path.parent.iterdir())


@pytest.mark.parametrize("manner", ["ranged", "rangeless", "moved"])
def test_a_file_comes_whole_and_alone(server, path, manner):
    assert get(server, path, manner) == path
    assert path.read_bytes() == CONTENT and names(path) == ["file.gz"]


def test_a_file_that_is_there_is_not_fetched_again(server, path):
    get(server, path, "ranged")
    get(server, path, "ranged")
    assert len(server.asked) == 1


def test_a_wrong_file_that_was_there_is_reported_and_kept(server, path):
    path.parent.mkdir()
    path.write_bytes(b"a reader's own")
    with pytest.raises(DataError, match="not the published file"):
        get(server, path, "ranged")
    assert path.read_bytes() == b"a reader's own" and server.asked == []


def test_an_earlier_part_is_continued(server, path):
    leave_partial(path, CONTENT[:START])
    get(server, path, "ranged")
    assert server.asked == [("ranged", f"bytes={START}-")]
    assert path.read_bytes() == CONTENT and names(path) == ["file.gz"]


def test_a_server_that_ignores_ranges_starts_over(server, path):
    leave_partial(path, CONTENT[:START])
    get(server, path, "rangeless")
    assert path.read_bytes() == CONTENT and len(server.asked) == 1


@pytest.mark.parametrize(
    "earlier",
    [bytes(START), CONTENT + b"longer", bytes(SIZE)],
    ids=["other bytes", "longer than the file", "other bytes, same size"],
)
def test_a_part_of_another_file_is_started_over(server, path, earlier):
    leave_partial(path, earlier)
    get(server, path, "ranged")
    assert path.read_bytes() == CONTENT and names(path) == ["file.gz"]
    assert server.asked == [("ranged", f"bytes={len(earlier)}-"), ("ranged", None)]


def test_a_part_that_was_already_whole_is_taken(server, path):
    leave_partial(path, CONTENT)
    get(server, path, "ranged")
    assert path.read_bytes() == CONTENT and len(server.asked) == 1


def test_a_cut_connection_goes_on_at_the_next_mirror(server, path):
    get(server, path, "cut", "ranged")
    assert server.asked == [("cut", None), ("ranged", f"bytes={SIZE // 2}-")]
    assert path.read_bytes() == CONTENT and names(path) == ["file.gz"]


def test_a_cut_connection_leaves_a_part_and_no_file(server, path):
    with pytest.raises(DownloadError, match=f"cut after {SIZE // 2:,} of {SIZE:,} bytes"):
        get(server, path, "cut")
    assert names(path) == ["file.gz.part"]
    with pytest.raises(DownloadError, match=f"cut after {SIZE * 3 // 4:,} of {SIZE:,} bytes"):
        get(server, path, "cut")
    get(server, path, "ranged")
    assert server.asked[-1] == ("ranged", f"bytes={SIZE * 3 // 4}-")
    assert path.read_bytes() == CONTENT


def test_a_server_that_sends_another_range_is_given_up(server, path):
    partial = leave_partial(path, CONTENT[:START])
    with pytest.raises(DownloadError, match=f"sent bytes {START + 1}-"):
        get(server, path, "shifted")
    assert partial.read_bytes() == CONTENT[:START]


def test_wrong_bytes_are_kept_aside_and_the_next_mirror_is_asked(server, path):
    get(server, path, "page", "ranged")
    assert path.read_bytes() == CONTENT
    assert names(path) == ["file.gz", "file.gz.wrong"]


def test_wrong_bytes_everywhere_are_named_and_no_file_appears(server, path):
    with pytest.raises(DownloadError, match="kept as file.gz.wrong") as error:
        get(server, path, "page", "newer")
    assert names(path) == ["file.gz.wrong"]
    found = hashlib.sha256(path.with_name("file.gz.wrong").read_bytes()).hexdigest()
    assert found in str(error.value) and ".part" not in str(error.value)


def test_a_part_continued_with_other_bytes_is_fetched_whole_before_it_is_called_wrong(server, path):
    leave_partial(path, CONTENT[:START])
    with pytest.raises(DownloadError, match="sent other bytes"):
        get(server, path, "newer")
    assert path.with_name("file.gz.wrong").read_bytes() == bytes(reversed(CONTENT)) + b"more"


def test_when_every_mirror_fails_each_is_named_with_its_reason(server, path):
    with socket.socket() as taken:  # a port that nobody listens on
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(DownloadError) as error:
            fetch([f"{server.url}/absent", closed], path, check, SIZE)
    text = str(error.value)
    assert f"{server.url}/absent\n    HTTP status 404" in text
    assert closed in text and "refused" in text
    assert f"place it as {path}" in text and "by hand" in text
    assert names(path) == []


def test_a_silent_server_is_given_up_after_the_time_out(server, path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with pytest.raises(DownloadError, match="timed out"):
        get(server, path, "silent")


@pytest.mark.parametrize(
    ("manner", "reason"),
    [("announced", "announces 1,000,000,000,000 bytes"), ("endless", f"more than the {SIZE:,}")],
)
def test_more_than_the_file_can_have_is_given_up(server, path, manner, reason):
    with pytest.raises(DownloadError, match=reason):
        get(server, path, manner, most=SIZE)
    assert names(path) == []


def test_a_sign_in_page_that_announces_too_much_does_not_cost_the_earlier_part(server, path):
    partial = leave_partial(path, CONTENT[:START])
    with pytest.raises(DownloadError, match="announces"):
        get(server, path, "announced")
    assert partial.read_bytes() == CONTENT[:START]


@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
def test_other_schemes_than_http_are_refused(server, path, tmp_path, scheme):
    (tmp_path / "local").write_bytes(CONTENT)
    with pytest.raises(DownloadError, match=f"unknown url type: {scheme}"):
        fetch([f"{scheme}:{tmp_path}/local"], path, check, SIZE)


def test_a_redirect_to_another_scheme_is_refused(server, path):
    with pytest.raises(DownloadError, match="unknown url type: ftp"):
        get(server, path, "astray")


def test_a_text_that_is_no_address_is_refused(path):
    with pytest.raises(DownloadError, match="unknown url type"):
        fetch(["mirror/file"], path, check, SIZE)


def test_a_full_disk_is_named_and_the_part_is_kept(server, path, monkeypatch):
    partial = leave_partial(path, CONTENT[:START])

    class Full(io.FileIO):
        def write(self, block):
            if self.tell() >= START + (1 << 16):
                raise OSError(28, "No space left on device")
            return super().write(block)

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", lambda self, mode: Full(self, mode.replace("b", "")))
        with pytest.raises(DownloadError, match="is full .* goes on from there"):
            get(server, path, "ranged", "ranged")
    assert len(server.asked) == 1, "another mirror does not make room"
    assert partial.read_bytes() == CONTENT[: START + (1 << 16)]
    get(server, path, "ranged")
    assert path.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_named(server, path):
    path.parent.write_bytes(b"a file where the folder should be")
    with pytest.raises(DownloadError, match=f"{path} cannot be written"):
        get(server, path, "ranged")


def test_two_processes_do_not_write_the_same_part(server, path):
    partial = leave_partial(path, CONTENT[:START])
    with partial.open("ab") as other:
        download._lock(other, path)
        with pytest.raises(DownloadError, match="another process is fetching it"):
            get(server, path, "ranged")
    assert server.asked == [] and partial.read_bytes() == CONTENT[:START]
    get(server, path, "ranged")


def test_an_interruption_leaves_a_part_to_continue(server, path, monkeypatch):
    blocks = download._blocks

    def interrupted(response):
        yield next(blocks(response))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_blocks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get(server, path, "ranged")
    assert names(path) == ["file.gz.part"]
    get(server, path, "ranged")
    assert server.asked[-1] == ("ranged", f"bytes={download.BLOCK}-")
    assert path.read_bytes() == CONTENT


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_shown_in_a_terminal_and_counts_from_the_earlier_part(server, path, monkeypatch):
    leave_partial(path, CONTENT[:START])
    monkeypatch.delenv("BWOT_PROGRESS")
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    get(server, path, "ranged")
    assert "ranged: " in terminal.getvalue() and "100k" in terminal.getvalue()
    assert "512k/512k" in terminal.getvalue()


@pytest.mark.parametrize(
    ("setting", "stream", "expected"),
    [(None, Terminal, True), (None, io.StringIO, False), ("off", Terminal, False)],
)
def test_bars_are_for_who_watches(monkeypatch, setting, stream, expected):
    monkeypatch.delenv("BWOT_PROGRESS", raising=False)
    if setting:
        monkeypatch.setenv("BWOT_PROGRESS", setting)
    monkeypatch.setattr("sys.stderr", stream())
    assert watched() == expected


@pytest.mark.parametrize(("setting", "expected"), [("", True), ("off", False)])
def test_bars_are_shown_in_a_notebook(monkeypatch, setting, expected):
    class ZMQInteractiveShell:
        pass

    class IPython:
        get_ipython = ZMQInteractiveShell

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setenv("BWOT_PROGRESS", setting)
    assert watched() == expected
