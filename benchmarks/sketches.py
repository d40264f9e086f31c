"""Time from the feature of a drawing to the whole ranking of a gallery: 8,987 shapes, as many as SHREC'14 has.

`python benchmarks/sketches.py` prints milliseconds of CPU time a query, on one thread, of the steps of a query and of both: the head that
embeds the feature, and the ranking of all shapes by distance. The weights and features are random: neither matters for time.
"""

import statistics
import time

import numpy as np
import torch

from bwot.experiments import Sketches
from bwot.metrics import rankings

SHAPES, FEATURES, QUERIES, REPEATS = 8_987, 768, 100, 5


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    network = (
        Sketches(preset="short").network_for({"image": [FEATURES], "shape": [FEATURES]}).eval()
    )
    queries = torch.randn(QUERIES, FEATURES, generator=generator)
    with torch.no_grad():
        gallery = network.shapes(torch.randn(SHAPES, FEATURES, generator=generator))
    print(f"{SHAPES:,} shapes, embeddings of length {gallery.shape[1]}, torch {torch.__version__}")
    times = [_measured(network, queries, gallery) for _ in range(REPEATS)]
    for name, column in zip(("head", "ranking", "both"), zip(*times, strict=True), strict=True):
        print(f"{name:<10}{statistics.median(column):8.2f} ms a query")


@torch.no_grad()
def _measured(network, queries, gallery):
    start = time.process_time()
    embedded = torch.cat([network.drawings(query[None]) for query in queries])
    between = time.process_time()
    found = np.stack([order for order, _ in rankings(embedded, gallery)])
    end = time.process_time()
    assert found.shape == (QUERIES, SHAPES)
    per_query = 1e3 / QUERIES
    return per_query * (between - start), per_query * (end - between), per_query * (end - start)


if __name__ == "__main__":
    main()
