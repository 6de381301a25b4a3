"""Maps and filters of a network as pictures: tiles on a sheet, in PNG."""

from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ZERO: Final = 128
"""The grey that stands for 0 in a filter, whose values have signs."""

_LINE: Final = 90
"""The grey of the line around a tile."""

_LEVEL: Final = 3
"""Of zlib: half the time of the usual 6, and a tenth more bytes."""


def map_tiles(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return maps as grey tiles, uint8 [n, s, s]: 0 is black, the largest value of each map white.

    Args:
        maps: float32 [n, s, s], 0 or more. A map of zeros stays black.
    """
    largest = maps.max(axis=(1, 2), keepdims=True)
    shares = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
    tiles: NDArray[np.uint8] = np.rint(255 * shares).astype(np.uint8)
    return tiles


def filter_tiles(kernels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return filters as coloured tiles, uint8 [n, height, width, 3].

    A colour that a filter answers to is bright, one that it answers to with the opposite sign is dark, and
    middle grey is 0. Each filter is relative to its own largest weight.

    Args:
        kernels: float32 [n, 3, height, width], RGB.
    """
    largest = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    shares = np.divide(kernels, largest, out=np.zeros_like(kernels), where=largest > 0)
    tiles: NDArray[np.uint8] = np.rint(_ZERO + (255 - _ZERO) * shares).astype(np.uint8)
    return tiles.transpose(0, 2, 3, 1)


def lay_out(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Put tiles on a sheet, row by row; what is left of the last row stays black.

    Args:
        tiles: uint8 [n, height, width], with a last axis for colours if it has any.
        columns: Tiles per row.

    Returns:
        uint8 [rows * height, columns * width].
    """
    count, height, width, *colours = tiles.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, *colours), np.uint8)
    sheet[:count] = tiles
    sheet = sheet.reshape(rows, columns, height, width, *colours).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width, *colours)


def fit_tiles(tiles: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Bring square tiles near a side for people: whole times as large, or smaller by averaging.

    Args:
        tiles: uint8 [n, s, s], with a last axis for colours if it has any.
        side: Pixels. A tile that is enlarged gets as close to it as a whole number of times leads.
    """
    old = tiles.shape[1]
    if old < side:
        times = round(side / old)
        return tiles.repeat(times, axis=1).repeat(times, axis=2)
    images = (Image.fromarray(tile) for tile in tiles)
    return np.stack([np.asarray(one.resize((side, side), Image.Resampling.BOX)) for one in images])


def framed(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put a grey line around tiles, so that people see where each of them ends.

    Args:
        tiles: uint8 [n, s, s], with a last axis for colours if it has any.
    """
    margin = ((0, 0), (1, 1), (1, 1), (0, 0))
    return np.pad(tiles, margin[: tiles.ndim], constant_values=_LINE)


def write_png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture, uint8 [height, width] grey or [height, width, 3] RGB."""
    data = BytesIO()
    Image.fromarray(picture).save(data, "PNG", compress_level=_LEVEL)
    return data.getvalue()


def strongest(maps: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Return the channels with the largest values, the largest first; equal ones by their number.

    Args:
        maps: [channels, s, s].
        most: Fewer are returned if there are fewer channels.
    """
    return np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:most]
