"""Those who wait for a run: each gets a row or an error, exactly once."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.errors import DeadlineExceededError
from app.records import Pixels, Row


@dataclass(eq=False, slots=True)
class Waiter:
    """One image and whoever waits for its row.

    Attributes:
        pixels: uint8 [crop, crop, 3].
        arrived: On the clock of the line, in seconds.
        deadline: The same clock; it is not run after that.
        predicted: Seconds that it was expected to wait.
        future: Done once it is answered, or once its client has left.
        taken: Whether it has left the line, for a run or for good.
    """

    pixels: Pixels
    arrived: float
    deadline: float
    predicted: float
    future: asyncio.Future[Row]
    taken: bool = False

    def answer(self, row: Row) -> None:
        """Hand over the row, if somebody still waits for it."""
        if not self.future.done():
            self.future.set_result(row)

    def fail(self, error: Exception) -> None:
        """Hand over an error that no other waiter has: a traceback is written into it."""
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self) -> None:
        """Give up at the deadline."""
        self.fail(DeadlineExceededError("The deadline passed before the image was run."))


class WaitingLine:
    """First come, first served."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        left: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Begin empty.

        Args:
            clock: Seconds, for arrivals and deadlines.
            left: Told `queue` or `run` when a client leaves, by where its image was.
        """
        self._clock = clock
        self._left = left
        self._waiters: deque[Waiter] = deque()

    def __len__(self) -> int:
        """Count those who wait."""
        return len(self._waiters)

    @property
    def oldest(self) -> float:
        """When the first in line arrived (the line's clock, seconds); the line is not empty."""
        return self._waiters[0].arrived

    async def wait(self, pixels: Pixels, deadline: float, predicted: float) -> Row:
        """Stand in line until there is an answer; leave it in any case.

        Raises:
            DeadlineExceededError: If the deadline passed first.
            Exception: Whatever the run gave.
        """
        loop = asyncio.get_running_loop()
        now = self._clock()
        waiter = Waiter(pixels, now, deadline, predicted, loop.create_future())
        self._waiters.append(waiter)
        timer = loop.call_later(max(0.0, deadline - now), waiter.expire)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._left("run" if waiter.taken else "queue")
            raise
        finally:
            timer.cancel()
            if not waiter.taken:  # gave up: must not be run for, nor be counted
                self._waiters.remove(waiter)

    def take(self, most: int) -> list[Waiter]:
        """Remove and return the oldest that can still be answered in time."""
        taken: list[Waiter] = []
        now = self._clock()
        while self._waiters and len(taken) < most:
            waiter = self._waiters.popleft()
            waiter.taken = True
            if waiter.deadline <= now:
                waiter.expire()
            if not waiter.future.done():
                taken.append(waiter)
        return taken

    def dismiss(self, make: Callable[[], Exception]) -> None:
        """Fail everyone."""
        for waiter in self._waiters:
            waiter.taken = True
        fail(self._waiters, make)
        self._waiters.clear()


def fail(waiters: Iterable[Waiter], make: Callable[[], Exception]) -> None:
    """Give each an error of its own."""
    for waiter in waiters:
        waiter.fail(make())
