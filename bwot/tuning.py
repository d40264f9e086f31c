"""Tuning by halving: which learning rate and margin a loss is best with, judged on the validation part alone.

Every loss begins with the same grid and has the same rule. Each point of rates × margins is trained for the first stage's epochs, the best third of
them goes on to the second stage's. A best point has to lie inside the grid: while a neighbour of it (one step in rate or in
margin) has not been tried for as long, it is tried, and if it is better the search goes on from there: a loss whose best lies far out has more points tried.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from bwot import cross_retrieval, evaluation, provenance, training
from bwot.comparison import stopped
from bwot.data.images import ImageSet
from bwot.data.sketches import SketchData
from bwot.experiments import Experiment, Sketches
from bwot.paths import runs_root
from bwot.records import Record, write_atomically
from bwot.runs import cache_key, precision

SEED = 100
"""Of every tuning run; the runs that are compared have other seeds."""
CRITERION = "mAP of the validation part after the last epoch"
RATE_STEP, MARGIN_STEP = 2.0, 2.5
RATES, MARGINS = (1e-5, 10.0), (0.1, 1000.0)
"""Where a search that grows ends."""

Point = tuple[float, float]  # learning rate and margin


class TuningError(ValueError):
    """A file that is no result of a tuning, or one of other settings or data."""


def tune(
    settings: Experiment,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    report: Callable[[str], None] = lambda line: None,
    results_dir: str | Path | None = None,
    data: ImageSet | SketchData | None = None,
) -> dict:
    """The rate and margin for a loss, with the grid that they were chosen from; points tried before are not tried again.

    Args:
        settings: what to tune; its rate, margin, epochs and seed play no part.
        data_dir: the folder with the data sets; see :func:`bwot.paths.data_root`.
        device: torch device to train on.
        report: takes a line for each point that is done.
        results_dir: a folder of finished results, such as ``book/results``: ``<data set>/tuning/<loss>.json`` in it is
            returned if it has these settings and data.
        data: those of the settings, where the caller has read them already.

    Returns:
        ``criterion``, ``seed``, ``chosen`` (``learning_rate``, ``margin``) and ``grid``, a list of points with the
        ``epochs`` trained and the ``map`` reached or where training ``diverged``.

    Raises:
        FileNotFoundError, ValueError: as :func:`bwot.runs.run`.
        TuningError: where training diverges at every point, where there is nothing to tune (a zero line, the published
            settings), or ``results_dir`` has a file that is no result.
    """
    if settings.as_published or settings.loss in settings.ZERO_LINES:
        what = "the published settings" if settings.as_published else settings.loss
        raise TuningError(f"{what}: there is no learning rate to tune.")
    data = settings.load_data(data_dir) if data is None else data
    if results_dir:
        path = Path(results_dir) / settings.dataset / "tuning" / f"{settings.loss}.json"
        if path.exists() and (found := read_tuning(path, settings, data.sha256)):
            return found
    stages = settings.PRESETS[settings.preset]["tuning_epochs"]
    longest = replace(_untuned(settings), epochs=stages[-1], seed=SEED)

    def try_point(point: Point, epochs: int) -> dict:
        tried = replace(longest, learning_rate=point[0], margin=point[1])
        cell = _try(tried, epochs, data, device)
        outcome = (
            f"diverged {stopped(cell['diverged'], device)}"
            if "diverged" in cell
            else f"mAP {cell['map']:.4f}"
        )
        report(f"rate {point[0]:g}  margin {point[1]:g}  {epochs} epochs  {outcome}")
        return cell

    margins = (
        settings.PRESETS[settings.preset]["margins"]
        if has_margin(settings)
        else (type(settings).margin,)
    )
    points = [
        (rate, margin) for rate in settings.PRESETS[settings.preset]["rates"] for margin in margins
    ]
    grid = halve(try_point, points, stages, margins=len(margins) > 1)
    best = max(grid.values(), key=_score)
    return {
        "criterion": CRITERION,
        "seed": SEED,
        "chosen": {"learning_rate": best["learning_rate"], "margin": best["margin"]},
        "grid": [grid[point] for point in sorted(grid)],
    }


def halve(
    try_point: Callable[[Point, int], dict],
    points: Iterable[Point],
    stages: tuple[int, int],
    margins: bool,
) -> dict[Point, dict]:
    """Every point that was tried, with what :func:`tune` keeps of it; the best is inside.

    Args:
        try_point: from a point and the epochs to train to its cell of the grid.
        points: the grid to begin with.
        stages: epochs of the first and of the second stage.
        margins: whether the margin has neighbours to try, or the rate alone.

    Raises:
        TuningError: where every point diverges.
    """
    grid = {point: try_point(point, stages[0]) for point in points}
    _climb(grid, try_point, stages[0], margins)
    ranked = sorted(grid, key=lambda point: _score(grid[point]), reverse=True)
    ranked = [point for point in ranked if "map" in grid[point]]
    third, finished = -(-len(grid) // 3), 0
    for place, point in enumerate(ranked):
        if place < third or not finished:  # where all of the third diverge, the next best
            grid[point] = try_point(point, stages[1])
            finished += "map" in grid[point]
    _climb(grid, try_point, stages[1], margins)
    return grid


def _climb(grid, try_point, epochs, margins):
    """Try what lies around the best of the points that were trained so long, until nothing better does."""
    while True:
        done = [point for point in grid if grid[point]["epochs"] >= epochs and "map" in grid[point]]
        if not done:
            raise TuningError(
                f"training diverged at all of {len(grid)} rates and margins: begin with lower rates."
            )
        best = max(done, key=lambda point: _score(grid[point]))
        open_ = [
            point
            for point in _neighbours(best, margins)
            if point not in grid or ("map" in grid[point] and grid[point]["epochs"] < epochs)
        ]
        if not open_:
            return
        for point in open_:
            grid[point] = try_point(point, epochs)


def _neighbours(point, margins):
    rate, margin = point
    around = [(_round(rate / RATE_STEP), margin), (_round(rate * RATE_STEP), margin)]
    if margins:
        around += [(rate, _round(margin / MARGIN_STEP)), (rate, _round(margin * MARGIN_STEP))]
    return [
        (rate, margin)
        for rate, margin in around
        if RATES[0] <= rate <= RATES[1] and MARGINS[0] <= margin <= MARGINS[1]
    ]


def _round(value):
    """Ten digits, so that going up and down again comes back to the same point."""
    return float(f"{value:.10g}")


def _score(cell):
    return (cell["epochs"], cell["map"]) if "map" in cell else (0, 0.0)


def collapsed(grid: Sequence[dict], untrained: Sequence[Record]) -> int:
    """How many points of a grid ended no better than networks before their first step do, the best of them."""
    starts = [each.history[0] for each in untrained]
    most = max(row.get("validation_map", row["map"]) for row in starts)
    return sum(cell.get("map", math.inf) <= most for cell in grid)


def has_margin(settings: Experiment) -> bool:
    """Has the loss of these settings a margin to tune?"""
    return settings.loss != "cross-entropy"


def _untuned(settings):
    return replace(
        settings, learning_rate=type(settings).learning_rate, margin=type(settings).margin
    )


def _try(settings, epochs, data, device):
    """One point of the grid, from its file if it has been trained so long, from its checkpoint on otherwise."""
    folder = runs_root() / "tuning" / cache_key(settings, data.sha256, device)
    path = folder / "cell.json"
    if path.exists():
        cell = json.loads(path.read_text())
        # what diverged in the second stage was sound in the first: asked again for that, it says so again
        if cell["epochs"] == epochs or ("diverged" in cell and cell["epochs"] < epochs):
            return cell
    train = settings.training_samples(data, device)
    bfloat16 = precision(settings, device) == "bfloat16"
    network = settings.network_for(settings.dimensions(data), bfloat16).to(device)

    def validate(epoch: int) -> dict:
        if not epoch:
            return {}
        if isinstance(settings, Sketches):
            answers = cross_retrieval.retrieval(settings, network, data, "validation", device)
            reached = answers.scores.map
        else:
            reached = evaluation.retrieval(network, data.validation, device)[1].map
        return {"map": reached, "validation_map": reached}

    cell = {"learning_rate": settings.learning_rate, "margin": settings.margin, "epochs": epochs}
    try:
        history = training.fit(
            network,
            settings.build_loss(len(data.classes)).to(device),
            train,
            training.schedule_of(replace(settings, epochs=epochs)),
            settings.sampler(train),
            validate,
            folder / "checkpoint.pt",
        )
        cell["map"] = history[epochs]["map"]
    except training.DivergedError as error:
        cell["diverged"] = error.where
    write_atomically(path, json.dumps(cell).encode())
    return cell


def write_tuning(
    found: dict, settings: Experiment, data_sha256: str, device: str, path: Path
) -> None:
    """Write what :func:`tune` returned, with the settings, data and machine that it belongs to."""
    content = {
        "settings": asdict(_untuned(settings)), "sha256": data_sha256, **found,
        "provenance": provenance.commit() | provenance.software() | {
            "device": provenance.device_name(device), "precision": precision(settings, device), "threads": torch.get_num_threads()},
    }  # fmt: skip
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_tuning(path: str | Path, settings: Experiment, data_sha256: str) -> dict | None:
    """What :func:`tune` returned, from a file of :func:`write_tuning`; None if it is that of other settings or data.

    Raises:
        TuningError: for a file that is no such result; the file is named.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        found = {name: content[name] for name in ("criterion", "seed", "chosen", "grid")}
        of = type(settings)(**content["settings"])
        found["chosen"] = {name: found["chosen"][name] for name in ("learning_rate", "margin")}
        replace(of, **found["chosen"])  # refuses what is no rate or no margin
        same = content["sha256"] == data_sha256
    except (ValueError, KeyError, TypeError) as error:
        raise TuningError(
            f"{path} is no result of a tuning ({type(error).__name__}: {error})."
        ) from error
    wanted = replace(_untuned(settings), epochs=of.epochs, seed=of.seed)
    if settings.preset != of.preset and _grid(settings) == _grid(of):
        wanted = replace(
            wanted, preset=of.preset
        )  # how long a chosen point is trained later is another matter
    return found if same and of == wanted else None


def _grid(settings):
    preset = settings.PRESETS[settings.preset]
    return {name: preset.get(name) for name in ("rates", "margins", "tuning_epochs")}
