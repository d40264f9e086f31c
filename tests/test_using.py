"""The loss in other people's training code: pytorch-metric-learning, Lightning, mixed precision; and what the page on it says."""

import re
import warnings
from collections import deque

import pytest
import torch
from test_losses import errors, gradient_of, numeric_gradient, transport, weighted
from torch.nn.functional import normalize

from bwot import AllPairsLoss, BatchwiseOTLoss
from bwot.comparison import of_loss, summarise
from bwot.features.imagenet import torchvision_package
from bwot.losses import squared_distances
from bwot.paths import PROJECT
from bwot.records import read_record

README = (PROJECT / "README.md").read_text(encoding="utf-8")
PAGE = (PROJECT / "book" / "using_the_loss.md").read_text(encoding="utf-8")
LIGHTNING_SAYS = (  # about itself and its own settings
    "ignore:Starting from v1.9.0, `tensorboardX`",
    "ignore:.*LeafSpec.*is deprecated:FutureWarning",
    "ignore:The number of training batches",
    "ignore:The 'train_dataloader' does not have many workers",
    "ignore:GPU available but not used",
)
PLAIN = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False,
         "enable_progress_bar": False, "enable_model_summary": False}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def importable():
    """Lightning imports torchvision where it is installed; beside some builds of torch that fails without help."""
    torchvision_package()


def python_blocks(text):
    """The Python of a Markdown file, block by block; ``literalinclude`` gives lines of the README."""
    for code, options in re.findall(
        r"```python\n(.*?)```|```\{literalinclude\} ../README.md\n(.*?)```\n", text, re.DOTALL
    ):
        if options:
            start = re.search(r":start-at: (.*)", options)[1]
            code = README[README.index(start) :].split("```")[0]
        yield code


def run_blocks(text, capsys=None):
    """The names that the blocks leave, run one after the other, and what each of them printed."""
    scope, printed = {}, []
    for code in python_blocks(text):
        exec(code, scope)
        printed.append(capsys.readouterr().out if capsys else "")
    return scope, printed


@pytest.fixture(scope="module")
def memory_class():
    """The three lines of the README, as they stand there."""
    pytest.importorskip("pytorch_metric_learning")
    (code,) = [code for code in python_blocks(README) if "CrossBatchMemory" in code]
    lines = code[: code.index("memory = ")]
    assert len(lines[lines.index("class") :].strip().splitlines()) == 3
    scope = {}
    exec(lines, scope)
    return scope["Memory"]


@pytest.fixture(scope="module")
def embedder_class():
    """The Lightning module of the README."""
    pytest.importorskip("lightning")
    (code,) = [code for code in python_blocks(README) if "import lightning" in code]
    scope = {"torch": torch, "BatchwiseOTLoss": BatchwiseOTLoss}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its import
        exec(code[: code.index("loader = ")], scope)
    return scope["Embedder"]


