"""A client of the load generator: one request at a time, on a connection that it keeps while it can."""

import asyncio
import errno
from typing import Final, NamedTuple

from app.bench.client_connection import Answer, ClientConnection, NoAnswerError, clock

_REASONS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EMFILE: "too many open files here",
    errno.EADDRNOTAVAIL: "no free port here",
}


class Outcome(NamedTuple):
    """How a request ended.

    Attributes:
        ended: When it was answered or failed (seconds, see `clock`).
        answer: The response; None if there was none.
        failure: Why there was none, in a few words; else empty.
        retried: Whether it was sent a second time, because the server had closed the idle
            connection that it was first sent on (RFC 9112, 9.3.1).
    """

    ended: float
    answer: Answer | None
    failure: str = ""
    retried: bool = False


class Client:
    """Sends one request after another to one address."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        """Prepare, without opening a connection.

        Args:
            host: IP address; a name would be resolved again for each connection.
            port: TCP port.
            timeout: Seconds per request, connecting included.
        """
        self._host, self._port, self._timeout = host, port, timeout
        self._connection: ClientConnection | None = None

    async def post(self, request: bytes) -> Outcome:
        """Send a request, head and body, and wait for its outcome."""
        deadline = clock() + self._timeout
        retried = False
        while True:
            kept = self._connection if self._connection and self._connection.usable else None
            try:
                connection = kept or await self._connect(deadline)
                answer = await connection.send(request, max(0.0, deadline - clock()))
                return Outcome(answer.ended, answer, retried=retried)
            except NoAnswerError as exc:
                if kept and exc.unheard and exc.reason != "timed out":
                    retried = True  # happens once: the next connection is a new one
                    continue
                return Outcome(clock(), None, exc.reason, retried)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None and self._connection.usable:
            self._connection.close()

    async def _connect(self, deadline: float) -> ClientConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max(0.0, deadline - clock())):
                _, self._connection = await loop.create_connection(
                    ClientConnection, self._host, self._port
                )
        except TimeoutError as exc:
            raise NoAnswerError("timed out") from exc
        except OSError as exc:
            raise NoAnswerError(_REASONS.get(exc.errno or 0, "no connection")) from exc
        return self._connection
