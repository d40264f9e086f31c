"""How long a re-run takes is judged by the committed records, and is no promise without any."""

import pytest

from bwot import forecast
from bwot.records import write_record


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, "PROJECT", tmp_path)
    return tmp_path


def test_the_forecast_multiplies_the_committed_seconds_an_epoch(project, make_record):
    for seed in (0, 1):  # 600 s for 2 epochs each
        write_record(
            make_record("bwot", seed),
            project / "book" / "results" / "mnist" / f"bwot-seed{seed}.json",
        )
    text = forecast.forecast(
        "short", ["mnist"]
    )  # (8 losses x 2 ways + 1 as published) x 3 seeds x 10 epochs + 8 x 25 to tune, x 300 s
    assert "mnist: 51 runs, 1.3 GB under runs/, 59.2 core-hours" in text
    assert "mnist: 85 runs, 2.1 GB under runs/, 370.8 core-hours" in forecast.forecast(
        "full", ["mnist"]
    )


def test_the_forecast_of_the_embedded_data_needs_no_record(project):
    assert "about a minute a notebook" in forecast.forecast("quick", ["mnist"])


def test_the_forecast_without_records_is_no_promise(project):
    text = forecast.forecast("short", ["mnist", "modelnet10"])
    assert "mnist: 51 runs" in text and "modelnet10: 35 runs" in text
    assert text.count("no committed run says how long it takes") == 2 and "hours" not in text
