"""Kills at random moments, a disk that is full, damaged checkpoints by the hundred, and scores against loops.

Minutes, so `make test-long` runs it and `make test` does not.
"""

import math
import os
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bwot import checkpoints
from bwot.checkpoints import CheckpointError, load_checkpoint
from bwot.metrics import retrieval_scores
from bwot.records import read_record, validate

PROJECT = Path(__file__).parent.parent.parent
CLOCK = {"seconds", "evaluation_seconds", "started", "peak_memory_mb"}


def command(loss, seed, output):
    line = f"-m bwot run images --preset quick --epochs 6 --loss {loss} --seed {seed} --output {output}"
    return [sys.executable, *line.split()]


def start(arguments, runs, **options):
    environment = os.environ | {
        "BWOT_RUNS": str(runs),
        "BWOT_PROGRESS": "off",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # on a full disk Python may leave half a .pyc
    }
    return subprocess.Popen(arguments, cwd=PROJECT, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    return out


def without_clock(value):
    if isinstance(value, dict):
        return {name: without_clock(part) for name, part in value.items() if name not in CLOCK}
    return [without_clock(part) for part in value] if isinstance(value, list) else value


def numbers(path):
    record = read_record(path)
    validate(record)
    return without_clock(asdict(record))


def wait_for(moment, process, runs, chance):
    """Block until the moment has come, or the process has ended."""
    if moment == "any time":
        deadline = time.monotonic() + chance.uniform(0.5, 10)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return
    pattern = {"while a checkpoint is written": ".checkpoint.pt.*.part", "just after one": "checkpoint.pt"}  # fmt: skip
    stamp = {path: path.stat().st_mtime_ns for path in runs.rglob("*checkpoint.pt*")}
    while process.poll() is None:
        for path in runs.rglob(pattern[moment]):
            try:
                if path.stat().st_mtime_ns != stamp.get(path):
                    return
            except FileNotFoundError:
                continue  # it was moved in place meanwhile
        time.sleep(0.0005)


def kill_until_it_ends(arguments, runs, chance, most=8):
    """Start, kill, start again; at how many moments it was killed. After ``most`` kills it is let to end."""
    kills = 0
    while True:
        process = start(arguments, runs)
        if kills < most:
            moments = ["any time", "while a checkpoint is written", "just after one"]
            moment = "just after one" if kills < 3 else chance.choice(moments)
            wait_for(moment, process, runs, chance)
            process.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=600)
        if process.returncode == 0:
            return kills
        assert process.returncode == -signal.SIGKILL, err
        for path in runs.rglob("checkpoint.pt"):
            load_checkpoint(path)  # whole at every moment
        kills += 1


@pytest.mark.parametrize("loss, seed", [("bwot", 0), ("pairwise", 1), ("allpairs", 2)])
def test_a_run_killed_at_random_moments_ends_with_the_same_record(tmp_path, loss, seed):
    whole = tmp_path / "whole.json"
    finish(start(command(loss, seed, whole), tmp_path / "whole"))
    killed = tmp_path / "killed.json"
    arguments, chance = command(loss, seed, killed), random.Random(seed)
    kills = kill_until_it_ends(arguments, tmp_path / "killed", chance)
    assert kills >= 3
    assert numbers(killed) == numbers(whole)


# ------------------------------------------------------------------------------ a disk that takes no more


def limited(size):
    def set_limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return set_limit


@pytest.mark.parametrize("size", [4096, 1_000_000], ids=["a page", "half a checkpoint"])
def test_a_full_disk_is_said_and_a_later_run_goes_on(tmp_path, size):
    runs, output = tmp_path / "runs", tmp_path / "record.json"
    process = start(command("pairwise", 0, output), runs, preexec_fn=limited(size))
    _, err = process.communicate(timeout=600)
    assert process.returncode == 1
    said = err.splitlines()[-1]  # joblib may warn before
    assert said.startswith("bwot: ") and "checkpoint.pt" in said and "cannot be written" in said
    assert "Traceback" not in err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    finish(start(command("pairwise", 0, output), runs))
    whole = tmp_path / "whole.json"
    finish(start(command("pairwise", 0, whole), tmp_path / "others"))
    assert numbers(output) == numbers(whole)


