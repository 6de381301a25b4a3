"""A small picture of a photo: the part of it that a model sees, as JPEG."""

from dataclasses import replace
from io import BytesIO
from typing import Final

from PIL import Image

from app.images.prepare import Prepare
from app.records import Preprocess

_SIDE: Final = 96
"""Pixels."""
_QUALITY: Final = 65


def thumbnail(prepare: Prepare, data: bytes, preprocess: Preprocess) -> bytes:
    """Return the crop of a model as a JPEG of 2 to 5 kB, no larger than the crop.

    Raises:
        RequestError: If the photo cannot be decoded.
    """
    small = min(_SIDE, preprocess.crop)
    resize = max(small, round(preprocess.resize * small / preprocess.crop))
    pixels, _ = prepare(data, replace(preprocess, resize=resize, crop=small))
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()
