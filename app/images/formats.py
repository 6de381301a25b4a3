"""Read what an upload says of itself: its format, whether it is whole, which way is up.

Nothing here decodes anything, and no bytes can make it fail.
"""

import codecs
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.errors import UnsupportedFormatError

WANTED: Final = "send JPEG, PNG, WebP, GIF or BMP"

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
"""Of files that are looked for in a folder."""

_HEAD: Final = 512
"""Bytes that are looked at; every signature here stands within them."""

_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
"""Lengths that a BMP header can have; a text may begin with the letters BM, too."""

_EXPORT: Final = "Export it as one of them first."

# (what it is, its first bytes, advice). Signatures: the specification of each format, and
# https://www.iana.org/assignments/media-types.
_SIGNATURES: Final = (
    ("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _EXPORT),
    ("a PDF document", (b"%PDF",), _EXPORT),
    ("PostScript (EPS)", (b"%!PS", b"\xc5\xd0\xd3\xc6"), _EXPORT),
    ("JPEG 2000", (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), _EXPORT),
    ("JPEG XL", (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"), _EXPORT),
    ("a Photoshop document (PSD)", (b"8BPS",), _EXPORT),
    ("a Windows icon (ICO)", (b"\0\0\1\0", b"\0\0\2\0"), _EXPORT),
    ("a ZIP archive", (b"PK\3\4", b"PK\5\6"), "Unpack it and send one image at a time."),
    ("a video (WebM)", (b"\x1a\x45\xdf\xa3",), "Send a single frame of it."),
    ("gzip-compressed data", (b"\x1f\x8b",), "Send the image as it is."),
    ("a NumPy array", (b"\x93NUMPY",), "Send an image file, not pixels."),
    (
        "base64 text",
        (b"data:image/", b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR"),
        "Send the bytes of the image themselves.",
    ),
)

_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_HEIC_ADVICE: Final = (
    "On an iPhone, choose Settings > Camera > Formats > Most Compatible, "
    "or share the photo as JPEG."
)

_TEXTS: Final = (
    ("SVG", re.compile(rb"(<(\?xml|!--|!doctype svg)[^\0]*)?<svg[\s>]"), _EXPORT),
    ("HTML", re.compile(rb"<(!doctype html|html|head|body)\b"), "Send the image, not its page."),
    ("XML", re.compile(rb"<\?xml\b"), ""),
    ("JSON", re.compile(rb"[{\[]\s*[\"{\[\d}\]]"), "Send the bytes of the image, not JSON."),
)

_NOT_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")

_ORIENTATION_TAG: Final = 0x0112
_SHORT: Final = 3
_ENTRY: Final = 12
"""EXIF is TIFF: a list of entries of 12 bytes, and the orientation is a 16-bit number."""

_XMP_ORIENTATION: Final = re.compile(r"tiff:Orientation(?:=\"|>)([1-8])")


def identify(data: bytes) -> str:
    """Name the format of an upload: `jpeg`, `png`, `webp`, `gif` or `bmp`.

    That the data are whole is not checked.

    Raises:
        UnsupportedFormatError: For anything else; says what it looks like, where that is known.
    """
    if not data:
        raise UnsupportedFormatError(f"The body is empty; {WANTED}.")
    head = bytes(data[:_HEAD])
    if readable := _readable(head):
        return readable
    name, advice = _signature(head) or _container(head) or _text(head) or ("", "")
    if not name:
        raise UnsupportedFormatError(f"This is not an image of a known format; {WANTED}.")
    problem = f"This looks like {name}, which is not read here; {WANTED}."
    raise UnsupportedFormatError(f"{problem} {advice}".rstrip())


def find_images(paths: Sequence[Path]) -> list[Path]:
    """List the files, and the images in the folders, whatever their depth, in order."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            found.append(path)
    return found


def ends_too_early(data: bytes, name: str) -> bool:
    """Tell whether data that could not be decoded lack their end, not something within.

    Args:
        data: The upload.
        name: What `identify` called it.
    """
    match name:
        case "jpeg":
            return b"\xff\xd9" not in data[-32:]
        case "png":
            return b"IEND" not in data[-32:]
        case "webp":
            return len(data) < 8 + int.from_bytes(data[4:8], "little")
        case "bmp":
            return len(data) < int.from_bytes(data[2:6], "little")
        case _:
            return not data.rstrip(b"\0").endswith(b"\0;")


def orientation(info: Mapping[str | tuple[int, int], object]) -> int:
    """Read from its EXIF, else its XMP, which way up an image is.

    Pillow's own reader takes the whole EXIF block apart for it, and warns or raises where any
    part of that is broken.

    Args:
        info: The metadata that Pillow found, as it found them.

    Returns:
        1 to 8, as EXIF counts; 1 is upright, and so is any other number that stands there.
    """
    block = info.get("exif")
    if not isinstance(block, bytes):
        block = _exif_as_text(info.get("Raw profile type exif"))
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp")
    return _exif_orientation(block) or _xmp_orientation(xmp) or 1


def _readable(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG"):
        return "png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith(b"GIF8"):
        return "gif"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    return None


def _signature(head: bytes) -> tuple[str, str] | None:
    for name, beginnings, advice in _SIGNATURES:
        if head.startswith(beginnings):
            return name, advice
    return None


def _container(head: bytes) -> tuple[str, str] | None:
    """Look into the two containers that hold pictures as well as films: ISO base media, RIFF."""
    if head.startswith(b"RIFF"):
        return ("a video (AVI)", "Send a single frame of it.") if head[8:11] == b"AVI" else None
    if head[4:8] != b"ftyp":
        return None
    length = int.from_bytes(head[:4], "big")
    brands = [head[at : at + 4] for at in (8, *range(16, min(length, len(head)), 4))]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF", _EXPORT
    if any(brand in brands for brand in _HEIC_BRANDS):
        return "HEIC", _HEIC_ADVICE
    return "a video (MP4)", "Send a single frame of it."


def _text(head: bytes) -> tuple[str, str] | None:
    if _NOT_TEXT.search(head):
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # may end within a character
    except UnicodeDecodeError:
        return None
    lowered = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for name, pattern, advice in _TEXTS:
        if pattern.match(lowered):
            return name, advice
    return "plain text", ""


def _exif_orientation(block: bytes) -> int:
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + _ENTRY * entries, _ENTRY):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, at)
            if (tag, kind) == (_ORIENTATION_TAG, _SHORT):
                return int(value)
    except struct.error:
        pass  # cut short: as if the tag were not there
    return 0


def _exif_as_text(text: object) -> bytes:
    """Read the hex digits in which ImageMagick keeps EXIF in a PNG, after three lines."""
    try:
        return bytes.fromhex("".join(str(text or "").split("\n")[3:]))
    except ValueError:
        return b""


def _xmp_orientation(packet: object) -> int:
    text = packet.decode("latin-1") if isinstance(packet, bytes) else str(packet)
    found = _XMP_ORIENTATION.search(text)
    return int(found[1]) if found else 0
