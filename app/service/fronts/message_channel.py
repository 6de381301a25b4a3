"""What a front process and the owner tell each other beside the images: JSON, one object a line."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

_LONGEST: Final = 2**22
"""Bytes of a line; the samples of all metrics of a process are the longest."""


class Words:
    """One end of the conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take both directions."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, way: socket.socket) -> "Words":
        """Connect to the other side."""
        return cls(*await asyncio.open_unix_connection(sock=way, limit=_LONGEST))

    def say(self, topic: str, **what: Any) -> None:  # noqa: ANN401 (whatever JSON holds)
        """Send an object; to nobody, if the other side has gone."""
        if not self._writer.is_closing():  # uvloop raises
            self._writer.write(json.dumps({"topic": topic, **what}).encode() + b"\n")

    async def heard(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what comes, until the other side has gone."""
        with suppress(OSError):  # reset by an end that was not by its own will
            async for line in self._reader:
                if line.endswith(b"\n"):  # else the other side has ended in the middle
                    yield json.loads(line)

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
