"""Say that a file ends early and, where it is known, how much of its picture is missing."""

import zlib
from math import ceil
from typing import Final

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

_PIECE: Final = 16_384
"""Bytes that are inflated at a time, to 17 MB at most."""
_PNG_DEPTH: Final = 24
_PNG_COLOUR: Final = 25
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels of a PNG by its kind of colour."""
_SURE: Final = {"L", "RGB"}
"""Modes of JPEGs in which a row without any light is one that was not decoded; CMYK is inverted."""


def incomplete(title: str, missing: float | None = None) -> str:
    """Return the sentence about an incomplete file of the format with this title.

    Args:
        title: As in sentences.
        missing: The share of its rows that is missing; None if that is not known.
    """
    if missing is None:
        return f"The {title} file is incomplete: its end is missing."
    percent = max(1, round(100 * missing))
    return f"The {title} file is incomplete: about {percent} % of the picture is missing."


def share_missing(file: ImageFile | None, data: bytes) -> float | None:
    """Return the share of the rows that could not be decoded; None if that is not known.

    Args:
        file: The image as far as it was decoded, if it was begun. A JPEG of several scans, and an
            interlaced PNG, have all rows from early on, only less and less coarse.
        data: What it was decoded from.
    """
    if file is None or not file.tile or file.info.get("interlace"):
        return None
    match file:
        case JpegImageFile() if file.mode in _SURE:
            return _share_without_light(file)
        case PngImageFile():
            return 1 - _png_rows(file, data) / file.height
    return None


def _share_without_light(file: ImageFile) -> float | None:
    file.tile = []  # no second try to decode it
    try:
        box = file.getbbox()
    except OSError:  # it has no pixels at all
        return None
    return 1 - box[3] / file.height if box else None


def _png_rows(file: ImageFile, data: bytes) -> int:
    """Count the rows of a PNG that is not interlaced: a byte for the filter, then its pixels."""
    bits = file.width * data[_PNG_DEPTH] * _CHANNELS[data[_PNG_COLOUR]]
    row = 1 + ceil(bits / 8)
    inflater, inflated = zlib.decompressobj(), 0
    try:
        for at in range(file.tile[0].offset, len(data), _PIECE):
            inflated += len(inflater.decompress(data[at : at + _PIECE]))
            if inflated >= row * file.height:
                break
    except zlib.error:
        pass  # what is behind the pixels is no part of them
    return min(file.height, inflated // row)
