"""Turn an upload into the pixels that a model looks at: the only module that knows Pillow.

Uploads are hostile until decoded. Only five of Pillow's decoders can be reached from here
(nearly all of its published holes are in the others), the header is checked against the
limits before any pixel is decoded, and whatever Pillow raises becomes a `RequestError`.
Everything here is stateless, writes nothing, and can run in many threads at once.

ICC profiles are not applied: the published accuracies of these weights were measured
without, and Pillow's ImageCms, which would apply them, has had holes of its own.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.catalog import Preprocess
from app.errors import CorruptImageError, ImageTooLargeError, ImageTooSmallError, RequestError
from app.records import ImageInfo, Pixels
from app.sniffing import ends_too_early, identify, orientation

# Once, for the process: `warnings.catch_warnings` is not safe in threads. A GIF whose first
# frame is larger than its screen meets Pillow's own limit (89 MP) as a warning.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", message="Invalid APNG", module=r"PIL\.PngImagePlugin")

MAX_RESIZED_PIXELS: Final = 8_388_608
"""The most pixels that are resized only to be cropped away, 32 MiB; see `_resize_and_crop`."""

MAX_SCANNED_PIXELS: Final = 1_000_000_000
"""Pixels times scans of a JPEG, about 1 s: 25 scans of 40 MP, where programs write 3 to 12.

A progressive JPEG goes over the whole picture once a scan, and a scan can be 61 bytes short.
"""

_TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

_EIGHT_BITS: Final = np.rint(np.arange(65536) / 257).astype(np.uint8)
"""[65536]: the 8-bit value of each 16-bit one. 257 = 65535 / 255."""


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

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads_left = 10_000 + len(data) // 64

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


def prepare(data: bytes, preprocess: Preprocess, limits: ImageLimits) -> tuple[Pixels, ImageInfo]:
    """Decode one upload, the first frame of it, and resize and crop it for a model.

    Args:
        data: The encoded file.
        preprocess: Of the model; mean, std and channel order are left to the serving graph.
        limits: Checked before decoding.

    Returns:
        uint8 [crop, crop, 3], RGB, C-contiguous, read-only; and what the upload was.

    Raises:
        UnsupportedFormatError: If this is not JPEG, PNG, WebP, GIF or BMP.
        CorruptImageError: If it is damaged or cut short.
        ImageTooLargeError: If it is beyond the limits.
        ImageTooSmallError: If it is below the limits.
    """
    name = identify(data)
    with _pillow(data, name):
        file = _READERS[name](_Source(data))
        scans = data.count(b"\xff\xda") if name == "jpeg" else 1
        _check(file.size, scans, limits)
        file.load()
        image = _orient(file)
        pixels = np.asarray(_resize_and_crop(_to_rgb(image), preprocess))
    return pixels, ImageInfo(width=image.width, height=image.height, format=name)


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


def _orient(image: Image.Image) -> Image.Image:
    """Turn the image the right way up."""
    transposition = _TRANSPOSITIONS.get(orientation(image.info))
    return image if transposition is None else image.transpose(transposition)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode; transparent pixels show white, whatever colour hides beneath."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(rgba, mask=rgba)
    return opaque


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's `convert` clips it, so that nearly all is white."""
    values = np.asarray(image)
    grey = _EIGHT_BITS[values]
    if isinstance(key := image.info.get("transparency"), int):
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")


def _resize_and_crop(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Resize the shorter side, cut out the centre, as torchvision does for evaluation.

    The whole image is resized and then cropped, which gives torchvision's pixels, each of
    them. Of a very long image, where that would take more than MAX_RESIZED_PIXELS (beyond
    1 : 128 for 256 pixels), only the centre is computed: each value is within 1 of the same.

    Source:
        torchvision 0.21, transforms/functional.py: `_compute_resized_output_size` truncates
        the longer side; `center_crop` rounds halves to even.
    """
    width, height = image.size
    short, crop = preprocess.resize, preprocess.crop
    if width <= height:
        resized = (short, int(short * height / width))
    else:
        resized = (int(short * width / height), short)
    left, top = (round((side - crop) / 2.0) for side in resized)
    if resized[0] * resized[1] <= MAX_RESIZED_PIXELS:
        if image.size != resized:
            image = image.resize(resized, Image.Resampling.BILINEAR)
        return image.crop((left, top, left + crop, top + crop))
    across, down = width / resized[0], height / resized[1]
    columns = (left * across, 0, min((left + crop) * across, width), height)
    rows = (0, top * down, crop, min((top + crop) * down, height))
    # Across, then down, as Pillow takes such a whole; in one call it would turn the order round.
    strip = image.resize((crop, height), Image.Resampling.BILINEAR, box=columns)
    return strip.resize((crop, crop), Image.Resampling.BILINEAR, box=rows)
