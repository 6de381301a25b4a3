"""How much connections may do, and which of them goes first where there are too many."""

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bounds:
    """What the connections of one server share.

    Attributes:
        header_bytes: Most of the head of one request, its address included.
        header_seconds: For the head of a request to come, from its first byte.
        idle_seconds: After which a connection on which nothing moves is closed.
        connections: Most at a time.
        awaited: Those whose turn it is to send, the longest-awaited first.
    """

    header_bytes: int
    header_seconds: float
    idle_seconds: float
    connections: int
    awaited: dict[asyncio.Transport, None] = field(default_factory=dict)
