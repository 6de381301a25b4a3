"""The part of an image that a model sees, and two ways to compute it: fast, and exact.

The geometry is torchvision's for evaluation: the shorter side is resized, the centre cropped.
"""

from dataclasses import dataclass
from math import ceil, floor
from typing import Final

from PIL import Image

from app.images.colours import to_rgb
from app.images.orientation import stored_box, turn_upright, upright_size
from app.images.resize import BILINEAR, Box, resize
from app.records import Preprocess

MAX_RESIZED_PIXELS: Final = 8_388_608
"""Most pixels, 32 MiB, that are resized only to be cropped away; see `crop_exactly`."""


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of an image that a model sees.

    Attributes:
        resized: Width and height after resizing.
        corner: Left and top of the crop in the resized image.
        side: Side of the crop, in pixels of the resized image.
    """

    resized: tuple[int, int]
    corner: tuple[int, int]
    side: int

    @classmethod
    def of(cls, size: tuple[int, int], preprocess: Preprocess) -> "Crop":
        """Return the crop of an upright image of this size.

        Source:
            torchvision 0.21, transforms/functional.py: `_compute_resized_output_size` truncates
            the longer side; `center_crop` rounds halves to even.
        """
        width, height = size
        short, crop = preprocess.resize, preprocess.crop
        if width <= height:
            resized = (short, int(short * height / width))
        else:
            resized = (int(short * width / height), short)
        left, top = (round((side - crop) / 2.0) for side in resized)
        return cls(resized, (left, top), crop)


def crop_exactly(image: Image.Image, crop: Crop) -> Image.Image:
    """Resize all of an upright RGB image, then crop it: exactly torchvision's pixels.

    If the whole of a very long image would take more than MAX_RESIZED_PIXELS (beyond 1 : 128 for
    256 pixels), only the crop is computed: each value is within 1 of torchvision's.
    """
    if crop.resized[0] * crop.resized[1] > MAX_RESIZED_PIXELS:
        return crop_fast(image, crop, image.size, 1)
    if image.size != crop.resized:
        image = image.resize(crop.resized, BILINEAR)
    left, top = crop.corner
    return image.crop((left, top, left + crop.side, top + crop.side))


def crop_fast(
    image: Image.Image, crop: Crop, extent: tuple[float, float], orientation: int
) -> Image.Image:
    """Compute only the crop: each value is within 1 (rarely 2) of that of `crop_exactly`.

    Args:
        image: As stored in the file, not turned, in any mode.
        crop: Of the upright image.
        extent: Its width and height as stored; fractions if a smaller scale was decoded, whose
            last row and column may be part of a pixel.
        orientation: EXIF's.
    """
    width, height = upright_size(extent, orientation)
    across, down = width / crop.resized[0], height / crop.resized[1]
    left, top = crop.corner
    seen = (left * across, top * down, (left + crop.side) * across, (top + crop.side) * down)
    box = stored_box(seen, (width, height), orientation)
    box = (max(0, box[0]), max(0, box[1]), min(box[2], image.width), min(box[3], image.height))
    side = (crop.side, crop.side)
    if image.mode == "L" and "transparency" not in image.info:
        image = resize(image, side, box).convert("RGB")
    else:
        if image.mode != "RGB" or "transparency" in image.info:
            image, box = _cut_around(image, box, crop.side)
            image = to_rgb(image)
        image = resize(image, side, box)
    return turn_upright(image, orientation)


def _cut_around(image: Image.Image, box: Box, side: int) -> tuple[Image.Image, Box]:
    """Cut away what contributes to no pixel of the box, so that less has to be converted."""
    left, top, right, bottom = box
    reach_x = max(1.0, (right - left) / side) + 1  # of the filter, and 1 for rounding
    reach_y = max(1.0, (bottom - top) / side) + 1
    x, y = max(0, floor(left - reach_x)), max(0, floor(top - reach_y))
    outer = (
        x,
        y,
        min(image.width, ceil(right + reach_x)),
        min(image.height, ceil(bottom + reach_y)),
    )
    return image.crop(outer), (left - x, top - y, right - x, bottom - y)
