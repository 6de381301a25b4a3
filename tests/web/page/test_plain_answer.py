"""The answer as HTML."""

import re

import pytest

from app.web.page.files import page_files
from app.web.page.plain_answer import answer_page, problem_page
from app.web.schemas import PredictOut

GUESS = {"label": "cat", "probability": 0.0007, "wnid": "n1", "class_index": 1, "rank": 1}


def written(model=None, path=b"/predict"):
    said = {"name": "vgg16", "weights_sha256": "0", "trained": True} | (model or {})
    image = {"width": 1, "height": 1, "format": "png"}
    body = {"model": said, "predictions": [GUESS], "image": image}
    out = PredictOut.model_validate(body)
    return bytes(answer_page({"raw_path": path}, out, 1000, {}).body).decode()


def test_a_page_shows_the_percentages_of_the_terminal():
    """A probability of 0.07 % is less than 0.1 %, in the words of the page and the terminal."""
    assert 2 == written().count("&lt;\u202f0.1\u202f%")


def test_a_page_says_which_model_stood_in_for_which():
    """Its banner is that of the page with scripts; a model that was asked for has none."""
    assert "vgg16-mini stands in for vgg16." in written(
        {"name": "vgg16-mini", "stands_in_for": "vgg16"}
    )
    assert "stands in" not in written()


@pytest.mark.parametrize(("path", "home"), [(b"/vgg/predict", "./"), (b"/predict/", "../")])
def test_addresses_lead_to_the_files_from_either_path(path, home):
    """/predict/ is one level below /predict, for an answer and for a problem."""
    failed = bytes(problem_page({"raw_path": path}, 400, "No", "No.", {}).body).decode()
    static = f"{home}static/{page_files().version}/"

    for html in (written(path=path), failed):
        assert [f"{static}icon.svg", f"{static}style.css", home, home] == re.findall(
            'href="([^"]*)"', html
        )
