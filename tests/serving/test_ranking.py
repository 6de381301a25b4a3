"""The most probable class comes first, with its own name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.records import Label, Prediction
from app.serving.ranking import top_k

LABELS = [Label(wnid=f"n{number:08}", text=f"class {number}") for number in range(1000)]


def test_the_best_comes_first_with_all_its_facts():
    """Rank, name, probability, id and index are those of the same class."""
    probabilities = np.zeros(1000, np.float32)
    probabilities[[285, 281]] = 0.75, 0.25

    predictions = top_k(probabilities, LABELS, 2)

    assert (
        Prediction(1, "class 285", 0.75, "n00000285", 285),
        Prediction(2, "class 281", 0.25, "n00000281", 281),
    ) == predictions


def test_equal_probabilities_are_ordered_by_class_index():
    """An answer does not depend on how a sort treats ties."""
    probabilities = np.full(1000, 0.001, np.float32)
    probabilities[[900, 7]] = 0.2

    assert [7, 900, 0, 1, 2] == [p.class_index for p in top_k(probabilities, LABELS, 5)]


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_there_are_k_predictions(k):
    """They are ranked from 1."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(1000)).astype(np.float32)

    assert [*range(1, k + 1)] == [p.rank for p in top_k(probabilities, LABELS, k)]


def test_numbers_are_plain_python():
    """The answer has ints and floats, which JSON can hold, and none of numpy's."""
    (best,) = top_k(np.full(1000, 0.001, np.float32), LABELS, 1)

    assert (int, float) == (type(best.class_index), type(best.probability))


@given(weights=st.lists(st.integers(0, 4), min_size=1, max_size=30), k=st.integers(1, 30))
def test_same_as_sorting_by_hand(weights, k):
    """For any probabilities, many of them equal, the order is (-probability, class_index)."""
    probabilities = np.asarray(weights, np.float32) / np.float32(100)
    order = sorted(range(len(weights)), key=lambda index: (-weights[index], index))[:k]

    assert order == [p.class_index for p in top_k(probabilities, LABELS, k)]
