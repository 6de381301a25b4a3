"""A look at the bytes of a request before protobuf reads them: how many parts do they have?

An empty tensor takes two bytes on the wire and some hundred in memory, so that a message below the
size limit may take a gigabyte.
"""

from collections.abc import Mapping
from typing import Any, Final

from app.errors import BadRequestError
from app.web.protocols.oip.request import MOST_VALUES

_Tree = Mapping[int, Any]
_NUMBERS: Final = None
_VALUE: Final[_Tree] = {}
_PARAMETER: Final[_Tree] = {2: _VALUE}
_CONTENTS: Final[_Tree] = dict.fromkeys(range(1, 8), _NUMBERS)
_REQUEST: Final[_Tree] = {
    4: _PARAMETER,
    5: {3: _NUMBERS, 4: _PARAMETER, 5: _CONTENTS},
    6: {2: _PARAMETER},
}
"""Fields of ModelInferRequest that hold messages or numbers, by their number."""
_PART: Final = 100
"""What a part counts, where each byte of packed numbers counts 1."""
_LENGTH: Final = 2
"""The kind of a field that says its length: a message, a text, bytes, packed numbers."""
_LONGEST_VARINT: Final = 10


def check_parts(data: bytes) -> None:
    """Refuse a request with very many parts.

    Raises:
        BadRequestError: If it has too many, or is no message of protobuf.
    """
    _walk(data, 0, len(data), _REQUEST, MOST_VALUES)


def _walk(data: bytes, at: int, end: int, tree: _Tree, left: int) -> int:
    """Return what is left of the count behind a message."""
    while at < end:
        left -= _PART
        tag, at = _varint(data, at, end)
        start, after = _field(data, at, end, tag & 7)
        inner = tree.get(tag >> 3, _VALUE) if tag & 7 == _LENGTH else _VALUE
        if inner is _NUMBERS:
            left -= after - start
        elif inner:
            left = _walk(data, start, after, inner, left)
        if left < 0:
            raise BadRequestError(
                "The message has too many parts. Send pixels and photos in raw_input_contents.",
                limit={"values": MOST_VALUES},
            )
        at = after
    return left


def _field(data: bytes, at: int, end: int, kind: int) -> tuple[int, int]:
    """Return where the value of a field starts, and where it ends."""
    match kind:
        case 0:
            after = _varint(data, at, end)[1]
        case 1:
            after = at + 8
        case 2:
            length, at = _varint(data, at, end)
            after = at + length
        case 5:
            after = at + 4
        case _:
            raise _malformed()
    if after > end:
        raise _malformed()
    return at, after


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number, and where the next byte is."""
    value = 0
    for place in range(_LONGEST_VARINT):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:  # noqa: PLR2004 (its last byte)
            return value, at
    raise _malformed()


def _malformed() -> BadRequestError:
    return BadRequestError("The message is not a ModelInferRequest.")
