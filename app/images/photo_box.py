"""Rectangles in the pixels of the upright photo, for what a network saw in its crop."""

from math import ceil, floor
from typing import NamedTuple

from app.images.crop import crop_of
from app.records import Area, Preprocess


class PhotoBox(NamedTuple):
    """A rectangle in whole pixels of the upright photo; maxima are exclusive."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


def photo_box(area: Area, size: tuple[int, int], preprocess: Preprocess) -> PhotoBox:
    """Return the pixels of the photo that an area of the crop covers, also in part.

    Args:
        area: In pixels of the crop.
        size: Width and height of the upright photo.
        preprocess: Of the model that saw the crop.
    """
    (across, down), left, top, _ = crop_of(size, preprocess)
    width, height = size
    x, y = width / across, height / down  # pixels of the photo per pixel of the resized one
    return PhotoBox(
        max(0, floor((left + area.xmin) * x)),
        max(0, floor((top + area.ymin) * y)),
        min(width, ceil((left + area.xmax) * x)),
        min(height, ceil((top + area.ymax) * y)),
    )


def view_of(size: tuple[int, int], preprocess: Preprocess) -> PhotoBox:
    """Return the part of a photo that a model sees."""
    whole = Area(0, 0, preprocess.crop, preprocess.crop)
    return photo_box(whole, size, preprocess)
