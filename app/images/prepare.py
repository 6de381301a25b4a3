"""Turn an upload into the pixels that a model sees.

Uploads are hostile until decoded. Only five of Pillow's decoders can be reached from here
(nearly all of its published holes are in the others), the header is checked against the
limits before any pixel is decoded, and whatever Pillow raises becomes a `RequestError`.
Everything here is stateless, writes nothing, and can run in many threads at once.
"""

import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Final, TypeAlias

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from app.errors import CorruptImageError, ImageTooLargeError, RequestError
from app.images.crop import (
    crop_exactly,
    crop_fast,
    crop_of,
    crop_padded,
    read_orientation,
    upright_size,
)
from app.images.cut_short import incomplete, share_missing
from app.images.formats import ImageFormat, identify
from app.images.header_limits import Allowance, ImageLimits, read_allowance
from app.machine import return_freed_memory
from app.records import ImageInfo, Pixels, Preprocess

LEAST_SCALE: Final = 4
"""A JPEG is decoded no smaller than this times what its shorter side becomes.

With 2, one real photo in twenty gets another first answer (docs/performance.md).
"""

_LARGE: Final = 6_500_000
"""Decoded pixels from which on their memory is returned to the system at once."""

Prepare: TypeAlias = Callable[[bytes, Preprocess], tuple[Pixels, ImageInfo]]
"""`prepare` with its limits and its exactness chosen."""


class _Source(BytesIO):
    """An upload that can be read from only so often."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self._reads_left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does, while reads are left."""
        self._reads_left -= 1
        if self._reads_left < 0:
            raise ValueError("too many small reads")
        return super().read(size)


def ignore_warnings() -> None:
    """Keep Pillow's warnings about broken or large files out of the log, when a process starts.

    `warnings.catch_warnings` is not safe in threads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def prepare(
    data: bytes, preprocess: Preprocess, limits: ImageLimits, *, exact: bool = False
) -> tuple[Pixels, ImageInfo]:
    """Decode the first frame of an upload, then resize and crop it for a model.

    Args:
        data: The encoded file.
        preprocess: The model's; mean, std and channel order are left to the serving graph.
        limits: Checked before decoding.
        exact: Decode and resize the whole image, for exactly torchvision's pixels.
            Otherwise a large JPEG is decoded at the smallest scale that leaves its shorter side
            LEAST_SCALE times as long as it will be, and only what the model sees is resized:
            without the scaling each value is within 1 of the exact one, or 2 for a few in a
            thousand of pure noise (docs/performance.md has the rest).

    Returns:
        uint8 [crop, crop, 3], RGB, C-contiguous, read-only; and what the upload was.

    Raises:
        RequestError: If it is none of FORMATS, damaged or incomplete, or not within the limits.
    """
    image_format = identify(data)
    allowance = read_allowance(data, image_format.name, limits)
    answers = [
        _prepare(picture, image_format, allowance, preprocess, exact=exact)
        for picture in allowance.pictures
    ]
    pixels, info, decoded = answers[0]
    if len(answers) > 1 and (pixels != answers[1][0]).any():
        raise CorruptImageError(incomplete(image_format.title))
    if decoded >= _LARGE:
        return_freed_memory()
    return pixels, info


def _prepare(
    data: bytes,
    image_format: ImageFormat,
    allowance: Allowance,
    preprocess: Preprocess,
    *,
    exact: bool,
) -> tuple[Pixels, ImageInfo, int]:
    """Do the work of `prepare`, and count the pixels decoded for it; the image is freed on return."""
    file: ImageFile | None = None
    try:
        file = image_format.reader(_Source(data, allowance.reads))
        _shorten_key(file)
        stored = file.size
        drafted = allowance.scalable and not exact
        extent = _draft(file, LEAST_SCALE * preprocess.resize) if drafted else stored
        allowance.check_size(stored, file.size)
        # All at once: libjpeg uses nothing of a piece that ends in fill bytes, and Pillow would copy
        # all that it has for each piece that follows.
        file.decodermaxblock = max(file.decodermaxblock, len(data))
        file.load()
        orientation = read_orientation(file.info)
        size = upright_size(stored, orientation)
        crop = crop_of(size, preprocess)
        if crop.left < 0 or crop.top < 0:
            image = crop_padded(file, crop, orientation)
        elif exact:
            image = crop_exactly(file, crop, orientation)
        else:
            image = crop_fast(file, crop, extent, orientation)
        pixels = np.asarray(image)
    except RequestError:
        raise
    except (Image.DecompressionBombError, MemoryError) as exc:
        raise ImageTooLargeError("Decoding the image would take too much memory.") from exc
    except Exception as exc:  # what decoders raise on hostile data has no common base
        if image_format.has_end(data):
            problem = f"The {image_format.title} file is damaged or uses an unsupported variant of the format."
        else:
            problem = incomplete(image_format.title, share_missing(file, data))
        raise CorruptImageError(problem) from exc
    return pixels, ImageInfo(*size, image_format.name), file.width * file.height


def _shorten_key(file: ImageFile) -> None:
    """Bring the transparent colour of a 16-bit PNG to the high bytes by which Pillow reads it."""
    key = file.info.get("transparency")
    if isinstance(key, tuple) and file.tile and file.tile[0].args == "RGB;16B":
        file.info["transparency"] = tuple(value >> 8 for value in key)


def _draft(file: ImageFile, least: int) -> tuple[float, float]:
    """Let a JPEG be decoded at the smallest scale that leaves its shorter side this long.

    Returns:
        Width and height that the image will have, before they are rounded up.
    """
    size = file.size
    drafted = file.draft(None, (least, least))  # None of another format
    return drafted[1][2:] if drafted else size
