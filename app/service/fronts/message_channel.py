"""All other messages between a front process and the owner: JSON, one object per line."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

_LONGEST: Final = 2**22
"""Bytes per line; the metrics of a process are the longest message."""


class MessageChannel:
    """One end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, connection: socket.socket) -> "MessageChannel":
        """Connect to the other process."""
        return cls(*await asyncio.open_unix_connection(sock=connection, limit=_LONGEST))

    def send(self, topic: str, **content: Any) -> None:  # noqa: ANN401 (whatever JSON holds)
        """Send a message, unless the other process has gone."""
        if not self._writer.is_closing():  # uvloop raises
            self._writer.write(json.dumps({"topic": topic, **content}).encode() + b"\n")

    async def received(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the messages that come in, until the other process has gone."""
        with suppress(OSError):  # reset by a process that was killed
            async for line in self._reader:
                if line.endswith(b"\n"):  # else the process ended in the middle of it
                    yield json.loads(line)

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
