"""A step of training on small batches; for the tests of the compiled loss, of its threads and of graphs."""

import torch
from torch import nn


def two_batches(n, m, dtype, seed=0):
    """Points and classes of two batches."""
    generator = torch.Generator().manual_seed(seed)
    points = [0.5 * torch.randn(k, 5, generator=generator).to(dtype) for k in (n, m)]
    return points, [torch.randint(3, (k,), generator=generator) for k in (n, m)]


def value_and_gradients(loss, points, labels, indices=None):
    """Of a loss at two batches, or at one against itself."""
    points = [each.clone().requires_grad_() for each in points]
    ref = (points[1], labels[1]) if len(points) == 2 else (None, None)
    value = loss(points[0], labels[0], indices, *ref)
    value.backward()
    return [value.detach(), *(each.grad for each in points)]


def eager_and_in_one_graph(loss):
    """The loss behind a network, in float64, and the gradient of the network's weights: as it is, and compiled."""
    torch.manual_seed(0)
    network = nn.Linear(6, 4).double()
    batches, labels = torch.randn(18, 6).double(), torch.randint(3, (2, 9))

    def forward():
        first, second = network(batches).chunk(2)
        return loss(first, labels[0], ref_emb=second, ref_labels=labels[1])

    results = []
    for each in (forward, torch.compile(forward, fullgraph=True, backend="aot_eager")):
        network.zero_grad()
        value = each()
        value.backward()
        results.append((value.item(), network.weight.grad.clone()))
    return results
