"""The part of the speed page about training steps and epochs, from the records of :mod:`benchmarks.training`."""

from benchmarks.markdown import cells, table
from benchmarks.record import is_busy

BEGIN, END = "% begin training: made by `python -m benchmarks.page`", "% end training"
EMPTY = (
    "Not measured yet: `python -m benchmarks.training --output book/results/training/NAME.json`."
)
TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
EPOCH, SIDE = 1.15, 1.2
"""The most that an epoch may take over its bare steps, and the least that two runs side by side have to gain."""


def section(record: dict) -> str:
    """All that is said of one machine."""
    machine, run = record["machine"], record["run"]
    commit = f"Commit `{run['commit'][:10]}`" if run["commit"] else "Not from a checkout"
    made = (
        f"{machine['cpu']}, {machine['cores']} cores. {commit}{' with changes' if run['dirty'] else ''}, {run['started']}, busy cores beside it "
        f"{run['busy']}, torch {run['versions']['torch']}."
    )
    caution = ":::{warning}\nThis record began on a busy machine: its times are no measurement.\n:::" if is_busy(run) else ""  # fmt: skip
    return "\n\n".join(filter(None, [caution, _steps(record), _whole(record), made]))


def _rows(record, group):
    return [row for row in record["rows"] if row["group"] == group]


def _steps(record):
    lines = [
        cells(TITLES[row["dataset"]], name, f"{row['milliseconds'][name]:.1f}", _range(over))
        for row in _rows(record, "step")
        for name, over in row["over_pairwise"].items()
    ]
    return table("A training step with each loss", ["size of", "loss", "ms, median", "over the pair-wise step"], lines)  # fmt: skip


def _whole(record):
    lines = [
        cells(f"an epoch of `fit` over its {row['steps']} bare steps, size of {TITLES[row['dataset']]}",
              _range(row["over_bare_steps"]), f"≤ {EPOCH:g}", _word(row["over_bare_steps"][2] <= EPOCH))
        for row in _rows(record, "epoch")
    ]  # fmt: skip
    lines += [
        cells(f"steps of {row['processes']} processes with one thread over those of one with as many threads, size of {TITLES[row['dataset']]}",
              _range(row["over_one_with_threads"]), f"≥ {SIDE:g}", _word(row["over_one_with_threads"][0] >= SIDE))
        for row in _rows(record, "throughput")
    ]  # fmt: skip
    lines += [
        cells(f"whole runs on {TITLES[row['dataset']]}, {row['processes']} at a time with one thread, over one after another with {_threads(row['threads_alone'])}",
              _range(row["gain"]), f"≥ {SIDE:g}", _word(row["gain"][0] >= SIDE))
        for row in _rows(record, "runs")
    ]  # fmt: skip
    return table("An epoch, and two runs side by side", ["figure", "found", "target", ""], lines)


def _threads(count):
    return "one thread" if count == 1 else f"{count} threads"


def _word(kept):
    return "reached" if kept else "**missed**"


def _range(quartiles):
    low, middle, high = quartiles
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
