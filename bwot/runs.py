"""A run: settings in, a record out.

:func:`run` is a function of its settings, the bytes of the data, the code and the machine's software: together they are
the cache key. A run whose key has a record is not computed again; one that was killed goes on from its checkpoint.
"""

import datetime
import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bwot import metrics, provenance, standins, training
from bwot.data.images import Split
from bwot.data.sampling import batch_pairs, stratified_subset
from bwot.experiments import DATASETS, Images, build_loss, build_network, load_data, settings_of
from bwot.losses import NonFiniteError
from bwot.paths import runs_root
from bwot.published import PLOTTED_EPOCHS
from bwot.records import Record, find_records, pack, read_record, write_atomically, write_record

SVC_SAMPLES = 10_000
"""Training images that the accuracy is fitted on. The authors fit it on all of them, which takes longer than to train."""
DIAGNOSED_STEPS = 4
REPLAY_STEPS, EXPLODED = 20, 1e6
RETRIEVAL = ("nn", "ft", "st", "e", "dcg", "map", "tied")
EMBEDDINGS = "embeddings.npz"
_MODULES = (
    "batches", "ranks", "cpu.exponential", "cpu.anderson", "cpu.scaling", "cpu.solver", "cpu.pairs", "cpu.loss", "gpu.kernels",
    "gpu.solver", "sinkhorn_torch", "sinkhorn", "implicit", "losses", "controls", "authors", "published", "backbones", "heads", "metrics",
    "data.images", "data.sampling", "data.mnist", "data.cifar10", "standins", "training", "experiments", "runs",
)  # fmt: skip


