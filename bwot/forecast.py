"""How long the runs of data sets take and how much disk, before they are started."""

from collections.abc import Sequence

from bwot.experiments import campaign, experiment_of
from bwot.paths import PROJECT
from bwot.records import find_records, read_record

TUNED_EPOCHS = 25
"""Trained to tune a loss, about; how far a grid grows is seen on the way."""
RUN_MEGABYTES = 25
"""Of a run's folder, with network and optimiser in the checkpoint and the test embeddings."""


def forecast(preset: str, datasets: Sequence[str]) -> str:
    """How long the runs of data sets at a preset take on one core and how much disk, judged by the committed records."""
    if preset == "quick":
        return f"Preset {preset}: embedded stand-ins, no download, about a minute a notebook."
    committed = [read_record(path) for path in find_records(PROJECT / "book" / "results")]
    lines = [f"Preset {preset}, the real data. Judged by the committed runs, without a GPU:"]
    for dataset in datasets:
        mine = [record for record in committed if record.settings["dataset"] == dataset]
        lines.append(f"  {dataset}: {_forecast(dataset, preset, mine)}")
    return "\n".join(lines)


def _forecast(dataset, preset, records):
    kind = experiment_of(dataset)
    zero = tuple(f"{name}-seed" for name in kind.ZERO_LINES)
    runs = sum(not name.startswith(zero) for name in campaign(dataset, preset))
    size = f"{runs} runs, {runs * RUN_MEGABYTES / 1000:.1f} GB under runs/"
    if not records:
        return f"{size}; no committed run says how long it takes"
    epochs = sum(record.settings["epochs"] for record in records)
    seconds = sum(record.provenance["seconds"] for record in records) / max(epochs, 1)
    trained = runs * kind.PRESETS[preset]["epochs"] + len(kind.LOSSES) * TUNED_EPOCHS
    return f"{size}, {trained * seconds / 3600:.1f} core-hours"
