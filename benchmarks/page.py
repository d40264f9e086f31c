"""The speed page from the committed records: `python -m benchmarks.page` writes its numbers and its pictures.

Everything between the two marks in book/speed.md is made here, so that no number on the page is typed by hand; a test compares.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path

from benchmarks import gpu_page, plot, training_page
from benchmarks.markdown import cells, short, table
from benchmarks.problems import Case
from benchmarks.promises import iterations_table, promises_table
from benchmarks.record import is_busy
from benchmarks.targets import FIXED, PEERS, base_row, fastest, verdict
from bwot.figures import svg
from bwot.paths import PROJECT

RECORDS, GPUS, TRAINING, PAGE = (
    Path("book/results/transport"),
    Path("book/results/gpu"),
    Path("book/results/training"),
    Path("book/speed.md"),
)
BEGIN, END = "% begin: made by `python -m benchmarks.page`", "% end: made"
EMPTY = (
    "No record has been made with this version yet, so only the part on GPUs below has numbers. A machine with nothing else to do makes one in a "
    "few hours:\n\n```bash\nmake bench TRANSPORT='--output book/results/transport/NAME.json'\npython -m benchmarks.page\n```"
)
FREE = "OTT, kernel domain"  # the targets are about OTT's default, which is right at every lambda
COSTS = {"distance": "Squared distances", "loss": "The loss's own cost"}


def records(root: Path = PROJECT, folder: Path = RECORDS) -> dict[str, dict]:
    """The committed records by the names of their files."""
    paths = sorted((root / folder).glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def other_records(root: Path = PROJECT) -> dict[Path, dict[str, dict]]:
    """Those of GPUs and of training, by their folders."""
    return {folder: records(root, folder) for folder in (GPUS, TRAINING)}


def written(page: str, found: dict[str, dict], others: dict[Path, dict[str, dict]]) -> str:
    """The page with what the records say between its marks; the ``others`` by their folders."""
    parts = [(BEGIN, END, [section(*each) for each in found.items()] or [EMPTY])]
    for module, folder in ((gpu_page, GPUS), (training_page, TRAINING)):
        sections = [module.section(each) for each in others[folder].values()]
        parts.append((module.BEGIN, module.END, sections or [module.EMPTY]))
    for begin, end, sections in parts:
        inside, marks = "\n\n".join(sections), (re.escape(begin), re.escape(end))
        page = re.sub(".*".join(marks), lambda _, text=f"{begin}\n\n{inside}\n\n{end}": text, page, flags=re.DOTALL)  # fmt: skip
    return page


def section(name: str, record: dict) -> str:
    """All that is said of one machine."""
    machine = record["machine"]
    parts = [f"## {machine['cpu']}, {machine['cores']} cores", caution(record), headline(record), figure(name, record)]  # fmt: skip
    parts += [targets_table(record, cost) for cost in COSTS]
    parts += [times_table(record, cost) for cost in COSTS]
    parts += [make(record) for make in (promises_table, varied_table, group_tables, iterations_table, memory_table,
                                           step_text, limits_table, start_table)]  # fmt: skip
    return "\n\n".join(part for part in [*parts, provenance(record)] if part)


def caution(record: dict) -> str:
    """What keeps a record from being a measurement; empty for a sound one."""
    runs = record["runs"]
    faults = [
        "made with `--quick`: a trial, not a measurement" if any(run["how"]["quick"] for run in runs) else "",
        "made on a busy machine" if any(map(is_busy, runs)) else "",
        "made with uncommitted changes" if any(run["dirty"] for run in runs) else "",
        "no wrong output may come from this loss, and one did" if any(
            row["method"].startswith("bwot") and row.get("correct") is False for row in record["rows"]) else "",
    ]  # fmt: skip
    faults = [fault for fault in faults if fault]
    return f":::{{warning}}\nOf this record: {'; '.join(faults)}.\n:::" if faults else ""


def _verdicts(record):
    """(cost, peer, n) -> verdict of every target."""
    return {
        (cost, peer, n): verdict(base_row(record, cost, n), peer)
        for cost in COSTS
        for peer, levels in FIXED.items()
        for n in levels["required"]
    }


def headline(record: dict) -> str:
    """How many of the targets are reached, and every one that is not."""
    verdicts = _verdicts(record)
    judged = {key: each for key, each in verdicts.items() if each != "not measured"}
    if not judged:
        return "None of the targets was measured."
    reached = sum(each != "missed" for each in judged.values())
    text = f"Of {len(verdicts)} targets {len(judged)} were measured and **{reached} are reached**."
    missed = {}
    for (cost, peer, n), each in judged.items():
        if each == "missed":
            missed.setdefault(f"{COSTS[cost].lower()}, {peer}", []).append(str(n))
    where = "; ".join(f"{name}, at n = {', '.join(sizes)}" for name, sizes in missed.items())
    return f"{text} **Missed**: {where}." if missed else text


def figure(name: str, record: dict) -> str:
    return (
        f"```{{figure}} static/speed-{name}.svg\n:name: speed-{name}\n:class: dark-light\n"
        ":alt: Time of a call over the size of the batches, both axes logarithmic, one line a library, this loss the thickest; "
        "two lines of limits lie below.\n\n"
        "From embeddings to both gradients, 50 iterations, $\\lambda = 10$, $d = 128$, float32, one thread: medians and quartiles. "
        "Of each library its fastest method with correct results. Dotted and dashed: what this machine needs to read the matrix "
        "$K$ once an iteration, and for the arithmetic of an iteration at the rate of its matrix-vector product.\n```"
    )


def targets_table(record: dict, cost: str) -> str:
    """Lower quartile of peer / ours beside its target, reached or missed."""
    sizes = list(FIXED["best POT"]["required"])
    lines = [cells(n, *(_target_cell(record, cost, peer, n) for peer in FIXED), _free_cell(record, cost, n))
             for n in sizes]  # fmt: skip
    title = f"{COSTS[cost]}: how many times longer a peer takes, lower quartile, beside what it has to be at least"
    return table(title, ["n = m", *FIXED, f"{FREE} (no target)"], lines)


def _free_cell(record, cost, n):
    best = fastest(base_row(record, cost, n), FREE)
    return f"{best['over_ours'][0]:.2f}" if best else "–"


def _target_cell(record, cost, peer, n):
    rows, required = base_row(record, cost, n), FIXED[peer]["required"][n]
    judged, best = verdict(rows, peer), fastest(rows, peer)
    if judged == "not measured":
        return judged
    found = f"{best['over_ours'][0]:.2f}" if best else "no correct result"
    return f"{found}, {'**missed**' if judged == 'missed' else judged} (≥\N{NO-BREAK SPACE}{required:g}{_goal(peer, n)})"


def _goal(peer, n):
    return f", goal\N{NO-BREAK SPACE}{FIXED[peer]['goal'][n]:g}" if n in FIXED[peer]["goal"] else ""


def times_table(record: dict, cost: str) -> str:
    """Milliseconds of every method at every size of the base row."""
    sizes = sorted({row["case"]["n"] for row in record["rows"] if row["group"] == "fixed"})
    rows = {n: {row["method"]: row for row in base_row(record, cost, n)} for n in sizes}
    sizes = [n for n in sizes if rows[n]]
    methods = list(dict.fromkeys(["bwot", *(m for n in sizes for m in rows[n])]))
    lines = [cells(m, *(_time(rows[n].get(m)) for n in sizes)) for m in methods]
    title = f"{COSTS[cost]}: milliseconds, median; ✗: a result was wrong, so the row has lost; –: not timed"
    return table(title, ["n = m", *map(str, sizes)], lines)


def _time(row):
    if row is None or "milliseconds" not in row:
        return "–"
    return f"{short(row['milliseconds'][1])}{'' if row['correct'] else ' ✗'}"


def varied_table(record: dict) -> str:
    """Every other case with a fixed number of iterations: ours, and the ratio to the best of each library."""
    base, lines = asdict(Case(0, 0)), []
    for case in _cases(record, "fixed"):
        changed = [f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in case.items()
                   if k not in ("n", "m", "cost") and v != base[k]]  # fmt: skip
        if changed or case["n"] != case["m"]:
            size = f"{case['n']} × {case['m']}"
            lines.append(_case_line(record, "fixed", case, f"{COSTS[case['cost']]}, {', '.join([size, *changed])}"))  # fmt: skip
    return table("Other shapes, settings, types and two threads", _case_head(), lines)


def group_tables(record: dict) -> str:
    """To a tolerance, and many problems at once."""
    tol = [_case_line(record, "tol", case, case["n"]) for case in _cases(record, "tol")]
    many = [_case_line(record, "batched", case, case["n"]) for case in _cases(record, "batched")]
    other = [
        cells(row["method"], row["case"]["batch"], _time(row), _ratio(row)) for row in _rows(record, "pml")
    ]  # fmt: skip
    head = ["loss", "batch", "ms", "over bwot"]
    tables = [
        table("Up to a marginal error of 1e-6, λ = 50", _case_head("n = m"), tol),
        table("64 problems at once", _case_head("n = m"), many),
        table("Losses of pytorch-metric-learning on one batch of embeddings", head, other),
    ]
    return "\n\n".join(each for each in tables if each)


def _case_head(first="case"):
    return [first, "bwot, ms", "its largest error of the plan × n", *(f"{peer} / bwot" for peer in PEERS)]  # fmt: skip


def _case_line(record, group, case, name):
    rows = [row for row in _rows(record, group) if row["case"] == case]
    ours = next((row for row in rows if row["method"] == "bwot"), None)
    error = ours.get("errors", {}).get("plan") if ours else None
    ratios = [_ratio(fastest(rows, peer)) for peer in PEERS]
    return cells(name, _time(ours), "–" if error is None else f"{error:.1e}", *ratios)


def _ratio(row):
    if row is None or "over_ours" not in row:
        return "–"
    low, middle, high = row["over_ours"]
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def memory_table(record: dict) -> str:
    """Peak above resident memory in matrices of n x m."""
    rows = [row for row in _rows(record, "memory") if "matrices" in row]
    lines = [
        cells(row["method"], f"{COSTS[row['case']['cost']]}, {row['case']['n']}", f"{row['matrices']:.1f}")
        for row in rows
    ]  # fmt: skip
    return table("Peak extra memory of a call, in matrices of n × n", ["method", "case", "matrices"], lines)  # fmt: skip


def step_text(record: dict) -> str:
    """What the loss costs in training."""
    for row in _rows(record, "step"):
        if "over_plain" in row:
            low, middle, high = row["over_plain"]
            return (
                "A whole training step on cached features (768 to 1000-500-128, two heads, sketches 2 × 30 and shapes 2 × 30, four "
                f"plans, SGD) takes {middle:.3f} times as long as the same step with the plain mean over all pairs (quartiles {low:.3f} "
                f"and {high:.3f})."
            )
    return ""


def limits_table(record: dict) -> str:
    """An iteration against reading its matrix once."""
    lines = []
    for row in _rows(record, "limits"):
        once = min(row["sum_microseconds"], row["product_microseconds"])
        each = row.get("iteration_microseconds")
        shown = (short(each[1]), f"{each[1] / once:.2f}") if each else ("–", "–")
        lines.append(cells(row["case"]["n"], short(once), *shown))
    head = ["n = m", "reading K once, µs", "one iteration, µs", "iteration / reading"]
    return table("An iteration against the time to read its matrix (the faster of sum and matrix-vector product)", head, lines)  # fmt: skip


def start_table(record: dict) -> str:
    lines = [
        cells(row["state"], *(f"{row['seconds'][key]:.3f}" for key in ("import", "first", "third")))
        for row in _rows(record, "start")
    ]  # fmt: skip
    head = ["cache of compiled code", "import after torch, s", "first call, s", "third call, s"]
    return table("The first call of a fresh process, n = m = 128", head, lines)


def provenance(record: dict) -> str:
    """Where the numbers come from."""
    used = sorted({row["run"] for row in record["rows"]})
    slices = {}
    for run in (record["runs"][i] for i in used):
        versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
        commit = f"`{run['commit'][:10]}`" if run["commit"] else "not from a checkout"
        changed = " with changes" if run["dirty"] else ""
        slices.setdefault(
            f"Commit {commit}{changed}, Python {run['python']}, {versions}", []
        ).append(f"{run['started']} ({run['busy']}, {run['how']['rounds']})")
    lines = [f"{made}. Begun at (busy cores beside it, rounds): {', '.join(each)}." for made, each in slices.items()]  # fmt: skip
    return "\n\n".join([f"{record['machine']['system']}. {record['method']}", *lines])


def _rows(record, group):
    return [row for row in record["rows"] if row["group"] == group]


def _cases(record, group):
    cases = []
    for row in _rows(record, group):
        if row["case"] not in cases:
            cases.append(row["case"])
    return cases


def main() -> None:
    found = records()
    for name, record in found.items():
        (PROJECT / f"book/static/speed-{name}.svg").write_text(
            svg(plot.picture(record)), encoding="utf-8"
        )
    page = PROJECT / PAGE
    page.write_text(
        written(page.read_text(encoding="utf-8"), found, other_records()), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
