"""How far from uniform a plan is, for several ``lam`` and both signs of the kernel's exponent.

The published settings have ``lam`` = .01, and the authors' 3D code reverses the sign. What either does is computed here
on two batches of the embedded digits whose pixels are the embeddings, in float64.
"""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from bwot import standins
from bwot.authors import AuthorsShapeLoss
from bwot.losses import BatchwiseOTLoss, squared_distances
from bwot.tables import captioned

LAMBDAS = (0.01, 1.0, 5.0, 10.0)
GAMMA, MARGIN, SAMPLES, ITERATIONS = 10.0, 1.0, 64, 1000
RECORD = Path("book/results/plans/sharpness.json")


def batches() -> tuple[Float[Tensor, "n m"], Bool[Tensor, "n m"]]:
    """Errors of all pairs of two batches of 64 digits, (n, m), and which are positive.

    The pixels are scaled so that the mean squared distance is the margin: then there are pairs without an error, and
    positive and negative ones with large and small ones.
    """
    data = standins.digits().train
    a, b = data.images[: 2 * SAMPLES].flatten(1).double().split(SAMPLES)
    labels_a, labels_b = data.labels[: 2 * SAMPLES].split(SAMPLES)
    squared = squared_distances(a, b)
    same = labels_a[:, None] == labels_b
    return BatchwiseOTLoss(MARGIN).pair_errors(squared * MARGIN / squared.mean(), same), same


def measure() -> dict:
    """Weights ``n m T``, 1 for a uniform plan, by ``lam`` and sign: least, mean over easy and over hard pairs, most.

    Easy pairs have no error; hard pairs are the tenth with the largest ones.
    """
    error, same = batches()
    easy = error == 0
    hard = error >= error.flatten().sort(descending=True).values[error.numel() // 10 - 1]
    rows = []
    for lam in LAMBDAS:
        meant = BatchwiseOTLoss(MARGIN, lam, GAMMA, ITERATIONS)
        reversed_ = AuthorsShapeLoss(MARGIN, 0.75 * MARGIN, lam, GAMMA, ITERATIONS)
        for sign, loss in (("minus, as meant", meant), ("plus, as in the 3D code", reversed_)):
            weight = error.numel() * loss.weights(error, same, None)
            found = {"least": weight.min(), "easy": weight[easy].mean(), "hard": weight[hard].mean(), "most": weight.max()}  # fmt: skip
            rows.append({"lam": lam, "sign": sign} | {k: float(f"{v:.6g}") for k, v in found.items()})  # fmt: skip
    settings = {"data": "scikit-learn digits, 8×8, pixels as embeddings", "samples": SAMPLES, "gamma": GAMMA, "margin": MARGIN}  # fmt: skip
    shares = {"easy": round(easy.double().mean().item(), 4), "hard": round(hard.double().mean().item(), 4)}  # fmt: skip
    return settings | {"share": shares, "rows": rows}


def read(root: Path) -> dict:
    """The record of a project; empty where there is none."""
    path = root / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def heaviest(record: dict, lam: float) -> float | None:
    """The largest weight at ``lam``, with the sign as meant, over that of a uniform plan; None where the record has none."""
    rows = [row for row in record.get("rows", ()) if row["lam"] == lam and row["sign"].startswith("minus")]  # fmt: skip
    return rows[0]["most"] if rows else None


def is_current(record: dict) -> bool:
    """Does the code of today give these numbers, to a thousandth? Other machines round differently."""
    again = measure()
    if not record or {**record, "rows": 0} != {**again, "rows": 0}:
        return False
    one, other = ([tuple(row.values()) for row in each["rows"]] for each in (record, again))
    return len(one) == len(other) and all(
        a[:2] == b[:2] and np.allclose(a[2:], b[2:], rtol=1e-3, atol=0)
        for a, b in zip(one, other, strict=True)
    )


def write(root: Path) -> None:
    """Compute the record below a project again, unless it is there and current."""
    if is_current(read(root)):
        return
    path = root / RECORD
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(measure(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(root: Path) -> str:
    """The record as Markdown."""
    record = read(root)
    if not record:
        return f"There is no `{RECORD}` yet: `bwot report` makes it."
    head = ["| λ | sign of λC in the kernel | least | easy pairs | hard pairs | most |", "|---:|---|---:|---:|---:|---:|"]  # fmt: skip
    rows = [
        f"| {row['lam']:g} | {row['sign']} | " + " | ".join(f"{row[name]:.3g}" for name in ("least", "easy", "hard", "most")) + " |"
        for row in record["rows"]
    ]  # fmt: skip
    caption = (
        f"Weight of a pair over that in a uniform plan, {record['samples']} × {record['samples']} pairs, γ = {record['gamma']:g}, margin "
        f"{record['margin']:g}; data: {record['data']}. Easy: without an error, {record['share']['easy']:.0%} of the pairs. Hard: the tenth with the largest errors. Means."
    )
    return f"{captioned([*head, *rows], caption, 'sharpness')}\n\nFilled by `{RECORD}`."
