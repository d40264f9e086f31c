"""The first page: the paper's claims beside what the runs say, two pictures, and the state of each data set.

All of it follows the records: numbers, words, curves, and what is said of the curves to those who do not see them.
"""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot
from matplotlib.figure import Figure

from bwot import claims, scoreboard, sharpness, told
from bwot.comparison import losses_in, of_loss, summarise
from bwot.explorer import draw_points
from bwot.figures import WIDTH, draw_curves
from bwot.looks import MARKERS, TITLES
from bwot.play import PANELS, Settings, play_batch, read, shares
from bwot.published import IMAGE_SETTINGS
from bwot.scoreboard import OURS, SHORT, Ways, named
from bwot.tables import captioned, percent

RESULTS = Path("book/results")
COMMON, OTHER_FEATURES, OTHERWISE = "†", "‡", "§"
"""Mark a data set whose losses were not tuned one by one, one whose features are not those of the authors' code, and one where the
shorter of two comparisons says otherwise."""
PRINT = 11
"""Points of titles and names in the pictures, ten pixels on a phone, and no less beside each other on a desk."""
CURVES_OF = 2
"""Data sets in the picture of convergence, the first that have curves."""


class Picture(NamedTuple):
    """A figure, the same for a phone with one panel a row, and their words."""

    figure: Figure
    phone: Figure
    alt: str
    caption: str


def records(root: Path) -> dict[str, Ways]:
    """All that the page is made from, by data set and way."""
    return {dataset: scoreboard.records_of(root / RESULTS, dataset) for dataset in scoreboard.ALL}


def verdicts(everything: dict[str, Ways], plans: dict) -> str:
    """A row for each claim: the paper's words, and what the runs say of it so far; short, for it shares a screen.

    Args:
        everything: the records of all data sets.
        plans: the record of :mod:`bwot.sharpness`.
    """
    rows = []
    for claim in claims.CLAIMS:
        found = claims.findings(claim, everything)
        said = claims.judged(claim, found)
        words = [f"**{word}** on {', '.join(_marked(each, found) for each in on)}" for word, on in said.items() if word != "not run"]  # fmt: skip
        rows.append(f"| {claim.text} | {'; '.join(words) or 'not run yet'} |")
        rows += _at_the_published_lambda(plans) if claim.name == "hard" else []
    rows.append(f"| The settings of its code lead to its curves | {_as_published(everything)} |")
    head = ["| The paper says, or we ask | Our runs say |", "|---|---|"]
    caption = "Measured on {doc}`the scoreboard <scoreboard>`."
    return captioned([*head, *rows], " ".join([caption, *_notes(everything, "".join(rows))]), "first-claims", "first")  # fmt: skip


def _at_the_published_lambda(plans):
    lam = IMAGE_SETTINGS["lam"]
    most = sharpness.heaviest(plans, lam)
    if most is not None:
        yield f"| … at the published λ = {lam:g} too | **no**: the plan is uniform, its heaviest pair has {most:.2f} times the even weight, on digits |"


def _marked(judged_on, found):
    dataset, finding = judged_on
    shorter = [each.verdict for each in found if each.dataset == dataset and each.way == "tuned"]
    otherwise = finding.way == "full length" and shorter not in ([], [finding.verdict])
    return SHORT[dataset] + COMMON * (finding.way == "common rate") + OTHERWISE * otherwise


def _as_published(everything):
    lost, kept = [], []
    for dataset in scoreboard.JUDGED:
        if mine := everything[dataset]["as published"]:
            diverged = sum(each.status == "diverged" for each in mine)
            name = SHORT[dataset] + OTHER_FEATURES * any(map(scoreboard.frozen, mine))
            some = f" ({diverged} of {len(mine)})" * (0 < diverged < len(mine))
            (lost if diverged else kept).append(name + some)
    said = [f"{word} {', '.join(on)}" for word, on in (("**diverged** on", lost), ("**no curve** for", kept)) if on]  # fmt: skip
    return "; ".join(said) or "not run yet"


def _notes(everything, shown):
    """What the marks of the table mean, and what stands beside the loss on shapes."""
    judged = [r for dataset in scoreboard.JUDGED for mine in everything[dataset].values() for r in mine]  # fmt: skip
    if COMMON in shown:
        yield f"{COMMON} One rate for all losses."
    copies = [f"{SHORT[name]} ({variant})" for name in scoreboard.JUDGED if (variant := _variant(everything[name]))]  # fmt: skip
    if copies:
        yield f"Not the published files: {', '.join(copies)}."
    if OTHERWISE in shown:
        yield f"{OTHERWISE} Over as many epochs as the authors plot; after fewer, otherwise."
    if OTHER_FEATURES in shown:
        names = ", ".join(sorted({name for name in map(scoreboard.frozen, judged) if name}))
        yield f"{OTHER_FEATURES} Frozen {names} features, not AlexNet."
    weights = {r.settings.get("classifier_weight") for r in judged if r.loss["name"] == "bwot"}
    if weights := [f"{weight:g}" for weight in sorted(filter(None, weights))]:
        yield f"On shapes, a classifier of weight {' or '.join(weights)} beside each loss on pairs."


def _variant(ways):
    return next((scoreboard.variant_of(r.dataset) for mine in ways.values() for r in mine), None)


