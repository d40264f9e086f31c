"""Time and memory of the six retrieval scores and the curves, 10,000 against 10,000 embeddings of length 256.

`python benchmarks/retrieval.py` prints a table. Each way runs in a process of its own, so that its peak memory
is its own; the plain way sorts with ``torch.argsort`` and computes the average precision alone.
"""

import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor

from bwot.metrics import retrieval_scores, score_embeddings

ITEMS, LENGTH, CLASSES, REPEATS = 10_000, 256, 10, 3


def plain_map(embeddings: Tensor, labels: Tensor) -> float:
    """Mean average precision, each item against all others, as one would first write it."""
    precisions = []
    for rows in torch.arange(len(embeddings)).split(500):
        distances = torch.cdist(embeddings[rows], embeddings)
        distances[torch.arange(len(rows)), rows] = torch.inf
        order = distances.argsort(dim=1, stable=True)[:, :-1]
        relevant = labels[order] == labels[rows, None]
        precision = relevant.cumsum(1) / torch.arange(1, order.shape[1] + 1)
        precisions.append((precision * relevant).sum(1) / relevant.sum(1))
    return torch.cat(precisions).mean().item()


def map_from_embeddings(embeddings: Tensor, labels: Tensor) -> float:
    return score_embeddings(embeddings, embeddings, labels, labels, exclude_self=True).map


def map_from_distances(embeddings: Tensor, labels: Tensor) -> float:
    distances = torch.cdist(embeddings, embeddings)
    return retrieval_scores(distances, labels, labels, exclude_self=True).map


WAYS = {
    "score_embeddings": map_from_embeddings,
    "cdist, retrieval_scores": map_from_distances,
    "torch.argsort, mAP alone": plain_map,
}


def peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure(way: str) -> None:
    """Print median seconds, extra peak megabytes and the score of one way."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (ITEMS,), generator=generator)
    centres = torch.randn(CLASSES, LENGTH, generator=generator)
    embeddings = 0.35 * centres[labels] + torch.randn(ITEMS, LENGTH, generator=generator)
    WAYS[way](embeddings[:200], labels[:200])
    before, seconds = peak_mb(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        score = WAYS[way](embeddings, labels)
        seconds.append(time.perf_counter() - start)
    print(f"{way:26}{statistics.median(seconds):8.2f}{peak_mb() - before:10.0f}{score:10.6f}")


def main() -> None:
    print(f"{ITEMS:,} queries and gallery items, {torch.get_num_threads()} threads", flush=True)
    print(f"{'':26}{'seconds':>8}{'extra MB':>10}{'mAP':>10}", flush=True)
    for way in WAYS:
        subprocess.run([sys.executable, __file__, way], check=True)


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
