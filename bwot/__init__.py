"""Batch-wise optimal-transport metric learning: the package behind the book."""

from bwot.controls import AllPairsLoss, PairwiseLoss
from bwot.losses import BatchwiseOTLoss
from bwot.sinkhorn import sinkhorn

__all__ = ["AllPairsLoss", "BatchwiseOTLoss", "PairwiseLoss", "sinkhorn"]
