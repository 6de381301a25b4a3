"""The server under load and the requests to it, prepared as bytes.

They carry JPEGs of several sizes made from one photo, or files of the user.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path
from random import Random
from typing import Final
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from app.images.formats import TITLES
from app.setup_errors import SetupError
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
_BOUNDARY: Final = "vgg-serve-bench-7e3f0c5a91d24b68"


@dataclass(frozen=True, slots=True)
class Picture:
    """One file to send, with its name in the report and its media type."""

    name: str
    data: bytes
    mime: str = "image/jpeg"


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the requests to it.

    Attributes:
        path: Path with its query.
        field: Name of the form field; empty if the picture itself is the body.
        headers: Names of the headers that the user added.
        requests: Whole requests, head and body, in the order of sending, which repeats.
    """

    url: str
    host: str
    port: int
    path: str
    field: str
    headers: tuple[str, ...]
    pictures: tuple[Picture, ...]
    requests: tuple[bytes, ...]


def make_pictures(sizes: str) -> list[Picture]:
    """Make JPEGs that cost about as much to decode as photos of their size.

    `500x375:6,1024x768:3` makes six pictures of one size and three of the other, each with its
    own grain, so that no two have the same bytes.
    """
    wanted = [size for part in sizes.split(",") for size in _sizes(part.strip())]
    if len(wanted) > _MOST_PICTURES:
        raise SetupError(f"--sizes: {len(wanted)} pictures; the limit is {_MOST_PICTURES}.")
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


def make_target(
    url: str,
    pictures: Sequence[Picture],
    *,
    path: str | None = None,
    field: str = "file",
    headers: Sequence[str] = (),
    seed: int = 1,
) -> Target:
    """Prepare all requests, in an order that the seed shuffles; there is at least one picture.

    They go to `path`, or else the path of the URL, or else `/predict`, with the picture in a form's
    field or, if that is empty, as the body. Further headers have the form `Name: value`.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
    except ValueError as exc:
        raise SetupError(f"{url} is not a URL: {exc}.") from exc
    if parts.scheme != "http":
        raise SetupError(f"{url}: the benchmark speaks only http. Measure behind the TLS proxy.")
    if not host:
        raise SetupError(f"{url} has no host. Expected http://HOST:PORT.")
    if "@" in parts.netloc:
        raise SetupError("A password in the URL would appear in the report. Use --header.")
    query = f"?{parts.query}" if parts.query else ""
    where = path or ((parts.path if parts.path.strip("/") else "/predict") + query)
    where = where if where.startswith("/") else f"/{where}"
    lines = [
        f"POST {where} HTTP/1.1",
        f"Host: {parts.netloc}",
        "User-Agent: vgg-serve-bench",
        *headers,
    ]
    for line in lines:
        if not line.isascii() or not line.isprintable() or (line in headers and ":" not in line):
            raise SetupError(f"{line!r} cannot be a line of a request.")
    requests = [_request(lines, picture, field) for picture in pictures]
    Random(seed).shuffle(requests)  # noqa: S311 (load, not cryptography)
    names = tuple(header.partition(":")[0] for header in headers)
    return Target(url, host, port, where, field, names, tuple(pictures), tuple(requests))


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


def _request(lines: Sequence[str], picture: Picture, field: str) -> bytes:
    body, mime = picture.data, picture.mime
    if field:
        name = field.replace("\\", "\\\\").replace('"', '\\"')
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="image"\r\n'
            f"Content-Type: {mime}\r\n\r\n"
        )
        body = head.encode() + body + f"\r\n--{_BOUNDARY}--\r\n".encode()
        mime = f"multipart/form-data; boundary={_BOUNDARY}"
    full = [*lines, f"Content-Type: {mime}", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(full).encode("ascii") + body
