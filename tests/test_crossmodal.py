"""Sketches and shapes: the four parts against their definition, networks that share nothing, batches of both kinds."""

import inspect

import pytest
import torch
from torch import nn

from bwot import training
from bwot.controls import ActiveLoss, AllPairsLoss, PairwiseLoss, RowSoftmaxLoss, SoftmaxLoss
from bwot.crossmodal import FourPartLoss, TwoNetworks, as_views, modalities
from bwot.data.images import Split
from bwot.data.sampling import balanced_modality_batches, modality_batches
from bwot.losses import BatchwiseOTLoss, NonFiniteError

PAIRS = {
    "bwot": BatchwiseOTLoss(margin=2.0, iterations=20),
    "kernel": BatchwiseOTLoss(margin=2.0, iterations=20, plan_gradient="kernel"),
    "balanced": BatchwiseOTLoss(margin=2.0, iterations=20, balanced=True),
    "allpairs": AllPairsLoss(margin=2.0),
    "pairwise": PairwiseLoss(margin=2.0),
    "active": ActiveLoss(margin=2.0),
    "softmax": SoftmaxLoss(margin=2.0),
    "rowsoftmax": RowSoftmaxLoss(margin=2.0),
    "shapes": AllPairsLoss(margin=2.0, form="shapes", positive_margin=0.5),
}


@pytest.fixture
def batches():
    """Two batches of six sketches and two of six shapes, in float64."""
    generator = torch.Generator().manual_seed(5)
    sketches, shapes = (
        torch.randn(12, 3, dtype=torch.float64, generator=generator) for _ in range(2)
    )
    labels, their = (torch.randint(3, (12,), generator=generator) for _ in range(2))
    return {"embeddings": sketches, "labels": labels, "ref_emb": shapes, "ref_labels": their}


def four(batches):
    """First and second batch of the pairings, as the authors' build_model lists them."""
    s, k, m, c = batches.values()
    first, second = slice(0, 6), slice(6, 12)
    return [
        (s[first], k[first], s[second], k[second]),
        (m[first], c[first], m[second], c[second]),
        (s[first], k[first], m[first], c[first]),
        (s[second], k[second], m[second], c[second]),
    ]


# ------------------------------------------------------------------------------ the loss


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_the_sum_of_four_losses_each_with_its_own_weights(batches, name):
    pairs = PAIRS[name]
    expected = sum(pairs(a, k, ref_emb=b, ref_labels=c) for a, k, b, c in four(batches))
    assert FourPartLoss(pairs)(**batches).item() == pytest.approx(expected.item())


def test_of_the_all_pairs_mean_it_is_four_means_written_as_loops(batches):
    total = 0.0
    for a, k, b, c in four(batches):
        for i in range(6):
            for j in range(6):
                squared = sum((a[i, x] - b[j, x]).item() ** 2 for x in range(3))
                total += (squared if k[i] == c[j] else max(0.0, 2.0 - squared)) / 36
    assert FourPartLoss(PAIRS["allpairs"])(**batches).item() == pytest.approx(total)


def test_every_part_has_the_weight_it_is_given(batches):
    values = [PAIRS["bwot"](a, k, ref_emb=b, ref_labels=c).item() for a, k, b, c in four(batches)]
    loss = FourPartLoss(PAIRS["bwot"], sketches=0.5, shapes=2.0, across=3.0)
    expected = 0.5 * values[0] + 2.0 * values[1] + 3.0 * (values[2] + values[3])
    assert loss(**batches).item() == pytest.approx(expected)
    alone = FourPartLoss(PAIRS["bwot"], sketches=0.0, shapes=0.0)
    assert alone(**batches).item() == pytest.approx(values[2] + values[3])
    assert len(alone.parts(**batches)) == 2
    plain = loss.with_pairs(PAIRS["allpairs"])
    assert plain.part_weights == loss.part_weights and plain.pairs is PAIRS["allpairs"]


@pytest.mark.parametrize("name", sorted(PAIRS.keys() - {"bwot", "balanced", "softmax", "rowsoftmax", "kernel"}))  # fmt: skip
def test_its_gradient_is_that_of_differences(batches, name):
    inputs = [batches[each].requires_grad_() for each in ("embeddings", "ref_emb")]

    def value(embeddings, ref_emb):
        return FourPartLoss(PAIRS[name], 0.5, 2.0, 1.5)(**batches | {"embeddings": embeddings, "ref_emb": ref_emb})  # fmt: skip

    assert torch.autograd.gradcheck(value, inputs)


