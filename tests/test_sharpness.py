"""The plans behind the page of deviations, against a Sinkhorn written as loops and the bound of the method page."""

import math

import pytest
import torch

from bwot import sharpness
from bwot.paths import PROJECT


@pytest.fixture(scope="module")
def record():
    return sharpness.read(PROJECT)


def test_the_committed_record_is_what_is_computed_today(record):
    assert sharpness.is_current(record)


@pytest.mark.parametrize("name", ["least", "easy", "hard", "most"])
def test_a_changed_number_is_noticed(record, name):
    rows = [dict(row) for row in record["rows"]]
    rows[3][name] *= 1.01
    assert not sharpness.is_current(record | {"rows": rows})
    assert not sharpness.is_current(record | {"gamma": 9.0})
    assert not sharpness.is_current({})


def plan(cost, lam, sign):
    """Sinkhorn's plan of ``exp(sign lam C)`` by its definition, uniform marginals."""
    kernel = (sign * lam * cost).exp()
    u = torch.ones(len(cost), dtype=cost.dtype)
    for _ in range(1000):
        v = 1 / len(cost) / (kernel.T @ u)
        u = 1 / len(cost) / (kernel @ v)
    return u[:, None] * kernel * v


@pytest.mark.parametrize("row", range(2 * len(sharpness.LAMBDAS)))
def test_the_weights_are_those_of_the_definition(record, row):
    found = record["rows"][row]
    error, _ = sharpness.batches()
    sign = -1 if found["sign"].startswith("minus") else 1
    weight = error.numel() * plan((-sharpness.GAMMA * error).exp(), found["lam"], sign)
    pairs = sorted(zip(error.flatten().tolist(), weight.flatten().tolist(), strict=True))
    easy = [w for e, w in pairs if e == 0]
    hard = [w for _, w in pairs[-(len(pairs) // 10) :]]
    expected = (min(w for _, w in pairs), sum(easy) / len(easy), sum(hard) / len(hard), max(w for _, w in pairs))  # fmt: skip
    assert [found[k] for k in ("least", "easy", "hard", "most")] == pytest.approx(expected, rel=1e-3)  # fmt: skip
    assert math.exp(-3 * found["lam"]) <= found["least"] <= found["most"] <= math.exp(3 * found["lam"])  # fmt: skip


def test_the_sign_decides_who_weighs_more(record):
    for row in record["rows"]:
        assert (row["hard"] > row["easy"]) == row["sign"].startswith("minus")


def test_the_table_has_every_row_of_the_record(record):
    text = sharpness.table(PROJECT)
    assert sum(line.startswith("| ") for line in text.splitlines()) == len(record["rows"]) + 1
    assert sharpness.table(PROJECT / "nowhere").startswith("There is no")
