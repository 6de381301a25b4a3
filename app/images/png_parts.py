"""A PNG without what lies beside its picture: texts, colour profiles, times, animations.

Pillow reads every chunk. It inflates texts and profiles, and refuses the file if one of them is
damaged or unpacks to more than 1 MiB; browsers pass over such a chunk. So Pillow is given only the
chunks that make the picture, and what says how it is turned.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from app.errors import CorruptImageError

_SIGNATURE_BYTES: Final = 8
_HEAD_BYTES: Final = 8
_CRC_BYTES: Final = 4
"""Bytes of a chunk before its content (length, kind) and behind it."""

_MOST_CHUNKS: Final = 30_000
"""Chunks of a PNG, each a step in Python: 25 MB in pieces of 833 bytes; encoders write 8,192 or more."""

_MOST_TEXT: Final = 1 << 20
"""Bytes of a text that are looked at, as they are and inflated."""

_TEXTS: Final = {b"tEXt", b"zTXt", b"iTXt"}
_BEHIND: Final = {*_TEXTS, b"eXIf", b"IEND"}
_TURNING: Final = re.compile(rb"(?:(Raw profile type (?:exif|APP1))|XML:com\.adobe\.xmp)\0")
"""Keywords of the texts that may hold an orientation: ImageMagick's EXIF, and XMP."""
_EXIF_PREFIX: Final = b"Exif\0\0"
"""What EXIF begins with in a JPEG; some programs leave it there in a PNG."""

_COLOUR: Final = slice(17, 18)
"""Where the IHDR chunk has the kind of colour."""
_PALETTE: Final = b"\3"
_KEY_BYTES: Final = {b"\0": {2}, b"\2": {6}, _PALETTE: range(1, 257)}
"""Lengths of a tRNS chunk by kind of colour; decoders pass over a chunk of another length."""


def picture_of(data: bytes) -> bytes:
    """Return a PNG with the chunks of this one that make the picture, and with its EXIF and XMP.

    A kind of chunk counts once, the first time. The pixels become a single chunk. Anything else is
    left out, and so are transparency, EXIF and XMP whose checksum is wrong.

    Raises:
        CorruptImageError: If it has more chunks than any encoder writes.
    """
    before: dict[bytes, bytes] = {}
    behind: dict[bytes, bytes] = {}
    pixels: list[bytes] = []
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            pixels.append(data[start:end])
        elif kind in _BEHIND:
            _keep(behind, data, kind, start, end)
        elif not pixels and _is_needed(before, data, kind, start, end):
            before.setdefault(kind, data[start - _HEAD_BYTES : end + _CRC_BYTES])
    joined = [_head(b"IDAT", sum(map(len, pixels))), *pixels, bytes(_CRC_BYTES)] if pixels else []
    rest = [_chunk(kind, content) for kind, content in behind.items()]
    signature = data[:_SIGNATURE_BYTES]  # as it is: one with other line ends is of a damaged file
    return b"".join([signature, *before.values(), *joined, *rest])


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each chunk up to the end, and where its content starts and ends."""
    at = _SIGNATURE_BYTES
    for _ in range(_MOST_CHUNKS):
        start = at + _HEAD_BYTES
        kind = data[at + 4 : start]
        if len(kind) < _HEAD_BYTES - 4 or not kind.isalpha():
            return
        end = start + int.from_bytes(data[at : at + 4], "big")
        yield kind, start, end
        if kind == b"IEND":
            return
        at = end + _CRC_BYTES
    raise CorruptImageError("The metadata of the PNG file is damaged or too large.")


def _is_needed(before: dict[bytes, bytes], data: bytes, kind: bytes, start: int, end: int) -> bool:
    """Return whether a chunk is one without which the pixels mean something else."""
    colour = before.get(b"IHDR", b"")[_COLOUR]
    if kind == b"tRNS":
        return end - start in _KEY_BYTES.get(colour, ()) and _is_sound(data, start, end)
    # Pillow compares the checksums of these two.
    return kind == b"IHDR" or (kind == b"PLTE" and colour == _PALETTE)


def _keep(behind: dict[bytes, bytes], data: bytes, kind: bytes, start: int, end: int) -> None:
    """Keep what goes behind the pixels: the end, and the first EXIF and XMP of each kind."""
    found = _TURNING.match(data, start, end) if kind in _TEXTS else None
    if kind == b"IEND":
        behind[kind] = b""
    elif found:
        name = b"tEXt" if found[1] else b"iTXt"
        if name not in behind and _is_sound(data, start, end):
            behind[name] = _plain(name, kind, data[found.end() : end][:_MOST_TEXT])
    elif kind == b"eXIf" and kind not in behind and _is_sound(data, start, end):
        behind[kind] = data[start:end].removeprefix(_EXIF_PREFIX)


def _is_sound(data: bytes, start: int, end: int) -> bool:
    """Return whether a chunk has the checksum that belongs to its kind and content."""
    checksum = zlib.crc32(memoryview(data)[start - 4 : end])
    return checksum.to_bytes(_CRC_BYTES, "big") == data[end : end + _CRC_BYTES]


def _plain(name: bytes, kind: bytes, text: bytes) -> bytes:
    """Return the content of a chunk that Pillow need not inflate, with what this one says.

    Args:
        name: tEXt for EXIF as text, iTXt for XMP.
        kind: That of the chunk.
        text: What follows its keyword: before the text itself, a method (zTXt), or a flag, a method,
            a language and a keyword in it (iTXt).
    """
    if kind == b"zTXt":
        text = _inflated(text[1:])
    elif kind == b"iTXt":
        flag, text = text[:1], text[2:].split(b"\0", 2)[-1]
        text = text if flag == b"\0" else _inflated(text)
    keyword = b"Raw profile type exif\0" if name == b"tEXt" else b"XML:com.adobe.xmp\0\0\0\0\0"
    return keyword + text


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _MOST_TEXT)
    except zlib.error:
        return b""


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind)).to_bytes(_CRC_BYTES, "big")
    return _head(kind, len(content)) + content + checksum


def _head(kind: bytes, length: int) -> bytes:
    return struct.pack(">I4s", length, kind)
