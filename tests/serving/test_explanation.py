"""From maps to boxes, shares of evidence and heat."""

from dataclasses import replace

import numpy as np
import pytest

from app.images.photo_box import PhotoBox
from app.records import Area, Ask, Explanation, ImageInfo, Seen
from app.serving.explanation import MOST_SIDE, Question, explain, share_inside
from app.weights.manifests.catalog import BUILT_IN, load_catalog

MINI = load_catalog(BUILT_IN)["vgg16-mini"]
PREPROCESS = MINI.preprocess
SIZE = ImageInfo(PREPROCESS.resize, PREPROCESS.resize, "jpeg")


def seen_of(values, cells=None):
    cells = np.ones((2, 2)) if cells is None else cells
    maps = np.array([values], np.float32)
    return Seen(np.array([7]), maps, np.array([cells], np.float32), 0.0)


def spot(side, y, x):
    values = np.zeros((side, side), np.float32)
    values[y, x] = 3.0
    return values


def test_a_spot_of_the_map_is_a_box_around_its_place():
    """In the top right quarter of the crop, and of what the network saw."""
    explained = explain(seen_of(spot(8, 1, 6)), MINI, SIZE, ())
    located = explained.located[7]
    side = PREPROCESS.crop / 8
    border = (PREPROCESS.resize - PREPROCESS.crop) / 2
    assert explained.view is not None
    assert located.box is not None

    x, y = border + 6.5 * side, border + 1.5 * side
    assert located.box.xmin < x < located.box.xmax
    assert located.box.ymin < y < located.box.ymax
    assert located.box.xmax - located.box.xmin < 3 * side
    assert explained.view.xmax >= located.box.xmax


def test_the_threshold_is_that_of_the_manifest():
    """With a lower one the box is larger."""
    values = np.add.outer(np.arange(8), np.arange(8))
    boxes = [
        explain(
            seen_of(values),
            replace(MINI, explanation=Explanation(threshold=threshold)),
            SIZE,
            (),
        )
        .located[7]
        .box
        for threshold in (0.2, 0.8)
    ]
    low, high = boxes
    assert low is not None
    assert high is not None

    assert low[:2] < high[:2]


def test_an_empty_map_has_no_box_and_no_share():
    """Its heat is 0 everywhere."""
    located = explain(seen_of(np.zeros((4, 4))), MINI, SIZE, ()).located[7]

    assert (None, None) == (located.box, located.evidence_in_box)
    assert (4, 4, 0.0) == (*located.heat.shape, located.heat.max())


def test_heat_is_a_share_of_its_largest_value():
    """From 0 to 1, in the order of the map."""
    located = explain(seen_of([[0, 1], [2, 4]]), MINI, SIZE, ()).located[7]

    assert [[0, 0.25], [0.5, 1]] == located.heat.tolist()


@pytest.mark.parametrize(("side", "expected"), [(14, 14), (56, 56), (57, 29), (224, 56)])
def test_heat_of_a_fine_map_is_reduced(side, expected):
    """An answer stays small; the largest value of each square remains."""
    located = explain(seen_of(spot(side, side - 1, 0)), MINI, SIZE, ()).located[7]

    assert (expected, expected) == located.heat.shape
    assert expected <= MOST_SIDE
    assert 1 == located.heat[-1, 0]


def test_what_was_not_explained_is_not_located():
    """Untrained weights: the view is there, boxes are not."""
    explained = explain(None, MINI, SIZE, ())

    assert {} == explained.located
    side = PREPROCESS.resize
    border = (side - PREPROCESS.crop) // 2
    assert PhotoBox(border, border, side - border, side - border) == explained.view


@pytest.mark.parametrize(
    ("cells", "area", "expected"),
    [
        ([[1, 1], [1, 1]], Area(0, 0, 64, 64), 1.0),
        ([[1, 1], [1, 1]], Area(0, 0, 32, 32), 0.25),
        ([[1, 1], [1, 1]], Area(0, 0, 48, 32), 0.375),  # a cell in part
        ([[3, 1], [0, 0]], Area(0, 0, 32, 64), 0.75),
        ([[3, -9], [1, 0]], Area(0, 0, 32, 32), 0.75),  # what speaks against does not count
        ([[-1, -1], [-1, 0]], Area(0, 0, 32, 32), None),
    ],
)
def test_the_share_of_the_evidence_in_a_box(cells, area, expected):
    """Of what speaks for the class, the part that lies in the box."""
    assert expected == share_inside(np.array(cells, np.float32), area, 64)


def test_a_question_becomes_an_ask():
    """Beside the best of the answer, with -1 for no contrast."""
    asks = [Question(frozenset({"box"}), (4, 5), against).ask(best=3) for against in (None, 0)]

    assert [Ask(3, (4, 5)), Ask(3, (4, 5), 0)] == asks
    assert Ask(1, cells=True) == Question(frozenset({"evidence"})).ask(best=1)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 63, 64, 65, 100, 1000, 4001, 9999])
@pytest.mark.parametrize("height", [1, 2, 64, 99, 100, 4000])
def test_a_box_is_never_empty_and_within_the_view_and_the_photo(width, height):
    """For photos of any shape, and spots at every corner of the crop."""
    info = ImageInfo(width, height, "png")
    for y, x in ((0, 0), (0, 7), (3, 4), (7, 0), (7, 7)):
        explained = explain(seen_of(spot(8, y, x)), MINI, info, ())
        view, box = explained.view, explained.located[7].box
        assert view is not None
        assert box is not None

        assert 0 <= view.xmin <= box.xmin < box.xmax <= view.xmax <= width
        assert 0 <= view.ymin <= box.ymin < box.ymax <= view.ymax <= height
