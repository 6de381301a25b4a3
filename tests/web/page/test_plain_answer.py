"""The answer as HTML."""

import re

import pytest

from app.web.page.files import page_files
from app.web.page.plain_answer import answer_page, problem_page, where
from app.web.schemas.answers import BoxOut, ExplainedOut, PredictOut

GUESS = {"label": "cat", "probability": 0.0007, "wnid": "n1", "class_index": 1, "rank": 1}


def written(model=None, path=b"/predict", **more):
    said = {"name": "vgg16", "weights_sha256": "0", "trained": True} | (model or {})
    image = {"width": 1, "height": 1, "format": "png"}
    body = {"model": said, "predictions": [GUESS], "image": image} | more
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


def test_a_page_says_that_a_photo_is_unusual():
    """In the words of the page with scripts; of a usual photo it says nothing."""
    assert "This photo is unlike those the model knows." in written(unusual=True)
    assert "unlike" not in written()


def test_a_page_says_that_a_model_computes_in_int8():
    """Its probabilities differ from those of float32."""
    assert "vgg16 answered in int8." in written({"precision": "int8"})
    assert "vgg16 answered." in written()


@pytest.mark.parametrize(("path", "home"), [(b"/vgg/predict", "./"), (b"/predict/", "../")])
def test_addresses_lead_to_the_files_from_either_path(path, home):
    """/predict/ is one level below /predict, for an answer and for a problem."""
    failed = bytes(problem_page({"raw_path": path}, 400, "No", "No.", {}).body).decode()
    static = f"{home}static/{page_files().version}/"

    for html in (written(path=path), failed):
        assert [f"{static}icon.svg", f"{static}style.css", home, home] == re.findall(
            'href="([^"]*)"', html
        )


VIEW = {"xmin": 100, "ymin": 0, "xmax": 300, "ymax": 200}


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((100, 0, 180, 90), "upper left"),
        ((210, 10, 300, 190), "right half"),
        ((110, 120, 290, 200), "lower half"),
        ((160, 60, 240, 140), "middle"),
        ((100, 0, 300, 200), "most of the view"),
        ((299, 199, 300, 200), "lower right"),
    ],
)
def test_the_place_of_a_box_is_said_in_words(box, place):
    """Which part of the view it is in, and its pixels."""
    corners = BoxOut(**dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)))
    x, y, right, bottom = box

    expected = f"{place}, from {x}, {y} to {right}, {bottom}"
    assert expected == where(corners, BoxOut(**VIEW))


def test_a_page_shows_the_box_in_the_outline_of_the_photo():
    """The photo is not sent back; the picture has its words for those who do not see it."""
    said = {"name": "vgg16", "weights_sha256": "0", "trained": True}
    guess = GUESS | {"label": "<cat>", "box": {"xmin": 110, "ymin": 5, "xmax": 180, "ymax": 90}}
    body = {
        "model": said,
        "predictions": [guess, GUESS | {"rank": 2, "box": None}],
        "image": {"width": 400, "height": 200, "format": "png"},
        "view": VIEW,
    }
    out = ExplainedOut.model_validate(body)

    html = bytes(answer_page({"raw_path": b"/predict"}, out, 1000, {}).body).decode()

    assert 'viewBox="0 0 400 200"' in html
    assert '<rect x="110" y="5" width="70" height="85"' in html
    assert 'aria-label="&lt;cat&gt;: upper left, from 110, 5 to 180, 90"' in html
    assert 2 == html.count("upper left, from 110, 5 to 180, 90")
    assert "<svg" not in written()
