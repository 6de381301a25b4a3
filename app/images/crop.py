"""The part of an image that a model sees, upright and in RGB, and two ways to compute it: fast, exact.

The geometry is torchvision's for evaluation: the shorter side is resized, the centre cropped.

ICC profiles are not applied: the published accuracies of the weights were measured without them,
and Pillow's ImageCms, which applies them, has had vulnerabilities of its own.
"""

import re
import struct
from collections.abc import Mapping
from math import ceil, floor
from typing import Final, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from app.images.resize import BILINEAR, Box, resize
from app.records import Preprocess

T = TypeVar("T", int, float)

MAX_RESIZED_PIXELS: Final = 8_388_608
"""Most pixels, 32 MiB, that are resized only to be cropped away; see `crop_exactly`."""

_EXIF_PREFIX: Final = b"Exif\0\0"
_TAG: Final = 0x0112
_ENTRY_BYTES: Final = 12
_VALUE: Final = 8
_ORIENTATIONS: Final = range(1, 9)
_INTEGERS: Final = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
"""EXIF is TIFF: a list of entries. The orientation should be a SHORT, 3; some programs write another type.

Those here are the integers that Pillow turns by. It and browsers leave a BYTE (1) aside.
"""
_ENTRY_HOLDS: Final = 4
"""Bytes of a value that are in the entry itself; longer ones are elsewhere in the block."""

_XMP: Final = re.compile(r"tiff:Orientation(?:\s?=\s?[\"']|>\s?)([1-8])")

