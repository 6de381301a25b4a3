"""What the command line shows."""

import os
from pathlib import Path

import pytest

from app.cli.console import name_of, predictions_table, printable, pull_bar
from app.records import Prediction


def test_a_table_shows_the_percentages_of_the_page():
    """A probability of 0.07 % is less than 0.1 %, in a terminal as on the page."""
    guesses = [Prediction(1, "cat", 0.9, "n1", 1), Prediction(2, "dog", 0.0007, "n2", 2)]
    table = predictions_table("photo.jpg", guesses)

    assert ["90.0 %", "< 0.1 %"] == list(table.columns[1].cells)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("café 日本.jpg", "café 日本.jpg"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\udcff", r"\udcff"),
    ],
)
def test_no_text_acts_on_a_terminal(text, shown):
    """Escapes, line ends and marks that turn text around are shown as such."""
    assert shown == printable(text)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there")
def test_a_name_that_is_not_utf_8_is_valid_text():
    """The bytes that are no UTF-8 are escaped, all others stay."""
    assert "é\\xe9.jpg" == name_of(Path(os.fsdecode("é".encode() + b"\xe9.jpg")))


def test_the_bar_of_a_pull_writes_nothing_into_a_log(capsys):
    """Not even an empty line, where it would stand on a terminal."""
    with pull_bar("cat") as progress:
        progress("verifying", 1, 2)

    assert "" == capsys.readouterr().err
