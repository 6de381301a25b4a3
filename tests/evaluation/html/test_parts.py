"""Figures are written as people read them."""

from app.evaluation.html.parts import class_name, counted, interval, number, percent, share_of


def test_shares_and_numbers():
    """With their units; an unknown one is a dash."""
    one = {"low": 0.1, "high": 0.25}

    assert ["12.35 %", "10.00 to 25.00 %", "0.1235", "–"] == [  # noqa: RUF001 (a dash)
        percent(0.12345), interval(one), number(0.12345), number(None)
    ]  # fmt: skip
    assert '<span class="whole">&lt; 0.1 %</span>' == share_of(0.0002)


def test_one_and_several_are_told_apart():
    """In the noun and in the verb."""
    assert ["1 photo is", "0 photos are", "1,000 photos are"] == [
        counted(n, "photo is", "photos are") for n in (1, 0, 1000)
    ]


def test_a_class_without_a_wnid_has_its_index():
    """So that it can be found in any model."""
    assert "a <small>index 3</small>" == class_name({"label": "a", "wnid": None, "class_index": 3})
