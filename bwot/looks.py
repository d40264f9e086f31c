"""What losses and scores are called on every page, and the colours and markers by which they are known."""

import seaborn

_LOOKS = {  # title, marker
    "bwot": ("batch-wise OT", "o"),
    "allpairs": ("all-pairs mean", "D"),
    "pairwise": ("pair-wise", "s"),
    "active": ("active pairs", "^"),
    "softmax": ("softmax weights", "v"),
    "rowsoftmax": ("row-softmax weights", "<"),
    "bwot-balanced": ("balanced OT", "P"),
    "cross-entropy": ("cross-entropy", "X"),
    "untrained": ("untrained network", "+"),
    "pixels": ("raw pixels", "x"),
    "features": ("frozen features", "1"),
    "lifted": ("lifted structure", "p"),
    "npair": ("N-pair", "h"),
    "multisimilarity": ("multi-similarity", "*"),
    "supcon": ("SupCon", "d"),
}
TITLES = {loss: title for loss, (title, _) in _LOOKS.items()}
MARKERS = {loss: marker for loss, (_, marker) in _LOOKS.items()}
COLOURS = dict(zip(_LOOKS, 2 * seaborn.color_palette("colorblind").as_hex(), strict=False))
LINES = {loss: "-" if place < 10 else "--" for place, loss in enumerate(_LOOKS)}
"""Dashed in the second round of colours."""
SCORE_NAMES = {
    "nn": "NN", "ft": "FT", "st": "ST", "e": "E", "dcg": "DCG", "map": "mAP", "accuracy": "accuracy",
}  # fmt: skip
HEAT = "viridis"
WRONG = "#d55e00"
