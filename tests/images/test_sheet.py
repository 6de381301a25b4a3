"""Maps and filters become tiles of a sheet without losing their place, their order or their zero."""

import io

import numpy as np
from PIL import Image

from app.images.sheet import (
    filter_tiles,
    fit_tiles,
    framed,
    lay_out,
    map_tiles,
    strongest,
    write_png,
)


def test_each_map_is_relative_to_its_own_largest_value():
    """The largest value is white, zero is black, and a map of zeros does not divide by zero."""
    maps = np.array([[[0, 1], [2, 4]], [[0, 0], [0, 0]], [[0, 0], [0.5, 0.25]]], np.float32)

    tiles = map_tiles(maps)

    assert np.uint8 == tiles.dtype
    expected = [[[0, 64], [128, 255]], [[0, 0], [0, 0]], [[0, 0], [255, 128]]]
    assert expected == tiles.tolist()


def test_filters_keep_their_signs_and_their_colours():
    """Zero is middle grey in every filter, a positive weight brighter, a negative one darker."""
    kernels = np.zeros((2, 3, 1, 1), np.float32)
    kernels[0, :, 0, 0] = 2, 0, -2
    kernels[1, :, 0, 0] = 0, 0.5, 0.25

    tiles = filter_tiles(kernels)

    assert (2, 1, 1, 3) == tiles.shape
    assert [255, 128, 1] == tiles[0, 0, 0].tolist()
    assert [128, 255, 192] == tiles[1, 0, 0].tolist()
    assert {128} == set(filter_tiles(np.zeros((1, 3, 3, 3), np.float32)).ravel().tolist())


def test_tiles_are_laid_out_row_by_row():
    """The second tile is right of the first, and the rest of the last row is black."""
    tiles = np.arange(1, 4, dtype=np.uint8)[:, np.newaxis, np.newaxis].repeat(2, 1).repeat(3, 2)

    sheet = lay_out(tiles, columns=2)

    top, bottom = [1, 1, 1, 2, 2, 2], [3, 3, 3, 0, 0, 0]
    assert [top, top, bottom, bottom] == sheet.tolist()
    coloured = lay_out(np.stack([tiles] * 3, axis=-1), columns=2)
    assert (sheet == coloured[..., 1]).all()


def test_small_tiles_are_enlarged_without_blur_and_large_ones_averaged():
    """A value of a small map becomes a square of pixels."""
    small = np.array([[[0, 200], [100, 50]]], np.uint8)

    assert small.repeat(5, 1).repeat(5, 2).tolist() == fit_tiles(small, 10).tolist()
    assert [[[88]]] == fit_tiles(small, 1).tolist()
    assert small.tolist() == fit_tiles(small, 2).tolist()


def test_a_frame_separates_tiles():
    """One pixel of grey on each side, and the tile within as it was."""
    (tile,) = framed(np.full((1, 2, 2), 7, np.uint8))

    assert [[90] * 4, [90, 7, 7, 90], [90, 7, 7, 90], [90] * 4] == tile.tolist()


def test_a_png_has_the_very_pixels():
    """8 bits, grey or RGB."""
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    colours = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)

    for mode, picture in (("L", grey), ("RGB", colours)):
        image = Image.open(io.BytesIO(write_png(picture)))
        assert ("PNG", mode) == (image.format, image.mode)
        assert picture.tolist() == np.asarray(image).tolist()


def test_the_strongest_come_first():
    """By their largest value; of equal ones the first."""
    maps = np.zeros((5, 2, 2), np.float32)
    maps[1, 0, 1] = maps[3, 1, 1] = 2
    maps[4, 0, 0] = 3

    assert [4, 1, 3] == strongest(maps, 3).tolist()
    assert [4, 1, 3, 0, 2] == strongest(maps, 16).tolist()
