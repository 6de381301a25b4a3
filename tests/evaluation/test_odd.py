"""Odd photos are those beyond Tukey's fences, the farthest first."""

import numpy as np
import pytest

from app.evaluation.answers import Answer
from app.evaluation.odd import odd_photos
from app.evaluation.run import NO_ROW


def answer(name, size=(500, 375), **properties):
    return Answer(name, (1, 1), "ab", size, "jpeg", "", NO_ROW, properties)


ANSWERS = [answer(str(n), brightness=0.4 + n / 1000) for n in range(100)]


def test_the_fences_are_tukeys():
    """As numpy's quartiles have them; nothing usual is listed."""
    odd = [*ANSWERS, answer("dark", brightness=0.0), answer("light", brightness=1.0)]
    found, usual = odd_photos(odd)["brightness"], odd_photos(ANSWERS)["brightness"]
    low, high = np.quantile([one.properties["brightness"] for one in odd], (0.25, 0.75))

    assert found["low"] == pytest.approx(low - 1.5 * (high - low), abs=1e-12)
    assert found["high"] == pytest.approx(high + 1.5 * (high - low), abs=1e-12)
    assert [("light", 1.0), ("dark", 0.0)] == [
        (one["name"], one["value"]) for one in found["photos"]
    ]
    assert (0.4, 0.499) == (usual["low"], usual["high"])  # not beyond the photos
    assert (100, 0, 0, []) == tuple(usual[key] for key in ("n", "below", "above", "photos"))


def test_the_farthest_come_first():
    """On both sides; ten are listed, all are counted."""
    odd = [answer(f"dark{n}", brightness=0.01 * n) for n in range(7)]
    odd += [answer("light", brightness=0.99), *(answer(f"white{n}", brightness=0.7) for n in range(5))]  # fmt: skip
    found = odd_photos([*ANSWERS, *odd])["brightness"]
    names = [one["name"] for one in found["photos"]]

    assert (7, 6, 10) == (found["below"], found["above"], len(names))
    assert ["light", "dark0", "dark1"] == names[:3]
    assert 0.99 == found["photos"][0]["value"]


def test_one_photo_of_another_size_is_found():
    """Where all others have the same: a panorama, a thumbnail."""
    found = odd_photos([*ANSWERS, answer("wide", (3000, 375)), answer("small", (50, 50))])

    assert ["wide", "small"] == [one["name"] for one in found["aspect_ratio"]["photos"]]
    assert ["small"] == [one["name"] for one in found["shorter_side"]["photos"]]


def test_what_is_unknown_is_left_out():
    """PNGs have no JPEG quality; of a photo that has one, the others say nothing."""
    found = odd_photos([*ANSWERS, answer("a", jpeg_quality=90.0)])

    assert "sharpness" not in found
    assert (1, []) == (found["jpeg_quality"]["n"], found["jpeg_quality"]["photos"])
