"""Do the addresses that the book links to still answer? Needs the network, so it runs by `make links` alone."""

import http.server
import threading
import urllib.error
import urllib.request

import pytest

from bwot.paths import PROJECT

LINKS = [
    line
    for line in (PROJECT / "book/links.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
ANSWERS = {403, 405, 418, 429}  # publishers answer programs so where a reader gets the page


def status(address: str) -> int:
    """What a server says to a reader who asks for the address; 0 where there is none."""
    request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (bwot, make links)"})  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.parametrize("address", LINKS)
def test_an_address_answers(address):
    found = status(address)
    assert found == 200 or found in ANSWERS, f"{address} answers {found or 'nothing'}: mend it in the page and in book/links.txt"  # fmt: skip


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/there" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_a_dead_address_is_told_from_a_living_one(server):
    assert [status(f"{server}/{name}") for name in ("there", "gone")] == [200, 404]
    assert status("http://127.0.0.1:9/") == 0
