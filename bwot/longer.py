"""What stands beside a page's comparison: the same losses trained on, and other settings where the chosen ones diverged.

Both are found where their records were put; what was not run is said.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas

from bwot.comparison import by_seed, difference_of, losses_in, of_loss, p_value, summarise
from bwot.experiments.plan import FOLDERS
from bwot.findings import OURS, answer, below, difference_table, points_of, speed_table
from bwot.looks import TITLES
from bwot.records import Record
from bwot.tables import markdown, percent

NEXT_BEST = "next-best"
"""Folder of runs of a loss at the best point of its grid but one."""


def full_length(records: Sequence[Record], results_dir: str | Path | None) -> list[Record]:
    """The records of ``results_dir`` in which the losses of a page were trained at the preset ``full``; none without a folder."""
    return below(records, results_dir, FOLDERS["full length"])


def text(records: Sequence[Record], longer: Sequence[Record]) -> str:
    """What became of the losses of a page in longer runs, as Markdown: in sentences, the scores on the way, the differences."""
    if not longer:
        return "Not run on these data: {doc}`how to run </book/reproduce>` has the command, which is the same for each loss and seed."
    epochs = max(record.settings["epochs"] for record in records)
    parts = [
        answer("full length", longer),
        _table(longer, epochs),
        "The epoch of the highest mean is found on the test data: it shows when a loss was at its best, and is no score to compare.",
        *(difference_table(longer, loss, (epochs,)) for loss in OURS if of_loss(longer, loss)),
        speed_table(longer),
    ]
    return "\n\n".join(part for part in parts if part)


def _table(longer, epochs):
    """Test mAP of each loss where the page's runs end, at its highest and at the end."""
    last, rows = max(record.settings["epochs"] for record in longer), {}
    for loss in sorted(losses_in(longer), key=TITLES.get):
        mine = of_loss(longer, loss)
        means = {epoch: summarise(mine, "map", epoch) for epoch in range(1, last + 1)}
        end = means[last]
        top = max(means, key=lambda epoch: means[epoch].mean) if end.n else None
        rows[TITLES[loss]] = {
            f"epoch {epochs}": percent(means[epochs]),
            "highest mean": f"{percent(means[top])}, epoch {top}" if top else "–",
            f"epoch {last}": percent(end),
            "seeds finished": f"{end.n} of {end.n + end.diverged}",
        }
    return markdown(pandas.DataFrame(rows).T, "test mAP, %")


def next_best(records: Sequence[Record], results_dir: str | Path | None) -> list[Record]:
    """The records of ``results_dir`` of losses at the next best points of their grids; none without a folder."""
    return below(records, results_dir, NEXT_BEST)


def next_best_text(records: Sequence[Record], others: Sequence[Record]) -> str:
    """Of each loss that diverged at its chosen point: how it does at the next best point of its grid, where that was run."""
    lines = []
    for loss in losses_in(records):
        chosen, mine = of_loss(records, loss), of_loss(others, loss)
        lost = sum(each.status == "diverged" for each in chosen)
        if not (lost and mine):
            continue
        point, end = mine[0].settings, summarise(mine, "map")
        rate, margin = (f"{point[name]:g}" for name in ("learning_rate", "margin"))
        found = difference_of(
            "bwot", loss, *(by_seed(each, "map") for each in (of_loss(records, "bwot"), mine))
        )
        lines.append(
            f"At its chosen point {TITLES[loss]} diverged with {lost} of {len(chosen)} seeds. At the next best point of its grid (rate {rate}, "
            f"margin {margin}), {end.n} of {len(mine)} finished, after {point['epochs']} epochs with a mAP of "
            f"{percent(end)} %; {TITLES['bwot']} minus it is {points_of(found)} points, p {p_value(found.p)} of this one comparison. The "
            "rule of the tuning would not have chosen it."
        )
    return "\n\n".join(lines)
