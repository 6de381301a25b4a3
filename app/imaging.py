"""Turn an upload into the pixels that a model looks at: the only module that knows Pillow.

Uploads are hostile until decoded. Only five of Pillow's decoders can be reached from here
(nearly all of its published holes are in the others), the header is checked against the
limits before any pixel is decoded, and whatever Pillow raises becomes a `RequestError`.
Everything here is stateless, writes nothing, and can run in many threads at once.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Final, TypeAlias

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.catalog import Preprocess
from app.colours import to_rgb
from app.errors import CorruptImageError, ImageTooLargeError, ImageTooSmallError, RequestError
from app.framing import Frame, resize_frame, resize_whole, turn, upright
from app.jpeg_header import JpegHeader, read_header
from app.memory import return_freed_memory
from app.records import ImageInfo, Pixels
from app.sniffing import ends_too_early, identify
from app.sniffing import orientation as find_orientation

# Once, for the process: `warnings.catch_warnings` is not safe in threads. A GIF whose first
# frame is larger than its screen meets Pillow's own limit (89 MP) as a warning.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", message="Invalid APNG", module=r"PIL\.PngImagePlugin")

MAX_SCANNED_PIXELS: Final = 1_000_000_000
"""Pixels times scans of a JPEG, about 1 s: 25 scans of 40 MP, where programs write 3 to 12.

A progressive JPEG goes over the whole picture once a scan, and a scan can be 61 bytes short.
"""

LEAST_SCALE: Final = 4
"""A JPEG is decoded no smaller than this times what its shorter side becomes.