def weighting() -> Picture:
    """One batch twice: every pair alike, and as the plan weighs it."""
    batch = play_batch()
    share = shares(read(batch, Settings()))
    ten = share.flatten().sort(descending=True).values[:10].sum().item()
    pairs = len(share) * (len(share) - 1) // 2
    seen = f"ten of the {pairs} pairs carry {100 * ten:.0f} % of the weight"
    return Picture(
        _weighting(batch, 1, 2, (7.0, 2.5)),
        _weighting(batch, 2, 1, (WIDTH, 5.4)),
        "Twelve points of two classes, circles on the left and triangles on the right, but one circle lies among the triangles "
        "and one triangle among the circles. First panel: thin lines of one thickness between all points. Second panel: most lines "
        "between the classes are gone; thick solid lines join points of one class that lie far apart, dashed ones join the strays "
        f"to the strangers around them; {seen}.",
        f"A batch of two classes; solid: one class, dashed: two; thickness: weight. Under the plan {seen}.",
    )


def _weighting(batch, rows, columns, size):
    figure, axes = matplotlib.pyplot.subplots(rows, columns, figsize=size)
    titles = {"allpairs": "every pair alike", "bwot": "the transport plan"}
    for axis, (weights, title) in zip(axes.flat, titles.items(), strict=True):
        draw_points(axis, batch, read(batch, Settings(weights=weights)))
        axis.set(xlim=(-1.55, 1.55), ylim=(-0.85, 0.85))
        axis.set_title(title, fontsize=PRINT)
    return figure


def convergence(everything: dict[str, Ways]) -> Picture | None:
    """Test mAP over the epochs on the first data sets that have it, a panel each; None where none has."""
    shown = _with_curves(everything)
    if not shown:
        return None
    figure, entries = _convergence(shown, 1, len(shown), (3.5 * len(shown), 2.9), ncols=3)
    phone, _ = _convergence(shown, len(shown), 1, (WIDTH, 2.6 * len(shown) + 1.4), ncols=2)
    words = " ".join(f"{title}. {told.curves(mine, 'map')}" for title, mine in shown.items())
    single = [f"{TITLES[loss]} on {title}" for title, mine in shown.items() for loss in losses_in(mine) if len(of_loss(mine, loss)) == 1]  # fmt: skip
    rings = ", unfilled: read off the authors' plot" if any("authors" in name for name in entries) else ""  # fmt: skip
    return Picture(
        figure,
        phone,
        f"Curves of the test mAP over the epochs, a panel for each data set{rings}. {words}",
        f"Test mAP over the epochs: mean over the seeds that finished, band from lowest to highest{rings}."
        + (f" One run finished of {', '.join(single)}." if single else ""),
    )


def _convergence(shown, rows, columns, size, ncols):
    figure, axes = matplotlib.pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    entries = {}
    for axis, (title, mine) in zip(axes.flat, shown.items(), strict=True):
        draw_curves(axis, mine, "map")
        axis.set_title(title, fontsize=PRINT)
        handles, names = axis.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=ncols, fontsize=PRINT)  # fmt: skip
    return figure, entries


def _with_curves(everything):
    """Title to the records of the losses that the explorer plays too, tuned before common."""
    shown = {}
    for dataset, ways in everything.items():
        for way in OURS:
            mine = [r for r in ways[way] if r.loss["name"] in PANELS and r.status == "finished"]
            if len(shown) < CURVES_OF and {"bwot"} < set(losses_in(mine)):
                mine.sort(key=lambda record: list(MARKERS).index(record.loss["name"]))
                shown[f"{named(dataset, mine)}, {way}"] = mine
                break
    return shown


def state(root: Path, everything: dict[str, Ways]) -> str:
    """What is run of each data set, a row each, with a link to its chapter where the book has one."""
    chapters = (root / "_toc.yml").read_text(encoding="utf-8")
    rows = []
    for dataset, ways in everything.items():
        chapter = f"{{doc}}`pages/{dataset}`" if f"book/pages/{dataset}\n" in chapters else "–"
        name = named(dataset, next((mine for mine in ways.values() if mine), []))
        beside = ["full length", *(way for way in ways if way not in scoreboard.FOLDERS)]
        sides = [f"{way}: {_run(ways[way])}" for way in beside if ways[way]]
        tuned = "; ".join([_run(ways["tuned"]), *sides])
        others = (_run(ways[way]) for way in ("common rate", "end to end"))
        cells = (name, tuned, *others, _published(ways), chapter)
        rows.append(f"| {' | '.join(cells)} |")
    head = ["| data | each loss tuned | one common rate | network trained from the views on, the authors' rate | the authors' settings | chapter |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    caption = (
        "What was run on real data: losses, and the seeds of each. What was scored without training is not counted. Shapes and "
        "sketches are learned from features of a frozen network, with the authors' settings too, but for the column that says otherwise."
    )
    return f"{captioned([*head, *rows], caption, 'state')}\n\nFilled by all records ({{doc}}`records`)."


def _run(mine):
    seeds = [len(of_loss(mine, loss)) for loss in losses_in(mine)]
    if not seeds:
        return "not run"
    several = f"{min(seeds)} to {max(seeds)}" if min(seeds) < max(seeds) else f"{max(seeds)}"
    losses, runs = "loss" + "es" * (len(seeds) > 1), "seed" + "s" * (several != "1")
    return f"{len(seeds)} {losses}, {several} {runs}"


def _published(ways):
    mine = of_loss(ways["as published"], "bwot")
    if not mine:
        return "not run"
    end = summarise(mine, "map")
    lost = f"diverged ({end.diverged} of {len(mine)})" if end.diverged else ""
    return ", ".join(filter(None, (lost, f"mAP {percent(end)} % (n = {end.n})" if end.n else "")))
