"""Images between a front process and the owner: pixels into a slot, a message, a row back."""

import asyncio
import logging
import math
import socket
import struct
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Final

from app.errors import (
    DeadlineExceededError,
    ModelFailedError,
    OverloadedError,
    ServiceError,
    kinds,
)
from app.records import Ask, Pixels, Row
from app.service.fronts.shared_memory import SharedMemory
from app.serving.batching.queue import Queue

REQUEST: Final = struct.Struct("=HHIId")
"""From the front: SUBMIT, EXPLAIN or CANCEL, model, slot, ticket, deadline (`time.monotonic`, seconds)."""
SUBMIT: Final = 0
CANCEL: Final = 1
EXPLAIN: Final = 2
"""Submits an image too; what is to be explained about it is in the memory."""
REPLY: Final = struct.Struct("=IHHfff")
"""From the owner: ticket, and for a row 0, images in the run, seconds in the queue, seconds of the
run, its energy or NaN; for an error its number, bytes of its sentence, seconds to wait before a retry
or 0, and two zeros."""
_GRACE: Final = 0.5
"""Seconds beyond the deadline in which the owner's answer may come."""
_TICKETS: Final = 2**32

log = logging.getLogger(__name__)


class ImageChannel(asyncio.Protocol):
    """One end; the messages sent in one turn of the event loop go out in one write."""

    def __init__(self, incoming: struct.Struct) -> None:
        self._incoming = incoming
        self._incomplete = b""
        self._outgoing = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    @abstractmethod
    def received(self, fields: tuple[Any, ...]) -> None:
        """Handle a message of the format `incoming`."""

    async def open(self, connection: socket.socket) -> None:
        """Connect to the other process."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=connection)

    def close(self) -> None:
        """Close this end; called too when the other process has gone."""
        if self._transport is not None:
            self._transport.close()

    def send(self, message: bytes) -> None:
        """Send a message at the end of this turn, unless the connection has ended."""
        if not self._outgoing and self._transport is not None:
            self._loop.call_soon(self._flush)
        self._outgoing += message

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():  # uvloop raises
            self._transport.write(bytes(self._outgoing))
        self._outgoing.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport  # type: ignore[assignment] # of a stream
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's)
        """Close this end."""
        self._transport = None
        self.close()

    def data_received(self, data: bytes) -> None:
        """Handle each complete message."""
        if self._incomplete:
            data = self._incomplete + data
        whole = len(data) - len(data) % self._incoming.size
        self._incomplete = data[whole:]
        for fields in self._incoming.iter_unpack(data[:whole]):
            self.received(fields)


class ImageClient(ImageChannel):
    """A front's end: sends the images of all models to the owner.

    A slot is free again as soon as no request waits for its row: the owner learns that the image
    was cancelled before it learns of the next image in that slot, and each reply has a ticket. If
    a run reads the slot meanwhile, the row that comes of it is dropped.
    """

    def __init__(self, memory: SharedMemory) -> None:
        super().__init__(REPLY)
        self.memory = memory
        self._free = list(range(len(memory.rows)))
        self._waiting: dict[int, tuple[int, int, bool, asyncio.Future[Row]]] = {}
        self._ticket = 0
        self._closed = False

    async def submit(
        self, model: int, pixels: Pixels, deadline: float, ask: Ask | None = None
    ) -> Row:
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
        self._waiting[ticket] = model, slot, ask is not None, answer
        self.memory.pixels(model, slot)[:] = pixels
        if ask is not None:
            self.memory.write_ask(slot, ask)
        self.send(REQUEST.pack(EXPLAIN if ask else SUBMIT, model, slot, ticket, deadline))
        try:
            # The owner watches the deadline; this one is for an owner that hangs.
            async with asyncio.timeout(max(0.0, deadline - time.monotonic()) + _GRACE):
                return await answer
        except (asyncio.CancelledError, TimeoutError) as exc:
            self.send(REQUEST.pack(CANCEL, model, slot, ticket, deadline))
            if isinstance(exc, TimeoutError):
                raise DeadlineExceededError("The deadline passed before the answer.") from exc
            raise
        finally:
            del self._waiting[ticket]
            self._free.append(slot)

    def received(self, fields: tuple[Any, ...]) -> None:
        """Hand a row or an error to the request that waits for it."""
        ticket, error, count, seconds, run_seconds, energy = fields
        model, slot, explained, answer = self._waiting.get(ticket, (0, 0, False, None))
        if answer is None or answer.done():
            return
        if error:
            sentence = self.memory.rows[slot].tobytes()[:count]
            answer.set_exception(decode_error(error, sentence, seconds))
        else:
            row = self.memory.row(model, slot).copy()
            seen = self.memory.read_seen(slot) if explained else None
            known = None if math.isnan(energy) else energy
            answer.set_result(Row(row, seconds, run_seconds, count, seen, known))

    def close(self) -> None:
        """Fail every image that waits, and accept no more."""
        self._closed = True
        super().close()
        for *_, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ModelFailedError("The server has stopped."))


class ImageServer(ImageChannel):
    """The owner's end: submits the images of one front to the queues and sends the rows back."""

    def __init__(self, memory: SharedMemory, queue_of: Callable[[int], Queue]) -> None:
        """Serve nothing before `open`; `queue_of` returns the queue of a model by its number."""
        super().__init__(REQUEST)
        self.memory = memory
        self._queue_of = queue_of
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def received(self, fields: tuple[Any, ...]) -> None:
        """Submit an image, or cancel it."""
        kind, model, slot, ticket, deadline = fields
        if kind != CANCEL:
            work = self._answer(model, slot, ticket, deadline, explain=kind == EXPLAIN)
            self._tasks[ticket] = self._loop.create_task(work)
        elif (task := self._tasks.pop(ticket, None)) is not None:
            # Not before its first step, in which it gets in line: the queue counts those that leave.
            self._loop.call_soon(task.cancel)

    def close(self) -> None:
        """Drop the images of a front that has gone."""
        self.memory.coming[:] = self.memory.asked[:] = 0
        super().close()
        for task in self._tasks.values():
            task.cancel()

    async def _answer(
        self, model: int, slot: int, ticket: int, deadline: float, *, explain: bool
    ) -> None:
        try:
            pixels = self.memory.pixels(model, slot)
            ask = self.memory.read_ask(model, slot) if explain else None
            row = await self._queue_of(model).submit(pixels, deadline, ask)
        except Exception as exc:
            if not isinstance(exc, ServiceError):
                log.exception("unhandled exception while an image of a front was run")
            room = self.memory.rows[slot].view("uint8")
            number, sentence, retry_after = encode_error(exc, room.size)
            room[: len(sentence)] = list(sentence)
            reply = REPLY.pack(ticket, number, len(sentence), retry_after, 0.0, 0.0)
        else:
            self.memory.row(model, slot)[:] = row.probabilities
            if row.seen is not None:
                self.memory.write_seen(slot, row.seen)
            energy = math.nan if row.energy is None else row.energy
            times = row.queue_seconds, row.run_seconds
            reply = REPLY.pack(ticket, 0, row.batch_size, *times, energy)
        finally:
            self._tasks.pop(ticket, None)  # not there if cancelled
        self.send(reply)


def encode_error(error: Exception, room: int) -> tuple[int, bytes, float]:
    """Return the number of an error, its sentence, and the seconds to wait before a retry or 0.

    The number is the place of its class in the kinds of ServiceError, from 1; `room` is in bytes.
    """
    if not isinstance(error, ServiceError):
        error = ServiceError("The server failed.")
    number = list(kinds(ServiceError)).index(type(error)) + 1
    return number, str(error).encode()[:room], error.retry_after or 0.0


def decode_error(number: int, sentence: bytes, retry_after: float) -> ServiceError:
    """Return the error that was encoded."""
    kind = list(kinds(ServiceError))[number - 1]
    return kind(sentence.decode(errors="replace"), retry_after=retry_after or None)
