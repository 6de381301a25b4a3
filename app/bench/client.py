"""One client: it keeps its connection while the server does, and opens another when it must."""

import asyncio
import errno
from typing import Final, NamedTuple

from app.bench.connection import Answer, Connection, RequestFailedError, clock

_REASONS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EMFILE: "too many open files here",
    errno.EADDRNOTAVAIL: "no free port here",
}


class Outcome(NamedTuple):
    """What became of a request.

    Attributes:
        ended: When it was answered or given up.
        answer: None if there was none.
        failure: Why; empty if there was one.
        retried: True if it was sent a second time, because the server had closed the idle
            connection that it was sent on first (RFC 9112, 9.3.1).
    """

    ended: float
    answer: Answer | None
    failure: str = ""
    retried: bool = False


class Lane:
    """Sends one request after the other to one address."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        """Prepare; nothing is opened yet.

        Args:
            host: Address; a name would be looked up for each connection.
            port: Of the server.
            timeout: Seconds for a request, connecting included.
        """
        self._host, self._port, self._timeout = host, port, timeout
        self._connection: Connection | None = None

    async def ask(self, request: bytes) -> Outcome:
        """Send a request and wait for what becomes of it."""
        deadline = clock() + self._timeout
        retried = False
        while True:
            kept = self._connection is not None and self._connection.usable
            try:
                connection = self._connection if kept else await self._connect(deadline)
                assert connection is not None  # noqa: S101 (narrows the type)
                answer = await connection.send(request, max(0.0, deadline - clock()))
                return Outcome(answer.ended, answer, retried=retried)
            except RequestFailedError as exc:
                if kept and exc.unheard and exc.reason != "timed out":
                    retried = True  # the next connection is new, so this comes but once
                    continue
                return Outcome(clock(), None, exc.reason, retried)

    def close(self) -> None:
        """Close its connection."""
        if self._connection is not None and self._connection.usable:
            self._connection.close()

    async def _connect(self, deadline: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max(0.0, deadline - clock())):
                _, self._connection = await loop.create_connection(
                    Connection, self._host, self._port
                )
        except TimeoutError as exc:
            raise RequestFailedError("timed out") from exc
        except OSError as exc:
            raise RequestFailedError(_REASONS.get(exc.errno or 0, "no connection")) from exc
        return self._connection
