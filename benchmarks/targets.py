"""What the speed has to be: how many times longer peers take than ours, and which rows count."""

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.problems import Case

FIXED = {
    "best POT": {"required": {32: 8, 64: 8, 128: 4, 256: 3, 512: 2.2, 1024: 1.4, 2048: 1.8},
                 "goal": {32: 12, 64: 10, 128: 5, 256: 4, 512: 3, 1024: 2, 2048: 2.5}},
    "OTT, jitted": {"required": {32: 1.8, 64: 2, 128: 2.3, 256: 3, 512: 4, 1024: 4, 2048: 5}, "goal": {}},
    "POT, default use": {"required": {32: 25, 64: 25, 128: 15, 256: 12, 512: 9, 1024: 30, 2048: 25}, "goal": {}},
}  # fmt: skip
"""By peer and n = m: the least that the lower quartile of the ratio peer / ours has to be (50 iterations, lambda 10, d 128,
float32, one thread), and what it is hoped to be."""

PEERS = {
    "best POT": ("POT sinkhorn", "POT sinkhorn_log", "POT sinkhorn_stabilized", "POT batch kernel", "POT batch log"),
    "OTT, jitted": ("OTT log",),
    "OTT, kernel domain": ("OTT kernel",),
    "POT, default use": ("POT default use",),
    "GeomLoss": ("GeomLoss solve", "GeomLoss SamplesLoss"),
    "plain torch": ("torch kernel", "torch log"),
}  # fmt: skip
"""The methods that a name stands for: the fastest correct one of them."""


def fastest(rows: Sequence[dict], peer: str) -> dict | None:
    """Of the rows of one case the fastest correct one that ``peer`` stands for; None where there is none."""
    mine = [row for row in rows if row["method"] in PEERS[peer] and row.get("correct")]
    return min(mine, key=lambda row: row["milliseconds"][1], default=None)


def verdict(rows: Sequence[dict], peer: str) -> str:
    """Of the rows of one case with a target: ``goal``, ``reached``, ``missed`` or ``not measured``.

    A peer without a correct row has lost; ours without one has missed every target.
    """
    ours = next((row for row in rows if row["method"] == "bwot" and "milliseconds" in row), None)
    tried = [row for row in rows if row["method"] in PEERS[peer] and "milliseconds" in row]
    if ours is None or not tried:
        return "not measured"
    if not ours["correct"]:
        return "missed"
    best, n = fastest(rows, peer), ours["case"]["n"]
    low = best["over_ours"][0] if best else float("inf")
    if low < FIXED[peer]["required"][n]:
        return "missed"
    return "goal" if low >= FIXED[peer]["goal"].get(n, float("inf")) and best else "reached"


def base_row(record: dict, cost: str, n: int) -> list[dict]:
    """The rows of a record that the targets are about, for one cost and size."""
    case = asdict(Case(n, n, cost=cost))
    return [row for row in record["rows"] if row["group"] == "fixed" and row["case"] == case]