def batches(count, n=6, classes=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        x = 0.6 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
        yield x.to(dtype), torch.randint(0, classes, (n,), generator=generator)


def memory_by_hand(given, size, takes_part=lambda distance, same: True):
    """For each batch: it, what a memory of ``size`` then holds, and which pairs take part, no sample with itself."""
    held = deque(maxlen=size)
    for step, (x, labels) in enumerate(given):
        held.extend(((step, i), x[i], labels[i]) for i in range(len(x)))
        stored = torch.stack([each for _, each, _ in held])
        stored_labels = torch.stack([label for _, _, label in held])
        allowed = [
            [
                held[j][0] != (step, i)
                and takes_part(float((x[i] - stored[j]).norm()), bool(labels[i] == held[j][2]))
                for j in range(len(held))
            ]
            for i in range(len(x))
        ]
        yield x, labels, stored, stored_labels, allowed


def expected_loss_and_gradient(x, labels, stored, stored_labels, allowed):
    def error(y):
        return errors("sketches", 1.0, None, y, labels, stored, stored_labels)

    plan = transport(error(x), allowed, 10.0, 10.0, 50)
    return weighted(plan, error(x), "sketches"), numeric_gradient(
        lambda y: weighted(plan, error(y), "sketches"), x
    )


# pytorch-metric-learning


def test_the_memory_refuses_our_loss_without_the_three_lines():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    with pytest.raises(Exception, match="not supported for BatchwiseOTLoss"):
        losses.CrossBatchMemory(BatchwiseOTLoss(), 3)


@pytest.mark.parametrize("size", [6, 12, 14, 100])
def test_a_memory_gives_the_plan_without_self_pairs(size, memory_class):
    """Filling, full, and wrapping round within a batch (14 is no multiple of 6)."""
    memory = memory_class(BatchwiseOTLoss(), embedding_size=3, memory_size=size)
    for x, labels, stored, stored_labels, allowed in memory_by_hand(batches(5), size):
        value, gradient = expected_loss_and_gradient(x, labels, stored, stored_labels, allowed)
        y = x.clone().requires_grad_()
        ours = memory(y, labels)
        ours.backward()
        assert ours.item() == pytest.approx(value, rel=1e-7)
        torch.testing.assert_close(y.grad, gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:the allowed pairs")
@pytest.mark.parametrize("size", [12, 14])
def test_a_memory_with_a_miner_gives_the_plan_over_the_mined_pairs(size, memory_class):
    from pytorch_metric_learning import distances, miners

    miner = miners.PairMarginMiner(0.9, 0.7, distance=distances.LpDistance(normalize_embeddings=False))  # fmt: skip
    memory = memory_class(BatchwiseOTLoss(), embedding_size=3, memory_size=size, miner=miner)
    empty_rows = 0
    mined = memory_by_hand(batches(5), size, lambda d, same: d > 0.9 if same else d < 0.7)
    for x, labels, stored, stored_labels, allowed in mined:
        empty_rows += sum(not any(row) for row in allowed)
        value, gradient = expected_loss_and_gradient(x, labels, stored, stored_labels, allowed)
        y = x.clone().requires_grad_()
        ours = memory(y, labels)
        ours.backward()
        assert ours.item() == pytest.approx(value, rel=1e-6)
        torch.testing.assert_close(y.grad, gradient, rtol=1e-5, atol=1e-7)
    assert empty_rows > 0  # rows without a pair were among the cases


def test_the_first_batch_of_a_memory_is_a_batch_against_itself(memory_class):
    ((x, labels),) = batches(1)
    memory = memory_class(BatchwiseOTLoss(balanced=True), embedding_size=3)
    torch.testing.assert_close(memory(x, labels), BatchwiseOTLoss(balanced=True)(x, labels))


def test_indices_given_to_the_call_are_taken_for_places_in_the_memory(memory_class):
    """What the page warns of; when this fails, the library has changed and the warning can go."""
    seen = []

    class Loss(torch.nn.Module):
        def forward(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
            seen.append(indices_tuple)
            return embeddings.sum()

    memory, pair = memory_class(Loss(), embedding_size=3, memory_size=12), torch.tensor([1])
    for x, labels in batches(2):
        memory(x, labels, (pair - 1, pair, pair - 1, pair))
    assert [int(each[1][-1]) for each in seen] == [1, 1]  # in batch 2, sample 1 lies at place 7


@pytest.mark.filterwarnings("ignore:the allowed pairs")
@pytest.mark.parametrize("name", ["MultiSimilarityMiner", "PairMarginMiner"])
@pytest.mark.parametrize("one_batch", [True, False])
def test_a_pair_miner_limits_the_plan_to_its_pairs(one_batch, name):
    miners = pytest.importorskip("pytorch_metric_learning.miners")
    (x, labels), (y, their_labels) = batches(2)
    others = () if one_batch else (y, their_labels)
    indices = getattr(miners, name)()(x, labels, *others)
    allowed = torch.zeros(6, 6, dtype=torch.bool)
    for i, j in zip(torch.cat(indices[::2]), torch.cat(indices[1::2]), strict=True):
        allowed[i, j] = True
    assert 0 < allowed.sum() < 30
    plan = BatchwiseOTLoss().plan(x, labels, indices, *others)
    error = errors("sketches", 1.0, None, x, labels, *(others or (x, labels)))
    expected = torch.tensor(transport(error, allowed.tolist(), 10.0, 10.0, 50)).double()
    torch.testing.assert_close(plan, expected, rtol=1e-6, atol=1e-9)
    assert torch.equal(plan > 0, allowed)


def test_a_miner_that_finds_nothing_stops_no_training(memory_class):
    from pytorch_metric_learning import losses, miners

    ((x, labels),) = batches(1)
    miner = miners.PairMarginMiner(pos_margin=100.0, neg_margin=0.0)
    assert all(len(index) == 0 for index in miner(x, labels))
    for loss in (losses.ContrastiveLoss(), BatchwiseOTLoss(), BatchwiseOTLoss(balanced=True)):
        y = x.clone().requires_grad_()
        value = memory_class(loss, embedding_size=3, miner=miner)(y, labels)
        value.backward()
        assert value.item() == 0 and y.grad.norm() == 0


def test_a_triplet_miner_is_refused(memory_class):
    from pytorch_metric_learning.miners import TripletMarginMiner

    ((x, labels),) = batches(1)
    miner, loss, message = TripletMarginMiner(), BatchwiseOTLoss(), "not 3: mine pairs"
    with pytest.raises(ValueError, match=message):
        loss(x, labels, miner(x, labels))
    with pytest.raises(ValueError, match=message):
        memory_class(loss, embedding_size=3, miner=miner)(x, labels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_memory_of_half_precision_embeddings_computes_in_single_precision(dtype, memory_class):
    memory = memory_class(BatchwiseOTLoss(), embedding_size=3, memory_size=14)
    for x, labels, *rest in memory_by_hand(batches(4, dtype=dtype), 14):
        value, gradient = expected_loss_and_gradient(
            x.double(), labels, rest[0].double(), *rest[1:]
        )
        y = x.clone().requires_grad_()
        ours = memory(y, labels)
        ours.backward()
        assert ours.dtype == torch.float32 and ours.item() == pytest.approx(value, rel=1e-4)
        assert memory.embedding_memory.dtype == y.grad.dtype == dtype
        torch.testing.assert_close(y.grad.double(), gradient, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_step_under_autocast_trains_the_network(dtype, memory_class):
    ((x, labels),) = batches(1, dtype=torch.float32)
    network = torch.nn.Linear(3, 3)
    memory = memory_class(BatchwiseOTLoss(), embedding_size=3)
    with torch.autocast("cpu", dtype=dtype):
        embeddings = network(x)
        value = memory(embeddings, labels)
    value.backward()
    assert embeddings.dtype == dtype and value.dtype == torch.float32
    torch.testing.assert_close(value, BatchwiseOTLoss()(embeddings.detach().float(), labels))
    assert network.weight.grad.isfinite().all() and network.weight.grad.norm() > 0


# Lightning


def trained(embedder_class, loader, **settings):
    import lightning

    torch.manual_seed(0)
    embedder = embedder_class(torch.nn.Linear(3, 3))
    trainer = lightning.Trainer(max_epochs=2, **PLAIN, **settings)
    trainer.fit(embedder, loader)
    return embedder.network, trainer.global_step


@pytest.mark.filterwarnings(*LIGHTNING_SAYS)
def test_lightning_does_the_steps_of_a_plain_loop(embedder_class):
    loader = torch.utils.data.DataLoader(list(batches(3, dtype=torch.float32)), batch_size=None)
    network, steps = trained(embedder_class, loader)
    torch.manual_seed(0)
    plain, loss = torch.nn.Linear(3, 3), BatchwiseOTLoss(margin=1.0)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9)
    start = plain.weight.detach().clone()
    for x, labels in [*loader, *loader]:
        optimizer.zero_grad()
        loss(plain(x), labels).backward()
        optimizer.step()
    assert steps == 6 and not torch.equal(start, plain.weight)
    torch.testing.assert_close(network.state_dict(), plain.state_dict())


@pytest.mark.filterwarnings(*LIGHTNING_SAYS)
def test_lightning_trains_in_mixed_precision(embedder_class):
    loader = torch.utils.data.DataLoader(list(batches(3, dtype=torch.float32)), batch_size=None)
    network, _ = trained(embedder_class, loader, precision="bf16-mixed")
    full, _ = trained(embedder_class, loader)
    torch.testing.assert_close(network.weight, full.weight, rtol=0.1, atol=1e-2)
    assert not torch.equal(network.weight, full.weight)


# the README and the page


@pytest.fixture
def libraries():
    for name in ("pytorch_metric_learning", "lightning"):
        pytest.importorskip(name)


@pytest.mark.filterwarnings(*LIGHTNING_SAYS)
def test_the_snippets_of_the_readme_run(libraries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Lightning keeps its logs where it runs
    scope, _ = run_blocks(README)
    assert scope["memory"].queue_idx == 64
    assert scope["network"].weight.isfinite().all()


@pytest.mark.filterwarnings(*LIGHTNING_SAYS)
def test_the_snippets_of_the_page_run_and_print_its_table(libraries, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scope, printed = run_blocks(PAGE, capsys)
    assert len(printed) == 5 and scope["memory"].queue_idx == 256
    rows = printed[-1]
    assert rows.count("\n") == 4
    assert rows in PAGE, f"put these rows into book/using_the_loss.md:\n{rows}"
    shares = [[float(n) for n in re.findall(r"(\d+)%", row)] for row in rows.splitlines()]
    assert all(column == tuple(sorted(column)) for column in zip(*shares, strict=True))
    assert all(row[1] == max(row) for row in shares)  # the rule of thumb is ahead at every lam


@pytest.mark.parametrize("margin", [1.0, 2.0])
@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_the_rule_for_gamma_comes_near_to_the_most_mass_on_hard_pairs(scale, spread, margin):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(64) % 8
    x = torch.randn(8, 16, generator=generator)[labels]
    x = scale * normalize(x + spread * torch.randn(64, 16, generator=generator)).double()
    margin *= scale**2
    same, pairs = labels[:, None] == labels, ~torch.eye(64, dtype=torch.bool)
    error = BatchwiseOTLoss(margin).pair_errors(squared_distances(x, x), same)[pairs]
    hardest = error.topk(len(error) // 10).indices

    def share(gamma):
        return BatchwiseOTLoss(margin, 10.0, gamma).plan(x, labels)[pairs][hardest].sum().item()

    best = max(share(10 ** (k / 4) / scale**2) for k in range(-8, 9))
    assert share(3 / error.max().item()) > 0.95 * best


def test_scale_margin_and_gamma_together_leave_the_plan_as_it_is():
    ((x, labels),) = batches(1)
    for scale in (0.1, 7.0):
        scaled = BatchwiseOTLoss(scale**2, gamma=10 / scale**2).plan(scale * x, labels)
        torch.testing.assert_close(scaled, BatchwiseOTLoss(1.0).plan(x, labels))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_unit_vectors_are_no_farther_apart_than_the_page_says(classes):
    """A regular simplex reaches the bound; the mean over the pairs, so the least of them, never passes it."""
    bound = 2 * classes / (classes - 1)
    pairs = ~torch.eye(classes, dtype=torch.bool)
    simplex = normalize(torch.eye(classes, dtype=torch.float64) - 1 / classes)
    assert squared_distances(simplex, simplex)[pairs].min().item() == pytest.approx(bound)
    for seed in range(50):
        x = torch.randn(classes, 12, generator=torch.Generator().manual_seed(seed)).double()
        x = normalize(x - x.mean(0) * (seed % 2))
        assert squared_distances(x, x)[pairs].mean() <= bound + 1e-9


def test_two_samples_leave_the_plan_no_choice():
    ((x, _),) = batches(1, n=2)
    for labels in (torch.tensor([0, 0]), torch.tensor([0, 1])):
        plan = BatchwiseOTLoss().plan(x, labels)
        torch.testing.assert_close(plan, torch.tensor([[0.0, 0.5], [0.5, 0.0]]).double())


def test_a_class_with_one_sample_is_only_pushed_away():
    ((x, _),) = batches(1)
    labels, loss = torch.tensor([0, 1, 1, 1, 2, 2]), BatchwiseOTLoss(margin=50.0)
    plan = loss.plan(x, labels)
    push = 2 * ((plan[0] + plan[:, 0])[:, None] * (x[0] - x)).sum(0)  # away from every other sample
    torch.testing.assert_close(-gradient_of(loss, x, labels)[0], push)
    assert plan[0].sum().item() == pytest.approx(1 / 6)


def test_wrong_labels_draw_mass():
    """One of 16 labels is wrong, on separated clusters: pairs with the wrong sign weigh more than in the mean, less with a lower lam."""
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(64) % 4
    x = 2 * torch.eye(4)[true] + 0.3 * torch.randn(64, 4, generator=generator)
    labels = torch.where(torch.arange(64) % 16 == 0, (true + 1) % 4, true)
    wrong = (true[:, None] == true) != (labels[:, None] == labels)
    shares = [
        loss.plan(x, labels)[wrong].sum().item()
        for loss in (AllPairsLoss(), BatchwiseOTLoss(lam=1.0), BatchwiseOTLoss(lam=10.0))
    ]
    assert shares[0] < 0.7 * shares[1] and shares[1] < 0.7 * shares[2]


def test_the_records_say_what_the_page_says_of_cifar10():
    """Where new records say otherwise, the advice on the page has to change with them."""
    paths = sorted((PROJECT / "book" / "results" / "cifar10" / "tuned").glob("*-seed*.json"))
    records = [read_record(path) for path in paths]
    plain, active, balanced = (
        summarise(of_loss(records, loss), "map").mean
        for loss in ("bwot", "active", "bwot-balanced")
    )
    assert plain < active < balanced
    assert {(r.settings["lam"], r.settings["gamma"]) for r in records} == {(10.0, 10.0)}
