"""One plan over the samples of several processes: what a network learns from it is what one process teaches it.

Three processes run :func:`rank_main` of this file on the CPU and leave files with what they found; the tests compare
these with the loss of one process on the concatenated batch.
"""

import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import jaxtyping
import pytest
import torch
import torch.distributed as dist
from torch import nn

from bwot import BatchwiseOTLoss
from bwot.losses import NonFiniteError
from bwot.paths import PROJECT
from bwot.ranks import gather_batches

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="needs torch.distributed, gloo"
)

SIZES = {"even": ([4, 4], [4, 4, 4]), "uneven": ([5, 3], [2, 6, 3]), "one": ([6, 1], [1, 5, 1])}
REF_SIZES = ([3, 5], [4, 1, 2])
SETTINGS = {
    "plain": {},
    "balanced": {"balanced": True},
    "kernel": {"plan_gradient": "kernel"},
    "exact": {"plan_gradient": "exact", "iterations": 200, "lam": 2.0},
    "images": {"form": "images", "margin": 2.0},
}
KINDS = [
    *[(settings, sizes, "float64") for settings in ("plain", "balanced") for sizes in SIZES],
    *[(settings, "uneven", "float32") for settings in ("plain", "balanced")],
    *[(settings, "uneven", "float64") for settings in ("kernel", "exact", "images")],
]
CASES = [(*kind, one_batch) for kind in KINDS for one_batch in (True, False)]
TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
ERRORS = ["nan", "widths", "types", "only one ref", "indices"]
START_RANK = """
import sys
from jaxtyping import install_import_hook
with install_import_hook(["bwot.losses", "bwot.ranks"], "beartype.beartype"):
    import test_ranks
test_ranks.rank_main(int(sys.argv[1]), sys.argv[2])
"""


def network(dtype):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    return layers.to(getattr(torch, dtype))


