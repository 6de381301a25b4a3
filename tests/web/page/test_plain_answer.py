"""The answer as HTML."""

from app.web.page.plain_answer import answer_page
from app.web.schemas import PredictOut


def test_a_page_shows_the_percentages_of_the_terminal():
    """A probability of 0.07 % is less than 0.1 %, in the words of the page and the terminal."""
    guess = {"label": "cat", "probability": 0.0007, "wnid": "n1", "class_index": 1, "rank": 1}
    body = {
        "model": {"name": "vgg16", "weights_sha256": "0", "trained": True},
        "predictions": [guess],
        "image": {"width": 1, "height": 1, "format": "png"},
    }
    html = bytes(answer_page(PredictOut.model_validate(body), 1000, {}).body).decode()

    assert 2 == html.count("&lt;\u202f0.1\u202f%")
