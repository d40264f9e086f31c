"""The picture of the speed page: milliseconds over the size of the batches, with what the machine allows at most."""

from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.targets import base_row, fastest
from bwot.figures import COLOURS, INK, theme

ITERATIONS = 50
OURS = "this loss"
LOOKS = {
    OURS: ("o", "-"), "best POT": ("s", "-"), "plain torch": ("D", "--"), "OTT, jitted": ("^", "-"),
    "OTT, kernel domain": ("<", "--"), "POT, default use": ("v", "-"), "GeomLoss": ("P", ":"),
}  # fmt: skip
TITLES = {"distance": "cost: squared distances", "loss": "the loss's own cost"}


def picture(record: dict) -> Figure:
    """One panel a cost, above one another so that a phone shows them whole."""
    theme()
    costs = [cost for cost in TITLES if any(_curves(record, cost).values())]
    figure, axes = pyplot.subplots(
        len(costs),
        1,
        figsize=(4.8, 1.1 + 3.2 * len(costs)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axis, cost in zip(axes[:, 0], costs, strict=True):
        _panel(axis, record, cost)
    axes[-1, 0].set_xlabel("samples in each batch")
    drawn = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    names = sorted(drawn, key=lambda name: name.startswith("limit"))
    figure.legend([drawn[name] for name in names], names, loc="outside upper center", ncols=2,
                  fontsize=10.5, columnspacing=1.2, handlelength=2.4)  # fmt: skip
    return figure


def _panel(axis, record, cost):
    curves = _curves(record, cost)
    sizes = sorted({n for curve in curves.values() for n in curve})
    for colour, (name, (marker, line)) in zip(COLOURS.values(), LOOKS.items(), strict=False):
        curve = curves[name]
        if not curve:
            continue
        low, middle, high = zip(*curve.values(), strict=True)
        below = [b - a for a, b in zip(low, middle, strict=True)]
        above = [c - b for b, c in zip(middle, high, strict=True)]
        axis.errorbar(list(curve), middle, (below, above), color=colour, marker=marker, linestyle=line, label=name,
                      markersize=5, linewidth=2.4 if name == OURS else 1.4, elinewidth=1, zorder=3 if name == OURS else 2)  # fmt: skip
    for (name, limit), dashes in zip(limits(record).items(), ((1, 1.5), (5, 2)), strict=False):
        shown = [n for n in sizes if n in limit]
        axis.plot(shown, [limit[n] for n in shown], color=INK, linewidth=1, dashes=dashes, label=name)  # fmt: skip
    axis.set(xscale="log", yscale="log", ylabel="milliseconds", title=TITLES[cost])
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def _curves(record, cost):
    """Of each name in the picture: size -> quartiles in milliseconds, of its fastest correct method."""
    sizes = sorted({row["case"]["n"] for row in record["rows"] if row["group"] == "fixed"})
    curves = {name: {} for name in LOOKS}
    for n in sizes:
        rows = base_row(record, cost, n)
        for name in LOOKS:
            row = fastest(rows, name) if name != OURS else _ours(rows)
            if row:
                curves[name][n] = row["milliseconds"]
    return curves


def _ours(rows):
    return next((row for row in rows if row["method"] == "bwot" and row.get("correct")), None)


def limits(record: dict) -> dict[str, dict[int, float]]:
    """Milliseconds below which no float32 kernel on one core of this machine gets, by size.

    ``reading``: the matrix once an iteration, at the best rate measured at this size or a larger one (a smaller matrix is
    read no slower). ``arithmetic``: the two products of an iteration, at the best rate of a product that was measured.
    """
    rows = sorted(
        (row for row in record["rows"] if row["group"] == "limits"), key=lambda r: r["case"]["n"]
    )
    size = [row["case"]["n"] for row in rows]
    once = [min(row["sum_microseconds"], row["product_microseconds"]) for row in rows]
    read = [max(m * m / t for m, t in zip(size[i:], once[i:], strict=True)) for i in range(len(size))]  # fmt: skip
    if not rows:
        return {}
    product = max(n * n / row["product_microseconds"] for n, row in zip(size, rows, strict=True))
    return {
        "limit: reading K": {n: ITERATIONS * n * n / rate / 1e3 for n, rate in zip(size, read, strict=True)},
        "limit: arithmetic": {n: ITERATIONS * 2 * n * n / product / 1e3 for n in size},
    }  # fmt: skip
