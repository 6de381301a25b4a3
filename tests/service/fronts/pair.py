"""A front and an owner in one process, with queues that a test controls."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from app.records import Ask, Row, Seen
from app.service.fronts.image_channel import ImageClient, ImageServer
from app.service.fronts.remote_queue import RemoteQueue
from app.service.fronts.shared_memory import Layout, SharedMemory, allocate
from app.serving.batching.costs import BatchPolicy, RunCost

LAYOUT = Layout((8, 8), (1000, 1000), slots=2, map_floats=13)
POLICY = BatchPolicy((1, 2), RunCost(0.1, 0.0, ((1, 0.1),)), queue_budget=2.0)


class ScriptedQueue:
    """Answers with the value of the first pixel, or does what `then` says."""

    def __init__(self) -> None:
        self.left = 0
        self.energy: float | None = None
        self.asks: list[Ask | None] = []
        self.then: Callable[[], Any] = lambda: None
        self.waits = asyncio.Event()

    async def submit(self, pixels: Any, _deadline: float, ask: Ask | None = None) -> Row:
        self.asks.append(ask)
        self.waits.set()
        try:
            outcome = self.then()
            if outcome is not None:
                await outcome
        except asyncio.CancelledError:
            self.left += 1
            raise
        row = Row(np.full(1000, pixels[0, 0, 0], np.float32), 0.5, 0.25, 3, energy=self.energy)
        return row if ask is None else replace(row, seen=seen_of(ask))


def seen_of(ask: Ask) -> Seen:
    """Make an explanation whose numbers are all different."""
    count = ask.most
    maps = np.arange(count * 9, dtype=np.float32).reshape(count, 3, 3)
    cells = -np.arange(count * 4, dtype=np.float32).reshape(count, 2, 2) if ask.cells else None
    return Seen(np.arange(count, dtype=np.int64) + 90, maps, cells, 0.125)


class Pair:
    """Both ends."""

    def __init__(self) -> None:
        descriptor = allocate(LAYOUT)
        self.queues = ScriptedQueue(), ScriptedQueue()
        queue_of: Any = self.queues.__getitem__
        self.server = ImageServer(SharedMemory(descriptor, LAYOUT), queue_of)
        self.client = ImageClient(SharedMemory(descriptor, LAYOUT))
        os.close(descriptor)
        self.queue = self.queues[0]
        self.remote = RemoteQueue(0, POLICY, self.client)

    def post(self, *, free_in: float = 0.0, late_in: float = 0.0, usable: float = 1.0) -> None:
        """Write a state of the queue."""
        memory, now = self.server.memory, time.monotonic()
        memory.updated_at[0] = now
        memory.next_start[0], memory.latest_start[0], memory.usable[0] = (
            now + free_in,
            now + late_in,
            usable,
        )


def image(value: int) -> Any:
    """Make pixels that all have one value."""
    return np.full((8, 8, 3), value, np.uint8)


@asynccontextmanager
async def opened_pair() -> AsyncIterator[Pair]:
    """Connect both ends, and close them at the end."""
    pair = Pair()
    ours, theirs = socket.socketpair()
    await pair.server.open(ours)
    await pair.client.open(theirs)
    try:
        yield pair
    finally:
        pair.client.close()
        pair.server.close()
