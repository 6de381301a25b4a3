"""A picture is sent to those that ask for one, and JSON to all others."""

import pytest

from app.web.accept import prefers_png


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("image/png", True),
        ("IMAGE/PNG", True),
        ("image/*", True),
        ("image/png, */*", True),
        ("image/png;q=0", False),
        ("image/png; q=0.5, application/json", False),
        ("image/png, application/json; q=0.5", True),
        ("image/png, application/json", False),
        ("image/jpeg", False),
        ("image/*, image/png;q=0", False),
        ("image/png;q=nonsense", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
    ],
)
def test_who_prefers_a_picture(accept, expected):
    """By name or kind, unless JSON is wanted as much."""
    assert expected == prefers_png([accept])


def test_several_headers_are_one():
    """A client may send the header more than once."""
    assert prefers_png(["application/json;q=0.1", "image/png"])
