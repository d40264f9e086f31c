"""A run: settings in, a record out.

:func:`run` is a function of its settings, the bytes of the data, the code and the machine's software: together they are
the cache key. A run whose key has a record is not computed again; one that was killed goes on from its checkpoint.
"""

import datetime
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bwot import checkpoints, cross_retrieval, evaluation, provenance, training
from bwot.batches import NonFiniteError
from bwot.data.images import ImageSet
from bwot.data.sketches import SketchData
from bwot.experiments import Experiment, Sketches, settings_of
from bwot.paths import runs_root
from bwot.records import Record, find_records, read_record, write_record

REPLAY_STEPS, EXPLODED = 20, 1e6
_MODULES = (
    "batches", "ranks", "cpu.exponential", "cpu.anderson", "cpu.team", "cpu.scaling", "cpu.general", "cpu.solver", "cpu.pairs", "cpu.shared", "cpu.adjoint", "cpu.loss",
    "cpu.ranking", "gpu.tiles", "gpu.kernels", "gpu.solver", "gpu.replay", "gpu.ranking", "sinkhorn_torch", "sinkhorn", "implicit", "pairs", "losses", "controls", "baselines", "published", "backbones", "heads", "metrics",
    "accuracy", "dice", "meshes.rows", "meshes.text", "meshes.ply", "meshes.stl", "meshes.reading", "families.parts", "families.chance",
    "families.furniture", "families.household", "families.outdoors", "solids", "standins", "data.images", "data.sampling", "data.shapes",
    "data.sketches", "checkpoints", "crossmodal", "training", "diagnosis", "experiments.settings", "evaluation", "cross_retrieval", "runs",
)  # fmt: skip


def run(
    settings: Experiment,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    report: Callable[[dict], None] = lambda row: None,
    results_dir: str | Path | None = None,
    tuning: dict | None = None,
    data: ImageSet | SketchData | None = None,
) -> Record:
    """The record of a run, from ``runs/<key>/record.json`` if it is there, computed otherwise.

    Args:
        settings: what to run.
        data_dir: the folder with the data sets; see :func:`bwot.paths.data_root`.
        device: torch device to train on.
        report: takes the row of the history after each epoch.
        results_dir: a folder of finished records, such as ``book/results``: one with these settings and data that is
            not stale is returned as it is, whatever code and machine it was made with.
        tuning: what :func:`bwot.tuning.tune` found, where it chose rate and margin; kept in the record.
        data: those of the settings, where the caller has read them already.

    Raises:
        FileNotFoundError: where the data are missing.
        ValueError: where they are damaged.
    """
    data = settings.load_data(data_dir) if data is None else data
    if results_dir and (found := _finished(Path(results_dir), settings, data.sha256)):
        return found
    folder = runs_root() / cache_key(settings, data.sha256, device)
    path = folder / "record.json"
    if path.exists():
        return replace(
            read_record(path), tuning=tuning
        )  # who asks knows how the settings were chosen
    record = _compute(settings, data, device, folder, report, tuning)
    write_record(record, path)
    return record


def _finished(folder, settings, data_sha256):
    for path in find_records(folder):
        record = read_record(path)
        same = record.dataset["sha256"] == data_sha256 and settings_of(record) == settings
        if same and staleness(record) is None:
            return record
    return None


