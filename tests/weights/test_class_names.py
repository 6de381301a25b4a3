"""Naming a class as a person does."""

import pytest

from app.records import Label
from app.weights.class_names import ClassNames
from app.weights.labels import load_labels
from app.weights.manifests.catalog import BUILT_IN

IMAGENET = ClassNames(load_labels("imagenet-1k", BUILT_IN))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("281", [281]),
        (" 0 ", [0]),
        ("0281", [281]),
        ("999", [999]),
        ("1000", []),
        ("9" * 5000, []),
        ("0" * 20 + "285", [285]),
        ("0" * 20, [0]),
        ("-1", []),
        ("²", []),
        ("n02123045", [281]),
        ("N02123045", [281]),
        ("tabby, tabby cat", [281]),
        ("Tabby,  TABBY cat", [281]),
        ("tabby,tabby cat", [281]),
        ("Egyptian cat", [285]),
        ("TABBY", [281]),
        ("crane", [134, 517]),
        ("tabb", []),
        ("", []),
    ],
)
def test_a_class_is_found_by_index_id_or_label(text, expected):
    """In any case and with any spaces; a part of a label is one of its names."""
    assert expected == IMAGENET.find(text)


def test_a_whole_label_goes_before_a_name_in_another():
    """`maillot` is a class, and also the first name of another one."""
    assert ["maillot"] == [IMAGENET._labels[index].text for index in IMAGENET.find("maillot")]


def test_similar_classes_are_suggested():
    """A few that have the text in a name; nothing for nothing."""
    assert [281] == IMAGENET.similar("tabb")
    assert 3 == len(IMAGENET.similar("dog"))
    assert [[], []] == [IMAGENET.similar(text) for text in (" ", "ca")]


def test_a_list_of_classes_is_short():
    """A sentence names at most three."""
    names = ClassNames([Label(None, "x" * 200)] * 5)

    assert f"0 ({'x' * 60}), 1 ({'x' * 60}), 2 ({'x' * 60}) and more" == names.describe(range(5))
    assert 4 == names.last


def test_the_longest_label_is_known():
    """So that a list of classes, in which labels have commas, is read in little time."""
    assert 3 == ClassNames([Label(None, "a"), Label(None, "b, c,d")]).most_names


def test_digits_are_an_index_even_if_labels_are_numbers():
    """So that an index always means the same."""
    assert [1] == ClassNames([Label(None, "1"), Label(None, "2")]).find("1")