_MOST_XMP: Final = 1 << 20
"""Characters of XMP that are searched, a millisecond; most of it has a few thousand."""

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each EXIF orientation."""

_SIDEWAYS: Final = {5, 6, 7, 8}
_FROM_THE_RIGHT: Final = {2, 3, 7, 8}
_FROM_THE_BOTTOM: Final = {3, 4, 6, 7}
"""EXIF orientations whose files store an image with its axes swapped, its x or its y reversed."""

_EIGHT_BITS: Final = np.rint(np.arange(65536) / 257).astype(np.uint8)
"""uint8 [65536]: the 8-bit value of each 16-bit value. 257 = 65535 / 255."""


class Crop(NamedTuple):
    """The size of the resized image, and the left, the top and the side of the crop in it."""

    resized: tuple[int, int]
    left: int
    top: int
    side: int


def crop_of(size: tuple[int, int], preprocess: Preprocess) -> Crop:
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
    return Crop(resized, left, top, crop)


def crop_exactly(image: Image.Image, crop: Crop, orientation: int) -> Image.Image:
    """Resize all of an image, upright and in RGB, then crop it: exactly torchvision's pixels.

    If the whole of a very long image would take more than MAX_RESIZED_PIXELS (beyond 1 : 128 for
    256 pixels), only the crop is computed: each value is within 1 of torchvision's.
    """
    image = to_rgb(turn_upright(image, orientation))
    if crop.resized[0] * crop.resized[1] > MAX_RESIZED_PIXELS:
        return crop_fast(image, crop, image.size, 1)
    if image.size != crop.resized:
        image = image.resize(crop.resized, BILINEAR)
    _, left, top, side = crop
    return image.crop((left, top, left + side, top + side))


def crop_padded(image: Image.Image, crop: Crop, orientation: int) -> Image.Image:
    """Resize all of an image and put it on black, for a crop that reaches beyond its sides."""
    if image.mode not in {"L", "RGB"} or "transparency" in image.info:
        image = to_rgb(image)
    small = image.resize(upright_size(crop.resized, orientation), BILINEAR)
    _, left, top, side = crop
    return turn_upright(to_rgb(small), orientation).crop((left, top, left + side, top + side))


def crop_fast(
    image: Image.Image, crop: Crop, extent: tuple[float, float], orientation: int
) -> Image.Image:
    """Compute only the crop: each value is within 1 (rarely 2) of that of `crop_exactly`.

    Args:
        image: As stored in the file, not turned, in any mode.
        crop: The square of the upright image.
        extent: Its width and height as stored; fractions if a smaller scale was decoded, whose
            last row and column may be part of a pixel.
        orientation: EXIF's.
    """
    (across, down), left, top, side = crop
    width, height = upright_size(extent, orientation)
    x, y = width / across, height / down  # pixels of the image per pixel of the result
    seen = (left * x, top * y, (left + side) * x, (top + side) * y)
    box = stored_box(seen, (width, height), orientation)
    box = (max(0, box[0]), max(0, box[1]), min(box[2], image.width), min(box[3], image.height))
    if image.mode not in {"L", "RGB"} or "transparency" in image.info:
        image, box = _cut_around(image, box, side)
        image = to_rgb(image)
    return turn_upright(to_rgb(resize(image, (side, side), box)), orientation)


def _cut_around(image: Image.Image, box: Box, side: int) -> tuple[Image.Image, Box]:
    """Cut away what contributes to no pixel of the box, so that less has to be converted."""
    left, top, right, bottom = box
    reach_x = max(1.0, (right - left) / side) + 1  # of the filter, and 1 for rounding
    reach_y = max(1.0, (bottom - top) / side) + 1
    x, y = max(0, floor(left - reach_x)), max(0, floor(top - reach_y))
    end_x, end_y = (
        min(image.width, ceil(right + reach_x)),
        min(image.height, ceil(bottom + reach_y)),
    )
    return image.crop((x, y, end_x, end_y)), (left - x, top - y, right - x, bottom - y)


def read_orientation(info: Mapping[str | tuple[int, int], object]) -> int:
    """Return an image's EXIF orientation or, where EXIF has none, that of its XMP.

    Pillow's own reader parses the whole EXIF block, and warns or raises if any part of it is
    broken. This one reads a single tag from the metadata that Pillow found, and never fails.

    Returns:
        1 to 8 as EXIF defines them, 1 for upright; any other number in the file does not count.
    """
    block = info.get("exif")
    if not isinstance(block, bytes):
        block = _exif_from_text(str(info.get("Raw profile type exif") or ""))
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp")
    return _exif_orientation(block) or _xmp_orientation(xmp) or 1


def upright_size(size: tuple[T, T], orientation: int) -> tuple[T, T]:
    """Return the width and height of an image once it is upright."""
    return (size[1], size[0]) if orientation in _SIDEWAYS else size


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Undo an EXIF orientation."""
    transposition = _UPRIGHT.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def stored_box(box: Box, size: tuple[float, float], orientation: int) -> Box:
    """Return where a box of the upright image, which has this size, is in the stored image."""
    (left, top, right, bottom), (width, height) = box, size
    if orientation in _SIDEWAYS:
        left, top, right, bottom, width, height = top, left, bottom, right, height, width
    if orientation in _FROM_THE_RIGHT:
        left, right = width - right, width - left
    if orientation in _FROM_THE_BOTTOM:
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _exif_orientation(block: bytes) -> int:
    block = block.removeprefix(_EXIF_PREFIX).removeprefix(_EXIF_PREFIX)  # some write it twice
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + _ENTRY_BYTES * entries, _ENTRY_BYTES):
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, at)
            if tag == _TAG and kind in _INTEGERS and count:
                integer = struct.Struct(order + _INTEGERS[kind])
                where = at + _VALUE
                if count * integer.size > _ENTRY_HOLDS:  # the first of several counts
                    (where,) = struct.unpack_from(f"{order}I", block, where)
                (value,) = integer.unpack_from(block, where)
                return int(value) if value in _ORIENTATIONS else 0
    except struct.error:
        pass  # cut short: the same as without the tag
    return 0


def _exif_from_text(text: str) -> bytes:
    """Decode the EXIF that ImageMagick writes into a PNG as text: three lines, then hex digits."""
    try:
        return bytes.fromhex("".join(text.split("\n", 3)[3:]))  # which skips line breaks
    except ValueError:
        return b""


def _xmp_orientation(packet: object) -> int:
    text = packet.decode("latin-1") if isinstance(packet, bytes) else str(packet)
    found = _XMP.search(text, 0, _MOST_XMP)
    return int(found[1]) if found else 0


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
