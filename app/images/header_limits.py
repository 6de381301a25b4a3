"""What decoding an upload may cost, decided by its header before any pixel is decoded.

Pillow and libjpeg trust a header before they look at any pixel, and some headers cost far more
than what follows them. Nothing here decodes anything, and no bytes can make it fail.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from app.errors import CorruptImageError, ImageTooLargeError, ImageTooSmallError
from app.images.png_parts import picture_of

MAX_SCANNED_PIXELS: Final = 1_000_000_000
"""Pixels times scans of a JPEG, about 1 s: 25 scans of 40 MP, where programs write 3 to 12.

A decoder goes over the whole picture once per scan, and a scan can be as short as 61 bytes.
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

_MOST_SEGMENTS: Final = 1_000
"""Scans and other segments of a JPEG after the first scan; the most scans that we know of are 70."""
_PADDING: Final = bytes(8)
"""What follows a JPEG without an end: libjpeg reads up to 7 bytes ahead of the last code. As codes
they are a few blocks at most, so a picture of which more is missing remains incomplete."""
_OTHER_PADDING: Final = b"\xaa" * 65_536
"""As codes, some rows of blocks: a shorter one may change no block that the model sees."""
_END_OF_IMAGE: Final = b"\xff\xd9"

# Markers of ITU-T T.81, table B.1.
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_ALONE: Final = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Those without a segment, and 0, which is no marker."""
_MISPLACED: Final = frozenset({0xC8, 0xD9, 0xDE, *range(0xF0, 0xFE)})
"""The end of the image, and extensions: Pillow skips no segment, or reads a frame (0xDE)."""
_SCAN: Final = 0xDA
_END: Final = 0xD9
_BETWEEN_SCANS: Final = frozenset({0xC4, 0xCC, _SCAN, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
"""Segments that libjpeg takes between two scans; it refuses any other."""
_TABLES: Final = 0xDB
_APP1, _APP13 = 0xE1, 0xED
_ARITHMETIC: Final = 0x08
_LOSSLESS: Final = 0x03
_PROGRESSIVE: Final = 0x02
"""Bits of a frame's marker, the last two of each other. A lossless frame has no smaller scales."""
_ESCAPE: Final = 0xFF
_ENDS_CODES: Final = np.isin(np.arange(256), [0, 1, 0xFF, *range(0xD0, 0xD8)], invert=True)
"""bool [256]: whether a byte after 0xFF ends the codes of a scan; 0 escapes, others restart."""
_BLOCK: Final = 1 << 16
"""Bytes that are searched at a time, 15 us."""
_ALL_COEFFICIENTS: Final = (1 << 64) - 1
_MARKER: Final = re.compile(rb"\xff++([^\xff])")
_LENGTH_BYTES: Final = 2
_HEIGHT, _WIDTH, _COMPONENTS = slice(1, 3), slice(3, 5), slice(5, 6)
_COMPONENT_IDS: Final = slice(6, None, 3)
"""Of a segment, its length, which counts itself; of a frame, its size, the number and names of components."""
_LOW_BITS: Final = 0x0F
"""Of the last byte of a scan's header: how many bits of each coefficient later scans bring."""
_TABLE_BYTES: Final = 65
_READS: Final = 10_000
"""How often a decoder may read: a few times for each segment."""
_MAX_RLE_PIXELS: Final = 4_000_000
_MAX_RLE_READS: Final = 2_000_000
"""Of a BMP with run lengths, 0.3 s and 0.7 s: Pillow reads the runs byte by byte, in Python."""
_PNG_DEPTH: Final = slice(24, 25)
_BMP_HEADER: Final = slice(14, 15)
_BMP_COMPRESSION: Final = slice(30, 31)
"""Where a file says how many bits a channel has, how long its header is, how it is compressed."""
_RLE: Final = {b"\1", b"\2"}
_WINDOWS_BMP: Final = b"\x28"
"""Length of the header from which on it names a compression; OS/2's are shorter."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Sizes beyond which an image is refused by its header.

    Attributes:
        max_pixels: Pixels that are decoded; a pixel takes 4 bytes, 8 if the image has transparency.
            A JPEG whose codes are read row by row may have more, if fewer are decoded of it.
        min_side: Pixels of the shorter side.
        max_side: Pixels of the longer side. The largest photo of a phone is 16,320 pixels wide.
    """

    max_pixels: int = 40_000_000
    min_side: int = 8
    max_side: int = 16_384


