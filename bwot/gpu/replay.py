"""A step that is taken many times, launched on a GPU from a CUDA graph: without the interpreter between its kernels."""

from collections.abc import Callable

import torch
from torch import Tensor

EAGER_CALLS = 3
"""Calls before the graph is recorded, in which libraries choose their kernels and an optimiser makes its state."""


class Replayed:
    """A function of one tensor that changes others in place and returns nothing; called with CPU tensors it is just called.

    On a GPU the first calls are ordinary ones, the next is recorded, and from then on the record is replayed, with what
    it is given copied to where the recorded kernels look for it.

    Args:
        function: takes tensors of one shape, type and device, and reads no value on the host.
    """

    def __init__(self, function: Callable[[Tensor], None]):
        self.function, self.calls = function, 0
        self.given: Tensor | None = None
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, given: Tensor) -> None:
        if not given.is_cuda:
            self.function(given)
            return
        if self.given is None:
            self.given = torch.empty_like(given)
        self.given.copy_(given)
        if self.calls < EAGER_CALLS:
            self._apart()
        else:
            self._replay()
        self.calls += 1

    def _apart(self):
        """On a stream of its own, as what is recorded later has to be."""
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            self.function(self.given)
        current.wait_stream(side)

    def _replay(self):
        if self.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.function(self.given)
            self.graph = graph
        self.graph.replay()
