"""The drawing pad without a browser: strokes in, a drawing, an answer; what the browser sends and is shown."""

import re

import numpy as np
import pytest
from searching import small_content

from bwot import pad as pads
from bwot.search import read_index, write_index

LEFT = [[(60, 40), (60, 360)], [(100, 360), (100, 40), (140, 360)]]


@pytest.fixture
def gallery(tmp_path):
    write_index(tmp_path / "index", small_content())
    return read_index(tmp_path / "index")


@pytest.fixture
def pad(gallery):
    return pads._Pad(gallery, 3, 20.0)


@pytest.fixture
def send(pad):
    """The function that does what a browser does: an event on the canvas."""

    def event(name, x=0.0, y=0.0, fingers=()):
        touches = [{"x": a, "y": b} for a, b in fingers]
        content = {"event": name, "x": x, "y": y, "touches": touches}
        pad.canvas._handle_frontend_event(None, content, [])

    return event


def draw(send, strokes):
    for (x, y), *rest in strokes:
        send("mouse_down", x, y)
        for point in rest:
            send("mouse_move", *point)
        send("mouse_up")


# ------------------------------------------------------------------------------ strokes


def test_strokes_are_black_lines_of_their_width_on_white_paper():
    drawing = pads.drawing_of([[(100, 200), (300, 200)]], width=10)
    side = pads.SCALE * pads.SIDE
    assert drawing.shape == (side, side) and set(np.unique(drawing)) == {0, 255}
    column = drawing[:, side // 2]
    assert (column == 0).sum() == pytest.approx(10 * pads.SCALE, abs=1)
    assert np.flatnonzero(column == 0).mean() == pytest.approx(200 * pads.SCALE, abs=1)
    across = np.flatnonzero((drawing == 0).any(axis=0))
    assert (across[0], across[-1]) == pytest.approx((95 * pads.SCALE, 305 * pads.SCALE), abs=2)


@pytest.mark.parametrize("width", [0.1, 1, 30])
def test_a_dot_is_drawn(width):
    assert (pads.drawing_of([[(10, 20)]], width)[20 * pads.SCALE, 10 * pads.SCALE]) == 0


def test_strokes_that_leave_the_paper_are_cut_off():
    drawing = pads.drawing_of([[(-500, 10), (900, 10)], [(-9, -9)], [(1e4, 1e4)]], 4)
    assert (drawing[10 * pads.SCALE] == 0).all() and (drawing[200:] == 255).all()


# ------------------------------------------------------------------------------ the pad


def test_what_is_drawn_with_the_mouse_is_found(pad, send):
    draw(send, LEFT)
    assert pad.strokes == LEFT
    pad.find.click()
    names = re.findall(r'alt="Rank (\d): (\w+)"', pad.answers.value)
    assert names[0] == ("1", "left") and len(names) == 3
    assert "The 3 nearest of 4 models" in pad.told.value
    far = [float(number) for number in re.findall(r"at (\d+\.\d+)", pad.answers.value)]
    expected = pad.gallery.find(pads.drawing_of(LEFT, 20.0), 3)
    assert far == [pytest.approx(each.distance, abs=1e-3) for each in expected]


def test_what_is_drawn_with_a_finger_is_the_same(pad, send):
    for (x, y), *rest in LEFT:
        send("touch_start", fingers=[(x, y)])
        for point in rest:
            send("touch_move", fingers=[point, (1, 1)])  # the first finger draws
        send("touch_end")
    assert pad.strokes == LEFT and not pad.drawing


def test_a_mouse_that_only_passes_draws_nothing(pad, send):
    send("mouse_move", 10, 10)
    draw(send, [[(50, 50), (60, 60)]])
    send("mouse_move", 300, 300)
    send("mouse_down", 70, 70)
    send("mouse_out", 400, 70)
    send("mouse_move", 80, 80)
    assert pad.strokes == [[(50, 50), (60, 60)], [(70, 70)]]


def test_an_empty_sheet_asks_nothing(pad):
    pad.find.click()
    assert "draw something first" in pad.told.value and not pad.answers.value


def test_a_new_sheet_forgets_strokes_and_answers(pad, send):
    draw(send, LEFT)
    pad.find.click()
    pad.clear.click()
    assert (
        pad.strokes == [] and pad.answers.value == "" and "4 models can be found" in pad.told.value
    )
    pad.find.click()
    assert "draw something first" in pad.told.value


def test_names_are_shown_as_text(tmp_path):
    names = ("<b>left</b>", '"right"', "a&b", "below")
    write_index(tmp_path / "index", small_content(names=names))
    strange = pads._Pad(read_index(tmp_path / "index"), 10, 3.0)
    strange.down(50, 50)
    strange.ask()
    assert "<b>" not in strange.answers.value and "&lt;b&gt;left&lt;/b&gt;" in strange.answers.value
    assert 'alt="Rank 1: ' in strange.answers.value and "&quot;right&quot;" in strange.answers.value


def test_what_the_buttons_do_is_said_to_those_who_do_not_see(pad, send):
    assert (pad.find.description, pad.clear.description) == ("Find", "Clear")
    assert pad.find.tooltip and pad.clear.tooltip
    assert 'role="status"' in pad.told.value


def test_a_browser_that_comes_later_is_sent_the_strokes_again(pad, send, monkeypatch):
    draw(send, LEFT)
    painted = []
    monkeypatch.setattr(
        type(pad.canvas), "stroke_lines", lambda canvas, points: painted.append(points)
    )
    send("client_ready")
    assert painted == LEFT


def test_the_pad_is_one_widget_with_all_of_it(gallery):
    box = pads.pad(gallery)
    assert [type(child).__name__ for child in box.children] == ["Canvas", "HBox", "HTML", "HTML"]
