"""Which uploads are refused by what they say of themselves, before a pixel of them is decoded."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from app.errors import CorruptImageError, ImageTooLargeError, ImageTooSmallError
from app.images.jpeg_header import JpegHeader

MAX_SCANNED_PIXELS: Final = 1_000_000_000
"""Pixels times scans of a JPEG, about 1 s: 25 scans of 40 MP, where programs write 3 to 12.

A progressive JPEG goes over the whole picture once a scan, and a scan can be 61 bytes short.
"""

_START_OF_SCAN: Final = 0xFFDA
_MOST_EXIF: Final = 64
"""Segments of EXIF in a JPEG; Pillow copies all before it for each, 9 s for the most in 10 MB."""
_MOST_COMPONENTS: Final = 4
_MAX_RLE_PIXELS: Final = 4_000_000
"""Of a BMP with run lengths, 0.3 s: Pillow reads them byte by byte, in Python."""
_MAX_RLE_READS: Final = 2_000_000
"""Of such a BMP: 0.7 s."""
_PNG_DEPTH: Final = 24
_BMP_HEADER: Final = 14
_BMP_COMPRESSION: Final = 30
"""Where a file says how many bits a number has, how long its header is, how it is compressed."""
_BYTE: Final = 8
_BMP_WITH_COMPRESSION: Final = 40


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Which images are refused by their header.

    Attributes:
        max_pixels: Width times height. A pixel takes 4 bytes, 8 where there is transparency.
            Pillow's own limit, 179 million, stays in force above.
        min_side: Pixels.
        max_side: Pixels.
    """

    max_pixels: int = 40_000_000
    min_side: int = 8
    max_side: int = 16_384


def allowed_reads(data: bytes, name: str) -> int:
    """Return how often a decoder may read from an upload; millions of tiny pieces take seconds."""
    reads = min(len(data), _MAX_RLE_READS) if _has_run_lengths(data, name) else len(data) // 64
    return 10_000 + reads


def check_size(size: tuple[int, int], data: bytes, name: str, limits: ImageLimits) -> None:
    """Refuse what would take too much time or memory, or is too small to see anything.

    Args:
        size: Width and height in pixels, by the header.
        data: The upload.
        name: Its format.
        limits: For most images; some take more for each pixel, and may have fewer.

    Raises:
        ImageTooLargeError: If it is beyond the limits.
        ImageTooSmallError: If it is below the limits.
    """
    _check(size, _scans(data) if name == "jpeg" else 1, limits)
    if name == "png" and data[_PNG_DEPTH] > _BYTE:
        _check(size, 1, replace(limits, max_pixels=limits.max_pixels // 2))
    if _has_run_lengths(data, name):
        _check(size, 1, replace(limits, max_pixels=min(limits.max_pixels, _MAX_RLE_PIXELS)))


def _has_run_lengths(data: bytes, name: str) -> bool:
    """Tell whether a BMP is compressed by RLE8 or RLE4; the oldest headers have no such field."""
    return (
        name == "bmp"
        and len(data) > _BMP_COMPRESSION
        and data[_BMP_HEADER] >= _BMP_WITH_COMPRESSION
        and data[_BMP_COMPRESSION] in {1, 2}
    )


def check_header(header: JpegHeader) -> None:
    """Refuse what takes seconds to find out, or would be damaged anyway.

    Raises:
        CorruptImageError: For arithmetic coding, and for what a header has more often than any file.
    """
    if header.arithmetic:
        # libjpeg goes on with zeros where such codes end: 25 kB take half a minute.
        raise CorruptImageError(
            "JPEG with arithmetic coding is not read here; save it as baseline."
        )
    if header.frames > 1 or header.components > _MOST_COMPONENTS or header.exif > _MOST_EXIF:
        raise CorruptImageError("The header of the JPEG data is damaged.")


def _scans(data: bytes) -> int:
    """Count what begins a scan of a JPEG: pairs of bytes, from the first and from the second on."""
    first = np.frombuffer(data, ">u2", len(data) // 2)
    second = np.frombuffer(data, ">u2", (len(data) - 1) // 2, offset=1)
    return int((first == _START_OF_SCAN).sum() + (second == _START_OF_SCAN).sum())


def _check(size: tuple[int, int], scans: int, limits: ImageLimits) -> None:
    width, height = size
    numbers: dict[str, float] = {"width": width, "height": height}
    if max(size) > limits.max_side:
        raise ImageTooLargeError(
            f"The image is {width} x {height}; the limit is {limits.max_side} pixels a side.",
            limit={**numbers, "max_side": limits.max_side},
        )
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"The image is {width} x {height} ({width * height / 1e6:.1f} MP); "
            f"the limit is {limits.max_pixels / 1e6:g} MP.",
            limit={**numbers, "max_pixels": limits.max_pixels},
        )
    if min(size) < limits.min_side:
        raise ImageTooSmallError(
            f"The image is {width} x {height}; at least {limits.min_side} pixels a side are needed.",
            limit={**numbers, "min_side": limits.min_side},
        )
    if scans * width * height > MAX_SCANNED_PIXELS:
        most = MAX_SCANNED_PIXELS // (width * height)
        raise ImageTooLargeError(
            f"The image is {width} x {height} in {scans} JPEG scans; the limit is {most} at this size.",
            limit={**numbers, "max_scans": most},
        )
