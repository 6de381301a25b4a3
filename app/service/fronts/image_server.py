"""The owner's side of one front's images: submits them to the queues and sends the rows back."""

import asyncio
import logging
import socket
from collections.abc import Callable

from app.errors import ServiceError
from app.service.fronts.image_channel import REPLY, REQUEST, SUBMIT, ImageChannel, encode_error
from app.service.fronts.shared_memory import SharedMemory
from app.serving.batching.queue import Queue

log = logging.getLogger(__name__)


class ImageServer:
    """Serves the images of one front.

    Attributes:
        memory: Shared with the front.
    """

    def __init__(self, memory: SharedMemory, queue_of: Callable[[int], Queue]) -> None:
        """Create a server that serves nothing before `open`.

        Args:
            memory: Shared with the front.
            queue_of: Returns the queue of a model by its number.
        """
        self.memory = memory
        self._queue_of = queue_of
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._channel = ImageChannel(REQUEST, self._received, self.close)

    async def open(self, connection: socket.socket) -> None:
        """Start to serve."""
        self._loop = asyncio.get_running_loop()
        await self._loop.create_unix_connection(lambda: self._channel, sock=connection)

    def close(self) -> None:
        """Drop the images of a front that has gone."""
        self.memory.coming[:] = 0
        self._channel.close()
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
            pixels = self.memory.pixels(model, slot)
            row = await self._queue_of(model).submit(pixels, deadline)
        except Exception as exc:
            if not isinstance(exc, ServiceError):
                log.exception("unhandled exception while an image of a front was run")
            room = self.memory.rows[slot].view("uint8")
            number, sentence, retry_after = encode_error(exc, room.size)
            room[: len(sentence)] = list(sentence)
            reply = REPLY.pack(ticket, number, len(sentence), retry_after, 0.0)
        else:
            self.memory.rows[slot] = row.probabilities
            times = row.queue_seconds, row.run_seconds
            reply = REPLY.pack(ticket, 0, row.batch_size, *times)
        finally:
            self._tasks.pop(ticket, None)  # not there if cancelled, maybe before this began
        self._channel.send(reply)
