"""How much connections may do, and which of them goes first where there are too many."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from app.errors import HeadersTooLargeError

MOST_HEADERS: Final = 100
"""Headers of one request. Each is objects of about 150 bytes beside its text, however short."""


@dataclass(frozen=True)
class Bounds:
    """What the connections of one server share.

    Attributes:
        header_bytes: Most of the head of one request, its address included.
        header_seconds: For the head of a request to come, from its first byte.
        idle_seconds: After which a connection on which nothing moves is closed.
        connections: Most at a time.
        count_refusal: Told, by the slug of a problem, why a connection ends before its time.
        awaited: Those whose turn it is to send, the longest-awaited first.
    """

    header_bytes: int
    header_seconds: float
    idle_seconds: float
    connections: int
    count_refusal: Callable[[str], None] = lambda _: None
    awaited: dict[asyncio.Transport, None] = field(default_factory=dict)

    def find_excess(self, size: int, fields: int) -> HeadersTooLargeError | None:
        """Return what is wrong with a head of so many bytes and headers, if anything is."""
        if size > self.header_bytes:
            return HeadersTooLargeError(self.header_bytes)
        if fields > MOST_HEADERS:
            return HeadersTooLargeError(MOST_HEADERS, "headers")
        return None
