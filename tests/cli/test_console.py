"""What the command line shows."""

from app.cli.console import predictions_table
from app.records import Prediction


def test_a_table_shows_the_percentages_of_the_page():
    """A probability of 0.07 % is less than 0.1 %, in a terminal as on the page."""
    guesses = [Prediction(1, "cat", 0.9, "n1", 1), Prediction(2, "dog", 0.0007, "n2", 2)]
    table = predictions_table("photo.jpg", guesses)

    assert ["90.0 %", "< 0.1 %"] == list(table.columns[1].cells)