@pytest.mark.parametrize("name", ["bwot", "softmax", "rowsoftmax", "balanced"])
def test_the_gradient_with_constant_weights_is_that_of_the_weighted_errors(batches, name):
    for each in ("embeddings", "ref_emb"):
        batches[each].requires_grad_()
    names = ("embeddings", "labels", "ref_emb", "ref_labels")
    loss, pairs, held = FourPartLoss(PAIRS[name]), PAIRS[name], 0.0
    for part in four(batches):
        given = dict(zip(names, part, strict=True))
        same = given["labels"][:, None] == given["ref_labels"]
        squared = (given["embeddings"][:, None] - given["ref_emb"]).square().sum(-1)
        held = held + (pairs.plan(**given) * pairs.pair_errors(squared, same)).sum()
    inputs = [batches["embeddings"], batches["ref_emb"]]
    ours, expected = (torch.autograd.grad(each, inputs) for each in (loss(**batches), held))
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ref_emb": None, "ref_labels": None}, "needs ref_emb, the shapes"),
        ({"indices_tuple": (torch.tensor([0]),) * 4}, "no indices_tuple"),
        ({"embeddings": torch.ones(5, 3), "labels": torch.zeros(5, dtype=int)}, "even numbers of rows, not 5 and 12"),
        ({"ref_emb": torch.ones(12, 4)}, r"ref_emb must have shape \(samples, 3\)"),
        ({"labels": torch.zeros(4, dtype=int)}, "12 rows but its labels have shape"),
    ],
)  # fmt: skip
def test_batches_that_do_not_fit_are_named(batches, change, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(FourPartLoss.forward)(FourPartLoss(PAIRS["allpairs"]), **batches | change)


def test_embeddings_that_are_not_finite_are_named(batches):
    batches["ref_emb"][3, 1] = torch.nan
    with pytest.raises(NonFiniteError, match="ref_emb must be finite; 1 of 12 rows"):
        FourPartLoss(PAIRS["bwot"])(**batches)


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"sketches": -1.0}, "the weight of sketches must be at least 0 and finite, not -1.0"),
        ({"across": float("nan")}, "the weight of across must be"),
        ({"shapes": float("inf")}, "the weight of shapes must be"),
        (dict.fromkeys(("sketches", "shapes", "across"), 0.0), "one of the weights"),
    ],
)
def test_weights_that_cannot_be_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        FourPartLoss(PAIRS["allpairs"], **weights)


# ------------------------------------------------------------------------------ samples and networks


def test_each_rotation_is_a_sample_with_the_class_of_its_drawing():
    drawings = Split(torch.arange(12.0).view(2, 3, 2), torch.tensor([4, 7]))
    shapes = Split(torch.zeros(5, 2), torch.arange(5))
    train = modalities(drawings, shapes)
    assert train.drawings.labels.tolist() == [4, 4, 4, 7, 7, 7]
    assert train.drawings.images.tolist() == torch.arange(12.0).view(6, 2).tolist()
    assert train.shapes.labels.tolist() == [0, 1, 2, 3, 4] and train.images.shape == (6, 2)


def test_a_drawn_rotation_becomes_one_view():
    pictures = torch.randint(256, (2, 3, 1, 4, 4), dtype=torch.uint8)
    views = as_views(pictures)
    assert views.shape == (6, 1, 1, 4, 4)
    assert torch.equal(views[4, 0], pictures[1, 1])
    white = training.as_input(torch.full_like(views, 255))
    assert white.abs().max() == 0  # paper is nothing, as in a shape's views


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(2, 3)


def test_either_kind_passes_its_own_network():
    network = TwoNetworks(linear(0), linear(1))
    drawings, shapes = torch.randn(4, 2), torch.randn(6, 2)
    ours = network(drawings, shapes)
    assert torch.equal(ours[0], linear(0)(drawings)) and torch.equal(ours[1], linear(1)(shapes))
    ours[0].sum().backward()
    assert network.shapes.weight.grad is None  # nothing is shared


def test_a_step_takes_two_batches_of_either_kind():
    drawings = Split(torch.randn(5, 4, 2), torch.arange(5))
    train = modalities(drawings, Split(torch.randn(9, 2), torch.arange(9)))
    network = TwoNetworks(linear(0), linear(1))
    index = torch.tensor([[0, 1], [2, 19], [3, 0], [8, 1]])
    given = training.embed_batches(network, train, index)
    assert given["labels"].tolist() == [0, 0, 0, 4] and given["ref_labels"].tolist() == [3, 0, 8, 1]
    rows = train.drawings.images[[0, 1, 2, 19]], train.shapes.images[[3, 0, 8, 1]]
    assert torch.equal(given["embeddings"], network(*rows)[0])
    assert torch.equal(given["ref_emb"], network(*rows)[1])


