"""The owner's side of one front process: takes its images to the queues, and brings rows back."""

import asyncio
import logging
import socket
from collections.abc import Callable

from app.errors import ServiceError
from app.service.fronts.image_channel import ORDER, REPLY, SUBMIT, Wire, encode_error
from app.service.fronts.shared_memory import Block
from app.serving.batching.queue import Queue

log = logging.getLogger(__name__)


class Desk:
    """Where one front is served."""

    def __init__(self, block: Block, queue_of: Callable[[int], Queue]) -> None:
        """Serve nothing before `open`.

        Args:
            block: Shared with the front.
            queue_of: Finds the queue of a model by its number.
        """
        self.block = block
        self._queue_of = queue_of
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wire = Wire(ORDER, self._received, self.close)

    async def open(self, way: socket.socket) -> None:
        """Begin to serve."""
        self._loop = asyncio.get_running_loop()
        await self._loop.create_unix_connection(lambda: self._wire, sock=way)

    def close(self) -> None:
        """Drop the images of a front that has gone."""
        self.block.coming[:] = 0
        self._wire.close()
        for task in self._tasks.values():
            task.cancel()

    def _received(self, kind: int, model: int, slot: int, ticket: int, deadline: float) -> None:
        if kind == SUBMIT:
            work = self._answer(model, slot, ticket, deadline)
            self._tasks[ticket] = self._loop.create_task(work)
        elif (task := self._tasks.pop(ticket, None)) is not None:
            task.cancel()

    async def _answer(self, model: int, slot: int, ticket: int, deadline: float) -> None:
        try:
            pixels = self.block.pixels(model, slot)
            row = await self._queue_of(model).submit(pixels, deadline)
        except Exception as exc:
            if not isinstance(exc, ServiceError):
                log.exception("a bug")
            place = self.block.rows[slot].view("uint8")
            number, sentence = encode_error(exc, place.size)
            place[: len(sentence)] = list(sentence)
            reply = REPLY.pack(ticket, number, len(sentence), 0.0, 0.0)
        else:
            self.block.rows[slot] = row.probabilities
            times = row.queue_seconds, row.run_seconds
            reply = REPLY.pack(ticket, 0, row.batch_size, *times)
        finally:
            self._tasks.pop(ticket, None)  # else it has left, maybe before this began
        self._wire.send(reply)
