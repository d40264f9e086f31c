"""Tables and sentences of a page, made from records: every number in them is one that a run left behind."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas

from bwot.comparison import Summary, losses_in, of_loss, stopped, summarise, verdict
from bwot.data.images import ImageSet
from bwot.data.sketches import SketchData
from bwot.looks import SCORE_NAMES, TITLES
from bwot.published import BENCHMARK_DESCRIPTOR, CURVES, PLOTTED_EPOCHS, SCORES
from bwot.records import Record
from bwot.tuning import collapsed

POSITION = {
    "reproduced": "within the band",
    "above": "above",
    "below": "below",
    "undecided": "undecided",
}
"""What a verdict says of a run with other settings than the authors', which is where it lies and not what it reproduces."""
SHAPE_ACCURACIES = {"class_accuracy": "class average", "head_accuracy": "softmax head"}
"""What the records of shapes hold beside the accuracy of the support vectors, its mean over the classes and that of the classifier."""


def banner(data: ImageSet | SketchData) -> str:
    """What data a page is about; a warning where they stand in for others."""
    sizes = ", ".join(f"{len(part.labels):,} {name}" for name, part in
                      (("training", data.train), ("validation", data.validation), ("test", data.test)))  # fmt: skip
    facts = f"Data: {data.name}, {data.variant} ({sizes} {_kind(data)}).{_transfer(data)}"
    if data.official:
        return f":::{{note}}\n{facts} Every byte is as published.\n:::"
    if not data.variant.startswith("stand-in"):
        return f":::{{note}}\n{facts} The files are not the published ones.\n:::"
    return (
        f":::{{admonition}} Not the paper's data\n:class: warning standin\n{facts} "
        "The numbers on this page show that everything runs; they say nothing about the paper.\n:::"
    )


def _transfer(data):
    """How many of the classes that are tested were seen before, where not all were."""
    seen, tested = (
        set(np.concatenate([part.labels.numpy() for part in parts]).tolist())
        for parts in ((data.train, data.validation), (data.test,))
    )
    if tested <= seen:
        return ""
    return (
        f" Of the {len(tested)} test classes {len(tested & seen)} are among the {len(seen)} training classes:"
        " the others measure how well distances carry over to classes never seen."
    )


def _kind(data):
    samples = data.train.images
    if isinstance(data, SketchData):
        turned = f"drawings in {samples.shape[1]} rotation" + "s" * (samples.shape[1] > 1)
        what = f"features of length {samples.shape[-1]}"
        if samples.ndim == 5:
            what = f"pictures of {samples.shape[-2]}×{samples.shape[-1]} pixels"
        return f"{turned}, and {len(data.shapes.labels):,} shapes; {what}"
    if samples.ndim == 2:
        return f"shapes, each with a feature of length {samples.shape[1]}"
    pixels = "×".join(map(str, samples.shape[-2:]))
    if samples.ndim == 5:
        return f"shapes, each with {samples.shape[1]} views of {pixels} pixels"
    return f"images of {pixels} pixels"


def result_table(records: Sequence[Record], zero_lines: Sequence[Record] = ()) -> str:
    """Scores after the last epoch, a loss a row, mean ± standard deviation over seeds, in percent; as Markdown.

    Above them what is scored without training: ``zero_lines``, or without those the untrained network of the first loss.
    The accuracies of :data:`SHAPE_ACCURACIES` have columns where there are any.
    """
    losses, names = losses_in(records), SCORE_NAMES | _shape_accuracies(records)
    untrained = _row(of_loss(records, losses[0]), 0, names)
    rows = {TITLES[loss]: _row(of_loss(zero_lines, loss), None, names) for loss in losses_in(zero_lines)}  # fmt: skip
    rows = rows or {"untrained network": untrained}
    for loss in losses:
        mine = of_loss(records, loss)
        rows[TITLES[loss]] = _row(mine, None, names) | _finished(mine)
    return markdown(pandas.DataFrame(rows).T.fillna(""), "loss")


def _shape_accuracies(records):
    shapes = [record for record in records if record.experiment == "shapes"]
    return {
        score: name
        for score, name in SHAPE_ACCURACIES.items()
        if any(score in row for record in shapes for row in record.history)
    }


def _finished(records):
    finished = sum(record.status == "finished" for record in records)
    return {"seeds finished": f"{finished} of {len(records)}"}


