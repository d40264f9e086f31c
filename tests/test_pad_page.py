"""The drawing pad in a browser: a live notebook in JupyterLab, strokes by a mouse and a finger, answers on the page."""

import json
import os
import re
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from searching import small_content

from bwot.search import write_index

WAIT = 120_000  # milliseconds, of a busy machine; an idle one takes seconds
CELL = """from bwot.pad import pad
from bwot.search import read_index

pad(read_index("index"), top=3, width=20)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab of one's own, in a folder with an index and a notebook that shows the pad."""
    home = tmp_path_factory.mktemp("lab")
    write_index(home / "index", small_content())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, home / "pad.ipynb")
    places = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    where = {f"JUPYTER_{place}": str(home / "jupyter" / place) for place in places}
    options = "--no-browser --allow-root --port=0 --ip=127.0.0.1 --IdentityProvider.token= --LabApp.news_url=None".split()
    options.append("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")
    with open(home / "lab.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], cwd=home, env=os.environ | where, stdout=log, stderr=log
        )  # fmt: skip
    yield _address(process, home)
    process.terminate()
    try:
        process.wait(WAIT / 1000)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _address(process, home):
    information = home / "jupyter/RUNTIME_DIR" / f"jpserver-{process.pid}.json"
    end = time.monotonic() + WAIT / 1000
    while process.poll() is None and time.monotonic() < end:
        try:
            address = json.loads(information.read_text())["url"]
            urlopen(f"{address}api")
            return address
        except (FileNotFoundError, ValueError, URLError):
            time.sleep(0.1)
    process.kill()
    pytest.fail(f"JupyterLab did not start:\n{(home / 'lab.log').read_text()}")


@pytest.fixture(scope="module")
def tab(browser, lab):
    """The notebook with its cell run, the pad on the page; nothing was asked of another machine."""
    context = browser.new_context(viewport={"width": 1000, "height": 1000}, has_touch=True)
    tab, elsewhere = context.new_page(), []
    tab.set_default_timeout(WAIT)
    tab.on("request", lambda r: r.url.startswith((lab, "data:", "blob:")) or elsewhere.append(r.url))  # fmt: skip
    tab.goto(f"{lab}doc/tree/pad.ipynb")
    cell = tab.locator(".jp-CodeCell .cm-content").first
    cell.wait_for()
    tab.get_by_text(
        re.compile(r"Python 3.* \| Idle")
    ).first.wait_for()  # a cell run earlier is dropped
    cell.click()
    tab.keyboard.press("Shift+Enter")
    tab.locator(".jp-OutputArea-output canvas").wait_for()
    yield tab
    context.close()
    assert elsewhere == []


@pytest.fixture
def place(tab):
    """Where a point of the pad lies on the page."""
    box = tab.locator(".jp-OutputArea-output canvas").bounding_box()
    return lambda x, y: (box["x"] + x, box["y"] + y)


def told(tab, words):
    tab.get_by_role("status").filter(has_text=words).wait_for()


def answers(tab):
    return [text.split("\n")[0] for text in tab.locator("figcaption").all_inner_texts()]


def ink(tab, x, y):
    """Is the pad black there?"""
    script = (
        """(canvas, [x, y]) => canvas.getContext("2d").getImageData(x, y, 1, 1).data[0] < 128"""
    )
    return tab.locator(".jp-OutputArea-output canvas").evaluate(script, [x, y])


def test_a_drawing_by_mouse_is_answered(tab, place):
    told(tab, "4 models can be found")
    for x in range(20, 200, 30):
        tab.mouse.move(*place(x, 20))
        tab.mouse.down()
        tab.mouse.move(*place(x, 380), steps=5)
        tab.mouse.up()
    tab.mouse.move(*place(300, 200), steps=5)  # no button is down
    tab.get_by_role("button", name="Find", exact=True).click()
    told(tab, "The 3 nearest of 4 models")
    assert len(answers(tab)) == 3 and answers(tab)[0] == "1. left"
    assert ink(tab, 50, 200) and not ink(tab, 300, 200)


def test_the_buttons_heed_the_keyboard(tab):
    tab.get_by_role("button", name="Clear", exact=True).press("Enter")
    told(tab, "4 models can be found")
    assert answers(tab) == [] and not ink(tab, 50, 200)
    tab.keyboard.press("Shift+Tab")
    tab.keyboard.press("Space")
    told(tab, "draw something first")


def test_a_drawing_by_finger_is_answered(tab, place):
    touch = tab.context.new_cdp_session(tab)

    def send(kind, *points):
        touches = [dict(zip("xy", place(*point), strict=True)) for point in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    for y in range(20, 200, 30):
        send("touchStart", (20, y))
        for x in range(80, 381, 60):
            send("touchMove", (x, y))
        send("touchEnd")
    tab.get_by_role("button", name="Find", exact=True).click()
    told(tab, "The 3 nearest of 4 models")
    assert answers(tab)[0] == "1. above"
