"""Convert any kind of image to RGB.

ICC profiles are not applied: the published accuracies of the weights were measured without them,
and Pillow's ImageCms, which applies them, has had vulnerabilities of its own.
"""

from typing import Final

import numpy as np
from PIL import Image

_EIGHT_BITS: Final = np.rint(np.arange(65536) / 257).astype(np.uint8)
"""uint8 [65536]: the 8-bit value of each 16-bit value. 257 = 65535 / 255."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image in any mode; transparent pixels become white, whatever their colour."""
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
    """Scale 16-bit grey to 8 bits; Pillow's `convert` clips it, which makes nearly all of it white."""
    values = np.asarray(image)
    grey = _EIGHT_BITS[values]
    if isinstance(key := image.info.get("transparency"), int):
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")
