"""What losses and scores are called on every page, and the colours and markers by which they are known."""

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
_ROUND = "#0173b2 #c07a00 #029e73 #d55e00 #cc78bc #8b5e34 #8a63d2 #949494 #8c8600 #2f8fc9".split()
COLOURS = dict(zip(_LOOKS, 2 * _ROUND, strict=False))
"""Seaborn's colours for the colour-blind, darker where those are too light on white. Each has a contrast of three to one against either theme's paper."""
LINES = {loss: "-" if place < 10 else "--" for place, loss in enumerate(_LOOKS)}
"""Dashed in the second round of colours."""
SCORE_NAMES = {
    "nn": "NN", "ft": "FT", "st": "ST", "e": "E", "dcg": "DCG", "map": "mAP", "accuracy": "accuracy",
}  # fmt: skip
HEAT = "viridis"
WRONG = "#d55e00"


def as_weight(value: float) -> str:
    """The weight of a pair over that in a uniform plan; near 1 as many digits as tell two pairs apart."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
