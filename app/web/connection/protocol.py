"""One connection: how much it may send, how long it may take, and what it is told otherwise.

uvicorn bounds neither the size of a request's head nor the time it takes to come, neither the
requests that wait in one connection nor the connections themselves.
"""

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import (
    BadRequestError,
    HeadersTooLargeError,
    OverloadedError,
    RequestError,
    ServiceError,
    SlowHeadersError,
)
from app.web.connection.bounds import Bounds
from app.web.connection.refusal import write_refusal

MOST_PIPELINED: Final = 4
"""Requests of one connection that may wait for the one before them."""
_LINGER: Final = 2.0
"""Seconds in which what a client still sends is read away before its connection is closed."""
_FIELD_COST: Final = 32
"""Bytes that a header counts beside its name and value, as in RFC 9113, section 6.5.2."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol within bounds.

    A client whose turn lasts too long gets 408 if it began a request, and else no word. A clock
    runs only where bytes came that are no whole head yet: a request in one piece starts none.
    Where there are too many connections, the one that is awaited longest is closed.
    """

    def __init__(self, *args: Any, bounds: Bounds, **kwargs: Any) -> None:  # noqa: ANN401 (uvicorn's)
        """Take uvicorn's arguments, and the bounds."""
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._clock: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._in_head = self._in_body = self._owing = False
        self._head_bytes = self._head_fields = self._unparsed = 0
        self._fault: RequestError | None = None
        self._refusal: RequestError | ServiceError | None = None
        self._deaf = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's
        """Begin to wait for a request, in the place of another connection if need be."""
        super().connection_made(transport)
        self._outlet = _Outlet(self)
        self._await_client()
        self._start_clock()
        if len(self.connections) > self._bounds.connections:
            oldest = next(iter(self._bounds.awaited))
            del self._bounds.awaited[oldest]
            if oldest is transport:
                self._refuse(OverloadedError("There are too many connections."))
            else:
                self._bounds.count_refusal(OverloadedError.slug)
                oldest.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_clock()
        self.resume_writing()
        self._bounds.awaited.pop(self.transport, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse what cannot be parsed, or has no end."""
        if self._refusal is not None or self._deaf:
            return
        self._unset_keepalive_if_required()
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(self._fault or BadRequestError("These bytes are not an HTTP request."))
            return
        if self._unparsed > self._bounds.header_bytes:
            self._refuse(HeadersTooLargeError(self._bounds.header_bytes))
        elif self._clock is None and not self._owing:
            self._start_clock()

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._in_head = True
        self._head_bytes = self._head_fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; one after the body is counted and dropped."""
        self._unparsed = 0
        self._count(len(name) + len(value) + _FIELD_COST, fields=1)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin with a request."""
        if self.parser.should_upgrade():
            return
        self._unparsed = 0
        self._in_head = False
        self._stop_clock()
        if len(self.pipeline) >= MOST_PIPELINED:
            self._fault = BadRequestError(
                f"More than {MOST_PIPELINED} requests wait in this connection; wait for answers."
            )
            raise self._fault
        super().on_headers_complete()
        self._in_body = self._owing = True
        self.cycle.transport = self._outlet  # type: ignore[assignment] # all that a cycle asks for
        if not self.pipeline:
            self._await_client()

    def on_body(self, body: bytes) -> None:
        """Hand over a part of the body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that it is the server's turn."""
        if self.parser.should_upgrade():
            return
        self._unparsed = 0
        self._in_body = False
        if self._owing:
            self._bounds.awaited.pop(self.transport, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that it is the client's turn, or tell it why it has none any more."""
        last = not self.pipeline
        super().on_response_complete()
        if not last or self.transport.is_closing():
            return
        self._owing = False
        self._await_client()
        if self._refusal is not None:
            self._answer_refusal()
        elif self._in_head and self._clock is None:
            self._start_clock()

    def pause_writing(self) -> None:
        """Give a client that does not read its answer some time."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Note that it reads."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, whether its last answer was read or not."""
        self.transport.abort()

    def close_softly(self) -> None:
        """Close, but not upon a client that still sends: a reset would destroy the answer."""
        if not self._in_body and self._refusal is None:
            self.transport.close()
            self._await_reader()
        elif not self._deaf and not self.transport.is_closing():
            self._deaf = True
            self.transport.write_eof()
            self.flow.resume_reading()
            self._stop_clock()
            self._clock = self.loop.call_later(_LINGER, self.transport.abort)

    def _await_client(self) -> None:
        self._bounds.awaited.pop(self.transport, None)
        self._bounds.awaited[self.transport] = None

    def _await_reader(self) -> None:
        if self._unread is None and self.transport.get_write_buffer_size():
            self._unread = self.loop.call_later(self._bounds.idle_seconds, self.transport.abort)

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(self._bounds.header_seconds, self._too_slow)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_slow(self) -> None:
        if self._in_head:
            self._refuse(SlowHeadersError("The headers of the request did not arrive in time."))
        else:  # a connection opened in advance: there is no request that could be answered
            self.transport.abort()

    def _count(self, size: int, fields: int = 0) -> None:
        self._head_bytes += size
        self._head_fields += fields
        if excess := self._bounds.find_excess(self._head_bytes, self._head_fields):
            self._fault = excess
            raise excess

    def _decline(self, rest: bytes) -> None:
        """Go on as if no other protocol had been offered, as HTTP allows.

        The parser takes all that follows the offer for the other protocol, the body too: clients
        such as Java's, which offer HTTP/2 with every first request, would lose theirs.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(BadRequestError("CONNECT is not possible here."))
            return
        lines = [method + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _refuse(self, error: RequestError | ServiceError) -> None:
        """Read no more; answer once all that was asked before is answered."""
        self._bounds.count_refusal(error.slug)
        self._refusal = error
        self._stop_clock()
        if not self._owing:
            self._answer_refusal()
        elif self._in_body and self.pipeline:
            self.pipeline.popleft()  # the request that broke; it never began
            self._in_body = False
        elif self._in_body and not self.cycle.response_started:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._answer_refusal()
        elif self._in_body:  # half an answer is out: only the end of the connection can say so
            self.transport.abort()

    def _answer_refusal(self) -> None:
        error = self._refusal
        if error is None or self.transport.is_closing():
            return
        if self._in_body and not self._owing:
            self.close_softly()  # the answer is out; another would be taken for a next one
            return
        self.transport.write(write_refusal(error, self.server_state.default_headers))
        self.close_softly()


class _Outlet:
    """What uvicorn writes an answer to: a transport that is closed softly."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        self._connection.close_softly()
