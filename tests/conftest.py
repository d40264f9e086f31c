"""What several test files share: records and settings made by hand, and a browser."""

import copy
import inspect
import math
import os
import shutil

import numpy as np
import pytest

from bwot.experiments import Images
from bwot.printing import BROWSERS, FLAGS
from bwot.records import Record, pack

SCORES = ("nn", "ft", "st", "e", "dcg", "map", "tied", "accuracy")


def _row(epoch, value):
    return {
        "epoch": epoch,
        "loss": None if epoch == 0 else 1.0 / epoch,
        "seconds": 2.0 * (epoch > 0),
        "evaluation_seconds": 1.0,
        "learning_rate": 0.01 * 0.95 ** max(0, epoch - 1),
        **{name: value for name in SCORES},
        "tied": 0.0,
        "mass_on_positives": 0.25,
        "mass_on_active": 0.5,
        "gradient_ratio": 2.0,
    }


def _record(loss="bwot", seed=0, values=(0.1, 0.5, 0.9), diverged=None, **changes):
    """A valid record whose scores after epoch e are ``values[e]``, of a run that may have diverged."""
    epochs = len(values) - 1
    content = {
        "experiment": "images",
        "dataset": {
            "name": "mnist",
            "variant": "as published",
            "official": True,
            "sha256": "0" * 64,
            "sizes": {"train": 55_000, "validation": 5_000, "test": 10_000},
            "image": [1, 28, 28],
        },
        "loss": {"name": loss, "margin": 5.0, "form": "sketches"},
        "seed": seed,
        "preset": "short",
        "settings": {"dataset": "mnist", "preset": "short", "loss": loss, "seed": seed, "epochs": epochs,
                     "learning_rate": 0.01, "margin": 5.0},
        "tuning": None,
        "history": [_row(epoch, value) for epoch, value in enumerate(values)],
        "scores": {name: values[-1] for name in SCORES} | {"tied": 0.0},
        "per_query_ap": pack(np.full(4, values[-1])),
        "replay": [5.0 - 0.01 * step for step in range(20)],
        "provenance": {
            "commit": "0123456789abcdef",
            "dirty": False,
            "python": "3.11.7",
            "torch": "2.13.0",
            "numpy": "2.4.0",
            "device": "cpu",
            "threads": 1,
            "seconds": 600.0,
            "peak_memory_mb": 900,
            "started": "2026-11-23T09:12:44Z",
            "key": "0" * 20,
        },
    }  # fmt: skip
    if diverged:
        content |= {
            "status": "diverged",
            "diverged": diverged,
            "scores": None,
            "per_query_ap": None,
        }
    return Record(**copy.deepcopy(content | changes))


@pytest.fixture
def make_record():
    """The function that makes a record; see :func:`_record`."""
    return _record


@pytest.fixture
def same():
    """Whether two numbers are equal, NaN to NaN."""
    return lambda a, b: (
        a == pytest.approx(b, rel=1e-9, abs=1e-12) or math.isnan(a) and math.isnan(b)
    )


@pytest.fixture
def untyped():
    """The function that makes settings as a reader does: without the checks of types that the tests put around calls."""

    def make(**given):
        settings = object.__new__(Images)
        inspect.unwrap(Images.__init__)(settings, **given)
        return settings

    return make


@pytest.fixture
def records(make_record):
    """Two seeds of each loss; the batch-wise one is 10 points better, and as good as the pair-wise one at epoch 1."""
    return [
        make_record("pairwise", 0, (0.1, 0.50, 0.70)),
        make_record("pairwise", 1, (0.1, 0.60, 0.72)),
        make_record("bwot", 0, (0.1, 0.60, 0.80)),
        make_record("bwot", 1, (0.1, 0.50, 0.82)),
    ]


@pytest.fixture
def everything():
    """The ways of all data sets, without a record."""
    from bwot.scoreboard import ALL, FOLDERS

    return {dataset: dict.fromkeys(FOLDERS, []) for dataset in ALL}  # fmt: skip


@pytest.fixture
def losses(make_record):
    """Three seeds of each loss from what it ends with; seed s adds s thousandths, in odd places two of them."""

    def make(**means):
        return [
            make_record(name.replace("_", "-"), seed, (0.1, mean - 0.2, mean + 0.001 * seed * (1 + place % 2)))
            for place, (name, mean) in enumerate(means.items())
            for seed in range(3)
        ]  # fmt: skip

    return make


@pytest.fixture(scope="module")
def browser(request):
    """A Chromium without a network; skipped aloud where there is none, or failed with BWOT_REQUIRE_BROWSER=1."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None:
        reason = (
            f"no browser: none of {', '.join(BROWSERS)} is installed, so no page was opened in one."
        )
        if os.environ.get("BWOT_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        request.config.pluginmanager.get_plugin("terminalreporter").write_line(
            f"\nSKIPPED: {reason}", yellow=True
        )
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=binary, args=FLAGS)
        yield chromium
        chromium.close()
