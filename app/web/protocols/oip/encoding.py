"""Compressed bodies, in both directions: gzip and deflate."""

import re
import zlib
from typing import Final

from app.errors import BadRequestError, BodyTooLargeError

GZIP: Final = "gzip"
DEFLATE: Final = "deflate"
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS
_FORMATS: Final = {GZIP: (_GZIP_FORMAT,), "x-gzip": (_GZIP_FORMAT,),
                   DEFLATE: (zlib.MAX_WBITS, -zlib.MAX_WBITS)}  # fmt: skip
"""By encoding, zlib's number for each format that it may be; some send deflate without its frame."""
_MOST_MEMBERS: Final = 64
"""Of a gzip file; most have one."""
_FASTEST: Final = 1
_REFUSED: Final = re.compile(r"q\s*=\s*0(\.0*)?\s*")


def decompress(body: bytes, encoding: str, most: int) -> bytes:
    """Return a body as it was before its Content-Encoding.

    Args:
        body: As received.
        encoding: The value of the header Content-Encoding.
        most: Bytes that it may have.

    Raises:
        BadRequestError: If the encoding is another one, or the body is damaged.
        BodyTooLargeError: If it has more; no more of it is decompressed.
    """
    name = encoding.strip().lower()
    if name not in _FORMATS:
        raise BadRequestError(
            "Content-Encoding: expected gzip or deflate. Send the body without compressing it."
        )
    *others, last = _FORMATS[name]
    for number in others:
        try:
            return _inflate(body, number, most)
        except zlib.error:  # it has no frame
            continue
    try:
        return _inflate(body, last, most)
    except zlib.error as exc:
        raise BadRequestError(f"The body is damaged: it cannot be decompressed as {name}.") from exc


def _inflate(body: bytes, number: int, most: int) -> bytes:
    parts: list[bytes] = []
    left = most
    for _ in range(_MOST_MEMBERS):
        stream = zlib.decompressobj(number)
        part = stream.decompress(body, left + 1)
        left -= len(part)
        if left < 0:
            raise BodyTooLargeError(
                f"The body has more than {most / 1e6:.3g} MB once it is decompressed; that is the"
                " limit.",
                limit={"bytes": most},
            )
        if not stream.eof:
            raise BadRequestError("The body is cut off: its compressed data do not end.")
        parts.append(part)
        body = stream.unused_data
        if not body or number != _GZIP_FORMAT:
            return b"".join(parts) if len(parts) > 1 else part
    raise BadRequestError(f"The body has more than {_MOST_MEMBERS} gzip files in it.")


def compress(body: bytes, accept: str) -> tuple[bytes, str | None]:
    """Return a body as the client accepts it, and its Content-Encoding; None if it is as it was.

    Args:
        body: To be sent.
        accept: The value of the header Accept-Encoding.
    """
    wanted = dict(_parse(one) for one in accept.lower().split(","))
    for name, number in ((GZIP, _GZIP_FORMAT), (DEFLATE, zlib.MAX_WBITS)):
        if wanted.get(name):
            stream = zlib.compressobj(_FASTEST, wbits=number)
            return stream.compress(body) + stream.flush(), name
    return body, None


def _parse(item: str) -> tuple[str, bool]:
    """Return the name of an encoding, and whether it is accepted."""
    name, *parameters = map(str.strip, item.split(";"))
    return name, not any(map(_REFUSED.fullmatch, parameters))