def _row(records, epoch, names):
    whole = {score: percent(summarise(records, score, epoch)) for score in names}
    return {names[score]: text.replace("± ", "±\N{NO-BREAK SPACE}") for score, text in whole.items()}  # fmt: skip


def tuning_table(found: Mapping[str, dict], untrained: Sequence[Record] = ()) -> str:
    """What was chosen for each loss and from how many points, as Markdown; with ``untrained`` runs, how many collapsed too.

    Args:
        found: what :func:`bwot.tuning.tune` returned for each loss.
        untrained: records among which those of untrained networks are.
    """
    starts = of_loss(untrained, "untrained")
    rows = {TITLES[loss]: _tuned(loss, each, starts) for loss, each in found.items()}
    table = markdown(pandas.DataFrame(rows).T, "loss")
    if not starts:
        return table
    return (
        f"{table}\n\nCollapsed: no better than the best of {len(starts)} networks before their first step. Such a run learned nothing, although its "
        "loss stayed finite. (The mAP of those networks is of the validation part where it was taken, otherwise of the test part.)"
    )


def _tuned(loss, found, starts):
    grid, chosen = found["grid"], found["chosen"]
    best = next(c for c in grid if all(c[name] == value for name, value in chosen.items()))
    row = {
        "rate": f"{chosen['learning_rate']:g}",
        "margin": "–" if loss == "cross-entropy" else f"{chosen['margin']:g}",
        "validation mAP": f"{100 * best['map']:.2f}",
        "points tried": len(grid),
        "diverged": sum("map" not in cell for cell in grid),
    }
    return row | ({"collapsed": collapsed(grid, starts)} if starts else {})


def summary_table(records: Sequence[Record]) -> str:
    """mAP and accuracy of each loss after the last epoch, in percent, beside the authors' plot of the same data at that epoch."""
    rows = {TITLES[loss]: _beside(of_loss(records, loss), loss) for loss in losses_in(records)}
    return markdown(pandas.DataFrame(rows).T, "loss")


def _beside(records, loss):
    row, epoch = {}, records[0].settings["epochs"]
    for score in ("map", "accuracy"):
        dataset = records[0].dataset
        curve = CURVES.get((dataset["name"], loss, score)) if dataset["official"] else None
        theirs = (
            f"{100 * curve.values[curve.epochs.index(epoch)]:.2f}"
            if curve and epoch in curve.epochs
            else "–"
        )
        row |= {
            f"{SCORE_NAMES[score]}, ours": percent(summarise(records, score)),
            f"{SCORE_NAMES[score]}, authors": theirs,
        }
    return row | _finished(records)


def scores_beside(records: Sequence[Record], as_published: Sequence[Record]) -> str:
    """The batch-wise runs beside the numbers in the authors' README, with the verdict, or near those of the Shape Benchmark."""
    dataset = records[0].settings["dataset"].removesuffix("-views")  # the same shapes
    theirs = {score: each for (name, score), each in SCORES.items() if name == dataset}
    if records[0].dataset["variant"].startswith("stand-in"):
        return "Numbers of stand-ins are not set beside the authors'."
    if dataset == "psb":
        return _near_the_benchmark(records, as_published)
    if not theirs:
        return f"The authors give no number for these data: {records[0].dataset['variant']}."
    rows = {}
    for score, their in theirs.items():
        mine, published = (
            summarise(of_loss(each, "bwot"), score) for each in (records, as_published)
        )
        rows[SCORE_NAMES[score]] = {
            "ours": percent(mine),
            "ours, their settings": percent(published),
            "authors": f"{100 * their.value:.1f}",
            "verdict": verdict(published, their.value)
            if records[0].dataset["official"]
            else "not comparable",
        }
    return (
        f"Beside the {next(iter(theirs.values())).source}, in percent. The data of this page: {records[0].dataset['variant']}.\n\n"
        + markdown(pandas.DataFrame(rows).T, "score")
    )


def _near_the_benchmark(records, as_published):
    """The published row of the benchmark, and ours near it."""
    rows = {"light field descriptor, unverified": {SCORE_NAMES[s]: f"{100 * v:.1f}" for s, v in BENCHMARK_DESCRIPTOR.items()}}  # fmt: skip
    for name, given in (("batch-wise OT", records), ("batch-wise OT, the authors' settings", as_published)):  # fmt: skip
        if mine := of_loss(given, "bwot"):
            rows[name] = {SCORE_NAMES[s]: percent(summarise(mine, s)) for s in BENCHMARK_DESCRIPTOR}
    data = records[0].dataset
    return (
        "The authors give no number for this data set. *Near* it, not comparable, is the benchmark's own protocol, each test model as a "
        f"query among the others, with the light field descriptor of its paper (Shilane et al., 2004; written down from memory, unverified). "
        f"Here: {data['variant']}, {data['sizes']['test']} of them to test. In percent:\n\n"
        + markdown(pandas.DataFrame(rows).T, "descriptor")
    )


