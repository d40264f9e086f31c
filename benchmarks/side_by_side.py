"""Whole runs two at a time, each with one thread, beside the same runs one after another, each with one thread and with two.

    python -m benchmarks.side_by_side --data DIR --output book/results/training/NAME-runs.json

A run is `bwot run` with one epoch of the preset `short`, from reading the data to the record: what a comparison has many of. Real data are
needed, since what an evaluation takes depends on them. Every run is computed: each round has a folder of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import quartiles
from benchmarks.record import keep, machine, this_run
from bwot.experiments import Images

SIDE_BY_SIDE, ROUNDS = 2, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--dataset", choices=Images.DATASETS, default="mnist")
    parser.add_argument("--variant", help="name of files other than the published ones")
    parser.add_argument("--output", type=Path, help="JSON file that takes the record")
    options = parser.parse_args()
    record = {"schema": 1, "machine": machine(), "run": this_run({"rounds": ROUNDS}), "rows": []}
    alone, beside = {threads: [] for threads in (1, SIDE_BY_SIDE)}, []
    for _ in range(ROUNDS):
        for threads, seconds in alone.items():
            seconds.append(sum(_seconds(options, (seed,), threads) for seed in range(SIDE_BY_SIDE)))
        beside.append(_seconds(options, range(SIDE_BY_SIDE), 1))
        print({**{threads: seconds[-1] for threads, seconds in alone.items()}, "beside": beside[-1]}, flush=True)  # fmt: skip
    for threads, seconds in alone.items():
        over = quartiles([a / b for a, b in zip(seconds, beside, strict=True)])
        row = {"dataset": options.dataset, "group": "runs", "processes": SIDE_BY_SIDE, "threads_alone": threads, "alone_seconds": quartiles(seconds),
               "beside_seconds": quartiles(beside), "gain": over}  # fmt: skip
        print(row)
        record["rows"].append(row)
    if options.output:
        keep(record, options.output)


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
