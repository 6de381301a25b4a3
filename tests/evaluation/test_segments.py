"""Weak segments that were planted are named, and none is where there is nothing."""

import io

import numpy as np
import pytest
from PIL import Image

from app.evaluation.accuracy import share
from app.evaluation.answers import Answer
from app.evaluation.run import NO_ROW
from app.evaluation.segments import PROPERTIES, properties, search, segments, thirds

PHOTOS = 4000


@pytest.fixture
def random():
    return np.random.default_rng(1)


def answers_of(**columns):
    """Return answers with these properties."""
    rows = [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]  # fmt: skip
    return [Answer(str(n), (1, 1), "x", (9, 9), "png", "", NO_ROW, row) for n, row in enumerate(rows)]  # fmt: skip


def test_dark_photos_are_named(random):
    """6 % of the photos, which the model gets wrong: the lower third is weak, and the search cuts closer."""
    brightness, right = random.uniform(0.3, 0.7, PHOTOS), random.random(PHOTOS) < 0.6
    brightness[:240], right[:240] = 0.1, random.random(240) < 0.1
    found = segments(answers_of(brightness=brightness, contrast=random.random(PHOTOS)), right)

    assert [True, False, False] == [
        one["weak"] for one in found["properties"]["brightness"]["segments"]
    ]
    worst = found["weak"][0]
    assert [("brightness", None)] == [(cut["property"], cut["above"]) for cut in worst["where"]]
    assert worst["text"].startswith("brightness up to 0.1")
    assert (240, 0.06) == (worst["n"], worst["share"])
    assert worst["high"] < 0.5
    assert [] == found["properties"]["jpeg_quality"]["segments"]


def test_two_properties_are_named_where_both_are_needed(random):
    """Photos that are dark and small; neither all dark ones nor all small ones."""
    dark, small = random.random((2, PHOTOS))
    right = random.random(PHOTOS) < np.where((dark < 0.3) & (small < 0.3), 0.2, 0.7)
    weak, tried = search({"brightness": dark, "shorter_side": small}, right)

    assert tried > 100
    assert {"brightness", "shorter_side"} == {cut["property"] for cut in weak[0]["where"]}
    assert [None, None] == [cut["above"] for cut in weak[0]["where"]]
    assert [0.3, 0.3] == pytest.approx([cut["up_to"] for cut in weak[0]["where"]], abs=0.02)
    assert weak[0]["text"].startswith("brightness up to 0.")
    assert " and shorter side up to 0." in weak[0]["text"]


def test_nothing_is_found_where_nothing_is():
    """In at least 19 of 20 draws: thousands of segments are tried, and their intervals allow for it."""
    found = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        columns = {name: draw.random(1000) for name in list(PROPERTIES)[:3]}
        found += bool(search(columns, draw.random(1000) < 0.7)[0])

    assert found <= 1


def test_each_property_that_may_be_the_reason_is_named(random):
    """Dark photos that also have little contrast: both are listed, and nothing of them twice."""
    brightness, contrast = random.uniform(0.3, 0.7, (2, PHOTOS))
    right = random.random(PHOTOS) < 0.6
    brightness[:240], contrast[:240], right[:240] = 0.1, 0.1, False
    weak, _ = search({"brightness": brightness, "contrast": contrast}, right)

    assert [["brightness"], ["contrast"]] == [
        [cut["property"] for cut in one["where"]] for one in weak
    ]


def test_a_segment_is_counted_exactly(random):
    """What is reported can be counted again from the properties."""
    values, other = random.random((2, 500))
    right = random.random(500) < np.where(values > 0.6, 0.1, 0.9)
    [one, *_], _ = search({"brightness": values, "contrast": other}, right)
    [cut] = one["where"]
    inside = values > cut["above"]

    assert cut["up_to"] is None
    assert (inside.sum(), right[inside].mean()) == (one["n"], one["top1"])
    assert one["high"] > share(int(right[inside].sum()), one["n"]).high


def test_thirds_hold_all_photos(random):
    """Those with the same value are never parted; unknown ones are in none."""
    values = np.array([1.0] * 50 + [2.0] * 30 + [3.0] * 10 + [np.nan] * 10)
    found = thirds(values, random.random(100) < 0.5)

    assert [(None, 1.0, 50), (1.0, 2.0, 30), (2.0, None, 10)] == [
        (one["above"], one["up_to"], one["n"]) for one in found
    ]
    assert [] == thirds(np.ones(100), random.random(100) < 0.5)


def test_small_segments_do_not_count(random):
    """4 % of the photos may all be wrong."""
    values = np.where(np.arange(PHOTOS) < 0.04 * PHOTOS, 0.0, 1.0)
    found = thirds(values, (values > 0) & (random.random(PHOTOS) < 0.9))

    assert [] == [one for one in found if one["weak"]]


def test_properties_are_of_the_crop_and_the_file():
    """A grey JPEG of quality 50; of another file no quality is known."""
    pixels = np.full((8, 8, 3), 51, np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=50)
    found = properties(data.getvalue(), pixels)

    assert {"brightness": 0.2, "contrast": 0, "sharpness": 0, "jpeg_quality": 50} == pytest.approx(
        found, abs=1e-5
    )
    assert set() == set(found) - set(PROPERTIES)
    assert "jpeg_quality" not in properties(b"\x89PNG", pixels)


def test_size_and_shape_are_those_of_the_photo():
    """They need not be measured."""
    answers = [Answer(str(n), (1, 1), "x", (20 + n, 20), "png", "", NO_ROW) for n in range(9)]
    found = segments(answers, np.ones(9, bool))["properties"]

    assert [] == found["shorter_side"]["segments"]
    assert [1.1, 1.25] == [one["up_to"] for one in found["aspect_ratio"]["segments"][:2]]
