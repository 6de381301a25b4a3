"""A light HTTP/1.1 client: it shares the processors with the server that it measures."""

import asyncio
import time
from typing import Final, NamedTuple, cast

from app.errors import SetupError

try:
    import httptools
except ImportError:  # there is none for Windows
    httptools = None  # type: ignore[assignment]

clock = time.perf_counter
"""Of all times here (seconds); an event loop's own clock may stand still for a millisecond."""

_DETAIL: Final = 800
"""Most bytes of a refusal that are kept."""
_OK: Final = 200
_FINAL: Final = 200


class Answer(NamedTuple):
    """What came back.

    Attributes:
        ended: When the last byte was here.
        status: HTTP status.
        batch_size: X-Batch-Size; 0 if it was not said.
        retry_after: Retry-After (seconds); None if it was not said.
        detail: Begin of the body, unless the status is 200.
    """

    ended: float
    status: int
    batch_size: int = 0
    retry_after: float | None = None
    detail: str = ""


class RequestFailedError(Exception):
    """A request without an answer.

    Attributes:
        reason: A few words, the same for all failures of a kind.
        unheard: True if the connection ended without a byte of an answer.
    """

    def __init__(self, reason: str, *, unheard: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unheard = unheard


class Connection(asyncio.Protocol):
    """One connection, one request at a time.

    Attributes:
        usable: Whether another request may be sent.
    """

    def __init__(self) -> None:
        if httptools is None:
            raise SetupError("The benchmark needs httptools, which does not run here.")
        self.usable = False
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (asyncio calls this)."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self.usable = True

    def send(self, request: bytes, timeout: float) -> asyncio.Future[Answer]:
        """Send a request.

        Args:
            request: Head and body.
            timeout: Seconds until it is given up.

        Returns:
            The answer to come, or a RequestFailedError.
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
        """Close at once, whatever is still to be sent."""
        self.usable = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a piece of an answer (asyncio calls this)."""
        if self._waiter is None:
            self.close()  # nobody asked: a server that gave up on an idle connection
            return
        self._heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("no HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        """End (asyncio calls this)."""
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
        """Take what is of interest (the parser calls this, as the following)."""
        match name.lower():
            case b"content-length" | b"transfer-encoding":
                self._ends_with_connection = False
            case b"x-batch-size":
                self._batch_size = int(value) if value.isdigit() else 0
            case b"retry-after":
                self._retry_after = float(value) if value.isdigit() else None

    def on_headers_complete(self) -> None:
        """Go on to the body."""
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """Keep the begin of a refusal."""
        if len(self._detail) < _DETAIL and self._parser.get_status_code() != _OK:
            self._detail += body[:_DETAIL]

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        ended = clock()
        status = self._parser.get_status_code()
        waiter = self._waiter
        if status < _FINAL or waiter is None:
            self._ends_with_connection = True
            self._in_body = False
            return
        self._waiter = None
        self._timer.cancel()
        # Who is answered before all is sent could only go on by sending what nobody reads.
        if self._transport.get_write_buffer_size() or not self._parser.should_keep_alive():
            self.close()
        if not waiter.done():
            detail = self._detail[:_DETAIL].decode("utf-8", "replace")
            waiter.set_result(Answer(ended, status, self._batch_size, self._retry_after, detail))

    def _fail(self, reason: str) -> None:
        waiter, self._waiter = self._waiter, None
        self._timer.cancel()
        self.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(RequestFailedError(reason, unheard=not self._heard))
