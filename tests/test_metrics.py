from math import log2, nan

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bwot import metrics
from bwot.metrics import rankings, retrieval_scores, score_embeddings

MEANS = ("nn", "ft", "st", "e", "dcg", "map")


@pytest.fixture
def plain_types():
    """Our own errors, not those of the type checker that the tests may run under."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def scores_by_loop(distances, query_labels, gallery_labels, exclude_self=False):
    """The definitions, one query and one rank after another."""
    rows, ties, pairs = [], 0, 0
    length = len(gallery_labels) - exclude_self
    precision, recall = [0.0] * length, [0.0] * length
    for query, row in enumerate(distances):
        items = [item for item in range(len(row)) if not (exclude_self and item == query)]
        items.sort(key=lambda item: (row[item], item))
        flags = [int(gallery_labels[item] == query_labels[query]) for item in items]
        relevant = sum(flags)
        if relevant == 0:
            rows.append(None)
            continue
        cut = min(32, length)
        p, r = sum(flags[:cut]) / cut, sum(flags[:cut]) / relevant
        gains = [1.0 if rank == 1 else 1 / log2(rank) for rank in range(1, length + 1)]
        hits, precisions = 0, []
        for rank, flag in enumerate(flags, start=1):
            hits += flag
            precision[rank - 1] += hits / rank
            recall[rank - 1] += hits / relevant
            if flag:
                precisions.append(hits / rank)
        rows.append(
            (
                flags[0],
                sum(flags[:relevant]) / relevant,
                sum(flags[: 2 * relevant]) / relevant,
                2 * p * r / (p + r) if p + r else 0.0,
                sum(g for g, flag in zip(gains, flags, strict=True) if flag)
                / sum(gains[:relevant]),
                sum(precisions) / relevant,
            )
        )
        ties += sum(row[a] == row[b] for a, b in zip(items, items[1:], strict=False))
        pairs += length - 1
    kept = [row for row in rows if row is not None]
    means = {name: sum(row[k] for row in kept) / len(kept) for k, name in enumerate(MEANS)}
    return means | {
        "average_precision": [nan if row is None else row[5] for row in rows],
        "per_query": [[nan] * 6 if row is None else row for row in rows],
        "precision": [value / len(kept) for value in precision],
        "recall": [value / len(kept) for value in recall],
        "tied": ties / pairs if pairs else 0.0,
        "skipped": len(rows) - len(kept),
    }


def assert_same(scores, expected):
    for name, value in expected.items():
        actual = np.asarray(getattr(scores, name))
        np.testing.assert_allclose(actual, value, rtol=0, atol=1e-9, err_msg=name)


def random_case(seed, queries, gallery, classes, decimals, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    distances = torch.from_numpy(rng.random((queries, gallery)).round(decimals)).to(dtype)
    labels = [torch.from_numpy(rng.integers(0, classes, n)) for n in (queries, gallery)]
    return distances, *labels


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decimals", [1, 2, 15], ids=["many ties", "ties", "no ties"])
@pytest.mark.parametrize("classes", [1, 3, 40], ids=["one class", "few", "many, some single"])
def test_scores_are_those_of_the_loop(classes, decimals, dtype, exclude_self):
    case = random_case(classes, 45, 45, classes, decimals, dtype)
    expected = scores_by_loop(*(part.tolist() for part in case), exclude_self)
    assert_same(retrieval_scores(*case, exclude_self), expected)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 70), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_any_small_case_is_that_of_the_loop(seed, queries, gallery, classes):
    distances, query_labels, gallery_labels = random_case(seed, queries, gallery, classes, 1)
    query_labels[0] = gallery_labels[0]
    case = distances, query_labels, gallery_labels
    assert_same(retrieval_scores(*case), scores_by_loop(*(part.tolist() for part in case)))


@pytest.mark.parametrize("per_block", [1, 7 * 30, 29 * 30, 30 * 30, 31 * 30])
def test_blocks_and_threads_do_not_show(per_block, monkeypatch):
    monkeypatch.setattr(metrics, "DISTANCES_PER_BLOCK", per_block)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    case = random_case(0, 30, 30, 4, 1)
    expected = scores_by_loop(*(part.tolist() for part in case), True)
    assert_same(retrieval_scores(*case, True), expected)


def test_distances_that_differ_in_the_last_bit_are_told_apart():
    near = np.nextafter(1.0, 2.0)
    distances = torch.tensor([[near, 1.0, near, 1.0, np.nextafter(near, 2.0)]], dtype=torch.float64)
    labels = torch.tensor([0]), torch.tensor([1, 0, 0, 1, 0])
    scores = retrieval_scores(distances, *labels)
    assert_same(scores, scores_by_loop(distances.tolist(), *(part.tolist() for part in labels)))
    assert scores.tied == 0.5


@pytest.mark.parametrize(
    "row",
    [
        [1.0, -2.0, -1.0, 2.0, -3.0, 3.0],
        [0.0, -0.0, 1.0, 2.0, 3.0, -0.0],
        [-3.0, -1.0, -3.0, 0, 1, 1],
    ],
    ids=["negative", "negative zero", "negative and tied"],
)
def test_negative_zero_and_negative_numbers_are_ranked(row):
    distances = torch.tensor([row])
    labels = torch.tensor([0]), torch.tensor([0, 1, 0, 1, 1, 0])
    expected = scores_by_loop(distances.tolist(), *(part.tolist() for part in labels))
    assert_same(retrieval_scores(distances, *labels), expected)


def test_ties_go_to_the_lower_index():
    labels = torch.tensor([0]), torch.tensor([1, 0, 0])
    assert retrieval_scores(torch.ones(1, 3), *labels).average_precision.tolist() == [
        pytest.approx((1 / 2 + 2 / 3) / 2)
    ]


def test_input_is_left_as_it_was():
    case = random_case(1, 20, 20, 3, 15)
    before = case[0].clone()
    retrieval_scores(*case, True)
    assert torch.equal(case[0], before)


def test_self_is_excluded_by_index_and_not_by_rank():
    distances = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    labels = torch.tensor([0, 1, 0])
    scores = retrieval_scores(distances, labels, labels, exclude_self=True)
    assert scores.average_precision.tolist()[::2] == [0.5, 1.0]
    assert scores.average_precision.isnan().tolist() == [False, True, False]
    assert scores.skipped == 1


def test_perfect_ranking_scores_one():
    labels = torch.arange(4).repeat_interleave(33)
    embeddings = torch.nn.functional.one_hot(labels).double()
    embeddings += 1e-3 * torch.rand(embeddings.shape, generator=torch.Generator().manual_seed(0))
    scores = score_embeddings(embeddings, embeddings, labels, labels, exclude_self=True)
    assert [getattr(scores, name) for name in MEANS] == [1.0] * 6
    assert scores.precision[:32].tolist() == [1.0] * 32
    assert scores.recall[31].item() == pytest.approx(1.0)


def test_worst_ranking():
    distances, gallery_labels = torch.arange(100.0)[None], torch.tensor([1] * 98 + [0] * 2)
    scores = retrieval_scores(distances, torch.tensor([0]), gallery_labels)
    assert (scores.nn, scores.ft, scores.st, scores.e) == (0, 0, 0, 0)
    assert scores.map == pytest.approx((1 / 99 + 2 / 100) / 2)
    assert scores.dcg == pytest.approx((1 / log2(99) + 1 / log2(100)) / 2)


def embeddings_case(seed, items=60, classes=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (items,), generator=generator)
    centres = torch.randn(classes, 6, generator=generator)
    noise = torch.randn(items, 6, generator=generator)
    return (centres[labels] + noise).to(dtype), labels


def distances_by_loop(queries, gallery):
    pairs = [[(q - g).square().sum().sqrt().item() for g in gallery] for q in queries.double()]
    return torch.tensor(pairs, dtype=torch.float64)


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize(
    "dtype, offset",
    [(torch.float32, 0.0), (torch.float32, 1e3), (torch.float64, 0.0), (torch.float64, 1e7)],
)
def test_embeddings_score_as_their_distances_do(offset, exclude_self, dtype):
    embeddings, labels = embeddings_case(0, dtype=dtype)
    embeddings += offset
    expected = scores_by_loop(
        distances_by_loop(embeddings, embeddings.double()).tolist(),
        labels.tolist(),
        labels.tolist(),
        exclude_self,
    )
    assert_same(score_embeddings(embeddings, embeddings, labels, labels, exclude_self), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_embeddings_tie(dtype):
    embeddings, labels = embeddings_case(1, items=50, dtype=dtype)
    gallery, gallery_labels = embeddings.repeat(3, 1), labels.repeat(3)
    scores = score_embeddings(embeddings, gallery, labels, gallery_labels)
    assert scores.tied == pytest.approx(100 / 149)
    expected = scores_by_loop(
        distances_by_loop(embeddings, gallery.double()).tolist(),
        labels.tolist(),
        gallery_labels.tolist(),
    )
    assert_same(scores, {name: expected[name] for name in (*MEANS, "tied")})


def test_equal_embeddings_tie_in_sizes_that_a_matrix_product_rounds_unevenly():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (
        torch.randn(3, 130, generator=generator),
        torch.randn(61, 130, generator=generator),
    )
    labels = torch.zeros(183, dtype=torch.long)
    scores = score_embeddings(queries, gallery.repeat(3, 1), labels[:3], labels)
    assert scores.tied == pytest.approx(2 * 61 / 182)


def test_integer_embeddings_tie_where_their_distances_do():
    codes = torch.randint(0, 3, (80, 12), generator=torch.Generator().manual_seed(0)).float()
    labels = torch.zeros(80, dtype=torch.long)
    distances = (codes[:, None] - codes).square().sum(-1)
    expected = retrieval_scores(distances, labels, labels).tied
    assert score_embeddings(codes, codes, labels, labels).tied == expected > 0.5


def test_order_of_the_gallery_and_of_the_queries_does_not_matter():
    embeddings, labels = embeddings_case(2)
    scores = score_embeddings(embeddings[:20], embeddings[20:], labels[:20], labels[20:])
    queries, gallery = torch.randperm(20), 20 + torch.randperm(40)
    other = score_embeddings(
        embeddings[queries], embeddings[gallery], labels[queries], labels[gallery]
    )
    assert_same(other, {name: getattr(scores, name) for name in (*MEANS, "precision", "recall")})
    assert torch.equal(other.average_precision, scores.average_precision[queries])


@pytest.mark.parametrize("exclude_self", [False, True])
def test_collapsed_embedding_scores_as_chance(exclude_self):
    labels = torch.arange(5).repeat_interleave(200)
    embeddings = torch.full((1000, 8), 0.1)
    scores = score_embeddings(embeddings, embeddings, labels, labels, exclude_self)
    assert scores.tied == 1.0
    assert scores.collapsed
    assert scores.map == pytest.approx(0.2, abs=0.02)


def test_spread_embedding_is_not_collapsed():
    embeddings, labels = embeddings_case(3)
    assert not score_embeddings(embeddings, embeddings, labels, labels, True).collapsed


GOOD = {
    "distances": torch.ones(3, 3),
    "query_labels": torch.zeros(3, dtype=torch.long),
    "gallery_labels": torch.zeros(3, dtype=torch.long),
}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"distances": torch.ones(3)}, r"shape \(q, g\), not \(3,\)"),
        (
            {"query_labels": torch.zeros(2).long()},
            r"query_labels must have shape \(3,\), not \(2,\)",
        ),
        ({"gallery_labels": torch.zeros(4).long()}, r"gallery_labels must have .*\(4,\)"),
        ({"distances": torch.full((3, 3), nan)}, "distances must be finite"),
        ({"distances": torch.full((3, 3), torch.inf)}, "distances must be finite"),
        ({"distances": torch.ones(3, 0), "gallery_labels": torch.zeros(0).long()}, "empty"),
        ({"distances": torch.ones(0, 3), "query_labels": torch.zeros(0).long()}, "no query"),
        ({"query_labels": torch.ones(3).long()}, "no query has a relevant item"),
        (
            {
                "distances": torch.ones(2, 3),
                "query_labels": torch.zeros(2).long(),
                "exclude_self": True,
            },
            "2 queries and 3 gallery items",
        ),
        (
            {
                "distances": torch.ones(1, 1),
                "query_labels": torch.zeros(1).long(),
                "gallery_labels": torch.zeros(1).long(),
                "exclude_self": True,
            },
            "no query has a relevant item",
        ),
    ],
)
def test_bad_distances_are_named(changes, message, plain_types):
    with pytest.raises(ValueError, match=message):
        retrieval_scores(**(GOOD | changes))


@pytest.mark.parametrize(
    "queries, gallery, message",
    [
        (torch.ones(3, 2), torch.ones(3, 4), r"not \(3, 2\) and \(3, 4\)"),
        (torch.ones(3), torch.ones(3, 4), r"not \(3,\) and \(3, 4\)"),
        (torch.full((3, 2), nan), torch.ones(3, 2), "queries must be finite"),
        (torch.ones(3, 2), torch.full((3, 2), torch.inf), "gallery must be finite"),
        (torch.ones(2, 2), torch.ones(3, 2), r"query_labels must have shape \(2,\)"),
        (torch.ones(3, 2), torch.ones(0, 2), r"gallery_labels must have shape \(0,\)"),
    ],
)
def test_bad_embeddings_are_named(queries, gallery, message, plain_types):
    labels = torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match=message):
        score_embeddings(queries, gallery, labels, labels)


@pytest.mark.parametrize("seed", range(3))
def test_rankings_are_those_that_are_scored(seed):
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = (torch.randint(3, (n, 2), generator=generator).float() for n in (5, 12))
    labels = [torch.randint(3, (n,), generator=generator) for n in (5, 12)]
    scores = score_embeddings(queries, gallery, *labels)
    values = []
    for query, label, (order, far) in zip(queries, labels[0], rankings(queries, gallery), strict=True):  # fmt: skip
        assert sorted(order.tolist()) == list(range(12))
        expected = (gallery[order] - query).double().norm(dim=1).numpy()
        assert np.allclose(far, expected) and (np.diff(far) >= 0).all()
        hits = np.flatnonzero((labels[1][order] == label).numpy()) + 1
        values.append((np.arange(1, len(hits) + 1) / hits).mean() if len(hits) else np.nan)
    assert np.allclose(values, scores.average_precision, equal_nan=True)  # ties are broken alike


def test_rankings_of_embeddings_that_do_not_fit_are_refused(plain_types):
    with pytest.raises(ValueError, match="with the same d > 0"):
        next(rankings(torch.ones(2, 3), torch.ones(2, 4)))


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_what_a_gpu_runs_gives_the_same_scores(exclude, tied):
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(90, 4, generator=generator)
    queries = queries.round() if tied else queries
    gallery = queries if exclude else queries[:70] + 0.25
    labels = torch.randint(6, (90,), generator=generator)
    labels[3] = 99  # of which there is no other
    expected = score_embeddings(queries, gallery, labels, labels[: len(gallery)], exclude)
    shuffled = np.random.default_rng(metrics.SHUFFLE_SEED).permutation(len(gallery))
    own = np.argsort(shuffled) if exclude else None
    products = metrics._products(queries, gallery[torch.from_numpy(shuffled)])
    found = metrics._scores_on(
        torch.device("cpu"), products, labels.numpy(), labels.numpy()[: len(gallery)][shuffled], own
    )
    assert found.skipped == expected.skipped
    for name in ("nn", "ft", "st", "e", "dcg", "map", "tied"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-12)
    torch.testing.assert_close(found.per_query, expected.per_query, equal_nan=True)
    torch.testing.assert_close(found.recall, expected.recall)
    torch.testing.assert_close(found.precision, expected.precision)