# ------------------------------------------------------------------------------ damaged checkpoints


def damage(content, chance):
    damaged = bytearray(content)
    how = chance.choice(["cut", "flip", "overwrite", "noise", "insert"])
    if how == "cut":
        return bytes(damaged[: chance.randrange(len(damaged))])
    if how == "noise":
        return chance.randbytes(chance.randrange(300))
    if how == "insert":
        at = chance.randrange(len(damaged))
        return bytes(damaged[:at] + chance.randbytes(5) + damaged[at:])
    for _ in range(1 if how == "flip" else 20):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def same_state(a, b):
    return all(torch.equal(a["network"][name], b["network"][name]) for name in b["network"]) and (
        a["history"] == b["history"]
    )


def test_a_damaged_checkpoint_is_refused_or_holds_what_it_held(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Linear(20, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 20)).sum().backward()
    optimiser.step()
    parts = {"network": net, "loss": torch.nn.Identity(), "optimiser": optimiser}
    checkpoints.save_checkpoint(
        tmp_path / "whole.pt", parts, [{"epoch": 0, "loss": None, "map": 0.5}]
    )
    content, whole = (tmp_path / "whole.pt").read_bytes(), load_checkpoint(tmp_path / "whole.pt")
    chance, refused, path = random.Random(0), 0, tmp_path / "damaged.pt"
    for _ in range(3000):
        path.write_bytes(damage(content, chance))
        try:
            state = load_checkpoint(path)
        except CheckpointError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert same_state(state, whole) and zipfile.is_zipfile(path)
    assert refused > 2000


# ------------------------------------------------------------------------------ scores against loops


def scores_by_loops(distances, q_labels, g_labels, exclude_self):
    """The definitions, one query at a time; ties go to the lower index."""
    rows = []
    for q, row in enumerate(distances):
        items = [g for g in range(len(row)) if not (exclude_self and g == q)]
        items.sort(key=lambda g: (row[g], g))  # noqa: B023
        relevant = [g_labels[g] == q_labels[q] for g in items]
        c = sum(relevant)
        if c == 0:
            continue
        found, average, gain = 0, 0.0, 0.0
        for rank, hit in enumerate(relevant, start=1):
            if hit:
                found += 1
                average += found / rank
                gain += 1 / max(1, math.log2(rank))
        ideal = sum(1 / max(1, math.log2(rank)) for rank in range(1, c + 1))
        cut = min(32, len(items))
        p, r = sum(relevant[:cut]) / cut, sum(relevant[:cut]) / c
        e = 2 * p * r / (p + r) if p + r else 0.0
        tiers = (sum(relevant[:c]) / c, sum(relevant[: 2 * c]) / c)
        rows.append((float(relevant[0]), *tiers, e, gain / ideal, average / c))
    return np.mean(rows, axis=0) if rows else None


@settings(max_examples=4000, deadline=None)
@given(
    queries=st.integers(1, 9),
    gallery=st.integers(1, 45),
    levels=st.sampled_from([1, 2, 3, 10, 10**6]),
    classes=st.integers(1, 8),
    square=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_scores_are_their_definitions(queries, gallery, levels, classes, square, seed):
    rng = np.random.default_rng(seed)
    gallery = queries if square else gallery
    distances = rng.integers(0, levels, (queries, gallery)) / levels  # few levels: many ties
    q_labels, g_labels = rng.integers(0, classes, queries), rng.integers(0, classes, gallery)
    g_labels = q_labels if square else g_labels
    expected = scores_by_loops(distances.tolist(), q_labels, g_labels, exclude_self=square)
    arguments = torch.from_numpy(distances), torch.from_numpy(q_labels), torch.from_numpy(g_labels)
    if expected is None:
        with pytest.raises(ValueError, match="no query has a relevant item"):
            retrieval_scores(*arguments, exclude_self=square)
        return
    scores = retrieval_scores(*arguments, exclude_self=square)
    ours = [getattr(scores, name) for name in ("nn", "ft", "st", "e", "dcg", "map")]
    assert np.allclose(ours, expected, rtol=0, atol=1e-9)
