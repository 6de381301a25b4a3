"""What the command line shows."""

from app.cli.console import predictions_table, pull_bar
from app.records import Prediction


def test_a_table_shows_the_percentages_of_the_page():
    """A probability of 0.07 % is less than 0.1 %, in a terminal as on the page."""
    guesses = [Prediction(1, "cat", 0.9, "n1", 1), Prediction(2, "dog", 0.0007, "n2", 2)]
    table = predictions_table("photo.jpg", guesses)

    assert ["90.0 %", "< 0.1 %"] == list(table.columns[1].cells)


def test_the_bar_of_a_pull_writes_nothing_into_a_log(capsys):
    """Not even an empty line, where it would stand on a terminal."""
    with pull_bar("cat") as progress:
        progress("verifying", 1, 2)

    assert "" == capsys.readouterr().err
