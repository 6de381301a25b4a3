"""What decoding an upload may cost, decided by its header before any pixel is decoded.

Pillow and libjpeg trust a header before they look at any pixel, and some headers cost far more
than what follows them. Nothing here decodes anything, and no bytes can make it fail.
"""

import re
from dataclasses import dataclass, replace
from math import inf
from typing import Final

import numpy as np
from PIL.PngImagePlugin import MAX_TEXT_CHUNK

from app.errors import CorruptImageError, ImageTooLargeError, ImageTooSmallError

MAX_SCANNED_PIXELS: Final = 1_000_000_000
"""Pixels times scans of a JPEG, about 1 s: 25 scans of 40 MP, where programs write 3 to 12.

A progressive JPEG goes over the whole picture once per scan, and a scan can be as short as 61
bytes.
"""

MOST: Final = {
    "markers": 2_000,  # each is a step in Python; photos have up to 14, 10 MB of metadata 200
    "EXIF segments": 64,  # Pillow copies all earlier ones for each: 9 s for the most in 10 MB
    "quantization tables": 64,  # Pillow reorders each in Python; decoders use up to 4
    "Photoshop resources": 10_000,  # each is a step in Python; Photoshop writes about 30
    "frames": 1,
    "components": 4,
    "misplaced markers": 0,  # libjpeg refuses the file, but only after Pillow has read the rest
}
"""What the header of a JPEG may hold before its first scan."""

# Markers of ITU-T T.81, table B.1.
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_ALONE: Final = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Those without a segment, and 0, which is no marker."""
_MISPLACED: Final = frozenset({0xC8, 0xD9, 0xDE, *range(0xF0, 0xFE)})
"""The end of the image, and extensions: Pillow skips no segment, or reads a frame (0xDE)."""
_SCAN: Final = 0xDA
_TABLES: Final = 0xDB
_APP1: Final = 0xE1
_APP13: Final = 0xED
_ARITHMETIC: Final = 0x08
_LOSSLESS: Final = 0x03
"""Bits of a frame's marker. A lossless frame has no DCT, and so no smaller scales."""
_MARKER: Final = re.compile(rb"\xff++([^\xff])")
_LENGTH_BYTES: Final = 2
"""Every segment begins with its length, which counts itself."""
_COMPONENTS: Final = slice(5, 6)
"""In a frame, the number of its components."""
_TABLE_BYTES: Final = 65
_START_OF_SCAN: Final = 0xDAFF
"""FF DA, read as a little-endian number."""

_INFLATED: Final = re.compile(rb"iCCP|zTXt|iTXt[^\0]*+\0[^\0]")
"""A PNG chunk that Pillow inflates: an iTXt chunk only if the flag after its keyword says so."""
_MOST_INFLATED: Final = 50_000_000
"""Bytes, about 0.1 s, that the metadata of a PNG may inflate to; files have one such chunk or two.

Pillow inflates up to 1 MiB of every chunk, whether or not it keeps the result.
"""
_DEFLATE_RATIO: Final = 1032
"""Most bytes that one byte of deflate can become."""
_BYTES_PER_DEFLATED: Final = 20
"""Bytes that zlib writes in the time that it takes to read one byte of empty blocks."""
_CHUNK_KIND: Final = re.compile(rb"\w{4}")
_MOST_CHUNKS: Final = 15_000
"""Chunks of a PNG: 10 MB in pieces of 667 bytes, where encoders write 8,192 or more."""
_PNG_START: Final = 8
_PNG_CHUNK_BYTES: Final = 12
"""Bytes of a chunk besides its data: length, kind, checksum."""

_MAX_RLE_PIXELS: Final = 4_000_000
"""Pixels of a BMP with run lengths, 0.3 s: Pillow reads the runs byte by byte, in Python."""
_MAX_RLE_READS: Final = 2_000_000
"""Reads of such a BMP: 0.7 s."""
_PNG_DEPTH: Final = slice(24, 25)
_BMP_HEADER: Final = slice(14, 15)
_BMP_COMPRESSION: Final = slice(30, 31)
"""Where a file says how many bits a channel has, how long its header is, how it is compressed."""
_EIGHT_BITS: Final = b"\x08"
_RLE: Final = {b"\1", b"\2"}
_NAMES_COMPRESSION: Final = b"\x28"
"""Length from which on a BMP header names its compression; OS/2's are shorter."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Sizes beyond which an image is refused by its header.

    A pixel takes 4 bytes, 8 if the image has transparency. Pillow's own limit, 179 million pixels,
    also applies.
    """

    max_pixels: int = 40_000_000
    min_side: int = 8
    max_side: int = 16_384


