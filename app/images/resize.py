"""Resize a part of an image: with SIMD if cykooz-resizer is installed, otherwise by Pillow.

cykooz-resizer has no wheel for some machines, such as Linux on ARM. It reads the rows of an image
directly from Pillow's memory, whose layout may change, so it is used with one release only.
DECISIONS.md, 25.
"""

from math import ceil, floor
from typing import Final, TypeAlias

import PIL
from PIL import Image

try:
    import cykooz_resizer as simd
except ImportError:
    simd = None

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""

BILINEAR: Final = Image.Resampling.BILINEAR

_PILLOW: Final = "13"
"""The release whose images cykooz-resizer 4.0 was seen to read correctly."""

HAS_SIMD: Final = simd is not None and PIL.__version__.split(".")[0] == _PILLOW
"""Whether this machine resizes grey and RGB images with SIMD."""

_MODES: Final = {"L", "RGB"}


def resize(
    image: Image.Image, size: tuple[int, int], box: Box, *, with_simd: bool = HAS_SIMD
) -> Image.Image:
    """Resize a part of an image with a triangle filter, as wide as the area that becomes one pixel.

    The box is in pixels of the image and within it; the filter also looks beyond its edges.

    Returns:
        The pixels that Pillow computes when it resizes the whole image. With SIMD, whose weights
        have 16 bits, one value in a thousand differs by one level in photos that are not much
        taller than wide, and one in 300 in noise.
    """
    left, top, right, bottom = box
    reach = max(1.0, (bottom - top) / size[1])
    first, last = max(0, floor(top - reach)), min(image.height, ceil(bottom + reach))
    # Horizontally first: the intermediate image is rounded to 8 bits, so in the other order one
    # value in four would differ. Pillow reverses the order for tall boxes.
    filtered = _filter_fast if with_simd and image.mode in _MODES else _filter
    narrow = filtered(image, (size[0], last - first), (left, first, right, last))
    return filtered(narrow, size, (0, top - first, size[0], bottom - first))


def _filter(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    return image.resize(size, BILINEAR, box=box)


def _filter_fast(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    left, top, right, bottom = box
    options = simd.ResizeOptions(
        resize_alg=simd.ResizeAlg.convolution(simd.FilterType.bilinear),
        crop_box=simd.CropBox(left, top, right - left, bottom - top),
    )
    result = Image.new(image.mode, size)
    # One resizer per image: a thread that waited for a shared one would hold the interpreter's
    # lock.
    simd.Resizer().resize_pil(image, result, options)
    return result
