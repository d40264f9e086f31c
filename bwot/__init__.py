"""Batch-wise optimal-transport metric learning: the package behind the book."""

from bwot.losses import AllPairsLoss, BatchwiseOTLoss, PairwiseLoss
from bwot.sinkhorn import sinkhorn

__all__ = ["AllPairsLoss", "BatchwiseOTLoss", "PairwiseLoss", "sinkhorn"]