def samples(count, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return x.to(getattr(torch, dtype)), torch.randint(0, 3, (count,), generator=generator)


def batches(case, ranks):
    """The samples and labels of every rank, and those of its other batch, which may be None."""
    _, sizes, dtype, one_batch = case
    index = ranks - 2
    parts = [samples(count, 7 + rank, dtype) for rank, count in enumerate(SIZES[sizes][index])]
    refs = [samples(count, 70 + rank, dtype) for rank, count in enumerate(REF_SIZES[index])]
    return parts, [None] * ranks if one_batch else refs


def outcome(model, loss, own, other):
    """Loss, plan and the gradients of all parameters, both batches having passed through the network."""
    x, labels = own
    ref, ref_labels = (None, None) if other is None else other
    everything = model(x if ref is None else torch.cat([x, ref]))
    embeddings = everything[: len(x)]
    others = {} if ref is None else {"ref_emb": everything[len(x) :], "ref_labels": ref_labels}
    value = loss(embeddings, labels, **others)
    value.backward()
    plan = loss.plan(embeddings.detach(), labels, **others)
    return value.detach(), plan, [parameter.grad for parameter in model.parameters()]


# what each process does


def all_cases(rank, ranks, folder):
    found = {}
    for case in CASES:
        parts, refs = batches(case, ranks)
        model = nn.parallel.DistributedDataParallel(network(case[2]))
        loss = BatchwiseOTLoss(**SETTINGS[case[0]], gather=True)
        found[case] = outcome(model, loss, parts[rank], refs[rank])
    found["types"] = [gathered(dtype, rank) for dtype in (torch.float16, torch.bfloat16)]
    found["int32"] = gather_batches(torch.ones(2, 3), torch.tensor([rank, 9]).int())[1]
    found["errors"] = {name: error_of(name, rank) for name in ERRORS}
    return found


def gathered(dtype, rank):
    """Rows of a type gathered, and the gradient of a loss that is ``rank + 1`` times their sum."""
    rows = torch.full((rank + 1, 2), rank + 0.5, dtype=dtype, requires_grad=True)
    whole, _, _, _ = gather_batches(rows, torch.zeros(rank + 1, dtype=torch.int64))
    ((rank + 1) * whole).sum().backward()
    return whole.detach(), rows.grad


def error_of(name, rank):
    """Type and text of the error on a rank where the last one of the ranks gives something odd."""
    odd = rank == dist.get_world_size() - 1
    x, labels = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
    arguments = {"ref_emb": x, "ref_labels": labels} if odd and name == "only one ref" else {}
    if odd and name == "nan":
        x = x.log() / 0
    if odd and name == "widths":
        x = torch.ones(4, 2)
    if odd and name == "types":
        x = x.double()
    if name == "indices":
        arguments["indices_tuple"] = (labels, labels, labels, labels)
    try:
        BatchwiseOTLoss(gather=True)(x, labels, **arguments)
    except ValueError as error:
        return type(error), str(error)


def stay_away(rank, ranks, folder):
    if rank == 0:
        return failure(folder, lambda loss: loss())
    while not (folder / "failed").exists():
        time.sleep(0.1)


def quit_before_the_loss(rank, ranks, folder):
    if rank == 1:
        os._exit(0)
    return failure(folder, lambda loss: loss())


def quit_before_the_backward_pass(rank, ranks, folder):
    value = loss_of_four()
    if rank == 1:
        os._exit(0)
    return failure(folder, lambda loss: value.backward())


def failure(folder, call):
    """Text of the error that a call ends with, and after how many seconds."""
    start = time.monotonic()
    try:
        call(loss_of_four)
    except RuntimeError as error:
        return str(error), time.monotonic() - start
    finally:
        (folder / "failed").touch()


def loss_of_four():
    embeddings = torch.rand(4, 3, requires_grad=True)
    return BatchwiseOTLoss(gather=True)(embeddings, torch.tensor([0, 0, 1, 1]))


STAGES = [
    (all_cases, (0, 1, 2), 60),
    (all_cases, (0, 1), 60),
    (stay_away, (0, 1), 4),
    (quit_before_the_loss, (0, 2), 60),
    (quit_before_the_backward_pass, (0, 1), 60),
]
"""What the processes do, which of them form a group for it, and its timeout in seconds: one start serves all."""


def rank_main(process, folder):
    """Pass through the stages: meet the others in ``folder``, do the task, leave a file with what it returns."""
    torch.set_num_threads(1)
    folder = Path(folder)
    for number, (task, members, seconds) in enumerate(STAGES):
        if process not in members:
            continue
        rank, ranks = members.index(process), len(members)
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/meeting{number}", rank=rank, world_size=ranks,
            timeout=timedelta(seconds=seconds),
        )  # fmt: skip
        dist.barrier()
        torch.save(task(rank, ranks, folder), folder / f"{task.__name__}-{ranks}-{rank}.pt")
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What a rank left of a task among so many ranks."""
    folder = tmp_path_factory.mktemp("ranks").resolve()
    logs = [folder / f"{process}.log" for process in range(3)]
    processes = [started(number, folder, log) for number, log in enumerate(logs)]
    try:
        for process, log in zip(processes, logs, strict=True):
            assert process.wait(timeout=180) == 0, log.read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return lambda task, ranks, rank: torch.load(
        folder / f"{task}-{ranks}-{rank}.pt", weights_only=False
    )


def started(number, folder, log):
    with open(log, "w") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", START_RANK, str(number), str(folder)],
            cwd=Path(__file__).parent, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=errors,
        )  # fmt: skip


@pytest.fixture(scope="module", params=[2, 3])
def found(request, results):
    """What every rank computed, for two and for three of them."""
    return [results("all_cases", request.param, rank) for rank in range(request.param)]


# the same as one process


def whole(case, ranks):
    """The outcome of one process on the concatenated batch."""
    parts, refs = batches(case, ranks)

    def joined(some):
        return tuple(torch.cat(tensors) for tensors in zip(*some, strict=True))

    other = None if refs[0] is None else joined(refs)
    loss = BatchwiseOTLoss(**SETTINGS[case[0]])
    return outcome(network(case[2]), loss, joined(parts), other)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_plan_and_gradients_are_those_of_one_process(case, found):
    value, plan, gradients = whole(case, len(found))
    near = {"rtol": 0, "atol": TOLERANCE[case[2]]}
    assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-3
    for rank in found:
        torch.testing.assert_close(rank[case][0], value, **near)
        torch.testing.assert_close(rank[case][1], plan, **near)
        for ours, expected in zip(rank[case][2], gradients, strict=True):
            torch.testing.assert_close(ours, expected, **near)


@pytest.mark.parametrize("sizes", SIZES)
def test_it_is_not_what_the_ranks_find_each_for_itself(sizes, found):
    """Otherwise the comparison above could not tell the two."""
    case = ("plain", sizes, "float64", False)
    alone = [
        outcome(network("float64"), BatchwiseOTLoss(), own, other)[0]
        for own, other in zip(*batches(case, len(found)), strict=True)
    ]
    assert abs(torch.stack(alone).mean() - found[0][case][0]) > 1e-3


@pytest.mark.parametrize("number, dtype", [(0, torch.float16), (1, torch.bfloat16)])
def test_rows_keep_their_type_and_collect_the_gradients_of_all_ranks(number, dtype, found):
    expected = [rank + 0.5 for rank in range(len(found)) for _ in range(rank + 1)]
    for rank in found:
        rows, gradient = rank["types"][number]
        assert rows.dtype == gradient.dtype == dtype
        assert rows.tolist() == [[value, value] for value in expected]
        assert set(gradient.flatten().tolist()) == {sum(range(1, len(found) + 1))}


def test_labels_come_back_as_int64_in_the_order_of_the_ranks(found):
    for rank in found:
        assert rank["int32"].dtype == torch.int64
        assert rank["int32"].tolist() == [label for one in range(len(found)) for label in (one, 9)]


# what is refused, on every rank alike


@pytest.mark.parametrize(
    "name, kind, message",
    [
        ("nan", NonFiniteError, "embeddings must be finite; 4 of "),
        ("widths", ValueError, "rank 0 gave embeddings (samples, 3) of torch.float32 and ref_emb None, rank {last} (samples, 2) of torch.float32 and None"),
        ("types", ValueError, "rank {last} (samples, 3) of torch.float64 and None: call the loss alike on every rank"),
        ("only one ref", ValueError, "rank {last} (samples, 3) of torch.float32 and (samples, 3) of torch.float32"),
        ("indices", ValueError, "indices_tuple must be None with gather"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_on_every_rank(name, kind, message, found):
    for rank in found:
        error, text = rank["errors"][name]
        assert error is kind and message.format(last=len(found) - 1) in text


# a rank that is gone


@pytest.mark.parametrize(
    "task, message",
    [
        (stay_away, "timed out|timeout"),
        (quit_before_the_loss, "connection|end of file"),
        (quit_before_the_backward_pass, "connection|end of file"),
    ],
)
def test_a_rank_that_is_missing_ends_the_other_with_an_error(task, message, results):
    """One that quits closes its connections; one that stays away is waited for as long as the group's timeout says."""
    text, seconds = results(task.__name__, 2, 0)
    assert re.search(message, text, re.IGNORECASE) and seconds < 30


