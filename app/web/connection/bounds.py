"""The limits that all connections of one server share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bounds:
    """Limits, and the connections that compete for them.

    Attributes:
        header_bytes: Size limit of the head of one request, its address included.
        header_seconds: Time limit for the head of a request, from its first byte.
        idle_seconds: Time after which an idle connection is closed.
        connections: Maximum of open connections.
        count_refusal: Called with the slug of a problem for every connection closed early.
        awaited: Connections whose client has to send next, the one idle longest first.
    """

    header_bytes: int
    header_seconds: float
    idle_seconds: float
    connections: int
    count_refusal: Callable[[str], None] = lambda _: None
    awaited: dict[asyncio.Transport, None] = field(default_factory=dict)
