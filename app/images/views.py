"""Many views of one photo, for networks that have to see something before they can serve."""

from dataclasses import replace
from typing import Final

import numpy as np

from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.records import PixelBatch, Preprocess

_ACROSS: Final = (1, 2, 3)
"""Tiles side by side; photos that are only a little larger than the crop become blurred by 3."""


def views(data: bytes, preprocess: Preprocess, limits: ImageLimits) -> PixelBatch:
    """Cut the central square of a photo into 1, 4 and 9 tiles, and add what the model usually sees.

    Returns:
        uint8 [15, crop, crop, 3], RGB.

    Raises:
        RequestError: As `prepare` does.
    """
    crop = preprocess.crop
    usual, _ = prepare(data, preprocess, limits)
    tiles = [usual[np.newaxis]]
    for across in _ACROSS:
        side = across * crop
        square, _ = prepare(data, replace(preprocess, resize=side, crop=side), limits)
        cut = square.reshape(across, crop, across, crop, 3).swapaxes(1, 2)
        tiles.append(cut.reshape(-1, crop, crop, 3))
    return np.concatenate(tiles)
