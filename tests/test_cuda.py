"""What runs on a GPU, against the CPU or float64: plans, captured losses, training, rankings. Left out where there is none."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from test_gpu import DTYPES, WAYS, assert_same, problems, reference, spoiled, without_diagonal

from bwot import metrics, training
from bwot.data.images import Split
from bwot.data.sampling import batch_pairs
from bwot.experiments import Images
from bwot.losses import BatchwiseOTLoss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@pytest.fixture
def solve(monkeypatch):
    """The solver by one way or the other, CPU tensors in and out."""
    from bwot.gpu import solver

    def call(way, *given, **named):
        for name, value in WAYS[way].items():
            monkeypatch.setattr(solver, name, value)
        arguments = [x.cuda() if isinstance(x, torch.Tensor) else x for x in given]
        named = {"mask": None, "row": None, "column": None, "tol": None} | named
        named = {k: x.cuda() if isinstance(x, torch.Tensor) else x for k, x in named.items()}
        cost = arguments[0]
        allowed = torch.ones_like(cost, dtype=bool) if named["mask"] is None else named["mask"]
        for name, dim in (("row", -1), ("column", -2)):
            if named[name] is None:
                some = allowed.any(dim).to(cost.dtype)
                named[name] = some / some.sum(-1, keepdim=True)
        return [x.cpu() for x in solver.solve(*arguments, **named)]

    return call


SIZES = [(1, 1), (5, 1), (1, 70), (33, 20), (64, 64), (100, 77), (128, 128), (200, 333)]


@pytest.mark.parametrize("lam", [1e-3, 10.0, 1e4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, m", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_plan_is_that_of_plain_torch(solve, way, n, m, dtype, masked, lam):
    if masked and min(n, m) == 1:
        pytest.skip("nothing would be left")
    longest = 64 if way == "by rows" else 16_384
    if m > longest * (4 // np.dtype(dtype).itemsize) / (1 if way == "by problem" else 2):
        pytest.skip("longer than this way takes")
    cost, row, column = problems(3, n, m, dtype)
    given = {"mask": without_diagonal(3, n, m) if masked else None, "row": row, "column": column}
    expected = reference(cost, lam, 20, **given)
    assert_same(solve(way, cost, lam, 20, **given), expected, lam, roundings=40)


@pytest.mark.parametrize("n", [512, 1024, 2048])
@pytest.mark.parametrize("lam", [10.0, 200.0])
def test_large_problems_are_right(solve, n, lam):
    cost, row, column = problems(1, n, n, "float32")
    expected = reference(cost.cuda(), lam, 50)
    expected = type(expected)(*(x.cpu() for x in expected))
    assert_same(solve("by problem", cost, lam, 50), expected, lam, roundings=200)


@pytest.mark.parametrize("way", WAYS)
def test_each_problem_stops_at_its_own_tolerance(solve, way):
    cost, row, column = problems(3, 17, 14)
    cost[2] *= 0.001
    given = {"row": row, "column": column}
    expected = reference(cost, 20.0, 60, 0.02, **given)
    assert len(set(expected.iterations.tolist())) > 1
    assert_same(solve(way, cost, 20.0, 60, tol=0.02, **given), expected, 20.0)


@pytest.mark.parametrize("kind", ["nan", "overflows", "row", "nothing"])
@pytest.mark.parametrize("way", WAYS)
def test_a_problem_without_a_plan_is_told_and_leaves_its_neighbours_alone(solve, way, kind):
    cost, mask = spoiled(kind)
    row, column = (torch.full((3, size), 1 / size, dtype=cost.dtype) for size in cost.shape[1:])
    plan, taken, error, status = solve(way, cost, 10.0, 2, mask=mask, row=row, column=column)
    assert status.tolist() == [0, 1, 0] and plan[1].isnan().all() and error[1].isnan()
    assert_same([x[::2] for x in (plan, taken, error, status)], reference(cost[::2], 10.0, 2))


@pytest.mark.parametrize("options", [{}, {"balanced": True}, {"plan_gradient": "kernel"}])
@pytest.mark.parametrize("alone", [False, True])
def test_a_captured_loss_has_the_value_and_gradient_of_the_cpu(options, alone):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(60, 16, generator=generator) / 4 for _ in range(2))
    labels = torch.arange(60) % 6
    loss, wanted = BatchwiseOTLoss(**options), []

    def call(x, y, labels):
        other = {} if alone else {"ref_emb": y, "ref_labels": labels.flip(0)}
        return loss(x, labels, **other)

    for device in ("cpu", "cuda"):
        given = x.to(device).requires_grad_()
        value = call(given, y.to(device), labels.to(device))
        wanted.append((value.item(), torch.autograd.grad(value, given)[0].cpu()))
    static, others = x.cuda(), (y.cuda(), labels.cuda())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        given = static.detach().requires_grad_()  # a leaf of the capturing stream
        value = call(given, *others)
        (gradient,) = torch.autograd.grad(value, given)
    graph.replay()
    for found in (wanted[1], (value.item(), gradient.cpu())):
        assert found[0] == pytest.approx(wanted[0][0], rel=1e-5)
        torch.testing.assert_close(found[1], wanted[0][1], rtol=1e-4, atol=1e-6)


def trained(loss, device, epochs=2, **options):
    settings = Images(loss=loss, **options)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (640, 1, 28, 28), dtype=torch.uint8, generator=generator)
    train = Split(images.to(device), (torch.arange(640) % 10).to(device))
    network = settings.build_network((1, 28, 28)).to(device)
    schedule = training.Schedule(epochs=epochs, learning_rate=0.002, normalise_gradient=settings.normalise_gradient)  # fmt: skip
    history = training.fit(
        network,
        settings.build_loss(10).to(device),
        train,
        schedule,
        partial(batch_pairs, 640, 64, 0),
        lambda epoch: {},
    )
    weights = [each.detach().cpu().flatten() for each in network.parameters()]
    return torch.cat(weights), history


@pytest.mark.parametrize("loss", Images.LOSSES)
def test_training_is_deterministic_and_that_of_the_cpu(loss):
    weights, history = trained(loss, "cuda")
    again, _ = trained(loss, "cuda")
    assert torch.equal(weights, again)
    on_cpu, expected = trained(loss, "cpu")
    assert history[1]["loss"] == pytest.approx(expected[1]["loss"], rel=1e-3)
    torch.testing.assert_close(weights, on_cpu, rtol=0, atol=5e-3)


def test_a_replayed_step_is_the_step_itself(monkeypatch):
    replayed, history = trained("bwot", "cuda", normalise_gradient=True)
    monkeypatch.setattr("bwot.gpu.replay.EAGER_CALLS", 1000)
    eager, _ = trained("bwot", "cuda", normalise_gradient=True)
    assert torch.equal(replayed, eager)
    assert history[2]["learning_rate"] == pytest.approx(0.95 * history[1]["learning_rate"])


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    settings = Images(loss="bwot", preset="quick")
    data = settings.load_data()
    finished = []
    for stops in ((4,), (2, 4)):
        for epochs in stops:
            network = settings.network_for(settings.dimensions(data)).cuda()
            train = settings.training_samples(data, "cuda")
            training.fit(network, settings.build_loss(10).cuda(), train, training.Schedule(epochs=epochs, learning_rate=0.01),
                         settings.sampler(train), lambda epoch: {}, tmp_path / f"{len(stops)}.pt")  # fmt: skip
        finished.append(copy.deepcopy(network.state_dict()))
    for name, value in finished[0].items():
        assert torch.equal(value, finished[1][name])


@pytest.mark.parametrize("exclude", [False, True])
def test_rankings_are_those_of_the_cpu(exclude):
    generator = torch.Generator().manual_seed(0)
    embeddings = (torch.randn(900, 4, generator=generator) * 4).round() / 4  # with ties
    labels = torch.randint(7, (900,), generator=generator)
    labels[3] = 99  # of which there is no other
    scores = [
        metrics.score_embeddings(x, x, labels, labels, exclude)
        for x in (embeddings, embeddings.cuda())
    ]
    for name in ("nn", "ft", "st", "e", "dcg", "map", "tied", "skipped"):
        assert getattr(scores[1], name) == pytest.approx(getattr(scores[0], name), abs=1e-12)
    torch.testing.assert_close(scores[1].per_query, scores[0].per_query, equal_nan=True)
    torch.testing.assert_close(scores[1].recall, scores[0].recall)