@dataclass(frozen=True, slots=True)
class Allowance:
    """What decoding one upload may cost.

    Attributes:
        pictures: What to decode: the upload, or only the parts of it that make the picture. Of two,
            which differ in what follows the last code that is there, the answers have to agree.
        limits: Stricter than usual for formats that cost more per pixel.
        reads: How often the decoder may read; an upload of millions of pieces would take seconds.
        scans: How often the decoder would go over the whole picture.
        scalable: Whether a JPEG can be decoded at a smaller scale.
        streamed: Whether it then takes no memory for the rest: it has one scan, with all components.
    """

    pictures: tuple[bytes, ...]
    limits: ImageLimits
    reads: int
    scans: int = 1
    scalable: bool = True
    streamed: bool = False

    def check_size(self, size: tuple[int, int], decoded: tuple[int, int]) -> None:
        """Refuse an image that takes too much or shows nothing.

        Args:
            size: By its header.
            decoded: What it is decoded to, which is less for a JPEG at a smaller scale.
        """
        width, height = size
        limits = self.limits
        numbers: dict[str, float] = {"width": width, "height": height}
        if max(size) > limits.max_side:
            raise ImageTooLargeError(
                f"The image is {width} x {height}; the limit is {limits.max_side} pixels per side.",
                limit={**numbers, "max_side": limits.max_side},
            )
        counted = decoded if self.streamed else size
        if counted[0] * counted[1] > limits.max_pixels:
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
        most = min(_MOST_SEGMENTS, MAX_SCANNED_PIXELS // (width * height))
        if self.scans > most:
            raise ImageTooLargeError(
                f"The image is {width} x {height} in {self.scans} JPEG scans; "
                f"the limit is {most} at this size.",
                limit={**numbers, "max_scans": most},
            )


def read_allowance(data: bytes, name: str, limits: ImageLimits) -> Allowance:
    """Return what decoding an upload in the format of this name may cost.

    Raises:
        CorruptImageError: If it is a JPEG with arithmetic coding, or with more of anything in its
            header than files have, or a PNG of too many chunks.
    """
    reads = _READS
    match name:
        case "jpeg":
            return _jpeg_allowance(data, limits)
        case "gif":
            reads += len(data) // 120  # it has pieces of up to 255 bytes; each is two reads
        case "png":
            data = picture_of(data)
            if data[_PNG_DEPTH] > b"\x08":
                limits = replace(limits, max_pixels=limits.max_pixels // 2)
        case "bmp" if data[_BMP_HEADER] >= _WINDOWS_BMP and data[_BMP_COMPRESSION] in _RLE:
            limits = replace(limits, max_pixels=min(limits.max_pixels, _MAX_RLE_PIXELS))
            reads += min(len(data), _MAX_RLE_READS)
    return Allowance((data,), limits, reads)


def _jpeg_allowance(data: bytes, limits: ImageLimits) -> Allowance:
    header = read_jpeg_header(data)
    if header.counts["arithmetic frames"]:
        # libjpeg continues with zeros where such codes end: 25 kB take half a minute.
        raise CorruptImageError(
            "JPEG with arithmetic coding is not supported. Save the image as baseline JPEG."
        )
    if any(header.counts[name] > most for name, most in MOST.items()):
        raise CorruptImageError("The header of the JPEG file is damaged.")
    scans, single, cut = read_scans(data, header)
    pictures: tuple[bytes, ...] = (data,)
    if cut is not None:
        # Zeros may lie behind the picture, too; where codes are missing they would be read as codes.
        start = data[:cut].rstrip(b"\0\xff") + _PADDING
        if single:
            pictures = (start,)
        elif header.pixels <= limits.max_pixels // 2:  # a larger one would take too long twice
            # libjpeg needs an end here, and takes what is missing before it for grey.
            pictures = (start + _END_OF_IMAGE, start + _OTHER_PADDING + _END_OF_IMAGE)
    scalable = not header.counts["lossless frames"]
    return Allowance(pictures, limits, _READS, scans, scalable, scalable and single)


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG holds before its first scan.

    Attributes:
        counts: By the names of MOST, and of two kinds of frame.
        progressive: Whether the coefficients are spread over scans.
        components, pixels: The identifiers of the last frame's components, and its size.
        scan: Where the marker of the first scan is; the end of the file if there is none.
    """

    counts: dict[str, int]
    progressive: bool
    components: bytes
    pixels: int
    scan: int


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Walk the segments as Pillow does, to the first scan.

    The walk ends early if a marker is misplaced, or if there are more markers than MOST allows.
    """
    counts = dict.fromkeys((*MOST, "arithmetic frames", "lossless frames"), 0)
    progressive, components, pixels = False, b"", 0
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
        segment = _segment(data, at)
        at += _LENGTH_BYTES + len(segment)
        if marker in _FRAMES:
            progressive = marker & _LOSSLESS == _PROGRESSIVE
            pixels = int.from_bytes(segment[_HEIGHT]) * int.from_bytes(segment[_WIDTH])
            components = segment[_COMPONENT_IDS][: sum(segment[_COMPONENTS])]
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
    return JpegHeader(counts, progressive, components, pixels, at if at >= 0 else len(data))


def _segment(data: bytes, at: int) -> bytes:
    """Return a segment without its length; as for libjpeg, a length below 2 is an empty segment."""
    length = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
    return data[at + _LENGTH_BYTES : at + length]


def read_scans(data: bytes, header: JpegHeader) -> tuple[int, bool, int | None]:
    """Walk the segments as libjpeg does, from the first scan to the end of the picture.

    Returns:
        The number of scans; what looks like one inside a segment, or behind the picture, is none.
        Whether the first one has the whole picture. And where to cut the file off if the picture
        has no end marker, but every coefficient of every component to its last bit; None otherwise.
    """
    missing = dict.fromkeys(header.components, _ALL_COEFFICIENTS)
    at, cut, count, segments = header.scan, None, 0, 0
    single = False
    while segments <= _MOST_SEGMENTS and (found := _MARKER.match(data, at)):
        marker = found[1][0]
        if marker == _END:
            return count, single, None
        if marker not in _BETWEEN_SCANS or (marker == _SCAN and single):
            break
        segments += 1
        segment = _segment(data, found.end())
        if marker == _SCAN:
            count += 1
            _take_off(missing, segment, progressive=header.progressive)
            # Names may be there twice; libjpeg counts.
            whole = not header.progressive and segment[:1] == bytes([len(header.components)])
            single = count == 1 and whole and not any(missing.values())
        at = _next_marker(data, found.end() + _LENGTH_BYTES + len(segment))
        if cut is None and count and not any(missing.values()):
            cut = at
    return segments if segments > _MOST_SEGMENTS else count, single, cut


def _take_off(missing: dict[int, int], scan: bytes, *, progressive: bool) -> None:
    """Take off the coefficients that a scan completes, bits of a number for each component."""
    parts = 2 * sum(scan[:1])
    first, last, bits = scan[1 + parts : 4 + parts].ljust(3, b"\0")
    found = (2 << last) - (1 << first) if progressive else _ALL_COEFFICIENTS
    if progressive and (bits & _LOW_BITS or first > last):
        return
    for component in scan[1 : 1 + parts : 2]:
        if component in missing:
            missing[component] &= ~found


def _next_marker(data: bytes, at: int) -> int:
    """Return where the next marker is that is no part of a scan's codes, or the end of the data."""
    while at < len(data) - 1:
        block = np.frombuffer(data, np.uint8, min(_BLOCK, len(data) - at), at)
        escapes = np.flatnonzero(block[:-1] == _ESCAPE)
        markers = escapes[_ENDS_CODES[block[escapes + 1]]]
        if markers.size:
            return at + int(markers[0])
        at += len(block) - 1
    return len(data)
