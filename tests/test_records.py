"""What passes between modules, and how people read it."""

import pytest

from app.records import percent


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0, "0.0 %"), (1e-9, "< 0.1 %"), (0.0007, "< 0.1 %"), (0.001, "0.1 %"),
        (0.1225, "12.3 %"), (0.9994, "99.9 %"), (0.9995, "> 99.9 %"), (1 - 1e-9, "> 99.9 %"),
        (1, "100.0 %"),
    ],
)  # fmt: skip
def test_percentages_are_honest(probability, text):
    """Only what is 0 reads as 0, only what is 1 reads as 100; the rest has one decimal."""
    assert text == percent(probability)
