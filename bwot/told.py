"""What the figures of runs show, in words: the values that a reader would take from the curves and grids.

These texts are listened to. So they are short: where there are many losses they tell of some of them, and of the rest
between which values it lies. Values are means over the seeds whose runs finished, scores in percent.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from bwot.comparison import losses_in, of_loss, summarise
from bwot.figures import MOST_POINTS
from bwot.looks import SCORE_NAMES, TITLES
from bwot.published import CURVES, LOGGED
from bwot.records import Record
from bwot.tuning import collapsed

MOST = 6
"""Losses of which every one is told."""
WEIGHTS = {
    "mass_on_positives": ("Share of the weight on positive pairs, in percent:", 100),
    "mass_on_active": ("Share on pairs with an error:", 100),
    "gradient_ratio": ("Length of the gradient over that of the all-pairs mean:", 1),
}
"""What the three panels of :func:`bwot.figures.weight_shares` are, and what their values are multiplied with."""


def convergence(records: Sequence[Record]) -> str:
    """The picture of :func:`bwot.figures.convergence`."""
    last = max(record.settings["epochs"] for record in records)
    seeds = max(len(of_loss(records, loss)) for loss in losses_in(records))
    mean = f"means over {seeds} seeds with bands from the lowest to the highest"
    head = f"Two panels of curves over {counted(last, 'epoch')}, {mean if seeds > 1 else 'one seed a loss'}."
    parts = (curves(records, "map"), _spread(records), _nearest(records), _authors(records), _lost(records))  # fmt: skip
    return " ".join([head, *filter(None, parts)])


def curves(records: Sequence[Record], score: str) -> str:
    """One panel of it: losses after the first, a middle and the last epoch, and who is ahead."""
    epochs = _telling_epochs(records, score)
    values = {
        loss: [_mean(records, loss, score, epoch) for epoch in epochs]
        for loss in _with(records, score)
    }
    if not values:
        return f"No run finished: there is no curve of the test {SCORE_NAMES[score]}."
    ends = {loss: each[-1] for loss, each in values.items()}
    leaders = [
        max(values, key=lambda loss, place=place: values[loss][place])
        for place in range(len(epochs))
    ]
    shown = _telling(ends, *leaders)
    told = "; ".join(f"{TITLES[loss]} {listed(map(_percent, values[loss]))}" for loss in shown)
    return (
        f"Test {SCORE_NAMES[score]} in percent {_after(epochs)}, the highest at the end first: {told}."
        f"{_rest(ends, shown)}{_ahead(epochs, leaders)}"
    )


def weights(records: Sequence[Record]) -> str:
    """The picture of :func:`bwot.figures.weight_shares`."""
    epochs = _telling_epochs(records, "mass_on_positives")
    if not epochs:
        return "Three empty panels: no run of a loss on pairs finished."
    ends = sorted({epochs[0], epochs[-1]})
    told = [_weighed(records, score, ends) for score in WEIGHTS]
    head = (
        f"Three panels of curves. Told are {TITLES['bwot']}, {TITLES['allpairs']} and what ends highest and lowest, "
        f"from the highest to the lowest, {_after(ends)}."
    )
    return " ".join(filter(None, [head, *told, _lost(records)]))


def _weighed(records, score, epochs):
    name, scale = WEIGHTS[score]
    values = {
        loss: [scale * _mean(records, loss, score, epoch) for epoch in epochs]
        for loss in _with(records, score)
    }
    ranked = sorted(values, key=lambda loss: values[loss][-1], reverse=True)
    kept = {"bwot", "allpairs", ranked[0], ranked[-1]}
    digits = 0 if scale > 1 else 1
    told = [
        f"{TITLES[loss]} {listed(f'{value:.{digits}f}' for value in values[loss])}"
        for loss in ranked
        if loss in kept
    ]
    return f"{name} {'; '.join(told)}."


def tuning(found: Mapping[str, dict], untrained: Sequence[Record] = ()) -> str:
    """The picture of :func:`bwot.figures.tuning_grid`."""
    best = {loss: max(_chosen(each)) for loss, each in found.items()}
    shown = _telling(best)
    told = "; ".join(_tuned(loss, found[loss], best[loss]) for loss in shown)
    cells = [cell for each in found.values() for cell in each["grid"]]
    starts = of_loss(untrained, "untrained")
    fell = f", {collapsed(cells, starts) or 'none'} ended no better than an untrained network" if starts else ""  # fmt: skip
    return (
        f"A grid of learning rates and margins for each of {counted(len(found), 'loss')}, with the validation mAP in percent. "
        f"{_diverged(cells)} of all {len(cells)} points diverged, drawn as crosses{fell}. "
        f"Chosen, the highest mAP first: {told}.{_rest(best, shown)}"
    )


def _tuned(loss, found, best):
    grid, chosen = found["grid"], found["chosen"]
    several = len({cell["margin"] for cell in grid}) > 1
    margin = f", margin {chosen['margin']:.3g}" if several else ""
    lost = f"{_diverged(grid)} of {counted(len(grid), 'point')} diverged"
    return f"{TITLES[loss]} rate {chosen['learning_rate']:.2g}{margin}, mAP {_percent(best)}, {lost}"  # fmt: skip


def _chosen(found):
    for cell in found["grid"]:
        if all(cell[name] == value for name, value in found["chosen"].items()):
            yield cell["map"]


def _diverged(cells):
    return sum("map" not in cell for cell in cells) or "none"


def logged() -> str:
    """The picture of :func:`bwot.sketch_figures.logged_curves`, at the epochs that all of the logs have, and at their ends."""
    shared = set.intersection(*(set(curve.epochs) for curve in LOGGED.values()))
    told = []
    for loss, curve in LOGGED.items():
        at = dict(zip(curve.epochs, curve.values, strict=True))
        epochs = sorted({min(shared), max(shared), curve.epochs[-1]})
        told.append(f"{TITLES[loss]} {listed(f'{_percent(at[epoch])} after epoch {epoch}' for epoch in epochs)}")  # fmt: skip
    return f"Curves of the test mAP in the authors' logs of SHREC'14, in percent: {'; '.join(told)}, where the logs end."


def reached(records: Sequence[Record]) -> str:
    """Between which scores the runs of a loss began and ended: ten points apart, so that every machine says the same."""
    finished = [record for record in records if record.status == "finished"]
    if not finished:
        return f"none of {counted(len(records), 'run')} finished"
    last = finished[0].history[-1]["epoch"]
    start, end = (_band(summarise(finished, "map", epoch).mean) for epoch in (0, last))
    return f"mAP between {end} % after {counted(last, 'epoch')}, {start} % before"


def _band(value):
    middle = 10 * round(10 * value)
    return f"{max(0, middle - 5)} and {min(100, middle + 5)}"


def _telling_epochs(records, score):
    """The first epoch of training with the score, the one in the middle of the axis, and the last."""
    rows = [row for each in records if each.status == "finished" for row in each.history[1:]]
    taken = sorted({row["epoch"] for row in rows if score in row})
    if not taken:
        return []
    logarithmic = len(taken) > MOST_POINTS
    middle = round(math.sqrt(len(taken))) if logarithmic else (len(taken) + 1) // 2
    return sorted({taken[0], taken[middle - 1], taken[-1]})


def _after(epochs):
    return f"after epoch{'s' * (len(epochs) > 1)} {listed(map(str, epochs))}"


def _with(records, score):
    """Losses that have the score and a run that finished."""
    return [loss for loss in losses_in(records) if summarise(of_loss(records, loss), score).n]


def _mean(records, loss, score, epoch):
    return summarise(of_loss(records, loss), score, epoch).mean


def _telling(values, *leaders):
    """Losses to tell of, highest value first: of many the three highest, the lowest, the batch-wise loss, the plain mean and ``leaders``."""
    ranked = sorted(values, key=values.get, reverse=True)
    kept = {*ranked[:3], ranked[-1], "bwot", "allpairs", *leaders}
    return [loss for loss in ranked if len(ranked) <= MOST or loss in kept]


def _rest(values, shown):
    left = [values[loss] for loss in values.keys() - set(shown)]
    if len(left) < 2:
        return f" The other one has {_percent(*left)}." if left else ""
    return f" The other {len(left)} have {_percent(min(left))} to {_percent(max(left))}."


def _ahead(epochs, leaders):
    """Who led before, where that is not who leads at the end."""
    if len(set(leaders)) < 2:
        return ""
    ahead = {}
    for epoch, loss in zip(epochs[:-1], leaders[:-1], strict=True):
        ahead.setdefault(loss, []).append(epoch)
    return f" Highest before: {'; '.join(f'{TITLES[loss]} {_after(when)}' for loss, when in ahead.items())}."


def _spread(records):
    """How far the seeds of a loss lie apart at most, at the end."""
    spread = {}
    for loss in _with(records, "map"):
        mine = [record for record in of_loss(records, loss) if record.status == "finished"]
        ends = [record.history[-1]["map"] for record in mine]
        spread[loss] = max(ends) - min(ends)
    widest = max(spread, key=spread.get, default=None)
    if not widest or not spread[widest]:
        return ""
    return (
        f"Seeds of one loss end at most {_percent(spread[widest])} points apart ({TITLES[widest]})."
    )


def _nearest(records):
    ends = {loss: summarise(of_loss(records, loss), "nn").mean for loss in _with(records, "nn")}
    if not ends:
        return ""
    low, high = min(ends, key=ends.get), max(ends, key=ends.get)
    span = f"from {_percent(ends[low])} ({TITLES[low]}) to {_percent(ends[high])} ({TITLES[high]})"
    return f"Share of nearest neighbours of the right class at the end: {span}."


def _authors(records):
    """What was read off the authors' plot and is drawn beside."""
    dataset, told = records[0].dataset, []
    last = max(record.settings["epochs"] for record in records)
    for loss in losses_in(records) if dataset["official"] else ():
        if theirs := CURVES.get((dataset["name"], loss, "map")):
            points = [each for each in zip(theirs.epochs, theirs.values, strict=True) if each[0] <= last]  # fmt: skip
            ends = dict.fromkeys((points[0], points[-1]))
            told.append(f"{TITLES[loss]} {listed(f'{_percent(value)} after epoch {epoch}' for epoch, value in ends)}")  # fmt: skip
    return f"Unfilled markers, read off the authors' plot: {'; '.join(told)}." if told else ""


def _lost(records):
    told = []
    for loss in losses_in(records):
        mine = of_loss(records, loss)
        if lost := sum(record.status == "diverged" for record in mine):
            no_curve = ", which leaves no curve" if lost == len(mine) else ""
            told.append(f"{TITLES[loss]} {lost} of {counted(len(mine), 'run')}{no_curve}")
    return f"Diverged and left out: {'; '.join(told)}." if told else ""


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def counted(number: int, noun: str) -> str:
    """A number and what it counts: ``1 loss``, ``2 losses``."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"


def listed(words: Iterable[str]) -> str:
    """``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
