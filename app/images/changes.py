"""What happens to photos on their way to a classifier: compressed again, blurred, turned, in another light.

Changes are made at the scale that the model sees, as those of ImageNet-C are (Hendrycks 2019, arXiv 1903.12261),
whose photos these are not: its figures cannot be compared with those found here. Sizes are for a crop of 224
pixels, and in proportion for another.
"""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageFilter

from app.images.crop import crop_of
from app.images.prepare import Prepare
from app.records import PixelBatch, Pixels, Preprocess

_CROP: Final = 224
_SHIFT: Final = 8
"""Pixels, of the crop to the right and down."""
_BLUR: Final = 2.0
"""Standard deviation in pixels."""
_LIGHT: Final = 0.3

Change: TypeAlias = Callable[[Pixels, float], Pixels]
"""Takes a square of pixels with a margin, uint8 [side, side, 3], and the scale: 1 for a crop of 224."""


def _jpeg(quality: int) -> Change:
    def change(pixels: Pixels, _: float) -> Pixels:
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return change


def _halved(pixels: Pixels, _: float) -> Pixels:
    image = Image.fromarray(pixels)
    small = image.resize(
        (max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BILINEAR
    )
    return np.asarray(small.resize(image.size, Image.Resampling.BILINEAR))


def _blurred(pixels: Pixels, scale: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(_BLUR * scale)))


def _grey(pixels: Pixels, _: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))


def _light(factor: float) -> Change:
    def change(pixels: Pixels, _: float) -> Pixels:
        lit: Pixels = np.minimum(np.rint(pixels * np.float32(factor)), 255).astype(np.uint8)
        return lit

    return change


def _shifted(pixels: Pixels, scale: float) -> Pixels:
    shift = _shift(scale)
    return np.roll(pixels, (-shift, -shift), (0, 1))  # what comes round lies outside the crop


def _turned(pixels: Pixels, _: float) -> Pixels:
    return np.rot90(pixels)


def changes() -> dict[str, tuple[str, Change]]:
    """Return all changes by their names in the report, each with a title for people."""
    return {
        "jpeg_90": ("JPEG, quality 90", _jpeg(90)),
        "jpeg_50": ("JPEG, quality 50", _jpeg(50)),
        "jpeg_20": ("JPEG, quality 20", _jpeg(20)),
        "small": ("shrunk to half (256 to 128) and back", _halved),
        "blur": (f"blurred, {_BLUR:g} pixels", _blurred),
        "grey": ("grey", _grey),
        "brighter": ("30 % brighter", _light(1 + _LIGHT)),
        "darker": ("30 % darker", _light(1 - _LIGHT)),
        "shift": (f"crop shifted by {_SHIFT} pixels", _shifted),
        "turned": ("turned by 90 degrees (EXIF lost)", _turned),
    }


def changed(prepare: Prepare, data: bytes, preprocess: Preprocess) -> PixelBatch:
    """Decode a photo once, and return the crop of a model after each change.

    Returns:
        uint8 [changes, crop, crop, 3], in the order of `changes`.

    Raises:
        RequestError: If it cannot be decoded.
    """
    crop, scale = preprocess.crop, preprocess.crop / _CROP
    margin = _shift(scale) + _shift(scale) % 2  # even: halves of pixels are rounded to even ones
    side = crop + 2 * margin
    pixels, info = prepare(data, replace(preprocess, crop=side))
    pixels = _without_black(pixels, (info.width, info.height), replace(preprocess, crop=side))
    inner = slice(margin, margin + crop)
    return np.stack([change(pixels, scale)[inner, inner] for _, change in changes().values()])


def _shift(scale: float) -> int:
    return max(1, round(_SHIFT * scale))


def _without_black(pixels: Pixels, size: tuple[int, int], preprocess: Preprocess) -> Pixels:
    """Repeat the edge of the photo where the crop reaches beyond it, which `prepare` leaves black."""
    (width, height), left, top, side = crop_of(size, preprocess)
    x = np.clip(np.arange(side), max(0, -left), min(side, width - left) - 1)
    y = np.clip(np.arange(side), max(0, -top), min(side, height - top) - 1)
    repeated: Pixels = pixels[y][:, x]
    return repeated
