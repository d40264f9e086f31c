"""What has just been compiled and what an earlier process compiled are the same numbers, digit by digit."""

import os
import subprocess
import sys

from bwot.paths import PROJECT

SCRIPT = """
import hashlib, itertools, warnings
import torch
from bwot import BatchwiseOTLoss, sinkhorn

warnings.simplefilter("ignore")
generator = torch.Generator().manual_seed(0)
kinds = {}, {"balanced": True}, {"plan_gradient": "exact"}, {"tol": 1e-6, "iterations": 1000}, {"lam": 500.0}
torch.set_num_threads(2)
for n in (64, 300):  # the larger one in two threads
    labels = [torch.randint(10, (n,), generator=generator) for _ in range(2)]
    points = [torch.randn(n, 32, generator=generator).mul_(0.2) for _ in range(2)]
    for settings, dtype in itertools.product(kinds, (torch.float32, torch.float64)):
        x, y = (each.to(dtype).requires_grad_() for each in points)
        value = BatchwiseOTLoss(**settings)(x, labels[0], ref_emb=y, ref_labels=labels[1])
        found = value, *torch.autograd.grad(value, (x, y))
        print(n, settings, dtype, hashlib.sha256(b"".join(each.detach().numpy().tobytes() for each in found)).hexdigest())
    cost = torch.rand(n, n, generator=generator)
    mask = labels[0][:, None] == labels[1]
    print(n, hashlib.sha256(sinkhorn(cost, mask=mask).plan.numpy().tobytes()).hexdigest())
"""


def test_the_first_process_and_the_next_have_the_same_digits(tmp_path):
    """Otherwise a run that is killed in the first process after an installation would go on with other last digits."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    cold, warm = (
        subprocess.run([sys.executable, "-c", SCRIPT], env=environment, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )  # fmt: skip
    assert cold == warm and len(cold.splitlines()) == 22
