"""What is asked, as the query of a request."""

import pytest

from app.client.question import check_seconds, check_several, query


@pytest.mark.parametrize(
    ("question", "params"),
    [
        ({}, {}),
        ({"model": None, "top_k": None, "explain": None, "timeout": 3, "concurrency": 2}, {}),
        ({"model": "vgg16", "top_k": 3}, {"model": "vgg16", "top_k": "3"}),
        ({"explain": True}, {"explain": "box"}),
        ({"explain": False}, {}),
        ({"explain": "heat"}, {"explain": "heat"}),
        ({"explain": ("box", "heat")}, {"explain": "box,heat"}),
        ({"parameters": {"classes": "281"}, "top_k": 1}, {"classes": "281", "top_k": "1"}),
    ],
)
def test_only_what_is_asked_is_sent(question, params):
    """The server chooses the rest."""
    assert params == query(question)


def test_a_wrong_argument_is_told():
    """As by a function that has none of that name."""
    with pytest.raises(TypeError, match="'topk'"):
        query({"topk": 3})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_time_is_no_limit(seconds):
    """Nothing could be answered in it."""
    check_seconds("timeout", None)
    with pytest.raises(ValueError, match="timeout"):
        check_seconds("timeout", seconds)


@pytest.mark.parametrize("one", ["photo.jpg", b"photo"])
def test_one_image_is_not_several(one):
    """A path would be taken for its letters."""
    with pytest.raises(TypeError, match="several"):
        check_several(one)
