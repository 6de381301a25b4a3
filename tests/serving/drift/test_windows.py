"""The index is that of its definition, and the windows of several processes are one window."""

import math

import numpy as np
import pytest

from app.serving.drift.windows import (
    LEAST,
    MOST,
    PHOTO,
    encode,
    indexes,
    join,
    newest,
    stability_index,
)
from app.weights.manifests.baseline import PROPERTIES

FOUR = dict.fromkeys(PROPERTIES, [0.25] * 4)


def photos(times, place):
    """Make photos of these times that are all in one bin."""
    made = np.zeros(len(times), PHOTO)
    made["time"], made["bins"] = times, place
    return made


def test_the_same_shares_have_the_index_0():
    """What is distributed as in the baseline has not drifted, however many photos there are."""
    assert 0 == stability_index(np.array([10, 20, 70]), [0.1, 0.2, 0.7])


def test_the_index_of_other_shares():
    """Its sum, computed by hand; an empty bin counts as a hundredth of an equal share."""
    expected = 0.2 * math.log(0.7 / 0.5) - 0.2 * math.log(0.3 / 0.5)
    empty = (1 - 0.5) * math.log(1 / 0.5) + (0.005 - 0.5) * math.log(0.005 / 0.5)

    assert pytest.approx(expected) == stability_index(np.array([70, 30]), [0.5, 0.5])
    assert pytest.approx(empty) == stability_index(np.array([9, 0]), [0.5, 0.5])


def test_chance_alone_stays_far_below_the_first_limit():
    """A thousand photos in ten equal bins: about 9 in 1,000, in each of 200 draws less than 0.05."""
    rng = np.random.default_rng(0)
    found = [stability_index(rng.multinomial(1000, [0.1] * 10), [0.1] * 10) for _ in range(200)]

    assert 0.007 < np.mean(found) < 0.011
    assert max(found) < 0.05


def test_the_newest_photos_of_all_count():
    """A process that answers nothing more is forgotten as soon as the others have a thousand photos."""
    old, new = photos(np.arange(900.0), 0), photos(1000 + np.arange(700.0), 1)
    window = newest(old, new)

    assert MOST == len(window)
    assert [300, 700] == np.bincount(window["bins"][:, 0]).tolist()
    assert sorted(window["time"]) == window["time"].tolist()


def test_windows_are_joined_as_they_would_be_in_one_process():
    """Photos that two processes answered in turn give the same index as in one."""
    every = photos(np.arange(1400.0), np.random.default_rng(0).integers(0, 4, (1400, 6)))
    joined = join(encode(every[::2], FOUR), encode(every[1::2], FOUR))

    assert dict(indexes(encode(every[-MOST:], FOUR))) == dict(indexes(joined))


@pytest.mark.parametrize(("count", "known"), [(0, False), (LEAST - 1, False), (LEAST, True)])
def test_few_photos_have_no_index(count, known):
    """Below 500 photos it is not a number, since chance would move it."""
    found = dict(indexes(encode(photos(np.arange(float(count)), 1), FOUR)))

    assert [*PROPERTIES] == [*found]
    assert [known] * 6 == [not math.isnan(value) for value in found.values()]
