"""One connection of the load generator: a light HTTP/1.1 client.

The generator shares the processors with the server that it measures, and httpx would take 40 times
the processor time per request (2.4 ms in place of 0.06): `python -m tests.measure_client`.
"""

import asyncio
import time
from typing import Final, NamedTuple, cast

import httptools

clock = time.perf_counter
"""Clock of all times here (seconds); an event loop's own clock may be a millisecond old."""

CLOSED: Final = "closed by the server"
RESET: Final = "connection reset"
"""Both: before a byte of the answer arrived."""
_OK: Final = 200
_FINAL: Final = 200
"""An answer with a lower status is followed by another one."""
_DETAIL_BYTES: Final = 800


class Outcome(NamedTuple):
    """How a request ended.

    Attributes:
        ended: When it failed, or the last byte of its answer arrived (seconds).
        failure: Why there is no answer, the same few words for all failures of a kind; else empty.
        status: HTTP status of the answer; 0 if there is none.
        batch_size: X-Batch-Size; 0 without this header.
        retry_after: Retry-After (seconds); None without this header.
        detail: Start of the body, unless the status is 200.
        retried: Whether the request was sent a second time, because the server had closed the
            idle connection that it was first sent on (RFC 9112, 9.3.1).
    """

    ended: float
    failure: str = ""
    status: int = 0
    batch_size: int = 0
    retry_after: float | None = None
    detail: str = ""
    retried: bool = False


class ClientConnection(asyncio.Protocol):
    """Carries one request at a time.

    Attributes:
        usable: Whether another request may be sent.
    """

    def __init__(self) -> None:
        self.usable = False
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Outcome] | None = None
        self._heard = False

    def send(self, request: bytes) -> asyncio.Future[Outcome]:
        """Send a request, head and body, and return the future of its outcome."""
        self._waiter = waiter = self._loop.create_future()
        self._heard = False
        self._batch_size = 0
        self._retry_after: float | None = None
        self._detail = b""
        self._ends_with_connection = True
        self._in_body = False
        self._transport.write(request)
        return waiter

    def close(self) -> None:
        """Close at once, without sending what is still buffered."""
        self.usable = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start (called by asyncio)."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Parse a piece of an answer (called by asyncio)."""
        if self._waiter is None:
            self.close()  # unasked, as from a server that gives up an idle connection
            return
        self._heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("no HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        """End (called by asyncio)."""
        self.usable = False
        if self._waiter is None:
            return
        if exc is None and self._in_body and self._ends_with_connection:
            self.on_message_complete()
        elif self._heard:
            self._fail("answer cut short")
        else:
            self._fail(CLOSED if exc is None else RESET)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the headers of interest (this and all below are called by the parser)."""
        match name.lower():
            case b"content-length" | b"transfer-encoding":
                self._ends_with_connection = False
            case b"x-batch-size":
                self._batch_size = int(value) if value.isdigit() else 0
            case b"retry-after":
                self._retry_after = float(value) if value.isdigit() else None

    def on_headers_complete(self) -> None:
        """Note that the body follows."""
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """Keep the start of an error's body."""
        if len(self._detail) < _DETAIL_BYTES and self._parser.get_status_code() != _OK:
            self._detail += body[:_DETAIL_BYTES]

    def on_message_complete(self) -> None:
        """Deliver the answer."""
        ended = clock()
        status = self._parser.get_status_code()
        if status < _FINAL or self._waiter is None:
            self._ends_with_connection = True
            self._in_body = False
            return
        # Answered before the request was fully sent: the connection cannot be reused.
        if self._transport.get_write_buffer_size() or not self._parser.should_keep_alive():
            self.close()
        detail = self._detail[:_DETAIL_BYTES].decode("utf-8", "replace")
        self._end(Outcome(ended, "", status, self._batch_size, self._retry_after, detail))

    def _fail(self, reason: str) -> None:
        self.close()
        self._end(Outcome(clock(), reason))

    def _end(self, outcome: Outcome) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():  # done if the client gave up
            waiter.set_result(outcome)
