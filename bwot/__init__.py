"""Batch-wise optimal-transport metric learning: the package behind the book.

The public names are imported when they are first used, and torch with them: ``bwot search`` answers without it.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bwot.controls import AllPairsLoss, PairwiseLoss
    from bwot.losses import BatchwiseOTLoss
    from bwot.sinkhorn import sinkhorn

_HOMES = {
    "AllPairsLoss": "controls",
    "BatchwiseOTLoss": "losses",
    "PairwiseLoss": "controls",
    "sinkhorn": "sinkhorn",
}
__all__ = ["AllPairsLoss", "BatchwiseOTLoss", "PairwiseLoss", "sinkhorn"]


class _Package(ModuleType):
    def __getattr__(self, name):
        if name not in _HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{self.__name__}.{_HOMES[name]}"), name)

    def __setattr__(self, name, value):
        # Python puts each module of a package here once it is imported; ``bwot.sinkhorn`` is the function in it.
        if name in _HOMES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self):
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