# ------------------------------------------------------------------------------ which samples make a batch


@pytest.mark.parametrize("drawings, shapes, size", [(100, 50, 20), (90, 10, 20), (33, 17, 32), (8, 4, 8)])  # fmt: skip
def test_an_epoch_is_a_walk_over_the_drawings_with_shapes_walked_beside(drawings, shapes, size):
    steps = modality_batches(drawings, shapes, size, seed=3, epoch=2)
    half = size // 2
    assert steps.shape == (drawings // half, 4, size // 4)
    walked, beside = steps[:, :2].flatten(), steps[:, 2:].flatten()
    assert len(walked.unique()) == len(walked) and walked.max() < drawings
    assert beside.min() >= 0 and beside.max() < shapes
    for step in steps:  # no sample meets itself
        assert len(step[:2].unique()) == len(step[2:].unique()) == half
    blocks = shapes // half
    for walk in steps[:, 2:].split(blocks):  # none again before the others had their turn
        assert len(walk.unique()) == walk.numel()
    again, other = (modality_batches(drawings, shapes, size, 3, epoch) for epoch in (2, 3))
    assert torch.equal(again, steps) and not torch.equal(other, steps)
    assert not torch.equal(modality_batches(drawings, shapes, size, 4, 2), steps)


def test_the_walks_are_independent():
    """The shapes of a step do not depend on how many drawings there are."""
    some, more = (modality_batches(n, 50, 20, seed=0, epoch=1) for n in (100, 200))
    assert torch.equal(some[:, 2:], more[: len(some), 2:])
    assert not torch.equal(some[:, :2], more[: len(some), :2])
    alike = modality_batches(50, 50, 20, seed=0, epoch=1)
    assert not torch.equal(alike[:, :2], alike[:, 2:])


SIDES = torch.arange(120) % 6, torch.tensor([0] * 9 + [1] * 2 + [2] * 4 + [3] * 5 + [4])


@pytest.mark.parametrize("size", [8, 20, 40])
def test_balanced_batches_have_every_class_equally_often(size):
    steps = balanced_modality_batches(*SIDES, size, seed=1, epoch=1)
    assert steps.shape == (120 // (size // 2), 4, size // 4)
    for step in steps:
        labels = [SIDES[side][step[batch]].tolist() for side, batch in ((0, 0), (0, 1), (1, 2), (1, 3))]  # fmt: skip
        counts = [labels[0].count(label) for label in range(5)]  # no shape has class 5
        assert sum(counts) == size // 4 and max(counts) - min(counts) <= 1
        assert all(each == labels[0] for each in labels)


def test_balanced_batches_reach_every_member_and_repeat_for_a_seed_and_an_epoch():
    steps = torch.cat([balanced_modality_batches(*SIDES, 20, 0, epoch) for epoch in range(30)])
    with_shapes = (SIDES[0] < 5).nonzero()[:, 0]
    assert steps[:, :2].unique().tolist() == with_shapes.tolist()
    assert steps[:, 2:].unique().tolist() == list(range(21))
    first, again, other = (balanced_modality_batches(*SIDES, 20, *at) for at in ((0, 1), (0, 1), (1, 1)))  # fmt: skip
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    "drawings, shapes, size, seed, message",
    [
        (100, 50, 30, 0, "batch_size must be a multiple of 4"),
        (100, 50, 0, 0, "batch_size must be a multiple of 4"),
        (100, 9, 20, 0, "half of batch_size = 20 are shapes, and there are only 9"),
        (9, 100, 20, 0, "half of batch_size = 20 are drawings, and there are only 9"),
        (100, 50, 20, -1, "seed and epoch must not be negative"),
    ],
)
def test_batches_that_cannot_be_are_refused(drawings, shapes, size, seed, message):
    with pytest.raises(ValueError, match=message):
        modality_batches(drawings, shapes, size, seed, 0)
    with pytest.raises(ValueError, match=message):
        labels = torch.zeros(drawings, dtype=int), torch.zeros(shapes, dtype=int)
        balanced_modality_batches(*labels, size, seed, 0)


def test_balanced_batches_without_a_common_class_are_refused():
    labels = torch.zeros(40, dtype=int), torch.ones(40, dtype=int)
    with pytest.raises(ValueError, match="a class that has both drawings and shapes"):
        balanced_modality_batches(*labels, 8, 0, 0)
