"""Which way up an image is, by its EXIF or XMP, and how to turn it upright."""

import re
import struct
from collections.abc import Mapping
from typing import Final, TypeVar

from PIL import Image

from app.images.resize import Box

T = TypeVar("T", int, float)

_TAG: Final = 0x0112
_SHORT: Final = 3
_ENTRY_BYTES: Final = 12
"""EXIF is TIFF: a list of entries; the orientation is a 16-bit number."""

_XMP: Final = re.compile(r"tiff:Orientation(?:=\"|>)([1-8])")

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


def read_orientation(info: Mapping[str | tuple[int, int], object]) -> int:
    """Return an image's EXIF orientation or, where EXIF has none, that of its XMP.

    Pillow's own reader parses the whole EXIF block, and warns or raises if any part of it is
    broken. This one reads a single tag and never fails.

    Args:
        info: Metadata as Pillow found them.

    Returns:
        1 to 8 as EXIF defines them, 1 for upright; any other number in the file counts as upright.
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
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + _ENTRY_BYTES * entries, _ENTRY_BYTES):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, at)
            if (tag, kind) == (_TAG, _SHORT):
                return int(value)
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
    found = _XMP.search(text)
    return int(found[1]) if found else 0
