"""Messages between a front process and the owner: small, all of one size, many in one write."""

import asyncio
import struct
from collections.abc import Callable
from typing import Final

from app.errors import ServiceError, kinds

ORDER: Final = struct.Struct("=HHIId")
"""From the front: SUBMIT or LEAVE, model, slot, ticket, deadline (`time.monotonic`, seconds)."""
SUBMIT: Final = 0
LEAVE: Final = 1
REPLY: Final = struct.Struct("=IHHff")
"""From the owner: ticket; 0 for a row, else an error (the place of its class among the kinds of
ServiceError, from 1); images of the
run, or bytes of the error's sentence; seconds in the queue; seconds of the run."""


class Wire(asyncio.Protocol):
    """One end; what is sent in one turn of the loop goes out together."""

    def __init__(
        self,
        incoming: struct.Struct,
        received: Callable[..., None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait for a connection.

        Args:
            incoming: The messages that come.
            received: Told the fields of each.
            lost: Told when the other side has gone.
        """
        self._incoming = incoming
        self._received = received
        self._lost = lost
        self._in = b""
        self._out = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment] # of a stream
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's)
        """Say so."""
        self._transport = None
        self._lost()

    def data_received(self, data: bytes) -> None:
        """Hand over whole messages."""
        if self._in:
            data = self._in + data
        whole = len(data) - len(data) % self._incoming.size
        self._in = data[whole:]
        for fields in self._incoming.iter_unpack(data[:whole]):
            self._received(*fields)

    def send(self, message: bytes) -> None:
        """Send a message at the end of this turn; to nobody, if the other side has gone."""
        if not self._out and self._transport is not None:
            self._loop.call_soon(self._flush)
        self._out += message

    def close(self) -> None:
        """Close this end."""
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():  # uvloop raises
            self._transport.write(bytes(self._out))
        self._out.clear()


def encode_error(error: Exception, room: int) -> tuple[int, bytes]:
    """Return the number of an error's class and its sentence, `room` bytes at most."""
    known: list[type[Exception]] = list(kinds(ServiceError))
    kind = type(error) if type(error) in known else ServiceError
    sentence = str(error) if isinstance(error, ServiceError) else "The server failed."
    return known.index(kind) + 1, sentence.encode()[:room]


def decode_error(number: int, sentence: bytes) -> ServiceError:
    """Make the error again."""
    return list(kinds(ServiceError))[number - 1](sentence.decode(errors="replace"))
