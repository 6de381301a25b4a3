"""A front and an owner in one process, with a queue that a test decides about."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from app.records import Row
from app.service.fronts.image_server import Desk
from app.service.fronts.remote_queue import Exchange, RemoteQueue
from app.service.fronts.shared_memory import Block, Shape, make_block
from app.serving.batching.costs import BatchPolicy, RunCost

SHAPE = Shape((8, 8), slots=2)
POLICY = BatchPolicy((1, 2), RunCost(0.1, 0.0, ((1, 0.1),)), queue_budget=2.0)


class ScriptedQueue:
    """Answers with what is in the first pixel, or as `then` says."""

    def __init__(self) -> None:
        self.left = 0
        self.then: Callable[[], Any] = lambda: None
        self.waits = asyncio.Event()

    async def submit(self, pixels: Any, _deadline: float) -> Row:
        self.waits.set()
        try:
            outcome = self.then()
            if outcome is not None:
                await outcome
        except asyncio.CancelledError:
            self.left += 1
            raise
        return Row(np.full(1000, pixels[0, 0, 0], np.float32), 0.5, 0.25, 3)


class Pair:
    """Both ends."""

    def __init__(self) -> None:
        descriptor = make_block(SHAPE)
        self.queues = ScriptedQueue(), ScriptedQueue()
        self.desk = Desk(Block(descriptor, SHAPE), lambda number: self.queues[number])  # type: ignore[arg-type,return-value] # a fake
        self.exchange = Exchange(Block(descriptor, SHAPE), SHAPE.slots)
        os.close(descriptor)
        self.queue = self.queues[0]
        self.remote = RemoteQueue(0, POLICY, self.exchange)

    def post(self, *, free_in: float = 0.0, late_in: float = 0.0, usable: float = 1.0) -> None:
        """Write on the board."""
        block, now = self.desk.block, time.monotonic()
        block.beat[0] = now
        block.free_at[0], block.late_at[0], block.usable[0] = now + free_in, now + late_in, usable


def image(value: int) -> Any:
    """Make pixels that all have one value."""
    return np.full((8, 8, 3), value, np.uint8)


@asynccontextmanager
async def opened_pair() -> AsyncIterator[Pair]:
    """Connect both ends, and close them in the end."""
    pair = Pair()
    ours, theirs = socket.socketpair()
    await pair.desk.open(ours)
    await pair.exchange.open(theirs)
    try:
        yield pair
    finally:
        pair.exchange.stop()
        pair.desk.close()