def authors_table(records: Sequence[Record]) -> str:
    """Our mean at each epoch beside the point read off the authors' plot, with the verdict; empty without points.

    Runs with other settings than the authors' reproduce nothing: they get a position instead of a verdict.
    """
    rows = []
    as_published = all(record.settings.get("as_published") for record in records)
    for (dataset, loss, score), curve in CURVES.items():
        mine = of_loss(records, loss)
        if not mine or dataset != mine[0].dataset["name"]:
            continue
        for epoch, theirs in zip(curve.epochs, curve.values, strict=True):
            summary = summarise(mine, score, epoch)
            if summary.n:
                judged = verdict(summary, theirs, curve.reading_error)
                rows.append({"score": f"{SCORE_NAMES[score]}, {TITLES[loss]}", "epoch": epoch, "ours": percent(summary),
                             "authors (plot)": f"{100 * theirs:.2f}", "against the plot": judged if as_published else POSITION[judged]})  # fmt: skip
    return markdown(pandas.DataFrame(rows).set_index("score"), "score") if rows else ""


HOW_SET = {True: "With the authors' settings", False: "With these settings"}


def authors_section(records: Sequence[Record]) -> str:
    """The table of :func:`authors_table` with what a reader has to know of it, or why there is none."""
    if not records[0].dataset["official"]:
        return (
            "Numbers of other data than the paper's are not set beside the authors' here; {doc}`the scoreboard </book/scoreboard>` "
            "lists both, without a verdict."
        )
    table = authors_table(records)
    if not table and all(record.status == "diverged" for record in records):
        places = " and ".join(
            dict.fromkeys(stopped(r.diverged, r.provenance["device"]) for r in records)
        )
        return f"{HOW_SET[records[0].settings['as_published']]} every run diverged, {places}: there is no score to set beside their plot."
    if not table:
        return "The authors give no number for this data set."
    accuracy = "Our accuracy is fitted on 10,000 training images, theirs on all. *Within the band*: one more run of ours could give their value."
    if all(record.settings.get("as_published") for record in records):
        return f"Run with the authors' settings, beside their plot, in percent: this is what the verdict belongs to. {accuracy}\n\n{table}"
    ends, plotted = max(record.settings["epochs"] for record in records), PLOTTED_EPOCHS[-1]
    on = f" Their plot goes on to epoch {plotted}; of these settings no more than {ends} were run." if ends < plotted else ""  # fmt: skip
    return (
        f"Beside the authors' plot, in percent. Their settings for images differ from those of these runs (see the method "
        "chapter), so this says how the curves lie, not whether theirs are reproduced: that verdict belongs to a run with "
        f"their settings. {accuracy}{on}\n\n{table}"
    )


def percent(summary: Summary) -> str:
    """Mean ± standard deviation of a score, times 100."""
    return number(Summary(100 * summary.mean, 100 * summary.sd, *summary[2:]))


def number(summary: Summary) -> str:
    """Mean ± standard deviation, two decimals; the mean alone for one seed."""
    if not summary.n:
        return "–"
    return f"{summary.mean:.2f}" + ("" if math.isnan(summary.sd) else f" ± {summary.sd:.2f}")


def markdown(frame: pandas.DataFrame, corner: str) -> str:
    """A Markdown table: the index first, under the heading ``corner``, then the columns."""
    lines = [
        f"| {corner} | {' | '.join(map(str, frame.columns))} |",
        "|---" + "|---:" * len(frame.columns) + "|",
    ]
    lines += [
        f"| {index} | {' | '.join(map(str, row))} |"
        for index, row in zip(frame.index, frame.values.tolist(), strict=True)
    ]
    return "\n".join(lines)


def captioned(lines: Sequence[str], caption: str, name: str, look: str = "") -> str:
    """Lines of a Markdown table as one that the book numbers: with a caption, a name to refer to it, a class of its look."""
    options = [f":name: {name}", *([f":class: {look}"] if look else [])]
    return "\n".join([f":::{{table}} {caption}", *options, "", *lines, ":::"])