With 2, one real photo in twenty gets another first answer (docs/performance.md).
"""

_START_OF_SCAN: Final = 0xFFDA
_MOST_EXIF: Final = 64
"""Segments of EXIF in a JPEG; Pillow copies all before it for each, 9 s for the most in 10 MB."""
_MOST_COMPONENTS: Final = 4
_MAX_RLE_PIXELS: Final = 4_000_000
"""Of a BMP with run lengths, 0.3 s: Pillow reads them byte by byte, in Python."""
_MAX_RLE_READS: Final = 2_000_000
"""Of such a BMP: about half a second."""
_PNG_DEPTH: Final = 24
_BMP_HEADER: Final = 14
_BMP_COMPRESSION: Final = 30
"""Where a file says how many bits a number has, how long its header is, how it is compressed."""
_BYTE: Final = 8
_BMP_WITH_COMPRESSION: Final = 40
_LARGE: Final = 8_000_000
"""Pixels of an image from which on its memory is given back to the system at once."""


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


class _Source(BytesIO):
    """An upload that can be read from only so often; millions of tiny chunks take seconds."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self._reads_left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does.

        Raises:
            ValueError: If this was once too often.
        """
        self._reads_left -= 1
        if self._reads_left < 0:
            raise ValueError("too many small reads")
        return super().read(size)


class _JpegFile(JpegImageFile):
    """A JPEG, and the first picture of an MPO, as phones write it.

    Pillow reads the whole EXIF block when it opens a JPEG, only for the resolution in print.
    """

    def _read_dpi_from_exif(self) -> None:
        """Leave EXIF alone."""


_READERS: Final[dict[str, type[ImageFile]]] = {
    "jpeg": _JpegFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "gif": GifImageFile,
    "bmp": BmpImageFile,
}
"""By the names of `identify`. Taken directly: `Image.open` warns about sizes that the limits
here refuse anyway, and reads the index of an MPO."""


Prepare: TypeAlias = Callable[[bytes, Preprocess], tuple[Pixels, ImageInfo]]
"""`prepare`, its limits and its exactness settled."""


def prepare(
    data: bytes, preprocess: Preprocess, limits: ImageLimits, *, exact: bool = False
) -> tuple[Pixels, ImageInfo]:
    """Decode one upload, the first frame of it, and resize and crop it for a model.

    Args:
        data: The encoded file.
        preprocess: Of the model; mean, std and channel order are left to the serving graph.
        limits: Checked before decoding.
        exact: Decode and resize the whole image, for torchvision's pixels, each of them.
            Otherwise a large JPEG is decoded at the smallest scale that leaves its shorter side
            LEAST_SCALE times as long as it will be, and only what the model sees is resized:
            without the scaling each value is within 1 of the exact one, or 2 for a few in a
            thousand of pure noise (docs/performance.md has the rest).

    Returns:
        uint8 [crop, crop, 3], RGB, C-contiguous, read-only; and what the upload was.

    Raises:
        UnsupportedFormatError: If this is not JPEG, PNG, WebP, GIF or BMP.
        CorruptImageError: If it is damaged or cut short.
        ImageTooLargeError: If it is beyond the limits.
        ImageTooSmallError: If it is below the limits.
    """
    pixels, info = _prepared(data, preprocess, limits, exact=exact)
    if info.width * info.height >= _LARGE:
        return_freed_memory()
    return pixels, info


def _prepared(
    data: bytes, preprocess: Preprocess, limits: ImageLimits, *, exact: bool
) -> tuple[Pixels, ImageInfo]:
    name = identify(data)
    jpeg = read_header(data) if name == "jpeg" else JpegHeader()
    _check_jpeg(jpeg)
    with _pillow(data, name):
        run_lengths = name == "bmp" and _has_run_lengths(data)
        reads = min(len(data), _MAX_RLE_READS) if run_lengths else len(data) // 64
        file = _READERS[name](_Source(data, 10_000 + reads))
        _shorten_key(file)
        scans = _scans(data) if name == "jpeg" else 1
        deep = name == "png" and data[_PNG_DEPTH] > _BYTE
        _check(file.size, scans, limits)
        if deep or run_lengths:
            most = limits.max_pixels // 2 if deep else min(limits.max_pixels, _MAX_RLE_PIXELS)
            _check(file.size, scans, replace(limits, max_pixels=most))
        drafted = None if exact or jpeg.lossless else _draft(file, LEAST_SCALE * preprocess.resize)
        file.load()
        extent, size = drafted or (file.size, file.size)
        orientation = find_orientation(file.info)
        frame = Frame.of(upright(size, orientation), preprocess)
        if exact:
            image = resize_whole(to_rgb(turn(file, orientation)), frame)
        else:
            image = resize_frame(file, frame, extent, orientation)
        pixels = np.asarray(image)
    width, height = frame.size
    return pixels, ImageInfo(width=width, height=height, format=name)


def _has_run_lengths(data: bytes) -> bool:
    """Tell whether a BMP is compressed by RLE8 or RLE4; the oldest headers have no such field."""
    return data[_BMP_HEADER] >= _BMP_WITH_COMPRESSION and data[_BMP_COMPRESSION] in {1, 2}


def _check_jpeg(header: JpegHeader) -> None:
    """Refuse what takes seconds to find out, or would be damaged anyway."""
    if header.arithmetic:
        # libjpeg goes on with zeros where such codes end: 25 kB take half a minute.
        raise CorruptImageError(
            "JPEG with arithmetic coding is not read here; save it as baseline."
        )
    if header.frames > 1 or header.components > _MOST_COMPONENTS or header.exif > _MOST_EXIF:
        raise CorruptImageError("The header of the JPEG data is damaged.")


def _shorten_key(file: ImageFile) -> None:
    """Bring the transparent colour of a 16-bit PNG to the high bytes by which Pillow reads it."""
    key = file.info.get("transparency")
    if isinstance(key, tuple) and file.tile and file.tile[0].args == "RGB;16B":
        file.info["transparency"] = tuple(value >> 8 for value in key)


def _scans(data: bytes) -> int:
    """Count what begins a scan of a JPEG: pairs of bytes, from the first and from the second on."""
    first = np.frombuffer(data, ">u2", len(data) // 2)
    second = np.frombuffer(data, ">u2", (len(data) - 1) // 2, offset=1)
    return int((first == _START_OF_SCAN).sum() + (second == _START_OF_SCAN).sum())


def _draft(file: ImageFile, least: int) -> tuple[tuple[float, float], tuple[int, int]] | None:
    """Ask a JPEG's decoder for the smallest of its scales with at least so short a side.

    Returns:
        The width and height that the image will have, before they are rounded up, and those
        that it has by its header; None of another format.
    """
    size = file.size
    drafted = file.draft(None, (least, least))
    return drafted and ((drafted[1][2], drafted[1][3]), size)


@contextmanager
def _pillow(data: bytes, name: str) -> Iterator[None]:
    """Make every error of Pillow's one of ours."""
    try:
        yield
    except RequestError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as exc:
        raise ImageTooLargeError("Decoding the image would take too much memory.") from exc
    except Exception as exc:  # what decoders raise on hostile data has no common base
        if ends_too_early(data, name):
            problem = f"The {name.upper()} data end too early: the file was cut short on its way."
        else:
            problem = f"The {name.upper()} data are damaged, or of a variant that is not read here."
        raise CorruptImageError(problem) from exc


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
