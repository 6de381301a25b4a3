"""Which part of an image a model sees, and the two ways to make it: short, and exact.

The geometry is torchvision's for evaluation: the shorter side is resized, the centre cut out.
"""

from dataclasses import dataclass
from math import ceil, floor
from typing import Final, TypeVar

from PIL import Image

from app.images.colours import to_rgb
from app.images.resize import BILINEAR, Box, resize
from app.records import Preprocess

MAX_RESIZED_PIXELS: Final = 8_388_608
"""The most pixels that are resized only to be cropped away, 32 MiB; see `resize_whole`."""

T = TypeVar("T", int, float)

_TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

_LYING: Final = {5, 6, 7, 8}
"""EXIF orientations in which the file's rows are the columns of what a person sees."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of an image that a model sees.

    Attributes:
        size: Width and height of the image, upright.
        resized: What they become.
        corner: Left and top of what is cut out of that.
        crop: The side of what is cut out.
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    crop: int

    @classmethod
    def of(cls, size: tuple[int, int], preprocess: Preprocess) -> "Frame":
        """Find it for an upright image of this size.

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
        return cls(size, resized, (left, top), crop)

    @property
    def box(self) -> Box:
        """The same part in pixels of the image, before it is resized."""
        (width, height), (left, top) = self.size, self.corner
        across, down = width / self.resized[0], height / self.resized[1]
        return (
            left * across,
            top * down,
            min((left + self.crop) * across, width),
            min((top + self.crop) * down, height),
        )


def resize_whole(image: Image.Image, frame: Frame) -> Image.Image:
    """Resize all of an upright RGB image, then cut the frame out.

    These are torchvision's pixels, each of them. Of a very long image, where the whole would
    take more than MAX_RESIZED_PIXELS (beyond 1 : 128 for 256 pixels), only the frame is
    computed: each value is within 1 of the same.
    """
    if frame.resized[0] * frame.resized[1] > MAX_RESIZED_PIXELS:
        return resize_frame(image, frame, image.size, 1)
    if image.size != frame.resized:
        image = image.resize(frame.resized, BILINEAR)
    left, top = frame.corner
    return image.crop((left, top, left + frame.crop, top + frame.crop))


def resize_frame(
    image: Image.Image, frame: Frame, extent: tuple[float, float], orientation: int
) -> Image.Image:
    """Compute nothing but the frame: each value is within 1 of what `resize_whole` gives (rarely 2).

    Args:
        image: As it lies in the file, not turned, in any mode.
        frame: Of the upright image.
        extent: What the width and height of the file's image have become in this one, where
            it was decoded at a smaller scale; the last row and column may be part of a pixel.
        orientation: EXIF's.
    """
    width, height = upright(extent, orientation)
    across, down = width / frame.size[0], height / frame.size[1]
    left, top, right, bottom = frame.box
    seen = (left * across, top * down, right * across, bottom * down)
    box = _lay_down(seen, (width, height), orientation)
    box = (max(0, box[0]), max(0, box[1]), min(box[2], image.width), min(box[3], image.height))
    side = (frame.crop, frame.crop)
    if image.mode == "L" and "transparency" not in image.info:
        image = resize(image, side, box).convert("RGB")
    else:
        if image.mode != "RGB" or "transparency" in image.info:
            image, box = _cut_around(image, box, frame.crop)
            image = to_rgb(image)
        image = resize(image, side, box)
    return turn(image, orientation)


def upright(size: tuple[T, T], orientation: int) -> tuple[T, T]:
    """Return the width and height of an image once it is turned the right way up."""
    return (size[1], size[0]) if orientation in _LYING else size


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image the right way up."""
    transposition = _TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def _cut_around(image: Image.Image, box: Box, crop: int) -> tuple[Image.Image, Box]:
    """Cut away what no pixel of the box is made of, so that less has to be converted."""
    left, top, right, bottom = box
    reach_x = max(1.0, (right - left) / crop) + 1  # of the filter, and 1 for the rounding
    reach_y = max(1.0, (bottom - top) / crop) + 1
    x, y = max(0, floor(left - reach_x)), max(0, floor(top - reach_y))
    outer = (
        x,
        y,
        min(image.width, ceil(right + reach_x)),
        min(image.height, ceil(bottom + reach_y)),
    )
    return image.crop(outer), (left - x, top - y, right - x, bottom - y)


def _lay_down(box: Box, size: tuple[float, float], orientation: int) -> Box:
    """Find a part of an upright image, of this size, in the image that it was turned from."""
    (left, top, right, bottom), (width, height) = box, size
    turned = {
        2: (width - right, top, width - left, bottom),
        3: (width - right, height - bottom, width - left, height - top),
        4: (left, height - bottom, right, height - top),
        5: (top, left, bottom, right),
        6: (top, width - right, bottom, width - left),
        7: (height - bottom, width - right, height - top, width - left),
        8: (height - bottom, left, height - top, right),
    }
    return turned.get(orientation, box)