def cache_key(settings: Experiment, data_sha256: str, device: str) -> str:
    """Hex digest of all that a run's numbers depend on; documentation and formatting of the code are no part of it."""
    content = {
        "settings": asdict(settings), "data": data_sha256, "code": provenance.code_digest(_MODULES + settings.MODULES),
        "software": provenance.software(), "device": provenance.device_name(device), "threads": torch.get_num_threads(),
        "precision": precision(settings, device),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def precision(settings: Experiment, device: str) -> str:
    """What convolutions run in: ``bfloat16`` for real data on a CPU with matrix units for it (AMX), ``tf32`` on a GPU."""
    if device.startswith("cuda"):
        return "tf32"
    units = device == "cpu" and torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bfloat16" if units and settings.preset != "quick" else "float32"


def trained_network(record: Record, data_dir: str | Path | None = None) -> nn.Module:
    """The network of a finished record after the last epoch, on the CPU; a run computed elsewhere is computed here first."""
    settings = settings_of(record)
    if not _checkpoint(record).exists():
        record = run(settings, data_dir)
    if not _checkpoint(record).exists():  # deleted since: the record alone would be taken as it is
        _checkpoint(record).with_name("record.json").unlink()
        record = run(settings, data_dir)
    network = settings.network_for(record.dataset)
    network.load_state_dict(checkpoints.load_checkpoint(_checkpoint(record))["network"])
    return network


def _checkpoint(record):
    return runs_root() / record.provenance["key"] / "checkpoint.pt"


def staleness(record: Record) -> str | None:
    """Why a committed record no longer speaks for this code, or None if it does.

    A record is stale when its settings are no longer understood, when it was made with other bytes than the published
    ones without naming the variant, or when its replay gives other losses.
    """
    settings = settings_of(record)
    if settings is None:
        return f"its settings are no longer understood: {record.settings}"
    published = settings.fingerprint()
    if record.dataset["official"] and record.dataset["sha256"] != published:
        return f"its data have the fingerprint {record.dataset['sha256']}, the published ones {published}"
    again = replay(settings)
    same_length = len(record.replay) == len(again)
    if not same_length or not np.allclose(record.replay, again, rtol=1e-3, atol=1e-3):
        return f"its replay starts {record.replay[:3]} in the record and {again[:3]} today"
    return None


def replay(settings: Experiment) -> list[float]:
    """Losses of the first 20 steps of the same network, loss and rate on the embedded digits, under a second.

    A rate at which these explode leaves fewer numbers: rounding grows with them, and machines round differently. A zero
    line has none.
    """
    if not settings.epochs:
        return []
    settings = replace(settings, batch_size=min(settings.batch_size, 128))
    data = settings.replay_data()
    network, train = (
        settings.network_for(settings.dimensions(data)),
        settings.training_samples(data),
    )
    loss = settings.build_loss(len(data.classes))
    optimiser = torch.optim.SGD(
        [*network.parameters(), *loss.parameters()],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=training.schedule_of(settings).weight_decay,
    )
    steps = torch.cat([settings.sampler(train)(epoch) for epoch in (1, 2, 3)])
    losses = []
    for index in steps[:REPLAY_STEPS]:
        try:
            value = loss(**training.embed_batches(network, train, index))
        except NonFiniteError:
            break
        if not value < EXPLODED:
            break
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(round(value.item(), 6))
    return losses


def _compute(settings, data, device, folder, report, tuning):
    started = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    train = settings.training_samples(data, device)
    computed_in, dimensions = precision(settings, device), settings.dimensions(data)
    network = settings.network_for(dimensions, computed_in == "bfloat16").to(device)
    loss = settings.build_loss(len(data.classes)).to(device)
    measured = cross_retrieval if isinstance(settings, Sketches) else evaluation
    evaluate = measured.evaluator(settings, network, loss, train, data, folder)
    status, where, final = "finished", None, {}
    try:
        history = training.fit(
            network,
            loss,
            train,
            training.schedule_of(settings),
            settings.sampler(train),
            evaluate,
            folder / "checkpoint.pt",
            report,
        )
        if not (folder / evaluation.EMBEDDINGS).exists():
            evaluate(settings.epochs)  # deleted since, beside a checkpoint of the last epoch
        final = measured.final(history[-1], folder)
    except training.DivergedError as error:
        status, where, history = "diverged", error.where, error.history
    seconds = sum(row["seconds"] + row["evaluation_seconds"] for row in history)
    parts = ("train", "validation", "test", "shapes")
    sizes = {name: len(getattr(data, name).labels) for name in parts if hasattr(data, name)}
    dataset = {"name": data.name, "variant": data.variant, "official": data.official, "sha256": data.sha256, "sizes": sizes,
               **dimensions}  # fmt: skip
    pairs = getattr(loss, "pairs", loss)  # in four parts, or beside a classifier
    named = {field.name for field in fields(settings)} | {"positive_margin"}
    weighs = {
        name: value for name, value in vars(pairs).items() if name in named and value is not None
    }
    machine = {"device": provenance.device_name(device), "precision": computed_in, "threads": torch.get_num_threads(), "seconds": round(seconds, 1),
               "peak_memory_mb": provenance.peak_memory_mb(), "started": started, "key": folder.name}  # fmt: skip
    return Record(
        experiment=settings.NAME, dataset=dataset, loss={"name": settings.loss, **weighs}, seed=settings.seed,
        preset=settings.preset, settings=asdict(settings), tuning=tuning, history=history, replay=replay(settings),
        provenance=provenance.commit() | provenance.software() | machine, status=status, diverged=where,
        scores=final.get("scores"), per_query_ap=final.get("per_query_ap"),
    )  # fmt: skip
