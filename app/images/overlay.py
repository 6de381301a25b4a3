"""A photo with the heat of a class and its box drawn over it.

The colours go from violet to yellow with a lightness that rises evenly, so that they keep their order
for people who tell fewer colours apart, and in print without any. Where there is no heat the photo
stays as it is.
"""

from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.images.photo_box import PhotoBox, view_of
from app.images.prepare import Prepare
from app.images.sheet import write_png
from app.images.whole import uncropped
from app.records import Pixels, Preprocess

SIDE: Final = 800
"""Longer side of an overlay, in pixels."""

_STOPS: Final = (0.0, 0.5, 1.0)
_OKLAB: Final = ((0.30, 0.61, 0.92), (0.03, 0.18, -0.02), (-0.17, 0.02, 0.18))
"""Heats, and their lightness, green to red, and blue to yellow: violet, a light red, yellow."""
_OPACITY: Final = 0.7
"""Of the greatest heat."""
_RISE: Final = 0.6
"""Power of the heat in its opacity: below 1, so that little heat is seen as well."""
_GREY: Final = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the grey below the heat, whose colours would mix with the photo's."""
_OUTSIDE: Final = 0.45
"""Brightness of what the network did not see."""
_LINE: Final = 200
"""A line is one pixel wide for so many pixels of the picture's longer side, and its edges as well."""

_TO_LMS: Final = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_RGB: Final = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
"""From Oklab to the cube roots of cone responses, and from their cubes to linear sRGB.

Source: Björn Ottosson, A perceptual color space for image processing, 2020."""


def colours(heat: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the colour of each heat, float64 [.., 3], sRGB from 0 to 255.

    Args:
        heat: float32 of any shape, 0 to 1.
    """
    lab = np.stack([np.interp(heat, _STOPS, values) for values in _OKLAB], axis=-1)
    linear = np.clip((lab @ _TO_LMS.T) ** 3 @ _TO_RGB.T, 0, 1)
    curve = np.where(
        linear <= 0.0031308,  # noqa: PLR2004 (sRGB's own)
        12.92 * linear,
        1.055 * linear ** (1 / 2.4) - 0.055,
    )
    found: NDArray[np.float64] = 255 * curve
    return found


@dataclass(frozen=True, slots=True)
class Marks:
    """What is drawn over a photo; boxes are in pixels of the upright original.

    Attributes:
        view: What the network saw.
        heat: float32 [s, s], 0 to 1, over the view; None to draw no heat.
        box: Where the class is; None for no box.
    """

    view: PhotoBox
    heat: NDArray[np.float32] | None
    box: PhotoBox | None


def overlay(photo: Pixels, size: tuple[int, int], marks: Marks) -> Pixels:
    """Draw marks over a photo.

    Args:
        photo: uint8 [height, width, 3], upright, at any scale.
        size: Width and height of the upright original.
        marks: In its pixels.

    Returns:
        uint8 [height, width, 3].
    """
    height, width, _ = photo.shape
    x, y = width / size[0], height / size[1]
    left, top = round(marks.view.xmin * x), round(marks.view.ymin * y)
    right = max(left + 1, round(marks.view.xmax * x))
    bottom = max(top + 1, round(marks.view.ymax * y))
    picture = photo * _OUTSIDE
    picture[top:bottom, left:right] = photo[top:bottom, left:right]
    if marks.heat is not None:
        heat = _enlarged(marks.heat, (right - left, bottom - top))
        share = heat[..., np.newaxis] ** _RISE
        seen = picture[top:bottom, left:right]
        below = (1 - share) * seen + share * (seen @ _GREY)[..., np.newaxis]
        opacity = _OPACITY * share
        picture[top:bottom, left:right] = (1 - opacity) * below + opacity * colours(heat)
    image = Image.fromarray(np.rint(picture).astype(np.uint8))
    if marks.box is not None:
        edges = marks.box.xmin * x, marks.box.ymin * y, marks.box.xmax * x, marks.box.ymax * y
        _frame(image, edges)
    return np.asarray(image)


def draw_overlay(prepare: Prepare, data: bytes, size: tuple[int, int], marks: Marks) -> bytes:
    """Decode an upload once more, all of it, and draw marks over it; return a PNG.

    Args:
        prepare: What decoded it for the model.
        data: The upload.
        size: Its width and height, upright.
        marks: What to draw.

    Raises:
        RequestError: If it cannot be decoded.
    """
    shown = view_of(size, _around(size))
    move = partial(_moved, left=shown.xmin, top=shown.ymin)
    box = move(marks.box) if marks.box is not None else None
    moved = Marks(move(marks.view), marks.heat, box)
    part = shown.xmax - shown.xmin, shown.ymax - shown.ymin
    return write_png(overlay(whole_photo(prepare, data, size), part, moved))


def whole_photo(prepare: Prepare, data: bytes, size: tuple[int, int]) -> Pixels:
    """Return all of an upright photo, its longer side about SIDE pixels, uint8 [height, width, 3].

    Of a photo so long that its shorter side would be less than a pixel it is the middle.
    """
    return uncropped(prepare, data, size, _around(size))


def _around(size: tuple[int, int]) -> Preprocess:
    shorter = max(1, round(SIDE * min(size) / max(size)))
    return Preprocess(shorter, SIDE, "RGB", (0.0,) * 3, (1.0,) * 3)


def _moved(box: PhotoBox, left: int, top: int) -> PhotoBox:
    return PhotoBox(box.xmin - left, box.ymin - top, box.xmax - left, box.ymax - top)


def _enlarged(heat: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize heat to a width and a height, each value at the centre of its cell."""
    image = Image.fromarray(heat.astype(np.float32))
    enlarged: NDArray[np.float32] = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    return np.clip(enlarged, 0, 1)


def _frame(image: Image.Image, edges: tuple[float, float, float, float]) -> None:
    """Draw a white frame with black edges, which shows on every photo."""
    line = max(1, ceil(max(image.size) / _LINE))
    left, top, right, bottom = edges
    draw = ImageDraw.Draw(image)
    for inset, colour, wide in ((0, "black", 3 * line), (line, "white", line)):
        # Within the box, so that a frame at the border of the photo is seen whole.
        draw.rectangle(
            (
                left + inset,
                top + inset,
                max(left + inset, right - 1 - inset),
                max(top + inset, bottom - 1 - inset),
            ),
            outline=colour,
            width=wide,
        )
