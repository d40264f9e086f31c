"""The part of the speed page about GPUs, from the records of :mod:`benchmarks.gpu`."""

from benchmarks.markdown import cells, short, table

BEGIN, END = "% begin gpu: made by `python -m benchmarks.page`", "% end gpu"
EMPTY = (
    "No GPU has been measured yet: `python -m benchmarks.gpu --output book/results/gpu/NAME.json`."
)
TARGETS = ((128, "torch, eager / bwot, eager", 20), (128, "torch, graph / bwot, graph", 8),
           (2048, "torch, graph / bwot, graph", 3))  # fmt: skip
LONGEST = 50.0
"""Microseconds on the device for 50 iterations at 128 samples."""
RATIOS = ("torch, eager / bwot, eager", "torch, graph / bwot, graph")


def section(record: dict) -> str:
    """All that is said of one GPU."""
    commit = f"`{record['commit'][:10]}`" + (" with changes" if record["dirty"] else "")
    made = f"Commit {commit}, {record['started']}, torch {record['torch']}. {record.get('note', '')}".strip()  # fmt: skip
    parts = [f"### {record['device']}", _missed(record), _plans(record), _losses(record), _epochs(record), made]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _rows(record, group):
    return [row for row in record["rows"] if row["group"] == group]


def _missed(record):
    """Every size at which a target is missed, by the lower quartile of the ratio."""
    lines: dict[str, list[str]] = {}
    for row in _rows(record, "plan"):
        if row["problems"] > 1:
            continue
        largest = 128 if row["n"] <= 128 else 2048 if 1024 <= row["n"] <= 2048 else None
        for size, ratio, least in TARGETS:
            if size == largest and row["over"][ratio][0] < least:
                name = f"{ratio.replace(' / ', ' over ')}, at least {least}"
                lines.setdefault(name, []).append(f"{row['over'][ratio][0]:.1f} at n = {row['n']}")
        if row["n"] == 128 and (spent := row["microseconds"]["bwot, graph"][1]) > LONGEST:
            lines[f"bwot, graph, at most {LONGEST:.0f} µs"] = [f"{spent:.0f} µs at n = 128"]
    wrong = [str(row["n"]) for row in _rows(record, "plan") if not row["correct"]]
    text = "Every target is reached."
    if lines:
        told = "; ".join(f"{name}: {', '.join(found)}" for name, found in lines.items())
        text = f"Targets that are **missed**, and by what (of ratios the lower quartile): {told}."
    return text + (f" Wrong plans at n = {', '.join(wrong)}." if wrong else " Every timed plan agrees with float64.")  # fmt: skip


def _plans(record):
    lines = []
    for row in _rows(record, "plan"):
        spent = row["microseconds"]
        names = [name for name in spent if name.startswith("torch")] + [name for name in spent if name.startswith("bwot")]  # fmt: skip
        over = (f"{row['over'][name][1]:.1f} ({row['over'][name][0]:.1f} to {row['over'][name][2]:.1f})" for name in RATIOS)  # fmt: skip
        size = f"{row['problems']} × {row['n']}" if row["problems"] > 1 else row["n"]
        lines.append(cells(size, *(short(spent[name][1]) for name in names), *over))
    head = ["n = m", "torch, eager", "torch, graph", "bwot, eager", "bwot, graph", "eager / eager", "graph / graph"]  # fmt: skip
    return table("A plan of 50 iterations at λ = 10 in float32, microseconds, median; ratios with quartiles", head, lines)  # fmt: skip


def _losses(record):
    lines = []
    for row in _rows(record, "loss"):
        spent = (
            row["microseconds"][f"{name}, {way}"][1]
            for way in ("eager", "graph")
            for name in ("all pairs", "bwot")
        )
        lines.append(cells(row["n"], *map(short, spent)))
    head = ["n = m", "all pairs, eager", "bwot, eager", "all pairs, graph", "bwot, graph"]
    return table("The loss with both gradients, microseconds, median", head, lines)


def _epochs(record):
    lines = [
        cells(row["dataset"], row["loss"], f"{row['first_seconds']:.2f}", f"{row['seconds']:.2f}")
        for row in _rows(record, "epoch")
    ]
    head = ["size of", "loss", "first epoch, s", "the next, s"]
    return table("An epoch of training on random images, the data on the device, a step replayed from a CUDA graph", head, lines)  # fmt: skip
