"""Which runs there are: lists of settings, and the names of the records of a whole re-run."""

from collections.abc import Sequence
from dataclasses import fields

from bwot.experiments.images import Images
from bwot.experiments.settings import Experiment
from bwot.experiments.shapes import Shapes
from bwot.experiments.sketches import Sketches
from bwot.records import Record

FOLDERS = {
    "full length": "full/",
    "tuned": "tuned/",
    "common": "",
    "as published": "as-published/",
    "end to end": "end-to-end/",
}
"""Where the records of a way of comparing lie, below the folder of the data set.

``full length``: tuned, and trained at the preset ``full``, beside shorter ones.
"""
EXPERIMENTS: dict[str, type[Experiment]] = {kind.NAME: kind for kind in (Images, Shapes, Sketches)}


def experiment_of(dataset: str) -> type[Experiment]:
    """The experiment that a data set belongs to.

    Raises:
        ValueError: for a name that is no data set's.
    """
    for kind in EXPERIMENTS.values():
        if dataset in kind.DATASETS:
            return kind
    known = [name for kind in EXPERIMENTS.values() for name in kind.DATASETS]
    raise ValueError(f"dataset must be one of {', '.join(known)}, not {dataset!r}.")


def grid(
    kind: type[Experiment],
    preset: str,
    losses: Sequence[str],
    seeds: Sequence[int] | None = None,
    **given,
) -> list[Experiment]:
    """Settings of all losses × seeds at a preset; what is None or not given is the preset's or the default.

    >>> [settings.seed for settings in grid(Images, "short", ("bwot",), dataset="mnist")]
    [0, 1, 2]
    """
    if preset not in kind.PRESETS:
        raise ValueError(f"preset must be one of {', '.join(kind.PRESETS)}, not {preset!r}.")
    known = {name: value for name, value in given.items() if value is not None}
    names = [field.name for field in fields(kind)]
    if unknown := known.keys() - set(names):
        raise ValueError(
            f"no setting is called {', '.join(sorted(unknown))}; there are {', '.join(names)}."
        )
    known = {name: value for name, value in kind.PRESETS[preset].items() if name in names} | known
    seeds = kind.PRESETS[preset]["seeds"] if seeds is None else seeds
    for name, values in (("losses", losses), ("seeds", seeds)):
        if not isinstance(values, list | tuple) or not values:
            raise ValueError(f"{name} must be a list with at least one entry, not {values!r}.")
    return [kind(preset=preset, loss=loss, seed=seed, **known) for loss in losses for seed in seeds]


def campaign(dataset: str, preset: str) -> list[str]:
    """Names of all records of a data set at a preset: each way of comparing that its experiment has for it, sides, zero lines.

    >>> campaign("mnist", "full")[0]
    'tuned/pairwise-seed0'
    """
    kind = experiment_of(dataset)
    seeds = kind.PRESETS[preset]["seeds"]
    names = [
        f"{FOLDERS[way]}{loss}-seed{seed}"
        for way in kind.COMPARISONS[dataset]
        for loss in (("bwot",) if way == "as published" else kind.LOSSES)
        for seed in (seeds[:1] if way == "end to end" else seeds)
    ]
    names += [
        f"{side}/{given['loss']}-seed{seed}" for side, given in kind.SIDES.items() for seed in seeds
    ]
    raw, untrained = kind.ZERO_LINES
    return names + [f"{raw}-seed0"] + [f"{untrained}-seed{seed}" for seed in seeds]


def settings_of(record: Record) -> Experiment | None:
    """The settings of a record; None where they are no longer understood. Later settings have their defaults."""
    try:
        return EXPERIMENTS[record.experiment](**record.settings)
    except (KeyError, TypeError, ValueError):
        return None
