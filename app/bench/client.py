"""The load generator's client: light HTTP/1.1, one request at a time on a connection that it keeps.

The generator shares the processors with the server that it measures, and httpx would take 40 times
the processor time per request (2.4 ms in place of 0.06): `python -m tests.measure_client`.
"""

import asyncio
import errno
import time
from typing import Final, NamedTuple, cast

import httptools

clock = time.perf_counter
"""Clock of all times here (seconds); an event loop's own clock may be a millisecond old."""

OK: Final = 200
_CLOSED: Final = "closed by the server"
_RESET: Final = "connection reset"
"""Both: before a byte of the answer arrived."""
_REASONS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: _RESET,
    errno.EMFILE: "too many open files here",
    errno.EADDRNOTAVAIL: "no free port here",
}
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


class Client:
    """Sends one request after another to one address.

    The host is an IP address, as a name would be resolved again for each connection; the timeout
    (seconds per request) includes connecting.
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._host, self._port, self._timeout = host, port, timeout
        self._connection: _Connection | None = None

    async def post(self, request: bytes) -> Outcome:
        """Send a request, head and body, and wait for its outcome."""
        retried = False
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    connection, kept = self._connection, True
                    if connection is None or not connection.usable:
                        _, connection = await loop.create_connection(
                            _Connection, self._host, self._port
                        )
                        self._connection, kept = connection, False
                    outcome = await connection.send(request)
                    if not kept or outcome.failure not in {_CLOSED, _RESET}:
                        return outcome._replace(retried=retried)
                    retried = True  # happens once: the next connection is a new one
        except TimeoutError:
            self.close()
            return Outcome(clock(), "timed out", retried=retried)
        except OSError as exc:
            return Outcome(clock(), _REASONS.get(exc.errno or 0, "no connection"), retried=retried)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None and self._connection.usable:
            self._connection.close()


class _Connection(asyncio.Protocol):
    """Carries one request at a time; the methods on_... are called by the parser."""

    def __init__(self) -> None:
        self.usable = False  # whether another request may be sent
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Outcome] | None = None

    def send(self, request: bytes) -> asyncio.Future[Outcome]:
        """Send a request, head and body, and return the future of its outcome."""
        self._waiter = waiter = asyncio.get_running_loop().create_future()
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
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.close()  # unasked, as from a server that gives up an idle connection
            return
        self._heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("no HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._waiter is None:
            return
        if exc is None and self._in_body and self._ends_with_connection:
            self.on_message_complete()
        elif self._heard:
            self._fail("answer cut short")
        else:
            self._fail(_CLOSED if exc is None else _RESET)

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-length" | b"transfer-encoding":
                self._ends_with_connection = False
            case b"x-batch-size":
                self._batch_size = int(value) if value.isdigit() else 0
            case b"retry-after":
                self._retry_after = float(value) if value.isdigit() else None

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """Keep the start of an error's body."""
        if len(self._detail) < _DETAIL_BYTES and self._parser.get_status_code() != OK:
            self._detail += body[:_DETAIL_BYTES]

    def on_message_complete(self) -> None:
        ended = clock()
        status = self._parser.get_status_code()
        if status < OK or self._waiter is None:  # another answer follows a 1xx
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
