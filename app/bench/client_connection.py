"""One connection of the load generator: a light HTTP/1.1 client.

The generator shares the processors with the server that it measures, and httpx would take 50 times
the processor time per request (2.4 ms in place of 0.05): `python -m tests.measure_client`.
"""

import asyncio
import time
from typing import Final, NamedTuple, cast

import httptools

clock = time.perf_counter
"""Clock of all times here (seconds); an event loop's own clock may be a millisecond old."""

_OK: Final = 200
_FINAL: Final = 200
"""Responses with a lower status are followed by another one."""
_DETAIL_BYTES: Final = 800


class Answer(NamedTuple):
    """A response.

    Attributes:
        ended: When its last byte arrived (seconds).
        status: HTTP status.
        batch_size: X-Batch-Size; 0 without this header.
        retry_after: Retry-After (seconds); None without this header.
        detail: Start of the body, unless the status is 200.
    """

    ended: float
    status: int
    batch_size: int = 0
    retry_after: float | None = None
    detail: str = ""


class NoAnswerError(Exception):
    """A request got no response.

    Attributes:
        reason: A few words, the same for all failures of a kind.
        unheard: Whether the connection ended without a byte of a response.
    """

    def __init__(self, reason: str, *, unheard: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unheard = unheard


class ClientConnection(asyncio.Protocol):
    """Carries one request at a time.

    Attributes:
        usable: Whether another request may be sent.
    """

    def __init__(self) -> None:
        self.usable = False
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._heard = False

    def send(self, request: bytes, timeout: float) -> asyncio.Future[Answer]:
        """Send a request, head and body.

        Args:
            request: The bytes to send.
            timeout: Seconds until the request fails.

        Returns:
            A future of the response, or of a NoAnswerError.
        """
        self._waiter = waiter = self._loop.create_future()
        self._timer = self._loop.call_later(timeout, self._fail, "timed out")
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
        """Parse a piece of a response (called by asyncio)."""
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
            self._fail("closed by the server" if exc is None else "connection reset")

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
        """Deliver the response."""
        ended = clock()
        status = self._parser.get_status_code()
        waiter = self._waiter
        if status < _FINAL or waiter is None:
            self._ends_with_connection = True
            self._in_body = False
            return
        self._waiter = None
        self._timer.cancel()
        # Answered before the request was fully sent: the connection cannot be reused.
        if self._transport.get_write_buffer_size() or not self._parser.should_keep_alive():
            self.close()
        if not waiter.done():
            detail = self._detail[:_DETAIL_BYTES].decode("utf-8", "replace")
            waiter.set_result(Answer(ended, status, self._batch_size, self._retry_after, detail))

    def _fail(self, reason: str) -> None:
        waiter, self._waiter = self._waiter, None
        self._timer.cancel()
        self.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(NoAnswerError(reason, unheard=not self._heard))
