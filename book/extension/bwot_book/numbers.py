"""Which runs a ``{result}`` role means, and what it says about them (the grammar stands in the package's docstring)."""

import json
import re
from statistics import mean, stdev

FORMAT = re.compile(r"\.?\d*[defg%]")
IDENTITY = (
    "experiment",
    "dataset",
    "loss",
    "preset",
    "settings",
)  # what runs that differ by seed alone share


class ResultError(ValueError):
    """A number that no record, or no single kind of run, can give."""


def parse(text):
    """``mnist/bwot map @3 .1% n key=value`` -> (data set, loss, field, options)."""
    match text.split():
        case [target, field, *rest] if "/" in target:
            options = {"epoch": None, "format": ".3f", "n": False, "filters": {}}
        case _:
            raise ResultError(f"expected '<data set>/<loss> <field> [options]', not '{text}'.")
    for word in rest:
        if word == "n":
            options["n"] = True
        elif word.startswith("@") and word[1:].isdigit():
            options["epoch"] = int(word[1:])
        elif FORMAT.fullmatch(word):
            options["format"] = word
        elif "=" in word:
            key, value = word.split("=", 1)
            options["filters"][key] = value
        else:
            raise ResultError(
                f"expected n, @epoch, a format or key=value, not '{word}', in '{text}'."
            )
    return *target.rsplit("/", 1), field, options


def look_up(tree, path):
    """The value at a dotted path of nested dictionaries; the error names what exists."""
    for key in path.split("."):
        if not isinstance(tree, dict) or key not in tree:
            there = ", ".join(sorted(tree)) if isinstance(tree, dict) else "nothing below it"
            raise ResultError(f"no '{key}' of '{path}'; there are: {there}.")
        tree = tree[key]
    return tree


def without_seed(part):
    return {k: v for k, v in part.items() if k != "seed"} if isinstance(part, dict) else part


def choose(records, loss, filters):
    """The records of one loss that pass the filters: runs that differ by seed alone, one for each seed."""
    chosen = [r for r in records if r["loss"]["name"] == loss]
    if not chosen:
        there = ", ".join(sorted({r["loss"]["name"] for r in records})) or "none"
        raise ResultError(f"no record of loss '{loss}'; losses with records: {there}.")
    for key, value in filters.items():
        values = [look_up(r, key) for r in chosen]
        chosen = [r for r, v in zip(chosen, values, strict=True) if value in (v, json.dumps(v))]
        if not chosen:
            raise ResultError(
                f"no record of '{loss}' with {key}={value}; values: {sorted(set(map(json.dumps, values)))}."
            )
    for part in IDENTITY:
        kinds = sorted({json.dumps(without_seed(r[part]), sort_keys=True) for r in chosen})
        if len(kinds) > 1:
            raise ResultError(
                f"records of '{loss}' differ in {part}: {'; '.join(kinds)}. Choose by key=value."
            )
    if len({r["seed"] for r in chosen}) < len(chosen):
        raise ResultError(
            f"two records of '{loss}' share a seed: {sorted(r['seed'] for r in chosen)}."
        )
    return sorted(chosen, key=lambda r: r["seed"])


def value_of(record, field, epoch):
    """One number of one run: of the end, or of an epoch."""
    if "." in field:
        return look_up(record, field)
    if epoch is None:
        return look_up(record["scores"], field)
    rows = {row["epoch"]: row for row in record["history"]}
    if epoch not in rows:
        raise ResultError(f"no epoch {epoch} in the history; epochs: {sorted(rows)}.")
    return look_up(rows[epoch], field)


def written(style, *values):
    """``value`` or ``value ± spread`` in a format; with ``.1%`` the sign stands once, behind both."""
    percent = style.endswith("%")
    texts = [format(v * 100, style[:-1] + "f") if percent else format(v, style) for v in values]
    return " ± ".join(texts) + "\N{NO-BREAK SPACE}%" * percent


def describe(chosen, field, options):
    """What the page says: a setting as it stands, or mean ± standard deviation over the finished runs."""
    if field.split(".")[0] in IDENTITY:
        setting = look_up(chosen[0], field)
        return format(setting, "g") if isinstance(setting, float) else str(setting)
    finished = [r for r in chosen if r["status"] == "finished"]
    counts = (
        [f"{len(chosen) - len(finished)} of {len(chosen)} runs diverged"]
        if len(finished) < len(chosen)
        else []
    )
    if field == "runs":
        return " ".join([str(len(chosen))] + [f"({c})" for c in counts])
    if not finished:
        return f"diverged ({len(chosen)} of {len(chosen)} runs)"
    values = [value_of(r, field, options["epoch"]) for r in finished]
    if not all(isinstance(v, int | float) for v in values):
        raise ResultError(f"'{field}' is not a number in every finished run: {values}.")
    if options["n"] or len(values) == 1 or counts:
        counts.insert(0, f"n = {len(values)}")
    spread = (stdev(values),) if len(values) > 1 else ()
    return " ".join(
        [written(options["format"], mean(values), *spread)]
        + [f"({', '.join(counts)})"] * bool(counts)
    )
