"""Read what stands in a JPEG before its first scan: how it is coded, and how much there is of it.

Pillow and libjpeg believe a header before they look at any pixel, and some headers cost far more
than what follows them. Nothing here decodes anything, and no bytes can make it fail.
"""

from dataclasses import dataclass
from typing import Final

_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15; DHT, JPG and DAC stand between them. Source: ITU-T T.81, table B.1."""
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a segment: TEM, RST0 to RST7, SOI."""
_SCAN: Final = 0xDA
_END: Final = 0xD9
_APP1: Final = 0xE1
_ARITHMETIC: Final = 0x08
_LOSSLESS: Final = 0x03
_LEAST: Final = 2
"""Bytes of a segment; the length that it begins with counts itself."""
_COMPONENTS_AT: Final = 7
"""Of a frame, after its length, precision, height and width."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a header says.

    Attributes:
        arithmetic: Whether its codes are arithmetic, not Huffman's.
        lossless: Whether it has no DCT, and so no smaller scales.
        frames: How many frames begin; a picture has one.
        components: Of the frame with most of them: 1 for grey, 3, or 4.
        exif: Segments of EXIF; a file has one.
    """

    arithmetic: bool = False
    lossless: bool = False
    frames: int = 0
    components: int = 0
    exif: int = 0


def read_header(data: bytes) -> JpegHeader:
    """Walk through the segments as libjpeg does, up to the first scan or to what it cannot follow."""
    arithmetic = lossless = False
    frames = components = exif = 0
    at = 0
    while True:
        at = data.find(b"\xff", at)
        while data[at : at + 1] == b"\xff":  # any number of them may stand before a marker
            at += 1
        if at < 1 or at >= len(data) or data[at] in (_SCAN, _END):
            return JpegHeader(arithmetic, lossless, frames, components, exif)
        marker, at = data[at], at + 1
        if marker == 0 or marker in _ALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < _LEAST:
            return JpegHeader(arithmetic, lossless, frames, components, exif)
        if marker in _FRAMES:
            frames += 1
            arithmetic |= bool(marker & _ARITHMETIC)
            lossless |= marker & _LOSSLESS == _LOSSLESS
            components = max(components, *data[at + _COMPONENTS_AT : at + _COMPONENTS_AT + 1], 0)
        exif += marker == _APP1 and data.startswith(b"Exif\0", at + 2)
        at += length
