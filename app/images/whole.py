"""All of a photo, resized, where a model's crop is not wanted.

It is a crop that is at least as large as the resized photo; what fills that up is cut away here. So a
whole photo comes out of the same decoders, in a process of their own or not, and within the same limits.
"""

from collections.abc import Sequence
from typing import Final

from app.errors import ImageTooLargeError
from app.images.crop import crop_of
from app.images.prepare import Prepare
from app.records import ImageInfo, Pixels, Preprocess

LONGEST: Final = 8
"""How many times as long as its shorter side a photo may be that is resized to one: bounds its pixels."""
_LOOK: Final = Preprocess(8, 8, "RGB", (0.0,) * 3, (1.0,) * 3)
"""Decodes a JPEG at its smallest scale, only for its size."""


def whole_photos(
    prepare: Prepare, data: bytes, scales: Sequence[int]
) -> tuple[list[Pixels], ImageInfo]:
    """Decode an upload, and resize all of it so that its shorter side has each of these lengths.

    Args:
        prepare: Decodes uploads.
        data: The upload.
        scales: Pixels of the shorter side.

    Returns:
        For each scale uint8 [height, width, 3], RGB, upright; and what the upload was.

    Raises:
        RequestError: If it cannot be decoded.
        ImageTooLargeError: If it is more than LONGEST times as long as wide, or as wide as long.
    """
    _, image = prepare(data, _LOOK)
    size = image.width, image.height
    if max(size) > LONGEST * min(size):
        raise ImageTooLargeError(
            f"The image is {image.width} x {image.height}; a test that takes all of it takes images"
            f" up to {LONGEST} times as long as wide. Cut out a part, or take another test.",
            limit={"width": image.width, "height": image.height, "max_ratio": LONGEST},
        )
    return [uncropped(prepare, data, size, around(size, scale)) for scale in scales], image


def around(size: tuple[int, int], shorter: int) -> Preprocess:
    """Return the crop that holds all of a photo of this size once its shorter side is so long."""
    (width, height), *_ = crop_of(size, Preprocess(shorter, shorter, "RGB", (0.0,) * 3, (1.0,) * 3))
    return Preprocess(shorter, max(width, height), "RGB", (0.0,) * 3, (1.0,) * 3)


def uncropped(
    prepare: Prepare, data: bytes, size: tuple[int, int], surrounding: Preprocess
) -> Pixels:
    """Return all of an upright photo, uint8 [height, width, 3].

    Args:
        prepare: Decodes uploads.
        data: The upload.
        size: Its width and height, upright.
        surrounding: A crop around it. Of a photo that is longer it is the middle.
    """
    pixels, _ = prepare(data, surrounding)
    (width, height), left, top, _ = crop_of(size, surrounding)
    left, top = max(0, -left), max(0, -top)
    return pixels[top : top + height, left : left + width]
