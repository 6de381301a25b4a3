"""The front's way to the models: pixels into a slot, a message, a row back."""

import asyncio
import socket
import time
from typing import Final

from app.errors import DeadlineExceededError, ModelFailedError, OverloadedError
from app.records import Pixels, Row
from app.service.fronts.image_channel import LEAVE, ORDER, REPLY, SUBMIT, Wire, decode_error
from app.service.fronts.shared_memory import Block
from app.serving.batching.costs import BatchPolicy
from app.serving.batching.queue import Queue

_SILENCE: Final = 10.0
"""Seconds after which an owner that writes nothing on the board counts as hung."""
_GRACE: Final = 0.5
"""Seconds beyond the deadline in which the owner's answer may come."""
_TICKETS: Final = 2**32


class Exchange:
    """Images on their way to the owner and rows on their way back.

    A slot is free again as soon as nobody waits for its row: the owner learns of whoever left
    before it learns of the next image in that slot, and a reply names its ticket. What a run
    that has begun still reads of it becomes a row that nobody gets.
    """

    def __init__(self, block: Block, slots: int) -> None:
        """Begin with all slots free."""
        self.block = block
        self._free = list(range(slots))
        self._waiting: dict[int, tuple[int, asyncio.Future[Row]]] = {}
        self._ticket = 0
        self._closed = False
        self._wire = Wire(REPLY, self._received, self.stop)

    async def open(self, way: socket.socket) -> None:
        """Connect to the owner."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self._wire, sock=way)

    async def submit(self, model: int, pixels: Pixels, deadline: float) -> Row:
        """Return an image's row.

        Raises:
            ServiceError: Whatever the owner's queue raised, or that it has gone.
        """
        if self._closed:
            raise ModelFailedError("The server has stopped.")
        if not self._free:
            raise OverloadedError("Too many images are under way.")
        slot = self._free.pop()
        ticket = self._ticket = (self._ticket + 1) % _TICKETS
        answer: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = slot, answer
        self.block.pixels(model, slot)[:] = pixels
        self._wire.send(ORDER.pack(SUBMIT, model, slot, ticket, deadline))
        try:
            # The owner watches the deadline; this is for one that does nothing any more.
            async with asyncio.timeout(max(0.0, deadline - time.monotonic()) + _GRACE):
                return await answer
        except (asyncio.CancelledError, TimeoutError) as exc:
            self._wire.send(ORDER.pack(LEAVE, model, slot, ticket, deadline))
            if isinstance(exc, TimeoutError):
                raise DeadlineExceededError("The deadline passed before the answer.") from exc
            raise
        finally:
            del self._waiting[ticket]
            self._free.append(slot)

    def stop(self) -> None:
        """Answer everyone who waits; nothing comes any more."""
        self._closed = True
        self._wire.close()
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ModelFailedError("The server has stopped."))

    def _received(
        self, ticket: int, error: int, count: int, queue_seconds: float, run_seconds: float
    ) -> None:
        slot, answer = self._waiting.get(ticket, (0, None))
        if answer is None or answer.done():
            return
        if error:
            sentence = self.block.rows[slot].tobytes()[:count]
            answer.set_exception(decode_error(error, sentence))
        else:
            answer.set_result(Row(self.block.row(slot), queue_seconds, run_seconds, count))


class RemoteQueue(Queue):
    """The queue of a model in the owner, as a front sees it: what it knows may be 10 ms old."""

    def __init__(self, model: int, policy: BatchPolicy, exchange: Exchange) -> None:
        """Stand in for the model of this number."""
        self.policy = policy
        self._model = model
        self._exchange = exchange
        self._block = exchange.block
        self._coming = 0
        self._beat = 0.0
        self._since = 0  # images accepted here since that beat, of which the board knows nothing

    @property
    def coming(self) -> int:
        """Count this front's images that are accepted and not submitted yet."""
        return self._coming

    @coming.setter
    def coming(self, count: int) -> None:
        self._since = self._unknown() + max(0, count - self._coming)
        self._beat = float(self._block.beat[0])
        self._coming = count
        self._block.coming[self._model] = count

    @property
    def usable(self) -> float:
        """Return the part of the lanes that answer, none of them once the owner does not."""
        if time.monotonic() - self._block.beat[0] > _SILENCE:
            return 0.0
        return float(self._block.usable[self._model])

    def predicted_wait(self, coming: int = 0) -> float:  # noqa: ARG002 (the owner counts them all)
        """Return the seconds after which an image that came now would begin to run."""
        return self._until(float(self._block.free_at[self._model]))

    def longest_wait(self, coming: int = 0) -> float:  # noqa: ARG002 (the owner counts them all)
        """Return the seconds that the predicted wait may become, as the last runs did."""
        return self._until(float(self._block.late_at[self._model]))

    def _until(self, when: float) -> float:
        """Return the seconds until then, and for what has come since the board was written."""
        largest = self.policy.sizes[-1]
        runs = self._unknown() // largest
        return max(0.0, when - time.monotonic()) + runs * self.policy.cost(largest)

    def _unknown(self) -> int:
        return self._since if self._beat == float(self._block.beat[0]) else 0

    async def submit(self, pixels: Pixels, deadline: float) -> Row:
        """Return the row of an image."""
        return await self._exchange.submit(self._model, pixels, deadline)

    async def stop(self) -> None:
        """Answer everyone who waits."""
        self._exchange.stop()
