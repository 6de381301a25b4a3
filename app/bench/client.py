"""A client of the load generator: one request at a time, on a connection that it keeps while it can."""

import asyncio
import errno
from typing import Final

from app.bench.client_connection import CLOSED, RESET, ClientConnection, Outcome, clock

_REASONS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: RESET,
    errno.EMFILE: "too many open files here",
    errno.EADDRNOTAVAIL: "no free port here",
}


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
        retried = False
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    kept = self._connection is not None and self._connection.usable
                    connection = self._connection if kept else await self._connect()
                    assert connection is not None  # noqa: S101 (narrows the type)
                    outcome = await connection.send(request)
                    if not kept or outcome.failure not in {CLOSED, RESET}:
                        return outcome._replace(retried=True) if retried else outcome
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

    async def _connect(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        _, self._connection = await loop.create_connection(ClientConnection, self._host, self._port)
        return self._connection
