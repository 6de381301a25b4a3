"""The server under load and the requests to it, prepared as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final
from urllib.parse import urlsplit

from app.bench.pictures import Picture
from app.errors import SetupError

_BOUNDARY: Final = "vgg-serve-bench-7e3f0c5a91d24b68"


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the requests to it.

    Attributes:
        url: As the user gave it.
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


def make_target(
    url: str,
    pictures: Sequence[Picture],
    *,
    path: str | None = None,
    field: str = "file",
    headers: Sequence[str] = (),
    seed: int = 1,
) -> Target:
    """Prepare all requests; an option that cannot be used is a SetupError.

    Args:
        url: `http://HOST:PORT`, with or without a path.
        pictures: At least one.
        path: Path to post to; None for that of the URL, or else `/predict`.
        field: Name of the form field; empty to post the picture itself.
        headers: Further headers, as `Name: value`.
        seed: Seed of the order of the pictures.
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
