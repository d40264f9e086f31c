"""Pictures: what they draw of records, and that their ink follows the reader's theme."""

import pytest

from bwot import figures


@pytest.fixture(autouse=True)
def themed():
    import matplotlib

    with matplotlib.rc_context():
        figures.theme()
        yield


def lines(figure):
    """Label to points of the lines in the first panel."""
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def test_a_curve_is_the_mean_of_the_finished_seeds(make_record):
    records = [
        make_record("bwot", 0, (0.1, 0.9), diverged="epoch 2, step 3"),
        make_record("bwot", 1, (0.1, 0.5, 0.6)),
        make_record("bwot", 2, (0.1, 0.7, 0.8)),
        make_record("pairwise", 0, (0.1,), diverged="epoch 1, step 1"),
    ]
    drawn = lines(figures.convergence(records, ("map",)))
    assert drawn.keys() & {"batch-wise OT", "pair-wise"} == {"batch-wise OT"}
    assert drawn["batch-wise OT"] == [[1, pytest.approx(0.6)], [2, pytest.approx(0.7)]]


def test_ink_turns_light_in_the_dark(make_record):
    text = figures.svg(figures.convergence([make_record("bwot", 0)]))
    assert text.index("prefers-color-scheme: dark") < text.index(figures.INK.lower(), 2000)
