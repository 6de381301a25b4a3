"""Messages about images between a front process and the owner: of one size, many per write."""

import asyncio
import struct
from collections.abc import Callable
from typing import Final

from app.errors import ServiceError, kinds

REQUEST: Final = struct.Struct("=HHIId")
"""From the front: SUBMIT or CANCEL, model, slot, ticket, deadline (`time.monotonic`, seconds)."""
SUBMIT: Final = 0
CANCEL: Final = 1
REPLY: Final = struct.Struct("=IHHff")
"""From the owner: ticket, and for a row 0, images in the run, seconds in the queue, seconds of the
run; for an error its number, bytes of its sentence, seconds to wait before a retry or 0, and 0."""


class ImageChannel(asyncio.Protocol):
    """One end; the messages sent in one turn of the event loop go out in one write."""

    def __init__(
        self,
        incoming: struct.Struct,
        received: Callable[..., None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait for a connection.

        Args:
            incoming: Format of the messages that come in.
            received: Called with the fields of each.
            lost: Called when the other process has gone.
        """
        self._incoming = incoming
        self._received = received
        self._lost = lost
        self._incomplete = b""
        self._outgoing = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport  # type: ignore[assignment] # of a stream
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's)
        """Report the end of the connection."""
        self._transport = None
        self._lost()

    def data_received(self, data: bytes) -> None:
        """Report each complete message."""
        if self._incomplete:
            data = self._incomplete + data
        whole = len(data) - len(data) % self._incoming.size
        self._incomplete = data[whole:]
        for fields in self._incoming.iter_unpack(data[:whole]):
            self._received(*fields)

    def send(self, message: bytes) -> None:
        """Send a message at the end of this turn, unless the connection has ended."""
        if not self._outgoing and self._transport is not None:
            self._loop.call_soon(self._flush)
        self._outgoing += message

    def close(self) -> None:
        """Close this end."""
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():  # uvloop raises
            self._transport.write(bytes(self._outgoing))
        self._outgoing.clear()


def encode_error(error: Exception, room: int) -> tuple[int, bytes, float]:
    """Return the number of an error, its sentence, and the seconds to wait before a retry or 0.

    Args:
        error: Its number is the place of its class in the kinds of ServiceError, from 1.
        room: Most bytes of the sentence.
    """
    if not isinstance(error, ServiceError):
        error = ServiceError("The server failed.")
    number = list(kinds(ServiceError)).index(type(error)) + 1
    return number, str(error).encode()[:room], error.retry_after or 0.0


def decode_error(number: int, sentence: bytes, retry_after: float) -> ServiceError:
    """Return the error that was encoded."""
    kind = list(kinds(ServiceError))[number - 1]
    return kind(sentence.decode(errors="replace"), retry_after=retry_after or None)
