"""The files that are sent: JPEGs of several sizes made from one photo, or files of the user."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from app.errors import SetupError
from app.images.formats import TITLES
from app.web.page.files import STATIC

DEFAULT_SIZES: Final = "500x375:6,1024x768:3,4032x3024:1"
"""Six of ten pictures are as large as on the web, three as a screen, one as from a phone."""

_SOURCE: Final = STATIC / "samples" / "cat.jpg"
_GRAIN: Final = 5.0
"""Standard deviation of the noise, in grey levels: enlarged photos alone are far too smooth."""
_QUALITY: Final = 85
_MOST_PIXELS: Final = 100_000_000
_MOST_PICTURES: Final = 100
_UNKNOWN: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Picture:
    """One file to send, with its name in the report and its media type."""

    name: str
    data: bytes
    mime: str = "image/jpeg"


def make_pictures(sizes: str) -> list[Picture]:
    """Make JPEGs that cost about as much to decode as photos of their size.

    `500x375:6,1024x768:3` makes six pictures of one size and three of the other, each with its
    own grain, so that no two have the same bytes.
    """
    wanted = [size for part in sizes.split(",") for size in _sizes(part.strip())]
    if len(wanted) > _MOST_PICTURES:
        raise SetupError(
            f"--sizes: {len(wanted)} pictures are too many; the limit is {_MOST_PICTURES}."
        )
    return [_paint(size, seed) for seed, size in enumerate(wanted)]


def read_pictures(paths: Sequence[Path]) -> list[Picture]:
    """Read image files, at least one."""
    if not paths:
        raise SetupError(f"--images: these folders contain no {TITLES}.")
    try:
        return [
            Picture(path.name, path.read_bytes(), guess_type(path.name)[0] or _UNKNOWN)
            for path in paths
        ]
    except OSError as exc:
        raise SetupError(f"--images: {exc}") from exc


def _sizes(part: str) -> list[tuple[int, int]]:
    size, _, count = part.partition(":")
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal() and (count or "1").isdecimal()):
        raise SetupError(f"--sizes: {part!r} does not have the form 500x375 or 500x375:6.")
    sides = int(width), int(height)
    if not 0 < sides[0] * sides[1] <= _MOST_PIXELS:
        raise SetupError(f"--sizes: {part!r} must have 1 to {_MOST_PIXELS:,} pixels.")
    return [sides] * int(count or 1)


def _paint(size: tuple[int, int], seed: int) -> Picture:
    with Image.open(_SOURCE) as photo:
        pixels = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.BICUBIC), np.int16)
    drawn = np.random.default_rng(seed).standard_normal(pixels.shape[:2], np.float32)
    grain = (_GRAIN * drawn).astype(np.int16)
    data = io.BytesIO()
    grainy = np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8)
    Image.fromarray(grainy).save(data, "JPEG", quality=_QUALITY)
    return Picture(f"{size[0]}x{size[1]}", data.getvalue())