def run(
    settings: Images,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    report: Callable[[dict], None] = lambda row: None,
    results_dir: str | Path | None = None,
    tuning: dict | None = None,
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

    Raises:
        FileNotFoundError: where the data are missing.
        ValueError: where they are damaged.
    """
    data = load_data(settings, data_dir)
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


def cache_key(settings: Images, data_sha256: str, device: str) -> str:
    """Hex digest of all that a run's numbers depend on; documentation and formatting of the code are no part of it."""
    content = {
        "settings": asdict(settings), "data": data_sha256, "code": provenance.code_digest(_MODULES),
        "software": provenance.software(), "device": provenance.device_name(device), "threads": torch.get_num_threads(),
        "precision": precision(settings, device),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def precision(settings: Images, device: str) -> str:
    """``bfloat16`` where the convolutions run in it: real data on a CPU that has matrix units for it (AMX)."""
    units = device == "cpu" and torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bfloat16" if units and settings.preset != "quick" else "float32"


def trained_network(record: Record, data_dir: str | Path | None = None) -> nn.Module:
    """The network of a finished record after the last epoch, on the CPU; a run computed elsewhere is computed here first."""
    settings = Images(**record.settings)
    if not _checkpoint(record).exists():
        record = run(settings, data_dir)
    if not _checkpoint(record).exists():  # deleted since: the record alone would be taken as it is
        _checkpoint(record).with_name("record.json").unlink()
        record = run(settings, data_dir)
    network = build_network(settings, *record.dataset["image"][:2])
    network.load_state_dict(training.load_checkpoint(_checkpoint(record))["network"])
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
    published = DATASETS[settings.dataset].FINGERPRINT
    if record.dataset["official"] and record.dataset["sha256"] != published:
        return f"its data have the fingerprint {record.dataset['sha256']}, the published ones {published}"
    again = replay(settings)
    same_length = len(record.replay) == len(again)
    if not same_length or not np.allclose(record.replay, again, rtol=1e-3, atol=1e-3):
        return f"its replay starts {record.replay[:3]} in the record and {again[:3]} today"
    return None


def replay(settings: Images) -> list[float]:
    """Losses of the first 20 steps of the same network, loss and rate on the embedded digits, under a second.

    A rate at which these explode leaves fewer numbers: rounding grows with them, and machines round differently. A zero
    line has none.
    """
    if not settings.epochs:
        return []
    data = standins.digits()
    network = build_network(settings, *data.train.images.shape[1:3])
    loss = build_loss(settings)
    optimiser = torch.optim.SGD(
        [*network.parameters(), *loss.parameters()],
        lr=settings.learning_rate,
        momentum=settings.momentum,
    )
    pairs = torch.cat(
        [batch_pairs(len(data.train.labels), 128, settings.seed, epoch) for epoch in (1, 2, 3)]
    )
    losses = []
    for pair in pairs[:REPLAY_STEPS]:
        try:
            value = loss(**training.embed_pair(network, data.train, pair))
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
    train = Split(data.train.images.to(device), data.train.labels.to(device))
    computed_in = precision(settings, device)
    network = build_network(
        settings, *data.train.images.shape[1:3], bfloat16=computed_in == "bfloat16"
    ).to(device)
    loss = build_loss(settings).to(device)
    schedule = schedule_of(settings)
    evaluate = _evaluation(settings, network, loss, train, data, folder)
    status, where, final = "finished", None, {}
    try:
        history = training.fit(
            network,
            loss,
            train,
            schedule,
            settings.seed,
            evaluate,
            folder / "checkpoint.pt",
            report,
        )
        final = _final(network, history[-1], train, data, folder)
    except training.DivergedError as error:
        status, where, history = "diverged", error.where, error.history
    seconds = sum(row["seconds"] + row["evaluation_seconds"] for row in history)
    sizes = {name: len(getattr(data, name).labels) for name in ("train", "validation", "test")}
    dataset = {"name": data.name, "variant": data.variant, "official": data.official, "sha256": data.sha256, "sizes": sizes,
               "image": list(data.train.images.shape[1:])}  # fmt: skip
    weighs = {
        name: value
        for name, value in vars(loss).items()
        if name in {field.name for field in fields(Images)}
    }
    machine = {"device": provenance.device_name(device), "precision": computed_in, "threads": torch.get_num_threads(), "seconds": round(seconds, 1),
               "peak_memory_mb": provenance.peak_memory_mb(), "started": started, "key": folder.name}  # fmt: skip
    return Record(
        experiment="images", dataset=dataset, loss={"name": settings.loss, **weighs}, seed=settings.seed,
        preset=settings.preset, settings=asdict(settings), tuning=tuning, history=history, replay=replay(settings),
        provenance=provenance.commit() | provenance.software() | machine, status=status, diverged=where,
        scores=final.get("scores"), per_query_ap=final.get("per_query_ap"),
    )  # fmt: skip


def schedule_of(settings: Images) -> training.Schedule:
    """The part of the settings that says how long and how fast to train."""
    return training.Schedule(
        **{field.name: getattr(settings, field.name) for field in fields(training.Schedule)}
    )


def _evaluation(settings, network, loss, train, data, folder):
    """What :func:`bwot.training.fit` calls after each epoch: scores on the test set, diagnostics on training batches."""
    pairs = batch_pairs(len(train.labels), settings.batch_size, settings.seed, 0)[
        :DIAGNOSED_STEPS
    ].to(train.labels.device)
    fitted = stratified_subset(data.train.labels, min(SVC_SAMPLES, len(data.train.labels)), seed=0)

    def evaluate(epoch: int) -> dict:
        start = time.perf_counter()
        embeddings, scores = _test(network, data.test, train.images.device)
        row = {name: getattr(scores, name) for name in RETRIEVAL}
        if epoch == settings.epochs:
            _keep(folder, embeddings, data.test.labels, scores)
        if epoch == settings.epochs or epoch in PLOTTED_EPOCHS:
            fit = training.embed(network, train.images[fitted.to(train.images.device)]).cpu()
            row["accuracy"] = metrics.svc_accuracy(
                fit, data.train.labels[fitted], embeddings, data.test.labels
            )
        if settings.epochs:
            row |= training.diagnose(network, loss, train, pairs)
        row["evaluation_seconds"] = time.perf_counter() - start
        return row

    return evaluate


def _test(network, test, device):
    """Embeddings of the test set, on the CPU, and their scores."""
    embeddings = training.embed(network, test.images.to(device)).cpu()
    labels = test.labels
    return embeddings, metrics.score_embeddings(
        embeddings, embeddings, labels, labels, exclude_self=True
    )


def _keep(folder, embeddings, labels, scores):
    """The embeddings of the last epoch and each query's average precision, in a file."""
    stream = io.BytesIO()
    np.savez(
        stream,
        ids=np.arange(len(embeddings)),
        labels=labels.numpy(),
        embeddings=embeddings.numpy(),
        average_precision=scores.average_precision.numpy(),
    )
    write_atomically(folder / EMBEDDINGS, stream.getvalue())


def _final(network, row, train, data, folder):
    """The scores of the last row of the history, and the average precision of each query from the last evaluation's file."""
    if not (folder / EMBEDDINGS).exists():  # deleted since, beside a checkpoint of the last epoch
        embeddings, scores = _test(network, data.test, train.images.device)
        _keep(folder, embeddings, data.test.labels, scores)
    with np.load(folder / EMBEDDINGS) as kept:
        average_precision = kept["average_precision"]
    return {
        "scores": {name: row[name] for name in (*RETRIEVAL, "accuracy")},
        "per_query_ap": pack(average_precision),
    }
