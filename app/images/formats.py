"""The image formats that the service decodes, in one table, and what else an upload can be.

A new format is one row of FORMATS: error sentences, the schema, the command line and the page
are derived from it.
"""

import codecs
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.errors import UnsupportedFormatError


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """A format that the service decodes.

    Attributes:
        name: As in answers and in the media type.
        title: As in sentences.
        reader: Pillow's class for it. `Image.open` is avoided: it warns about sizes that our
            limits refuse anyway, and reads the index of an MPO.
        suffixes: Endings of file names, in lower case.
        start: Regular expression of the first bytes, at most HEAD_BYTES of them.
        has_end: Returns whether a file that could not be decoded has its end.
    """

    name: str
    title: str
    reader: type[ImageFile]
    suffixes: tuple[str, ...]
    start: bytes
    has_end: Callable[[bytes], bool]

    @property
    def media_type(self) -> str:
        """Return the media type, which has the format's own name for all of them."""
        return f"image/{self.name}"


class _JpegFile(JpegImageFile):
    """A JPEG, or the first picture of an MPO, which phones write.

    When Pillow opens a JPEG it parses the whole EXIF block, only for the resolution in print.
    """

    def _read_dpi_from_exif(self) -> None:
        """Leave EXIF unread."""


FORMATS: Final = (
    ImageFormat("jpeg", "JPEG", _JpegFile, (".jpg", ".jpeg"), rb"\xff\xd8\xff",
                lambda data: b"\xff\xd9" in data[-32:]),
    ImageFormat("png", "PNG", PngImageFile, (".png",), rb"\x89PNG",
                lambda data: b"IEND" in data[-32:]),
    ImageFormat("webp", "WebP", WebPImageFile, (".webp",), rb"(?s)RIFF.{4}WEBP",
                lambda data: len(data) >= 8 + int.from_bytes(data[4:8], "little")),
    ImageFormat("gif", "GIF", GifImageFile, (".gif",), rb"GIF8",
                lambda data: data.rstrip(b"\0").endswith(b"\0;")),
    # A text may begin with BM, too: the length of the header has to be a possible one.
    ImageFormat("bmp", "BMP", BmpImageFile, (".bmp",),
                rb"(?s)BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
                lambda data: len(data) >= int.from_bytes(data[2:6], "little")),
)  # fmt: skip


def listed(words: Iterable[str]) -> str:
    """Join words as in a sentence: `JPEG, PNG or BMP`."""
    *most, last = words
    return f"{', '.join(most)} or {last}"


TITLES: Final = listed(one.title for one in FORMATS)
"""`JPEG, PNG, WebP, GIF or BMP`."""

HEAD_BYTES: Final = 512
"""Beginning of an upload that is looked at; every signature is within it."""

_EXPORT: Final = "Export it as one of these first."
_STILL: Final = "Send a single frame of it."

# (name, first bytes, advice). Signatures: the specification of each format, and
# https://www.iana.org/assignments/media-types.
_SIGNATURES: Final = (
    ("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _EXPORT),
    ("PDF", (b"%PDF",), _EXPORT),
    ("PostScript (EPS)", (b"%!PS", b"\xc5\xd0\xd3\xc6"), _EXPORT),
    ("JPEG 2000", (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), _EXPORT),
    ("JPEG XL", (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"), _EXPORT),
    ("Photoshop (PSD)", (b"8BPS",), _EXPORT),
    ("ICO", (b"\0\0\1\0", b"\0\0\2\0"), _EXPORT),
    ("ZIP", (b"PK\3\4", b"PK\5\6"), "Unpack the archive and send one image at a time."),
    ("WebM video", (b"\x1a\x45\xdf\xa3",), _STILL),
    ("gzip", (b"\x1f\x8b",), "Send the image without compressing it."),
    ("NumPy", (b"\x93NUMPY",), "Send an image file instead of an array of pixels."),
    (
        "An image that was read as text",  # 0x89 or 0xFF, decoded and encoded again
        (b"\xef\xbf\xbd" * 3, b"\xef\xbf\xbdPNG", "\xff\xd8\xff".encode(), "\x89PNG".encode()),
        "Read the file as bytes, and send these.",
    ),
    (
        "Base64 text",
        (b"data:image/", b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR"),
        "Send the bytes of the image themselves.",
    ),
)

_HEIC_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_HEIC_ADVICE: Final = (
    "On an iPhone, choose Settings > Camera > Formats > Most Compatible, "
    "or share the photo as JPEG."
)

_TEXTS: Final = (
    ("SVG", re.compile(rb"(<(\?xml|!--|!doctype svg)[^\0]*)?<svg[\s>]"), _EXPORT),
    ("HTML", re.compile(rb"<(!doctype html|html|head|body)\b"), "Send the image, not its page."),
    ("XML", re.compile(rb"<\?xml\b"), ""),
    (
        "A web address",
        re.compile(rb"https?://\S+\s*$"),
        "The server fetches nothing: send the image.",
    ),
    ("JSON", re.compile(rb"[{\[]\s*[\"{\[\d}\]]"), "Send the bytes of the image themselves."),
)

_NOT_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def identify(data: bytes) -> ImageFormat:
    """Return the format of an upload, by its first bytes.

    Raises:
        UnsupportedFormatError: If it is none of FORMATS; says what the upload is, if that is known.
    """
    head = data[:HEAD_BYTES]
    for one in FORMATS:
        if re.match(one.start, head):
            return one
    if not data:
        raise UnsupportedFormatError(f"The body is empty. Send {TITLES}.")
    name, advice = name_other(head) or ("The format of this file", "")
    raise UnsupportedFormatError(f"{name} is not supported. Send {TITLES}. {advice}".rstrip())


def name_other(head: bytes) -> tuple[str, str] | None:
    """Name a format that is none of FORMATS by its first bytes, with advice; None if it is unknown."""
    signed = ((name, advice) for name, starts, advice in _SIGNATURES if head.startswith(starts))
    return next(signed, None) or _container(head) or _text(head)


def _container(head: bytes) -> tuple[str, str] | None:
    """Look into the two containers that hold pictures as well as videos: ISO base media, RIFF."""
    if head.startswith(b"RIFF"):
        return ("AVI video", _STILL) if head[8:11] == b"AVI" else None
    if head[4:8] != b"ftyp":
        return None
    length = int.from_bytes(head[:4], "big")
    brands = {head[at : at + 4] for at in (8, *range(16, min(length, len(head)), 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF", _EXPORT
    if brands & _HEIC_BRANDS:
        return "HEIC", _HEIC_ADVICE
    return "MP4 video", _STILL


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
    return "Plain text", ""
