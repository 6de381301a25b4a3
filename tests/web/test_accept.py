"""A picture is sent to those that ask for one, and JSON to all others."""

import io

import httpx
import numpy as np
import pytest
from PIL import Image

from app.web.accept import prefers_png
from tests.conftest import PHOTOS

CHELSEA = (PHOTOS / "chelsea.jpg").read_bytes()


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


@pytest.fixture
def mini(mini_server):
    with httpx.Client(base_url=mini_server.url, timeout=60) as client:
        yield client


def ask(client, query, **headers):
    return client.post(f"/predict?{query}", content=CHELSEA, headers=headers)


def test_the_overlay_is_the_photo_with_the_box_of_the_answer(mini):
    """The frame is where the JSON has the box; only heat changes what is in the middle of it."""
    found = ask(mini, "explain=heat,box&top_k=1").json()
    heat = ask(mini, "explain=heat", accept="image/png")
    box = ask(mini, "explain=box", accept="image/png")

    assert ["image/png"] * 2 == [one.headers["content-type"] for one in (heat, box)]
    assert "Accept" == heat.headers["vary"]
    stages = [one.split(";")[0] for one in heat.headers["server-timing"].split(", ")]
    assert ["explain", "draw", "total"] == stages[-3:]
    coloured, plain = (
        np.asarray(Image.open(io.BytesIO(one.content))).astype(int) for one in (heat, box)
    )
    edges = found["predictions"][0]["box"]
    scale = coloured.shape[1] / 451
    left, top, right, bottom = (scale * edges[name] for name in ("xmin", "ymin", "xmax", "ymax"))
    for picture in (coloured, plain):
        white = (picture == 255).all(axis=2)
        row, column = round((top + bottom) / 2), round((left + right) / 2)
        assert abs(np.flatnonzero(white[row])[0] - left) < 15
        assert abs(np.flatnonzero(white[row])[-1] - right) < 15
        assert abs(np.flatnonzero(white[:, column])[0] - top) < 15
        assert abs(np.flatnonzero(white[:, column])[-1] - bottom) < 15
    different = np.abs(coloured - plain).max(axis=2)
    assert different.max() > 30
    assert 0 == different[:, : round(scale * found["view"]["xmin"]) - 1].max()


def test_a_class_that_is_asked_about_is_the_one_that_is_drawn(mini):
    """The first of `classes`, not the best of all."""
    best = ask(mini, "explain=heat", accept="image/png").content
    index = ask(mini, "top_k=1").json()["predictions"][0]["class_index"]

    assert best == ask(mini, f"explain=heat&classes={index}", accept="image/png").content
    assert (
        best != ask(mini, f"explain=heat&classes={(index + 50) % 202}", accept="image/png").content
    )


@pytest.mark.parametrize("query", ["top_k=1", "classes=3"])
def test_without_a_place_there_is_no_picture(mini, query):
    """A request that locates nothing is answered in JSON, whatever it would rather have."""
    answer = ask(mini, query, accept="image/png")

    assert "application/json" == answer.headers["content-type"]
    assert answer.json()["predictions"]


def test_a_page_without_scripts_says_where_it_is(mini):
    """A form that a browser sends asks for boxes by itself; its page has one in an outline."""
    browser = {"sec-fetch-mode": "navigate", "accept": "text/html,image/png;q=0.8,*/*;q=0.7"}
    box = ask(mini, "explain=box&top_k=1").json()["predictions"][0]["box"]
    page = ask(mini, "", **browser)

    assert page.headers["content-type"].startswith("text/html")
    assert "from {xmin}, {ymin} to {xmax}, {ymax}".format(**box) in page.text
    assert 'viewBox="0 0 451 300"' in page.text
    assert 200 == ask(mini, "top_k=100", **browser).status_code
