"""The record of the benchmark: rows by group, each with the run that made it; one file a machine."""

import json
import os
import platform
import re
import statistics
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.problems import Case
from bwot import provenance
from bwot.records import write_atomically

SCHEMA = 1
BUSY = 0.2  # cores
LIBRARIES = (
    "torch",
    "numpy",
    "numba",
    "POT",
    "geomloss",
    "ott-jax",
    "jax",
    "pytorch-metric-learning",
)
METHOD = (
    "From embeddings to both gradients. Another batch every call, from a shuffled pool of 8; each family of methods in a "
    "process of its own, pinned to the same cores; rounds of a turn of the peer and one of ours, the first to go changing; "
    "ratios are peer over ours by round: lower quartile, median, upper quartile. Every timed output is checked against float64."
)


def machine() -> dict:
    """What the times belong to: processor, cores, system. No names of hosts, no folders."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.*)", info.read_text())):
        cpu = found[1]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": cpu, "cores": cores, "system": f"{platform.system()} {platform.machine()}"}


def this_run(how: dict) -> dict:
    """Commit, versions, ``how`` it was asked to measure and how many cores other processes kept busy."""
    versions = {name: found for name in LIBRARIES if (found := _version(name))}
    return {
        **provenance.commit(),
        "python": platform.python_version(),
        "versions": versions,
        "how": how,
        "busy": busy_cores(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def keep(record: dict, path: Path) -> None:
    """Write the record of a small benchmark in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())


def busy_cores(seconds: float = 0.3) -> float | None:
    """How many cores work while this process sleeps; None where the system does not say."""
    if not Path("/proc/stat").exists():
        return None
    before = _ticks()
    time.sleep(seconds)
    total, idle = (b - a for a, b in zip(before, _ticks(), strict=True))
    return round(os.cpu_count() * (1 - idle / max(total, 1)), 2)


def _ticks():
    times = list(map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]))
    return sum(times), times[3] + times[4]


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class Book:
    """The record while it is being made: every new row is printed, and written at once where there is a file.

    Raises:
        ValueError: for a file of another machine or another schema.
    """

    def __init__(self, path: Path | None, how: dict):
        self.path, self.run = path, this_run(how)
        self.busy = [self.run["busy"]]
        self.content = {"schema": SCHEMA, "method": METHOD, "machine": machine(), "runs": [], "rows": []}  # fmt: skip
        if path and path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            for name in ("schema", "machine"):
                if found[name] != self.content[name]:
                    raise ValueError(
                        f"{path} has {name} {found[name]}, here it is {self.content[name]}: "
                        "take another --output."
                    )
            self.content = found | {"method": METHOD}
        cpu, busy = self.content["machine"]["cpu"], self.run["busy"]
        print(f"{cpu}, commit {self.run['commit']}, busy cores {busy}", flush=True)
        if is_busy(self.run):
            print("The machine has other work: do not keep these times.", flush=True)

    def has(self, group: str, case: Case | dict | None) -> bool:
        """Whether a case was measured at this commit, with nothing changed since, by the same versions and as thoroughly."""
        rows = [row for row in self.content["rows"] if _same(row, group, case)]
        runs = [self.content["runs"][row["run"]] for row in rows]
        alike = ("commit", "versions", "how")
        same = [all(run[key] == self.run[key] for key in alike) and not run["dirty"] for run in runs]  # fmt: skip
        return bool(rows) and all(same) and not self.run["dirty"]

    def add(self, group: str, rows: list[dict]) -> None:
        """Put the rows of a case in place of what the record has of it."""
        for row in rows:
            print(line(group, row), flush=True)
        if not rows:
            return
        if self.run["busy"] is not None:  # the workers sleep meanwhile
            self.busy.append(busy_cores())
            self.run["busy"] = round(statistics.mean(self.busy), 2)
        if self.run not in self.content["runs"]:
            self.content["runs"].append(self.run)
        run = self.content["runs"].index(self.run)
        measured = {row["method"] for row in rows}
        kept = [
            row for row in self.content["rows"]
            if not (_same(row, group, rows[0]["case"]) and row["method"] in measured)
        ]  # fmt: skip
        new = [{"group": group, "run": run, **row} for row in rows]
        self.content["rows"] = kept + new
        if self.path:
            write_atomically(self.path, written(self.content).encode())


def is_busy(run: dict) -> bool:
    """Whether other processes took so much of the machine that times mean little."""
    return (run["busy"] or 0.0) > BUSY


def _same(row, group, case):
    return row["group"] == group and row["case"] == (
        asdict(case) if isinstance(case, Case) else case
    )


def written(content: dict) -> str:
    """The record as text, a row a line, so that two versions can be compared."""
    head = {key: value for key, value in content.items() if key != "rows"}
    rows = ",\n".join("  " + json.dumps(row, allow_nan=False) for row in content["rows"])
    return json.dumps(head, indent=1, allow_nan=False)[:-2] + f',\n "rows": [\n{rows}\n ]\n}}\n'


def line(group: str, row: dict) -> str:
    """One row for people who watch."""
    case = row["case"] or {}
    base = asdict(Case(0, 0)) | {"n": None, "m": None}
    changed = " ".join(f"{k} {v}" for k, v in case.items() if v != base.get(k))
    text = f"{group:8} {changed:34} {row['method']:26}"
    if "left_out" in row:
        return f"{text} left out: {row['left_out']}"
    if "milliseconds" in row:
        text += "{:10.3f} ms".format(row["milliseconds"][1])
        ratio = row.get("over_ours") or row.get("over_plain") or row.get("over_constant")
        text += "  x {1:.2f} ({0:.2f} to {2:.2f})".format(*ratio) if ratio else ""
        return text + ("" if row["correct"] else f"  WRONG {row['errors']}")
    rest = {k: v for k, v in row.items() if k not in ("case", "method")}
    return f"{text} {rest}"
