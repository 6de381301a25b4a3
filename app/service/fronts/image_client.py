"""A front's side of its images: pixels into a slot, a message to the owner, a row back."""

import asyncio
import socket
import time
from typing import Final

from app.errors import DeadlineExceededError, ModelFailedError, OverloadedError
from app.records import Pixels, Row
from app.service.fronts.image_channel import (
    CANCEL,
    REPLY,
    REQUEST,
    SUBMIT,
    ImageChannel,
    decode_error,
)
from app.service.fronts.shared_memory import SharedMemory

_GRACE: Final = 0.5
"""Seconds beyond the deadline in which the owner's answer may come."""
_TICKETS: Final = 2**32


class ImageClient:
    """Sends the images of all models to the owner.

    A slot is free again as soon as no request waits for its row: the owner learns that the image
    was cancelled before it learns of the next image in that slot, and each reply has a ticket. If
    a run reads the slot meanwhile, the row that comes of it is dropped.

    Attributes:
        memory: Shared with the owner.
    """

    def __init__(self, memory: SharedMemory) -> None:
        self.memory = memory
        self._free = list(range(len(memory.rows)))
        self._waiting: dict[int, tuple[int, asyncio.Future[Row]]] = {}
        self._ticket = 0
        self._closed = False
        self._channel = ImageChannel(REPLY, self._received, self.stop)

    async def open(self, connection: socket.socket) -> None:
        """Connect to the owner."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self._channel, sock=connection)

    async def submit(self, model: int, pixels: Pixels, deadline: float) -> Row:
        """Return an image's row.

        Raises:
            ServiceError: If the owner's queue raised it, or the owner has gone.
        """
        if self._closed:
            raise ModelFailedError("The server has stopped.")
        if not self._free:
            raise OverloadedError("Too many images are being classified.")
        slot = self._free.pop()
        ticket = self._ticket = (self._ticket + 1) % _TICKETS
        answer: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = slot, answer
        self.memory.pixels(model, slot)[:] = pixels
        self._channel.send(REQUEST.pack(SUBMIT, model, slot, ticket, deadline))
        try:
            # The owner watches the deadline; this one is for an owner that hangs.
            async with asyncio.timeout(max(0.0, deadline - time.monotonic()) + _GRACE):
                return await answer
        except (asyncio.CancelledError, TimeoutError) as exc:
            self._channel.send(REQUEST.pack(CANCEL, model, slot, ticket, deadline))
            if isinstance(exc, TimeoutError):
                raise DeadlineExceededError("The deadline passed before the answer.") from exc
            raise
        finally:
            del self._waiting[ticket]
            self._free.append(slot)

    def stop(self) -> None:
        """Fail every image that waits, and accept no more."""
        self._closed = True
        self._channel.close()
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ModelFailedError("The server has stopped."))

    def _received(
        self, ticket: int, error: int, count: int, seconds: float, run_seconds: float
    ) -> None:
        slot, answer = self._waiting.get(ticket, (0, None))
        if answer is None or answer.done():
            return
        if error:
            sentence = self.memory.rows[slot].tobytes()[:count]
            answer.set_exception(decode_error(error, sentence, seconds))
        else:
            answer.set_result(Row(self.memory.row(slot), seconds, run_seconds, count))
