"""Classes are found by what people call them, and never by a guess."""

import pytest

from app.setup_errors import LabelsError


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("n01440764", 2), ("N01440764", 2), ("n01440764-tench", 2), ("n01440764 1 2 3 4", 2),
        ("tench, Tinca tinca", 2), ("tinca_tinca", 2), ("Tabby-Cat", 3), ("hot dog", 5),
        ("0", 0), ("03", 3), ("7", 4), (" pizza ", 6),
    ],
)  # fmt: skip
def test_a_class_has_many_names(classes, text, index):
    """Its wnid, its names in any spelling, its index; a name that is a number comes before an index."""
    assert index == classes.find(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "crane",
            "'crane' is the name of 2 classes: n02012849 (index 0), n03126707 (index 1). Use",
        ),
        ("8", "'8' is no class: the last has the index 6"),
        ("tenhc", "'tenhc' is no class of this model; the nearest name is 'tench'"),
        ("", "'' is no class of this model"),
        ("tench 1 2", "'tench 1 2' is no class of this model"),
    ],
)
def test_what_is_no_class_is_said(classes, text, sentence):
    """With the remedy, if there is one."""
    with pytest.raises(LabelsError, match="class") as caught:
        classes.find(text)

    assert str(caught.value).startswith(sentence)


def test_a_class_is_described(classes):
    """By its wnid, or else its name, which other models share."""
    assert ["n02012849", "Hot-dog"] == [classes.key(0), classes.key(5)]
    assert {"class_index": 5, "wnid": None, "label": "Hot-dog"} == classes.describe(5)
