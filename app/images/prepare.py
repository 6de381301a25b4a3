"""Turn an upload into the pixels that a model looks at: the only module that knows Pillow.

Uploads are hostile until decoded. Only five of Pillow's decoders can be reached from here
(nearly all of its published holes are in the others), the header is checked against the
limits before any pixel is decoded, and whatever Pillow raises becomes a `RequestError`.
Everything here is stateless, writes nothing, and can run in many threads at once.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from app.errors import CorruptImageError, ImageTooLargeError, RequestError
from app.images.colours import to_rgb
from app.images.crop import Frame, resize_frame, resize_whole, turn, upright
from app.images.formats import ends_too_early, identify
from app.images.formats import orientation as find_orientation
from app.images.header_limits import ImageLimits, allowed_reads, check_header, check_size
from app.images.jpeg_header import JpegHeader, read_header
from app.machine import return_freed_memory
from app.records import ImageInfo, Pixels, Preprocess

# Once, for the process: `warnings.catch_warnings` is not safe in threads. A GIF whose first
# frame is larger than its screen meets Pillow's own limit (89 MP) as a warning.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", message="Invalid APNG", module=r"PIL\.PngImagePlugin")

LEAST_SCALE: Final = 4
"""A JPEG is decoded no smaller than this times what its shorter side becomes.

With 2, one real photo in twenty gets another first answer (docs/performance.md).
"""

_LARGE: Final = 6_500_000
"""Pixels that were decoded from which on their memory is given back to the system at once."""


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
    pixels, info, decoded = _prepared(data, preprocess, limits, exact=exact)
    if decoded >= _LARGE:
        return_freed_memory()
    return pixels, info


def _prepared(
    data: bytes, preprocess: Preprocess, limits: ImageLimits, *, exact: bool
) -> tuple[Pixels, ImageInfo, int]:
    """Do what `prepare` says, and tell how many pixels were decoded for it."""
    name = identify(data)
    jpeg = read_header(data) if name == "jpeg" else JpegHeader()
    check_header(jpeg)
    with _pillow(data, name):
        file = _READERS[name](_Source(data, allowed_reads(data, name)))
        _shorten_key(file)
        check_size(file.size, data, name, limits)
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
    return pixels, ImageInfo(width=width, height=height, format=name), file.width * file.height


def _shorten_key(file: ImageFile) -> None:
    """Bring the transparent colour of a 16-bit PNG to the high bytes by which Pillow reads it."""
    key = file.info.get("transparency")
    if isinstance(key, tuple) and file.tile and file.tile[0].args == "RGB;16B":
        file.info["transparency"] = tuple(value >> 8 for value in key)


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
