"""Training: the same bits after a kill, and errors that name what went wrong."""

import errno
import os
import pickle
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from waiting import NoWaiting

from bwot import checkpoints, training
from bwot.checkpoints import CheckpointError
from bwot.controls import AllPairsLoss, ClassifierLoss, JointLoss, PairwiseLoss
from bwot.data.images import Split
from bwot.data.sampling import batch_pairs, single_batches
from bwot.diagnosis import diagnose, gradient_ratio
from bwot.experiments import Images
from bwot.losses import BatchwiseOTLoss, NonFiniteError
from bwot.training import DivergedError, Schedule, embed, fit

SCHEDULE = Schedule(epochs=3, learning_rate=0.05)
STEPS = 3  # an epoch of 48 images
LOSSES = {
    "bwot": BatchwiseOTLoss(margin=2.0, iterations=8),
    "allpairs": AllPairsLoss(margin=2.0),
    "pairwise": PairwiseLoss(margin=2.0),
}


class Killed(BaseException):
    """Stands for a signal: nothing in the package may catch it."""


@pytest.fixture(autouse=True)
def kept_at_once(monkeypatch):
    """A checkpoint after every epoch, however short it is."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN", 0.0)


@pytest.fixture(scope="module")
def train():
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (48, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(48) % 4)


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4))


def train_one(train, loss="bwot", seed=0, net=None, schedule=SCHEDULE, **options):
    net = net or network()
    module = LOSSES[loss] if isinstance(loss, str) else loss
    options = {
        "after_epoch": lambda epoch: {"map": embed(net, train.images).sum().item()}
    } | options
    batches = partial(batch_pairs, len(train.labels), 16, seed)
    return net, fit(net, module, train, schedule, batches, **options)


def weights(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def without_seconds(history):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def stop_after(epoch):
    def report(row):
        if row["epoch"] == epoch:
            raise Killed

    return report


class CallCounting(nn.Module):
    """A loss that does something else at one call."""

    def __init__(self, at, what):
        super().__init__()
        self.at, self.what, self.calls = at, what, 0

    def forward(self, **batches):
        self.calls += 1
        if self.calls == self.at:
            return self.what(batches["embeddings"])
        return LOSSES["allpairs"](**batches)


def raise_killed(*_):
    raise Killed


# ------------------------------------------------------------------------------ killed and restarted


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("epoch", range(4))
def test_a_run_killed_after_any_epoch_ends_with_the_same_bits(train, tmp_path, loss, epoch):
    whole, expected = train_one(train, loss)
    path = tmp_path / "runs" / "checkpoint.pt"
    with pytest.raises(Killed):
        train_one(train, loss, checkpoint=path, report=stop_after(epoch))
    again, history = train_one(train, loss, net=network(seed=9), checkpoint=path)
    assert without_seconds(history) == without_seconds(expected)
    assert torch.equal(weights(again), weights(whole))


def test_a_run_killed_within_an_epoch_repeats_that_epoch_alone(train, tmp_path):
    whole, expected = train_one(train, "allpairs")
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train_one(train, CallCounting(STEPS + 2, raise_killed), checkpoint=path)
    counting = CallCounting(-1, None)
    again, history = train_one(train, counting, checkpoint=path)
    assert counting.calls == 2 * STEPS  # epochs 2 and 3
    assert without_seconds(history) == without_seconds(expected)
    assert torch.equal(weights(again), weights(whole))


def test_short_epochs_are_kept_together_and_the_last_one_always(train, tmp_path, monkeypatch):
    whole, expected = train_one(train)
    path, kept, clock = tmp_path / "checkpoint.pt", [], iter(range(100))
    saved = training.save_checkpoint
    with monkeypatch.context() as patched:
        patched.setattr(training, "SECONDS_BETWEEN", 5.0)  # the clock is looked at thrice an epoch
        patched.setattr(training.time, "perf_counter", lambda: float(next(clock)))
        patched.setattr(
            training,
            "save_checkpoint",
            lambda *given: (kept.append(len(given[2]) - 1), saved(*given)),
        )
        with pytest.raises(Killed):
            train_one(train, checkpoint=path, report=stop_after(2))
        assert kept == [1] and len(checkpoints.load_checkpoint(path)["history"]) == 2
        again, history = train_one(train, net=network(seed=9), checkpoint=path)
        assert kept == [1, 3] and len(checkpoints.load_checkpoint(path)["history"]) == 4
    assert without_seconds(history) == without_seconds(expected)
    assert torch.equal(weights(again), weights(whole))


def test_a_run_killed_while_it_writes_goes_on_from_the_checkpoint_before(
    train, tmp_path, monkeypatch
):
    whole, expected = train_one(train)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train_one(train, checkpoint=path, report=stop_after(1))
    before = path.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "replace", raise_killed)
        train_one(train, checkpoint=path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    again, history = train_one(train, checkpoint=path)
    assert without_seconds(history) == without_seconds(expected)
    assert torch.equal(weights(again), weights(whole))


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(train, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train_one(train, checkpoint=path, report=stop_after(1))
    before = path.read_bytes()

    def full(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError) as caught:
        patched.setattr(Path, "write_bytes", full)
        train_one(train, checkpoint=path)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert "No space left" in str(caught.value)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_finished_run_is_not_trained_again(train, tmp_path):
    path = tmp_path / "checkpoint.pt"
    first, expected = train_one(train, checkpoint=path)
    again, history = train_one(
        train, CallCounting(1, raise_killed), net=network(5), checkpoint=path
    )
    assert history == expected and torch.equal(weights(again), weights(first))


# ------------------------------------------------------------------------------ what decides the numbers


def test_the_random_state_of_the_caller_neither_matters_nor_changes(train):
    results = []
    for caller in (1, 2):
        torch.manual_seed(caller)
        np.random.seed(caller)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        net, history = train_one(train)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()
        results.append((weights(net), without_seconds(history)))
    assert torch.equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]


def test_seeds_differ(train):
    assert not torch.equal(weights(train_one(train)[0]), weights(train_one(train, seed=1)[0]))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_meets_the_batches_of_the_sampler(train, loss):
    seen = []

    class Watching(nn.Module):
        def forward(self, **batches):
            seen.append((batches["labels"].tolist(), batches["ref_labels"].tolist()))
            return LOSSES[loss](**batches)

    train_one(train, Watching(), seed=5)
    expected = [
        tuple(train.labels[half].tolist() for half in pair)
        for epoch in (1, 2, 3)
        for pair in batch_pairs(48, 16, 5, epoch)
    ]
    assert seen == expected and len(seen) == 3 * STEPS


def test_training_is_gradient_descent_with_momentum_and_a_falling_rate(train):
    net, history = train_one(train, "allpairs", seed=2)
    reference, velocity, rows = network(), None, []
    for epoch in (1, 2, 3):
        rate, total = 0.05 * 0.95 ** (epoch - 1), 0.0
        for first, second in batch_pairs(48, 16, 2, epoch):
            a, b = (reference(train.images[half].float() / 255) for half in (first, second))
            same = train.labels[first][:, None] == train.labels[second]
            squared = (a[:, None] - b[None]).square().sum(-1)
            value = torch.where(same, squared, (2.0 - squared).relu()).mean()
            gradients = torch.autograd.grad(value, list(reference.parameters()))
            velocity = (
                [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
                if velocity
                else gradients
            )
            with torch.no_grad():
                for parameter, v in zip(reference.parameters(), velocity, strict=True):
                    parameter -= rate * v
            total += value.item()
        rows.append((rate, total / STEPS))
    torch.testing.assert_close(weights(net), weights(reference), rtol=1e-4, atol=1e-5)
    ours = [(row["learning_rate"], row["loss"]) for row in history[1:]]
    assert np.allclose(ours, rows, rtol=1e-4)


def test_the_first_row_is_that_of_the_untrained_network(train):
    seen = []

    def after(epoch):
        seen.append(epoch)
        return {"map": weights(net).sum().item()}

    net = network()
    _, history = train_one(train, net=net, after_epoch=after)
    assert seen == [0, 1, 2, 3] == [row["epoch"] for row in history]
    assert history[0] == {
        "epoch": 0,
        "loss": None,
        "seconds": 0.0,
        "learning_rate": 0.05,
        "map": weights(network()).sum().item(),
    }


# ------------------------------------------------------------------------------ embedding


@pytest.mark.parametrize("mode", [True, False])
def test_embedding_evaluates_and_leaves_the_mode(train, mode):
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 4)).train(mode)
    embeddings = embed(net, train.images)
    assert net.training is mode and all(layer.training is mode for layer in net)
    assert not embeddings.requires_grad
    expected = net[2](train.images.flatten(1).float() / 255)
    torch.testing.assert_close(embeddings, expected.detach())


@pytest.mark.parametrize("block", [1, 7, 47, 48, 500])
def test_the_block_size_does_not_matter(train, block):
    net = network()
    torch.testing.assert_close(embed(net, train.images, block), embed(net, train.images, 48))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_refused(train, bad):
    net = network()
    nn.init.constant_(net[3].bias, bad)
    with pytest.raises(NonFiniteError, match="must be finite"):
        embed(net, train.images)


# ------------------------------------------------------------------------------ divergence


@pytest.mark.parametrize("loss", LOSSES)
def test_a_rate_that_is_too_high_ends_as_diverged(train, loss):
    schedule = Schedule(epochs=3, learning_rate=1e12)
    with pytest.raises(
        DivergedError, match=r"at epoch 1, step [123]: lower the learning rate"
    ) as e:
        train_one(train, loss, schedule=schedule)
    assert [row["epoch"] for row in e.value.history] == [0]
    assert e.value.where.startswith("epoch 1, step ")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("step", [1, 2, STEPS])
def test_the_step_whose_loss_is_not_finite_is_named(train, tmp_path, bad, step):
    loss = CallCounting(STEPS + step, lambda embeddings: embeddings.sum() * bad)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(DivergedError) as caught:
        train_one(train, loss, checkpoint=path)
    assert caught.value.where == f"epoch 2, step {step}" and loss.calls == STEPS + step
    assert [row["epoch"] for row in caught.value.history] == [0, 1]
    assert checkpoints.load_checkpoint(path)["history"] == caught.value.history


def test_a_step_that_is_one_too_far_at_the_end_of_an_epoch_counts_as_diverged(train):
    no_slope = CallCounting(2 * STEPS, lambda embeddings: (0 * embeddings).sum().sqrt())
    with pytest.raises(DivergedError) as caught:
        train_one(train, no_slope)
    assert caught.value.where == f"epoch 2, step {STEPS}"
    assert [row["epoch"] for row in caught.value.history] == [0, 1]


# ------------------------------------------------------------------------------ checkpoints


@pytest.fixture(scope="module")
def checkpoint(train, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "checkpoint.pt"
    net, _ = train_one(train, checkpoint=path)
    return path.read_bytes(), weights(net)[:288].numpy().tobytes()  # the first layer's weights


def damaged(content, first_layer, how):
    flipped = bytearray(content)
    flipped[content.index(first_layer) + 3] ^= 0x40  # one bit of one weight
    return {
        "empty": b"",
        "cut in the middle": content[: len(content) // 2],
        "cut at the end": content[:-1],
        "one bit flipped": bytes(flipped),
        "a text": b"epoch 3\n",
        "zeros": bytes(1000),
    }[how]


@pytest.mark.parametrize(
    "how",
    ["empty", "cut in the middle", "cut at the end", "one bit flipped", "a text", "zeros"],
)
def test_a_damaged_checkpoint_is_named(train, tmp_path, checkpoint, how):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damaged(*checkpoint, how))
    with pytest.raises(CheckpointError) as caught:
        train_one(train, checkpoint=path)
    assert str(path) in str(caught.value) and "delete it" in str(caught.value)


def foreign_state(how):
    net = network() if how != "another network" else nn.Sequential(nn.Linear(4, 2))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    state = {"network": net.state_dict(), "optimiser": optimiser.state_dict(), "history": []}
    other = {
        "a list": [1, 2],
        "a tensor": torch.ones(3),
        "no history": {name: state[name] for name in ("network", "optimiser")},
        "a number for the network": state | {"network": 1},
        "no optimiser state": state | {"optimiser": {}},
        "a number for the history": state | {"history": 7},
        "rows of another kind": state | {"history": [1, 2]},
        "a gap in the history": state | {"history": [{"epoch": 0}, {"epoch": 2}]},
    }
    return other.get(how, state)


@pytest.mark.parametrize(
    "how",
    [
        "a list",
        "a tensor",
        "no history",
        "a number for the network",
        "another network",
        "no optimiser state",
        "a number for the history",
        "rows of another kind",
        "a gap in the history",
    ],
)
def test_a_checkpoint_of_something_else_is_named(train, tmp_path, how):
    path = tmp_path / "checkpoint.pt"
    torch.save(foreign_state(how), path)
    with pytest.raises(CheckpointError) as caught:
        train_one(train, checkpoint=path)
    assert str(path) in str(caught.value) and "delete it" in str(caught.value)


class Evil:
    """A pickle that touches a file when it is loaded."""

    def __init__(self, touched):
        self.touched = touched

    def __reduce__(self):
        return Path.touch, (self.touched,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_not_run(train, tmp_path, zipped):
    path, touched = tmp_path / "checkpoint.pt", tmp_path / "touched"
    state = {"network": Evil(touched), "optimiser": {}, "history": []}
    if zipped:
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state))
    with pytest.raises(CheckpointError):
        train_one(train, checkpoint=path)
    assert not touched.exists()


# ------------------------------------------------------------------------------ diagnostics


def diagnosed_by_loops(net, loss, train, pairs):
    rows = []
    for first, second in pairs:
        a, b = (net(train.images[half].float() / 255) for half in (first, second))
        la, lb = train.labels[first], train.labels[second]
        plan = loss.plan(a, la, ref_emb=b, ref_labels=lb)
        positives = active = 0.0
        for i in range(len(a)):
            for j in range(len(b)):
                squared = (a[i] - b[j]).square().sum().item()
                error = squared if la[i] == lb[j] else max(0.0, loss.margin - squared)
                positives += plan[i, j].item() * bool(la[i] == lb[j])
                active += plan[i, j].item() * (error > 0)
        lengths = []
        for each in (loss, AllPairsLoss(loss.margin)):
            net.zero_grad()
            each(a, la, ref_emb=b, ref_labels=lb).backward(retain_graph=True)
            lengths.append(torch.cat([p.grad.flatten() for p in net.parameters()]).norm().item())
        rows.append((positives, active, lengths[0] / lengths[1]))
    net.zero_grad()
    return np.mean(rows, axis=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_diagnostics_match_loops(train, loss):
    net, pairs = network(), batch_pairs(48, 16, 0, 0)[:2]
    ours = diagnose(net, LOSSES[loss], train, pairs)
    expected = diagnosed_by_loops(net, LOSSES[loss], train, pairs)
    assert list(ours) == ["mass_on_positives", "mass_on_active", "gradient_ratio"]
    assert np.allclose(list(ours.values()), expected, rtol=1e-4)


def test_diagnostics_leave_the_network_alone(train):
    net = network()
    before = weights(net)
    diagnose(net, LOSSES["bwot"], train, batch_pairs(48, 16, 0, 0)[:1])
    assert torch.equal(weights(net), before) and all(p.grad is None for p in net.parameters())


def test_the_all_pairs_mean_is_as_long_as_itself(train):
    ratio = diagnose(network(), LOSSES["allpairs"], train, batch_pairs(48, 16, 0, 0))
    assert ratio["gradient_ratio"] == pytest.approx(1.0)


def test_a_gradient_too_long_to_measure_is_not_a_number_of_the_record(train):
    net = network()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= (
                1e9  # squared distances fit into float32, the square of the gradient does not
            )
    with pytest.raises(NonFiniteError):
        diagnose(net, LOSSES["allpairs"], train, batch_pairs(48, 16, 0, 0)[:1])


# ------------------------------------------------------------------------------ progress bars


class Terminal:
    def __init__(self, tty):
        self.tty, self.text = tty, ""

    def isatty(self):
        return self.tty

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize(
    "tty, kernel, setting, shown",
    [
        (True, False, None, True),
        (False, False, None, False),
        (True, False, "off", False),
        (False, True, "off", False),
    ],
    ids=["terminal", "pipe", "switched off", "page run"],
)
def test_a_bar_is_shown_only_where_someone_watches(monkeypatch, tty, kernel, setting, shown):
    stream = Terminal(tty)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    if not kernel:
        monkeypatch.delitem(sys.modules, "ipykernel")
    monkeypatch.delenv("BWOT_PROGRESS", raising=False)
    if setting:
        monkeypatch.setenv("BWOT_PROGRESS", setting)
    assert list(training.progress([1, 2, 3], "epoch 1")) == [1, 2, 3]
    assert ("epoch 1" in stream.text) is shown


# ------------------------------------------------------------------------------ losses that learn or remember


def with_state(kind):
    """A loss with parameters, or with a buffer that training moves, as each run makes it anew."""
    from bwot.authors import AuthorsImageLoss
    from bwot.controls import ClassifierLoss

    if kind == "remembers":
        return AuthorsImageLoss(8, 5.0, 0.5, 1.0, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return ClassifierLoss(4, 4)


@pytest.mark.parametrize("kind", ["learns", "remembers"])
@pytest.mark.parametrize("epoch", range(4))
def test_a_loss_with_a_state_goes_on_with_the_same_bits(train, tmp_path, kind, epoch):
    loss, path = with_state(kind), tmp_path / "checkpoint.pt"
    whole, expected = train_one(train, loss)
    before = torch.cat([value.flatten() for value in with_state(kind).state_dict().values()])
    after = torch.cat([value.flatten() for value in loss.state_dict().values()])
    assert not torch.equal(before, after)  # it is trained
    with pytest.raises(Killed):
        train_one(train, with_state(kind), checkpoint=path, report=stop_after(epoch))
    again = with_state(kind)
    net, history = train_one(train, again, net=network(seed=9), checkpoint=path)
    assert without_seconds(history) == without_seconds(expected)
    assert torch.equal(weights(net), weights(whole))
    assert all(torch.equal(value, loss.state_dict()[name]) for name, value in again.state_dict().items())  # fmt: skip


def test_a_checkpoint_of_another_loss_is_named(train, tmp_path):
    path = tmp_path / "checkpoint.pt"
    train_one(train, with_state("learns"), checkpoint=path)
    with pytest.raises(CheckpointError, match="no checkpoint of this run"):
        train_one(train, with_state("remembers"), checkpoint=path)


def test_looking_at_a_loss_leaves_its_memory_alone(train):
    pairs = batch_pairs(48, 16, 0, 0)
    looked, plain = with_state("remembers"), with_state("remembers")
    net = network()
    train_one(train, looked, net=net, after_epoch=lambda epoch: diagnose(net, looked, train, pairs))
    train_one(train, plain)
    assert torch.equal(looked.u, plain.u)


# ------------------------------------------------------------------------------ gradients of one length


@pytest.mark.parametrize("loss", LOSSES)
def test_a_normalised_gradient_is_as_long_as_that_of_the_all_pairs_mean(train, loss):
    schedule = Schedule(epochs=1, learning_rate=0.05, momentum=0.0, normalise_gradient=True)  # fmt: skip
    net, _ = train_one(train, loss, seed=2, schedule=schedule)
    reference = network()
    for first, second in batch_pairs(48, 16, 2, 1):
        a, b = (reference(train.images[half].float() / 255) for half in (first, second))
        labels = train.labels[first], train.labels[second]
        gradients = [
            torch.autograd.grad(each(a, labels[0], ref_emb=b, ref_labels=labels[1]), [a, b], retain_graph=True)
            for each in (LOSSES[loss], LOSSES["allpairs"])
        ]  # fmt: skip
        own, plain = (sum(g.square().sum() for g in pair).sqrt() for pair in gradients)
        steered = [g * plain / own for g in gradients[0]]
        slopes = torch.autograd.grad([a, b], list(reference.parameters()), steered)
        with torch.no_grad():
            for parameter, slope in zip(reference.parameters(), slopes, strict=True):
                parameter -= 0.05 * slope
    torch.testing.assert_close(weights(net), weights(reference), rtol=1e-4, atol=1e-5)


def test_a_loss_without_a_gradient_is_left_as_it_is(train):
    flat = LOSSES["allpairs"].__class__(margin=2.0)
    flat.forward = lambda **batches: 0.0 * batches["embeddings"].sum() + 0.0 * batches["ref_emb"].sum()  # fmt: skip
    schedule = Schedule(epochs=1, learning_rate=0.05, normalise_gradient=True)
    net, _ = train_one(train, flat, schedule=schedule)
    assert torch.equal(weights(net), weights(network()))


# ------------------------------------------------------------------------------ one batch, and a rate that a score steers


def test_one_batch_a_step_meets_itself(train):
    seen = []

    class Watching(nn.Module):
        def forward(self, **batches):
            seen.append(batches)
            return LOSSES["allpairs"](**batches)

    net = network()
    steps = partial(single_batches, len(train.labels), 12, 0)
    fit(net, Watching(), train, Schedule(epochs=1, learning_rate=0.01), steps, lambda epoch: {})
    assert len(seen) == 4 and all(each.keys() == {"embeddings", "labels"} for each in seen)
    assert all(len(each["labels"]) == 12 for each in seen)
    assert [each["labels"].tolist() for each in seen] == train.labels[steps(1)[:, 0]].tolist()


def test_one_batch_a_step_is_diagnosed_without_self_pairs(train):
    steps = single_batches(48, 12, 0, 0)
    found = diagnose(network(), AllPairsLoss(margin=2.0), train, steps)
    labels = [train.labels[index[0]] for index in steps]
    positives = [((each[:, None] == each).sum() - 12).item() / (12 * 11) for each in labels]
    assert found["mass_on_positives"] == pytest.approx(np.mean(positives))
    assert found["gradient_ratio"] == pytest.approx(1.0)


def test_a_joint_loss_is_diagnosed_as_its_pair_loss(train):
    steps, pairs = single_batches(48, 12, 0, 0), BatchwiseOTLoss(margin=2.0)
    joint = JointLoss(pairs, ClassifierLoss(4, 4), 1.0)
    assert diagnose(network(), joint, train, steps) == diagnose(network(), pairs, train, steps)


def rates(scores, factor=0.5):
    """The rates of the epochs from 1 on, of the authors' main loop written as one (mvcnn_optimal_transport.py)."""
    rate, count, best_so_far, found = 1.0, 0, [], []
    for score in [*scores, None]:
        found.append(max(rate * factor ** (count // 2), 1e-7))
        if score is None:
            return found
        best_so_far.append(score)
        if len(best_so_far) > 3 and max(best_so_far[-3:]) < max(best_so_far[:-3]):
            count += 1


@pytest.mark.parametrize("seed", range(5))
def test_the_rate_falls_when_the_score_that_steers_it_stands_still_twice(seed):
    scores = np.random.default_rng(seed).random(30).round(2).tolist()
    schedule = Schedule(epochs=30, learning_rate=1.0, decay=0.5, steered_by="validation_map")
    history = [{"epoch": 0, "validation_map": 9.0}]  # the untrained network does not count
    history += [{"epoch": i, "validation_map": score} for i, score in enumerate(scores, 1)]
    found = [schedule.rate(epoch, history[:epoch]) for epoch in range(1, 32)]
    assert found == pytest.approx(rates(scores)) and found[-1] < 1.0


def test_a_steered_run_that_was_killed_goes_on_with_the_rate_it_had(train, tmp_path):
    schedule = Schedule(epochs=7, learning_rate=0.05, decay=0.5, steered_by="map")

    def run(scores, **options):
        return train_one(train, schedule=schedule, after_epoch=lambda e: {"map": scores[e]}, **options)[1]  # fmt: skip

    scores = [0.1, 0.9, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1]
    whole = run(scores)
    with pytest.raises(Killed):
        run(scores, checkpoint=tmp_path / "c.pt", report=stop_after(4))
    again = run(scores, checkpoint=tmp_path / "c.pt")
    assert without_seconds(again) == without_seconds(whole)
    assert len({row["learning_rate"] for row in whole}) > 1


def test_views_become_ink_on_nothing_and_features_stay():
    white = torch.full((2, 3, 1, 4, 4), 255, dtype=torch.uint8)
    assert training.as_input(white).abs().max() == 0
    assert training.as_input(torch.zeros_like(white)).min() == 1
    features = torch.randn(3, 7)
    assert training.as_input(features) is features


def test_the_pair_wise_loss_of_one_batch_is_diagnosed_on_its_halves(train):
    one = single_batches(48, 12, 0, 0)
    found = diagnose(network(), LOSSES["pairwise"], train, one)
    assert found == diagnose(network(), LOSSES["pairwise"], train, one.view(-1, 2, 6))


def test_a_ratio_of_gradients_leaves_out_what_a_value_does_not_use_and_refuses_infinity():
    both = nn.ModuleList([nn.Linear(2, 1, bias=False), nn.Linear(2, 1)])
    first = both[0](torch.tensor([3.0, 4.0])).squeeze()  # its gradient is (3, 4)
    assert gradient_ratio(both, 2 * first, first) == pytest.approx(2.0)
    with pytest.raises(NonFiniteError, match="the gradient's norm must be finite"):
        gradient_ratio(both, first * torch.inf, first)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("loss", ["allpairs", "pairwise", "active", "softmax", "rowsoftmax"])
def test_a_step_reads_no_value_where_nothing_may_be_looked_at(train, loss, normalise, monkeypatch):
    for module in ("batches", "pairs"):
        monkeypatch.setattr(f"bwot.{module}.looks", lambda tensor: False)
    net, own = network(0), Images(loss=loss).build_loss(10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)
    step = training._Step(net, own, optimiser, train, normalise)
    first, second = batch_pairs(48, 16, 0, 1)[:2]
    step.take(first)
    before = weights(net).clone()
    with NoWaiting():
        step.take(second)
    assert not torch.equal(weights(net), before) and step.total > 0
