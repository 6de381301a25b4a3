"""Any kind of image as red, green and blue.

ICC profiles are not applied: the published accuracies of these weights were measured
without, and Pillow's ImageCms, which would apply them, has had holes of its own.
"""

from typing import Final

import numpy as np
from PIL import Image

_EIGHT_BITS: Final = np.rint(np.arange(65536) / 257).astype(np.uint8)
"""[65536]: the 8-bit value of each 16-bit one. 257 = 65535 / 255."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode; transparent pixels show white, whatever colour hides beneath."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(rgba, mask=rgba)
    return opaque


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's `convert` clips it, so that nearly all is white."""
    values = np.asarray(image)
    grey = _EIGHT_BITS[values]
    if isinstance(key := image.info.get("transparency"), int):
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")
