"""Resize a part of an image: with SIMD where a package for it is at hand, by Pillow elsewhere.

cykooz-resizer has no wheel for some machines (Linux on ARM is one), and it reads the rows of
Pillow's images from where a release of Pillow keeps them, so that it is trusted with that
release only. DECISIONS.md, 25.
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
"""The release whose images' memory cykooz-resizer 4.0 was seen to read right."""

HAS_SIMD: Final = simd is not None and PIL.__version__.split(".")[0] == _PILLOW
"""Whether grey and RGB images are resized with SIMD here."""

_MODES: Final = {"L", "RGB"}


def resize(
    image: Image.Image, size: tuple[int, int], box: Box, *, with_simd: bool = HAS_SIMD
) -> Image.Image:
    """Resize a part of an image with a triangle filter as wide as what becomes one pixel.

    Args:
        image: In any mode that Pillow resizes.
        size: Width and height of the result.
        box: What is resized, in pixels of the image, which holds all of it. The filter also
            looks beyond its edges.
        with_simd: False leaves all to Pillow; True takes cykooz-resizer, which has to be there.

    Returns:
        The part as Pillow has it after resizing the whole image: of photos not much higher than
        wide one value in a thousand is one level off, of noise one in 300 (the weights of SIMD have
        16 bits).
    """
    left, top, right, bottom = box
    reach = max(1.0, (bottom - top) / size[1])
    first, last = max(0, floor(top - reach)), min(image.height, ceil(bottom + reach))
    # One direction at a time, because what lies between is rounded to 8 bits: in the other
    # order one value in four would be another. Pillow turns the order round for tall boxes.
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
    # A resizer for each image: it works on one at a time, and whoever waits for it would keep
    # the interpreter's lock.
    simd.Resizer().resize_pil(image, result, options)
    return result
