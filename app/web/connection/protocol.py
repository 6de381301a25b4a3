"""uvicorn's HTTP protocol with limits.

uvicorn limits neither the size of a request's head nor the time it takes to arrive, neither the
requests that wait in one connection nor the number of connections.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.errors import (
    BadRequestError,
    HeadersTooLargeError,
    OverloadedError,
    RequestError,
    ServiceError,
    SlowHeadersError,
)
from app.web.middleware.envelope import write_refusal
from app.web.middleware.prefix import UNIX

MAX_HEADERS: Final = 100
"""Headers per request. Each takes about 150 bytes beside its text, however short."""
MAX_PIPELINED: Final = 4
"""Requests that may wait in one connection for the answer to the one before."""
_LINGER: Final = 2.0
"""Seconds for which the rest of a request is discarded before its connection is closed."""
_HEADER_OVERHEAD: Final = 32
"""Bytes that a header counts beside its name and value, as in RFC 9113, section 6.5.2."""


@dataclass(frozen=True)
class Bounds:
    """The limits that all connections of one server share."""

    header_bytes: int  # of the head of one request, its address included
    header_seconds: float  # for the head of a request, from its first byte
    idle_seconds: float  # after which an idle connection is closed
    connections: int  # open at the same time
    count_refusal: Callable[[str], None] = lambda _: None  # gets the slug of its problem
    refuse: Callable[[Any, Any], bytes | None] = lambda _scope, _headers: None
    """Returns the answer to a request that is refused by its head; see `EarlyRefusals.answer`."""
    awaited: dict[asyncio.Transport, None] = field(default_factory=dict)
    """Connections whose client has to send next, the one idle longest first."""


class Connection(HttpToolsProtocol):
    """One connection.

    A client that is too slow gets 408 if it has started a request; otherwise the connection is
    just closed. A timer runs only after a part of a head: a request in one piece starts none.
    Beyond the maximum of connections, the one that has been idle longest is closed.
    """

    def __init__(self, *args: Any, bounds: Bounds, **kwargs: Any) -> None:  # noqa: ANN401 (uvicorn's)
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head = self._in_body = self._answer_due = self._discarding = False
        self._head_bytes = self._head_fields = self._unparsed = 0
        self._parse_error: RequestError | None = None
        self._refusal: RequestError | ServiceError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's
        """Wait for a request; close another connection if there are too many."""
        super().connection_made(transport)
        self.client = self.client or (UNIX, 0)
        self._soft_transport = SimpleNamespace(
            write=transport.write, is_closing=transport.is_closing, close=self._close_softly
        )
        self._await_client()
        self._start_timer()
        if len(self.connections) > self._bounds.connections:
            oldest = next(iter(self._bounds.awaited))
            del self._bounds.awaited[oldest]
            if oldest is transport:
                self._refuse(OverloadedError("There are too many connections."))
            else:
                self._bounds.count_refusal(OverloadedError.slug)
                oldest.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release what the connection holds."""
        self._stop_timer()
        self.resume_writing()
        self._bounds.awaited.pop(self.transport, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes; refuse the connection if they are malformed or too many."""
        if self._refusal is not None or self._discarding:
            return
        self._unset_keepalive_if_required()
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(self._parse_error or BadRequestError("This is not an HTTP/1.1 request."))
            return
        if self._unparsed > self._bounds.header_bytes:
            self._refuse(HeadersTooLargeError(self._bounds.header_bytes))
        elif self._timer is None and not self._answer_due and not self.timeout_keep_alive_task:
            self._start_timer()

    def on_message_begin(self) -> None:
        """Start counting the head of a request; it may come right behind one that was refused."""
        self._unset_keepalive_if_required()
        self._in_head = True
        self._head_bytes = self._head_fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header. A trailer, after the body, is counted and dropped."""
        self._unparsed = 0
        self._count(len(name) + len(value) + _HEADER_OVERHEAD, fields=1)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a request."""
        if self.parser.should_upgrade():
            return
        self._unparsed = 0
        self._in_head = False
        self._stop_timer()
        if len(self.pipeline) >= MAX_PIPELINED:
            self._parse_error = BadRequestError(
                f"More than {MAX_PIPELINED} requests are waiting in this connection. Read the"
                " answers before you send more."
            )
            raise self._parse_error
        super().on_headers_complete()
        self._in_body = True
        if self.cycle.response_complete:
            return
        self._answer_due = True
        self.cycle.transport = self._soft_transport  # type: ignore[assignment] # all that a cycle uses
        if not self.pipeline:
            self._await_client()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 (uvicorn's)
        """Start a request, or answer it at once if its head is enough to refuse it."""
        answer = None
        if cycle.keep_alive and not self.flow.write_paused:
            answer = self._bounds.refuse(cycle.scope, cycle.default_headers)
        if answer is None:
            super()._start_asgi_task(cycle, app)
            return
        self.transport.write(answer)
        cycle.response_started = cycle.response_complete = True
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Record that the server has to send next, or that the connection is idle after a refusal."""
        if self.parser.should_upgrade():
            return
        self._unparsed = 0
        self._in_body = False
        if self._answer_due:
            self._bounds.awaited.pop(self.transport, None)
        elif self.timeout_keep_alive_task is None:  # a body in parts, answered before its end
            self._stop_timer()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Record that the client has to send next, or answer a refusal that had to wait."""
        last = not self.pipeline
        super().on_response_complete()
        if not last or self.transport.is_closing():
            return
        self._answer_due = False
        self._await_client()
        if self._refusal is not None:
            self._answer_refusal()
        elif self._in_head and self._timer is None:
            self._start_timer()

    def pause_writing(self) -> None:
        """Limit the time in which a client reads its answer."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Cancel that limit."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if its last answer was not read."""
        self.transport.abort()

    def _close_softly(self) -> None:
        """Close without a reset, which would destroy the answer while the client still sends."""
        if not self._in_body and self._refusal is None:
            self.transport.close()
            self._await_reader()
        elif not self._discarding and not self.transport.is_closing():
            self._discarding = True
            self.transport.write_eof()
            self.flow.resume_reading()
            self._stop_timer()
            self._timer = self.loop.call_later(_LINGER, self.transport.abort)

    def _await_client(self) -> None:
        self._bounds.awaited.pop(self.transport, None)
        self._bounds.awaited[self.transport] = None

    def _await_reader(self) -> None:
        if self._write_timer is None and self.transport.get_write_buffer_size():
            self._write_timer = self.loop.call_later(
                self._bounds.idle_seconds, self.transport.abort
            )

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._bounds.header_seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._in_head:
            self._refuse(SlowHeadersError("The headers of the request did not arrive in time."))
        else:  # a connection opened in advance: there is no request to answer
            self.transport.abort()

    def _count(self, size: int, fields: int = 0) -> None:
        self._head_bytes += size
        self._head_fields += fields
        if self._head_bytes > self._bounds.header_bytes:
            self._parse_error = HeadersTooLargeError(self._bounds.header_bytes)
        elif self._head_fields > MAX_HEADERS:
            self._parse_error = HeadersTooLargeError(MAX_HEADERS, "headers")
        if self._parse_error is not None:
            raise self._parse_error

    def _decline(self, rest: bytes) -> None:
        """Ignore the offer of another protocol, as HTTP allows.

        The parser treats all bytes after the offer as that protocol, the body too. Java's client
        offers HTTP/2 with every first request and would lose its body.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(BadRequestError("CONNECT is not supported: this is not a proxy."))
            return
        lines = [method + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _refuse(self, error: RequestError | ServiceError) -> None:
        """Stop reading, and answer with an error after the answers to earlier requests."""
        self._bounds.count_refusal(error.slug)
        self._refusal = error
        self._stop_timer()
        if not self._answer_due:
            self._answer_refusal()
        elif self._in_body and self.pipeline:
            self.pipeline.popleft()  # the malformed request; it was not started
            self._in_body = False
        elif self._in_body and not self.cycle.response_started:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._answer_refusal()
        elif self._in_body:  # half of an answer was sent: only a reset can report the error
            self.transport.abort()

    def _answer_refusal(self) -> None:
        error = self._refusal
        if error is None or self.transport.is_closing():
            return
        if self._in_body and not self._answer_due:
            self._close_softly()  # the answer was sent; another would be taken for the next one
            return
        self.transport.write(write_refusal(error, self.server_state.default_headers))
        self._close_softly()
