"""Whole runs two at a time, each with one thread, beside the same runs one after another, each with two.

    python -m benchmarks.side_by_side --data DIR --output book/results/training/NAME-runs.json

A run is `bwot run` with one epoch of the preset `short`, from reading the data to the record: what a comparison has many of. Real data are
needed, since what an evaluation takes depends on them. Every run is computed: each round has a folder of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import quartiles
from benchmarks.record import machine, this_run
from bwot.experiments import Images
from bwot.records import write_atomically

SIDE_BY_SIDE, ROUNDS = 2, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--dataset", choices=Images.DATASETS, default="mnist")
    parser.add_argument("--variant", help="name of files other than the published ones")
    parser.add_argument("--output", type=Path, help="JSON file that takes the record")
    options = parser.parse_args()
    record = {"schema": 1, "machine": machine(), "run": this_run({"rounds": ROUNDS}), "rows": []}
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(sum(_seconds(options, (seed,), SIDE_BY_SIDE) for seed in range(SIDE_BY_SIDE)))
        beside.append(_seconds(options, range(SIDE_BY_SIDE), 1))
        print(f"one after another {alone[-1]:.1f} s, side by side {beside[-1]:.1f} s", flush=True)
    over = quartiles([a / b for a, b in zip(alone, beside, strict=True)])
    record["rows"] = [{"dataset": options.dataset, "group": "runs", "processes": SIDE_BY_SIDE, "one_after_another_seconds": quartiles(alone),
                       "side_by_side_seconds": quartiles(beside), "gain": over}]  # fmt: skip
    print(record["rows"][0])
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(options.output, (json.dumps(record, indent=1) + "\n").encode())


def _seconds(options, seeds, threads):
    """Of runs with these seeds, all started at once."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "bwot", "run", "images", "--dataset", options.dataset, "--preset", "short", "--epochs", "1",
                "--threads", str(threads), "--data", str(options.data)]  # fmt: skip
        line += ["--variant", options.variant] if options.variant else []
        environment = os.environ | {"BWOT_RUNS": folder}
        start = time.perf_counter()
        runs = [subprocess.Popen([*line, "--seed", str(seed)], env=environment, stdout=subprocess.DEVNULL) for seed in seeds]  # fmt: skip
        if any([run.wait() for run in runs]):
            raise SystemExit("a run failed: see above")
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
