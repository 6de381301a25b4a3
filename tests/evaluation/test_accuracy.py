"""Shares and their intervals are statsmodels'; faults of labels are told apart.

Reference values: statsmodels 0.15.0 and scikit-learn 1.9.1 on the answers of conftest.py, computed apart.
"""

import numpy as np
import pytest

from app.evaluation.accuracy import baselines, confused_pairs, ranks, share, worst_classes
from tests.evaluation.conftest import made

WILSON = [
    (624, 1000, 0.5935575899582507, 0.6534933739373315),
    (0, 50, 0.0, 0.07134759913335874),
    (50, 50, 0.9286524008666412, 1.0),
    (1, 3, 0.06149194472039626, 0.7923403991979523),
    (4579, 10100, 0.44367721537809657, 0.463090917926526),
]
"""proportion_confint(count, n, method="wilson")."""


@pytest.mark.parametrize(("count", "n", "low", "high"), WILSON)
def test_intervals_are_those_of_statsmodels(count, n, low, high):
    """To 1e-9, at the ends too."""
    found = share(count, n)

    assert [count / n, low, high] == pytest.approx([found.value, found.low, found.high], abs=1e-9)
    assert found.holds(count / n)


def test_intervals_are_those_of_scipy(stats):
    """Of every count of 1, 7, 100 photos and some counts of 50,000: binomtest, Wilson's interval, to 1e-12."""
    cases = [(k, n) for n in (1, 7, 100) for k in range(n + 1)]
    for count, n in [*cases, (1, 50_000), (35_796, 50_000), (49_999, 50_000)]:
        interval = stats.binomtest(count, n).proportion_ci(method="wilson")
        found = share(count, n)
        expected = pytest.approx([found.low, found.high], abs=1e-12)
        assert [interval.low, interval.high] == expected, (count, n)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ranks_are_those_of_scikit_learn(sklearn, seed):
    """top_k_accuracy_score for each k."""
    rows, labels = made(photos=300, seed=seed)
    places = ranks(rows, labels)
    for k in range(1, 7):
        theirs = sklearn.metrics.top_k_accuracy_score(labels, rows, k=k, labels=range(7))
        assert theirs == (places < k).mean()


def test_top_1_and_top_5_are_those_of_scikit_learn():
    """accuracy_score and top_k_accuracy_score: 0.574 and 0.862."""
    places = ranks(*made())

    assert (287, 431) == (int((places < 1).sum()), int((places < 5).sum()))


def test_equal_probabilities_are_ranked_as_in_an_answer():
    """By class_index, as `top_k` sorts them."""
    rows = np.array([[0.25, 0.5, 0.5, 0.25]] * 4, np.float32)

    assert [2, 0, 1, 3] == ranks(rows, np.arange(4)).tolist()


def test_the_worst_class_comes_first(classes):
    """With its share and its interval; of equal shares, that of more photos."""
    labels = np.array([0, 0, 1, 1, 1, 2, 3, 3])
    right = np.array([1, 0, 0, 0, 0, 0, 1, 1], bool)
    worst = worst_classes(right, labels, classes)

    assert [1, 2, 0, 3] == [one["class_index"] for one in worst]
    assert ("n03126707", 0.0, 3) == tuple(worst[0][key] for key in ("wnid", "top1", "n"))


def test_the_most_frequent_error_comes_first(classes):
    """With its share of the photos of its class."""
    labels = np.array([0, 0, 0, 0, 3, 3, 5])
    answers = np.array([1, 1, 0, 2, 3, 6, 5])
    first, *_ = confused_pairs(answers, labels, classes)

    assert (0, 1) == (first["label"]["class_index"], first["answer"]["class_index"])
    assert (2, 0.5) == (first["count"], first["share"])


def _baselines(classes, change):
    rows, labels = made(2000)
    return baselines(rows.argmax(axis=1), change(labels), classes)


def test_good_labels_raise_no_suspicion(classes):
    """The gain over the most frequent class is said."""
    found = _baselines(classes, lambda labels: labels)

    assert (False, False) == (found["labels_look_shuffled"], found["classes_look_permuted"])
    assert found["sentence"] is None
    assert found["gain"] > 0.4


def test_shuffled_labels_are_told(classes):
    """Labels in another order than their photos."""
    found = _baselines(classes, np.random.default_rng(0).permutation)

    assert (True, False) == (found["labels_look_shuffled"], found["classes_look_permuted"])
    assert "shuffled" in found["sentence"]


def test_labels_of_other_classes_are_told(classes):
    """Each class is called like the next one, as where the classes are in another order."""
    found = _baselines(classes, lambda labels: (labels + 1) % 7)

    assert found["classes_look_permuted"]
    assert "order of the classes" in found["sentence"]


def test_photos_of_one_class_raise_no_suspicion(classes):
    """There the most frequent class is always right."""
    found = baselines(np.array([3, 3, 2]), np.array([3, 3, 3]), classes)

    assert (0.0, False) == (found["gain"], found["labels_look_shuffled"])
    assert found["sentence"] is None


def test_one_frequent_class_is_no_shuffled_label(classes):
    """A model that is right nine times in ten may lose against always saying the class of 19 in 20."""
    labels = np.array([1] * 190 + [2] * 10)
    answers = np.array([1] * 172 + [2] * 28)
    found = baselines(answers, labels, classes)

    assert found["gain"] < 0
    assert found["sentence"] is None


def test_a_few_photos_raise_no_suspicion(classes):
    """One of three is right: that may be any model."""
    found = baselines(np.array([3, 1, 0]), np.array([3, 2, 4]), classes)

    assert found["sentence"] is None