@dataclass(frozen=True, slots=True)
class Allowance:
    """What decoding one upload may cost.

    Attributes:
        limits: Stricter than usual for formats that cost more per pixel.
        reads: How often the decoder may read; an upload of millions of pieces would take seconds.
        scans: How often the decoder would go over the whole picture.
        scalable: Whether a JPEG can be decoded at a smaller scale.
    """

    limits: ImageLimits
    reads: int
    scans: int = 1
    scalable: bool = True

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse an image, by the size in its header, that takes too much or that shows nothing."""
        width, height = size
        limits = self.limits
        numbers: dict[str, float] = {"width": width, "height": height}
        if max(size) > limits.max_side:
            raise ImageTooLargeError(
                f"The image is {width} x {height}; the limit is {limits.max_side} pixels per side.",
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
                f"The image is {width} x {height}; "
                f"the minimum is {limits.min_side} pixels per side.",
                limit={**numbers, "min_side": limits.min_side},
            )
        if self.scans * width * height > MAX_SCANNED_PIXELS:
            most = MAX_SCANNED_PIXELS // (width * height)
            raise ImageTooLargeError(
                f"The image is {width} x {height} in {self.scans} JPEG scans; "
                f"the limit is {most} at this size.",
                limit={**numbers, "max_scans": most},
            )


def read_allowance(data: bytes, name: str, limits: ImageLimits) -> Allowance:
    """Return what decoding an upload in the format of this name may cost.

    Raises:
        CorruptImageError: If it is a JPEG with arithmetic coding, or with more of anything in its
            header than files have, or a PNG whose metadata takes too long to inflate.
    """
    reads = 10_000 + len(data) // 160
    match name:
        case "jpeg":
            return _jpeg_allowance(data, limits, reads)
        case "png":
            if _inflated_bytes(data) > _MOST_INFLATED:
                raise CorruptImageError("The metadata of the PNG file is damaged or too large.")
            if data[_PNG_DEPTH] > _EIGHT_BITS:
                limits = replace(limits, max_pixels=limits.max_pixels // 2)
        case "bmp" if data[_BMP_HEADER] >= _NAMES_COMPRESSION and data[_BMP_COMPRESSION] in _RLE:
            limits = replace(limits, max_pixels=min(limits.max_pixels, _MAX_RLE_PIXELS))
            reads = 10_000 + min(len(data), _MAX_RLE_READS)
    return Allowance(limits, reads)


def _jpeg_allowance(data: bytes, limits: ImageLimits, reads: int) -> Allowance:
    counts = count_jpeg_header(data)
    if counts["arithmetic frames"]:
        # libjpeg continues with zeros where such codes end: 25 kB take half a minute.
        raise CorruptImageError(
            "JPEG with arithmetic coding is not supported. Save the image as baseline JPEG."
        )
    if any(counts[name] > most for name, most in MOST.items()):
        raise CorruptImageError("The header of the JPEG file is damaged.")
    return Allowance(limits, reads, _scans(data), scalable=not counts["lossless frames"])


def _inflated_bytes(data: bytes) -> float:
    """Return the most bytes to which Pillow may inflate a PNG; infinite if it has too many chunks.

    Chunks after the pixels count: Pillow reads those, too, up to the end or to what is no chunk.
    """
    at, total, chunks = _PNG_START, 0, 0
    while (kind := data[at + 4 : at + 8]) != b"IEND" and _CHUNK_KIND.fullmatch(kind):
        chunks += 1
        if chunks > _MOST_CHUNKS:
            return inf
        length = int.from_bytes(data[at : at + 4], "big")
        if _INFLATED.match(data, at + 4, at + 8 + length):
            total += min(MAX_TEXT_CHUNK, _DEFLATE_RATIO * length) + _BYTES_PER_DEFLATED * length
        at += _PNG_CHUNK_BYTES + length
    return total


def count_jpeg_header(data: bytes) -> dict[str, int]:
    """Count what a JPEG holds before its first scan, by the names of MOST and two kinds of frame.

    Walks the segments as Pillow does, until a marker is misplaced, or until there are more markers
    than MOST allows.
    """
    counts = dict.fromkeys((*MOST, "arithmetic frames", "lossless frames"), 0)
    at = 0
    while counts["markers"] <= MOST["markers"] and (at := data.find(b"\xff", at)) >= 0:
        found = _MARKER.match(data, at)
        if not found or (marker := found[1][0]) == _SCAN:
            break
        at = found.end()
        counts["markers"] += 1
        if marker in _MISPLACED:
            counts["misplaced markers"] += 1
            break
        if marker in _ALONE:
            continue
        length = max(_LENGTH_BYTES, int.from_bytes(data[at : at + _LENGTH_BYTES], "big"))
        segment = data[at + _LENGTH_BYTES : at + length]
        at += length
        if marker in _FRAMES:
            counts["frames"] += 1
            counts["arithmetic frames"] += bool(marker & _ARITHMETIC)
            counts["lossless frames"] += marker & _LOSSLESS == _LOSSLESS
            counts["components"] += sum(segment[_COMPONENTS])
        elif marker == _TABLES:
            counts["quantization tables"] += len(segment) // _TABLE_BYTES
        elif marker == _APP1:
            counts["EXIF segments"] += segment.startswith(b"Exif\0")
        elif marker == _APP13:
            counts["Photoshop resources"] += segment.count(b"8BIM")
    return counts


def _scans(data: bytes) -> int:
    """Count the pairs of bytes that begin a scan of a JPEG, at even and at odd addresses."""
    even = np.frombuffer(data, "<u2", len(data) // 2)
    odd = np.frombuffer(data, "<u2", (len(data) - 1) // 2, offset=1)
    return sum(int(np.count_nonzero(pairs == _START_OF_SCAN)) for pairs in (even, odd))
