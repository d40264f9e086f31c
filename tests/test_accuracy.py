"""Classification scores against loops and scikit-learn, and the classifier behind them."""

from math import nan

import jaxtyping
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from bwot.accuracy import classification_scores, svc_accuracy, svc_predictions


@pytest.fixture
def plain_types():
    """Our own errors, not those of the type checker that the tests may run under."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def scores_by_loop(predicted, labels, classes):
    """Instance accuracy, class average and confusions, one item after another."""
    confusion = [[0] * classes for _ in range(classes)]
    for guess, truth in zip(predicted, labels, strict=True):
        confusion[truth][guess] += 1
    right = sum(confusion[k][k] for k in range(classes))
    shares = [row[k] / sum(row) for k, row in enumerate(confusion) if sum(row)]
    return right / len(labels), sum(shares) / len(shares), confusion


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
@pytest.mark.parametrize(("items", "classes"), [(1, 1), (1, 4), (7, 3), (200, 10), (50, 90)])
def test_scores_are_those_of_the_loop(items, classes, dtype):
    generator = torch.Generator().manual_seed(items)
    labels = (torch.rand(items, generator=generator) ** 2 * classes).to(dtype)
    guesses = torch.randint(0, classes, (items,), generator=generator).to(dtype)
    predicted = torch.where(torch.rand(items, generator=generator) < 0.5, labels, guesses)
    instance, average, confusion = scores_by_loop(predicted.tolist(), labels.tolist(), classes)
    scores = classification_scores(predicted, labels, classes)
    assert scores.instance == pytest.approx(instance)
    assert scores.class_average == pytest.approx(average)
    assert scores.confusion.tolist() == confusion and scores.confusion.dtype == torch.int64


def test_scores_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    labels, predicted = torch.randint(0, 6, (2, 300), generator=generator)
    scores = classification_scores(predicted, labels, 6)
    assert scores.class_average == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert scores.confusion.tolist() == confusion_matrix(labels, predicted).tolist()


def test_a_small_class_counts_as_much_as_a_large_one():
    labels = torch.tensor([0] * 99 + [2])
    scores = classification_scores(torch.zeros_like(labels), labels, classes=3)
    assert (scores.instance, scores.class_average) == (0.99, 0.5)


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([], [], "at least one item"),
        ([0, 1], [0], r"labels must have shape \(2,\), not \(1,\)"),
        ([0, 3], [0, 1], "predicted must lie between 0 and 2, not between 0 and 3"),
        ([0, 1], [-1, 1], "labels must lie between 0 and 2, not between -1 and 1"),
    ],
)
def test_bad_classes_are_named(predicted, labels, message, plain_types):
    with pytest.raises(ValueError, match=message):
        classification_scores(torch.tensor(predicted).long(), torch.tensor(labels).long(), 3)


def embeddings_case(seed, items, classes=5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (items,), generator=generator)
    centres = torch.randn(classes, 6, generator=generator)
    noise = torch.randn(items, 6, generator=generator)
    return (centres[labels] + noise).double(), labels


def test_the_accuracy_is_the_share_of_right_predictions():
    embeddings, labels = embeddings_case(6, 90)
    split = embeddings[:60], labels[:60], embeddings[60:]
    predicted = svc_predictions(*split)
    assert predicted.shape == (30,) and predicted.dtype == torch.int64
    scores = classification_scores(predicted, labels[60:], 5)
    assert 0.3 < scores.instance < 1
    assert svc_accuracy(*split, labels[60:]) == pytest.approx(scores.instance)


def test_svc_tells_separate_classes_apart():
    embeddings, labels = embeddings_case(4, items=80)
    apart = embeddings + 20 * labels[:, None]
    assert svc_accuracy(apart[:40], labels[:40], apart[40:], labels[40:]) == 1.0


def test_svc_gamma_is_one_over_the_dimension():
    from sklearn.svm import SVC

    embeddings, labels = embeddings_case(5, items=300)
    train, test = embeddings[:150].numpy(), embeddings[150:].numpy()
    reference = SVC(kernel="rbf", C=1.0, gamma=1 / 6).fit(train, labels[:150])
    expected = (reference.predict(test) == labels[150:].numpy()).mean()
    assert 0.3 < expected < 0.95
    actual = svc_accuracy(embeddings[:150], labels[:150], embeddings[150:], labels[150:])
    assert actual == pytest.approx(expected)


@pytest.mark.parametrize(
    "train, test, message",
    [
        (torch.ones(3, 2), torch.ones(3, 4), "train_embeddings and test_embeddings"),
        (torch.ones(2, 2), torch.ones(3, 2), "train_labels"),
        (torch.ones(3, 2), torch.ones(2, 2), "test_labels"),
        (torch.full((3, 2), nan), torch.ones(3, 2), "train_embeddings must be finite"),
    ],
)
def test_bad_input_to_the_svc_is_named(train, test, message, plain_types):
    labels = torch.tensor([0, 1, 1])
    with pytest.raises(ValueError, match=message):
        svc_accuracy(train, labels, test, labels)


def test_svc_without_items_is_refused():
    none, no_labels = torch.ones(0, 2), torch.zeros(0, dtype=torch.long)
    with pytest.raises(ValueError, match="at least one item"):
        svc_accuracy(none, no_labels, none, no_labels)
