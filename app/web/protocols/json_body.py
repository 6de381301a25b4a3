"""A JSON body with photos in base64, parsed with little memory and time, whatever is in it."""

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Final

from app.errors import BadRequestError

_LONG: Final = 256
"""Characters from which on a string is taken for a photo: not parsed, and decoded if it is used."""
_MOST_REST: Final = 262_144
"""Bytes of JSON beside such strings. Parsed, they take at most 40 times as much memory."""
_MOST_QUOTES: Final = 20_000
_MOST_BACKSLASHES: Final = 64
"""In front of a quote."""
_BLANK: Final = b" \t\r\n"
_BEGINNINGS: Final = (b"{", b"[", b'"')
"""Of JSON that may be meant; no image begins so."""
_HEAD_BYTES: Final = 64
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_DATA_URL: Final = b"data:"
_COMMA_WITHIN: Final = 100
"""Bytes of `data:image/jpeg;base64,`."""


def is_json(content_type: str, body: bytes) -> bool:
    """Return whether a body is JSON, by its first character or, where no image is, by its type."""
    start = body[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
    return start.startswith(_BEGINNINGS) or ("json" in content_type.lower() and not start)


def decode_photo(data: bytes, where: str) -> bytes:
    """Decode a photo in base64, of any alphabet, with or without `data:image/jpeg;base64,`.

    Args:
        data: The base64.
        where: Its name, for a sentence.

    Raises:
        BadRequestError: If it is something else, such as an address.
    """
    if data[: len(b"https://")].lower().startswith((b"http://", b"https://")):
        raise BadRequestError(f"{where}: is an address. The server fetches nothing: send base64.")
    if data[: len(_DATA_URL)].lower() == _DATA_URL:
        data = data[data.find(b",", 0, _COMMA_WITHIN) + 1 :]
    data = data.translate(_URL_SAFE, _BLANK)
    try:
        return b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except Base64Error as exc:
        raise BadRequestError(f"{where}: this is not a photo in base64.") from exc


class JsonBody:
    """A JSON object from a client.

    Attributes:
        members: Of the object; in place of a long string stands a short one, for `photo`.
    """

    def __init__(self, body: bytes) -> None:
        """Parse it.

        Raises:
            BadRequestError: If it is not an object in JSON, has a name twice, or NaN, or is larger
                without its photos than any request has to be.
        """
        if body.count(b'"') > _MOST_QUOTES:
            raise _too_much()
        self._mark = token_hex(8)
        self._body = body
        self._long: list[slice] = []
        rest = self._set_apart()
        try:
            text = rest.decode("utf-8-sig")
            members = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        except (ValueError, RecursionError) as exc:
            raise _not_json() from exc
        if not isinstance(members, dict):
            raise BadRequestError("The body is JSON, but not an object: begin it with {.")
        self.members: dict[str, Any] = members

    def photo(self, value: object, where: str) -> bytes:
        """Return a photo in base64.

        Args:
            value: From the members.
            where: Its name, for a sentence.

        Raises:
            BadRequestError: As `decode_photo`.
        """
        if not isinstance(value, str):
            raise BadRequestError(f"{where}: expected a photo, as a text in base64.")
        return decode_photo(self._bytes_of(value, where), where)

    def _bytes_of(self, value: str, where: str) -> bytes:
        try:
            if not value.startswith(self._mark):
                return value.encode("ascii")
            data = self._body[self._long[int(value.removeprefix(self._mark))]]
            if b"\\" in data:  # as .NET writes a plus sign
                return str(json.loads(b'"' + data + b'"')).encode("ascii")
        except ValueError as exc:
            raise BadRequestError(f"{where}: this is not a photo in base64.") from exc
        return data

    def _set_apart(self) -> bytes:
        """Return the JSON without its long strings, each replaced by a mark and its number."""
        body, at, size = self._body, 0, 0
        pieces: list[bytes] = []
        while True:
            start = body.find(b'"', at) + 1
            end = _end_of_string(body, start) if start else len(body)
            is_long = bool(start) and end - start >= _LONG
            size += (start if is_long else end) - at
            if size > _MOST_REST:
                raise _too_much()
            if is_long:
                pieces += body[at:start], f"{self._mark}{len(self._long)}".encode()
                self._long.append(slice(start, end))
            else:
                pieces.append(body[at:end])
            if not start:
                return b"".join(pieces)
            pieces.append(b'"')
            at = end + 1


def _end_of_string(body: bytes, start: int) -> int:
    """Return where the quote is that ends a string."""
    end = body.find(b'"', start)
    while end >= 0:
        before = body[max(start, end - _MOST_BACKSLASHES) : end]
        escapes = len(before) - len(before.rstrip(b"\\"))
        if escapes == _MOST_BACKSLASHES:
            break
        if escapes % 2 == 0:
            return end
        end = body.find(b'"', end + 1)
    raise _not_json()


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise BadRequestError("The JSON has a name twice in one object; which is meant?")
    return members


def _refuse(_constant: str) -> None:
    raise BadRequestError("The JSON has NaN or Infinity, which are no values in JSON.")


def _not_json() -> BadRequestError:
    return BadRequestError("The body is not valid JSON, or is nested too deeply.")


def _too_much() -> BadRequestError:
    return BadRequestError(
        f"The JSON has more than {_MOST_REST // 1024} kB beside its photos. Send photos as base64.",
        limit={"bytes": _MOST_REST},
    )
