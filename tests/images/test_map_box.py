"""Boxes enclose the largest area of a map that is connected, corners included, and above the threshold."""

import numpy as np
import pytest

from app.images.map_box import find_box
from app.records import Area


def spots(*places, side=8):
    """Make a map of ones at rows and columns."""
    made = np.zeros((side, side), np.float32)
    for row, column in places:
        made[row, column] = 1
    return made


def plain(inside):
    """Find the areas of a mask one pixel after the other, and return the box of the largest."""
    left = {(int(y), int(x)) for y, x in np.argwhere(inside)}
    areas = []
    while left:
        area, border = set(), [min(left)]
        while border:
            y, x = border.pop()
            if (y, x) in left:
                left.remove((y, x))
                area.add((y, x))
                border += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        areas.append(area)
    best = max(areas, key=len)
    rows, columns = zip(*best, strict=True)
    return Area(min(columns), min(rows), max(columns) + 1, max(rows) + 1)


def test_nothing_seen():
    """An empty map has no box."""
    assert find_box(spots(), 0.2, 64) is None


def test_a_cell_is_around_its_centre():
    """The value of a cell is at its centre: half of it is reached halfway to the next one."""
    assert Area(16, 24, 24, 32) == find_box(spots((3, 2)), 0.5, 64)


def test_all_is_seen():
    """A map of equal values gives the whole crop."""
    assert Area(0, 0, 224, 224) == find_box(np.ones((14, 14), np.float32), 0.15, 224)


def test_x_is_across():
    """Columns are x, rows are y."""
    assert Area(2, 1, 5, 2) == find_box(spots((1, 2), (1, 3), (1, 4)), 0.5, 8)


def test_corners_connect():
    """Two cells that touch at a corner are one area."""
    assert Area(1, 1, 3, 3) == find_box(spots((1, 1), (2, 2), (5, 5)), 0.5, 8)
    assert Area(1, 1, 3, 3) == find_box(spots((1, 2), (2, 1), (5, 5)), 0.5, 8)


def test_areas_that_join_further_down_are_one():
    """A U is one area, though its arms begin as two."""
    arms = [(row, column) for row in range(1, 5) for column in (1, 5)]
    bottom = [(5, column) for column in range(1, 6)]

    assert Area(1, 1, 6, 6) == find_box(spots(*arms, *bottom, (0, 7), (7, 7)), 0.5, 8)


def test_the_first_of_equals():
    """Of areas of the same size it is the upper one."""
    assert Area(6, 0, 7, 1) == find_box(spots((7, 0), (0, 6)), 0.5, 8)


@pytest.mark.parametrize("seed", range(20))
def test_the_same_as_a_plain_search(seed):
    """For noise at any threshold, the box is that of a search from pixel to pixel."""
    noise = np.random.default_rng(seed).random((24, 24)).astype(np.float32)
    threshold = 0.3 + seed / 40

    assert plain(noise >= np.float32(threshold * noise.max())) == find_box(noise, threshold, 24)


def test_only_shares_count():
    """The threshold is a share of the largest value: a map and a thousand times it have the same box."""
    noise = np.random.default_rng(0).random((8, 8)).astype(np.float32)

    assert find_box(noise, 0.5, 64) == find_box(1024 * noise, 0.5, 64)