# one process


@pytest.fixture
def group_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # torch puts the rank before tracebacks
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path.resolve()}/meeting", rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


def same_as_without(case):
    (own,), (other,) = (part[:1] for part in batches(case, 2))
    ours, expected = (
        outcome(network("float64"), BatchwiseOTLoss(gather=gather), own, other)
        for gather in (True, False)
    )
    assert torch.equal(ours[0], expected[0]) and torch.equal(ours[1], expected[1])
    assert all(torch.equal(a, b) for a, b in zip(ours[2], expected[2], strict=True))


@pytest.mark.parametrize("one_batch", [True, False])
def test_without_a_process_group_gathering_changes_nothing(one_batch):
    same_as_without(("plain", "uneven", "float64", one_batch))


@pytest.mark.parametrize("one_batch", [True, False])
def test_a_group_of_one_changes_nothing(one_batch, group_of_one):
    same_as_without(("plain", "uneven", "float64", one_batch))


@pytest.mark.parametrize("method", ["forward", "plan"])
def test_mined_pairs_are_refused_in_one_process_too(method):
    """What works with one process has to work with many."""
    index = torch.arange(2)
    loss = BatchwiseOTLoss(gather=True)
    with pytest.raises(ValueError, match="indices_tuple must be None with gather: its indices"):
        getattr(loss, method)(torch.rand(4, 3), torch.arange(4), (index, index + 1) * 2)


@pytest.fixture
def unchecked():
    """jaxtyping's test hook off, so that our own errors about shapes come through."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((torch.ones(0, 3), torch.arange(0)), r"embeddings must have shape .* not \(0, 3\)"),
        ((torch.ones(4, 3), torch.arange(3)), r"embeddings has 4 rows but its labels have shape \(3,\)"),
        ((torch.ones(4, 3), torch.arange(4), None, torch.ones(4, 3)), "must be given together"),
    ],
)  # fmt: skip
def test_what_one_rank_alone_gets_wrong_is_named(arguments, message, unchecked):
    with pytest.raises(ValueError, match=message):
        BatchwiseOTLoss(gather=True)(*arguments)


def test_the_script_of_the_page_prints_one_loss_in_both_processes(tmp_path):
    page = (PROJECT / "book" / "many_ranks.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "train.py").write_text(script)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*run, "train.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = re.findall(r"process (\d) of 2: ([\d.]+)", done.stdout)
    assert sorted(rank for rank, _ in printed) == ["0", "1"]
    assert len({value for _, value in printed}) == 1
