"""The images that wait for a run: each client gets a row or an error, exactly once."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.errors import DeadlineExceededError
from app.records import Pixels, Row


@dataclass(eq=False, slots=True)
class Waiter:
    """An image, and the future through which its client gets the answer.

    Attributes:
        pixels: uint8 [crop, crop, 3].
        arrived: Seconds on the line's clock.
        deadline: Seconds on the line's clock; the image is not run after that.
        predicted: Predicted wait in seconds.
        future: Done once the client has its answer or has left.
        in_line: Whether it still waits for a run.
        running: Whether it was taken for a run.
    """

    pixels: Pixels
    arrived: float
    deadline: float
    predicted: float
    future: asyncio.Future[Row]
    in_line: bool = True
    running: bool = False

    def answer(self, row: Row) -> None:
        """Give the row to the client, unless it has left."""
        if not self.future.done():
            self.future.set_result(row)

    def fail(self, error: Exception) -> None:
        """Give the client an error; no other waiter may share it, as it gets a traceback."""
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self) -> None:
        """Tell the client that its deadline has passed."""
        when = "while the image was being run" if self.running else "before the image was run"
        self.fail(DeadlineExceededError(f"The deadline passed {when}."))


class WaitingLine:
    """First come, first served."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        left: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Create an empty line.

        Args:
            clock: Seconds, for arrivals and deadlines.
            left: Called with `queue` or `run`, where the image was, when its client leaves.
        """
        self._clock = clock
        self._left = left
        self._waiters: deque[Waiter] = deque()

    def __len__(self) -> int:
        """Return the number of images in line."""
        return len(self._waiters)

    @property
    def oldest(self) -> float:
        """Return when the first in line arrived; the line must not be empty."""
        return self._waiters[0].arrived

    async def wait(self, pixels: Pixels, deadline: float, predicted: float) -> Row:
        """Put an image in line and return its row; it leaves the line in any case.

        Raises:
            DeadlineExceededError: If the deadline passed first.
            Exception: Whatever the run raised.
        """
        loop = asyncio.get_running_loop()
        now = self._clock()
        waiter = Waiter(pixels, now, deadline, predicted, loop.create_future())
        self._waiters.append(waiter)
        timer = loop.call_later(max(0.0, deadline - now), waiter.expire)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._left("run" if waiter.running else "queue")
            raise
        finally:
            timer.cancel()
            if waiter.in_line:  # expired or left: must neither be run nor be counted
                self._waiters.remove(waiter)

    def take(self, most: int) -> list[Waiter]:
        """Remove and return the oldest images that can still be answered in time."""
        taken: list[Waiter] = []
        now = self._clock()
        while self._waiters and len(taken) < most:
            waiter = self._waiters.popleft()
            waiter.in_line = False
            if waiter.deadline <= now:
                waiter.expire()
            if not waiter.future.done():
                waiter.running = True
                taken.append(waiter)
        return taken

    def dismiss(self, make: Callable[[], Exception]) -> None:
        """Fail every image in line."""
        for waiter in self._waiters:
            waiter.in_line = False
        fail(self._waiters, make)
        self._waiters.clear()


def fail(waiters: Iterable[Waiter], make: Callable[[], Exception]) -> None:
    """Fail each with an error of its own."""
    for waiter in waiters:
        waiter.fail(make())
