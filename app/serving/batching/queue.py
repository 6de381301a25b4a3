"""A model's queue: an image reserves a place, is decoded, and waits in line for its run."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from app.errors import DeadlineExceededError, ModelFailedError, OverloadedError
from app.records import Ask, Pixels, Row
from app.serving.batching.costs import RUNS_AHEAD, BatchPolicy

Stage: TypeAlias = Literal["queue", "run", "explain"]  # where an image is that was submitted
_WHEN: Final[dict[Stage, str]] = {
    "queue": "before the image was run",
    "run": "while the image was being run",
    "explain": "while the image was being explained",
}
_NOT_DECODED: Final = "The deadline passed before the image was decoded."


class Queue(ABC):
    """A `Batcher`, or a front process's connection to the one in the owner process.

    Attributes:
        policy: How batches are formed.
        coming: Images that were admitted and are not in line yet.
        asked: Classes, at most, that are to be explained about these.
        awaiting: Images that wait for a place.
    """

    def __init__(
        self,
        policy: BatchPolicy,
        *,
        decode_backlog: Callable[[int], float] = lambda _: 0.0,
        left: Callable[[Stage], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create an empty queue.

        Args:
            policy: How batches are formed.
            decode_backlog: Returns the seconds until one more image would be decoded, behind the
                given number of images that wait for a place.
            left: Called with the stage of an image when its client leaves.
            clock: Seconds; deadlines are on this clock.
        """
        self.policy = policy
        self.coming = 0
        self.asked = 0
        self.awaiting = 0
        self._places = asyncio.Semaphore(RUNS_AHEAD * policy.sizes[-1])
        self._decode_backlog = decode_backlog
        self._left = left
        self._clock = clock

    @property
    @abstractmethod
    def usable(self) -> float:
        """Return the share of the lanes whose run loop is alive and whose run does not hang."""

    @property
    @abstractmethod
    def depth(self) -> int:
        """Return the number of images that wait for a run."""

    @abstractmethod
    def device_wait(self, behind: int = 0) -> tuple[float, float]:
        """Return the predicted seconds until a device runs an image that arrives behind so many others.

        And the same with a safety margin learned from recent runs.
        """

    @abstractmethod
    async def submit(self, pixels: Pixels, deadline: float, ask: Ask | None = None) -> Row:
        """Wait in line for a run and return the image's row, or after that its explanation too.

        Raises:
            DeadlineExceededError: If the deadline passed first; an image in line is not run then.
            RunFailedError: If the run or the explanation failed.
            ModelFailedError: If no run loop is left.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Let the current run end, then fail every image that still waits."""

    @property
    def alive(self) -> bool:
        """Return whether every run loop is alive and no run hangs."""
        return self.usable >= 1

    def predicted_wait(self) -> float:
        """Return the predicted seconds until an image that arrives now begins to run."""
        return max(self._decode_backlog(self.awaiting), self.device_wait()[0])

    def admit(self, patience: float = float("inf"), images: int = 1) -> None:
        """Refuse an image that might wait longer than the queue budget or its client's patience.

        Of several images of a request, the first may wait for the budget, the last for the patience.

        Raises:
            DeadlineExceededError: If the deadline has passed.
            OverloadedError: If the wait might be too long; it falls to the limit in `retry_after`.
            ModelFailedError: If no lane is usable.
        """
        if patience <= 0:
            raise DeadlineExceededError(_NOT_DECODED)
        if not self.usable:
            raise ModelFailedError("The model has stopped.")
        budget = min(self.policy.queue_budget, patience)
        for behind, limit in ((0, budget), (images - 1, patience))[:images]:
            wait = max(self._decode_backlog(self.awaiting + behind), self.device_wait(behind)[1])
            if wait > limit:
                last = f" for the last of {images} images" if behind else ""
                advice = "Send fewer in one request, or retry later." if behind else "Retry later."
                raise OverloadedError(
                    f"The estimated wait is {wait:.1f} s{last}; the limit is {limit:g} s. {advice}",
                    retry_after=wait - limit,
                )

    def admit_all(self, images: int, deadline: float, ask: Ask | None = None) -> list["Place"]:
        """Admit all images of a request and count them, or none of them; see `admit`.

        Whatever becomes of them, `Place.arrive` has to be called for each in the end.
        """
        self.admit(deadline - self._clock(), images)
        return [Place(self, deadline, ask) for _ in range(images)]

    @asynccontextmanager
    async def reserve(
        self, deadline: float, ask: Ask | None = None, admitted: "Place | None" = None
    ) -> AsyncIterator["Place"]:
        """Admit an image, wait for a place and hold it until the image has its row.

        One that was `admitted` with others is not asked for again.

        An upload is smaller than its pixels, and costs nothing if its client leaves before it is
        decoded: so an image is only decoded when its run is near. Places are given in the order
        in which they were asked for.

        Raises:
            ServiceError: If the image is not admitted (see `admit`), or its deadline passed first.
        """
        place = admitted or self.admit_all(1, deadline, ask)[0]
        try:
            await self._take_place(deadline)
            try:
                yield place
            finally:
                self._places.release()
        finally:
            place.arrive()

    def count_coming(self, change: int, asked: int = 0) -> None:
        """Count images that were admitted or, below zero, are in line now; and what they ask."""
        self.coming += change
        self.asked += asked

    async def _take_place(self, deadline: float) -> None:
        if not self._places.locked():
            await self._places.acquire()  # returns at once
            return
        self.awaiting += 1
        try:
            async with asyncio.timeout(deadline - self._clock()):
                await self._places.acquire()
        except TimeoutError as exc:
            raise DeadlineExceededError(_NOT_DECODED) from exc
        except asyncio.CancelledError:
            self._left("queue")
            raise
        finally:
            self.awaiting -= 1


class Place:
    """A place in a queue; its image counts as coming until it is submitted or given up."""

    def __init__(self, queue: Queue, deadline: float, ask: Ask | None) -> None:
        self._queue = queue
        self._deadline = deadline
        self._ask = ask
        self._asked = queue.policy.asked(ask)
        self._coming = True
        queue.count_coming(1, self._asked)

    async def submit(self, pixels: Pixels) -> Row:
        """Return the row of the decoded image; see `Queue.submit`."""
        self.arrive()
        return await self._queue.submit(pixels, self._deadline, self._ask)

    def arrive(self) -> None:
        """Stop counting the image as coming."""
        if self._coming:
            self._coming = False
            self._queue.count_coming(-1, -self._asked)


@dataclass(eq=False, slots=True)
class Waiter:
    """An image in line, and the future through which its client gets the answer.

    Attributes:
        pixels: uint8 [crop, crop, 3].
        arrived: Seconds on the line's clock.
        deadline: Seconds on the line's clock; the image is not run after that.
        predicted: Predicted wait in seconds.
        future: Done once the client has its answer or has left.
        ask: What is to be explained about it.
        in_line: Whether it still waits for a run.
        stage: Where it is: `queue`, `run` or `explain`.
    """

    pixels: Pixels
    arrived: float
    deadline: float
    predicted: float
    future: asyncio.Future[Row]
    ask: Ask | None = None
    in_line: bool = True
    stage: Stage = "queue"

    def waits(self, now: float) -> bool:
        """Return whether its client can still be answered in time; tell it if that is too late."""
        if self.deadline <= now:
            self.expire()
        return not self.future.done()

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
        self.fail(DeadlineExceededError(f"The deadline passed {_WHEN[self.stage]}."))


@dataclass(eq=False, slots=True)
class WaitingLine:
    """The images that wait for a run, first come, first served; each gets a row or an error."""

    policy: BatchPolicy
    clock: Callable[[], float]
    left: Callable[[Stage], None]  # these three are as in Queue
    asked: int = 0  # classes that are to be explained, as `BatchPolicy.asked` counts them
    _waiters: deque[Waiter] = field(default_factory=deque)

    def __len__(self) -> int:
        """Return the number of images in line."""
        return len(self._waiters)

    @property
    def oldest(self) -> float:
        """Return when the first in line arrived; the line must not be empty."""
        return self._waiters[0].arrived

    async def wait(
        self, pixels: Pixels, deadline: float, predicted: float, ask: Ask | None = None
    ) -> Row:
        """Put an image in line and return its row; it leaves the line in any case.

        Raises:
            DeadlineExceededError: If the deadline passed first.
            Exception: Whatever the run raised.
        """
        loop = asyncio.get_running_loop()
        now = self.clock()
        waiter = Waiter(pixels, now, deadline, predicted, loop.create_future(), ask)
        self._waiters.append(waiter)
        self.asked += self.policy.asked(ask)
        timer = loop.call_later(max(0.0, deadline - now), waiter.expire)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self.left(waiter.stage)
            raise
        finally:
            timer.cancel()
            if waiter.in_line:  # expired or left: must neither be run nor be counted
                self._waiters.remove(waiter)
                self._leave(waiter)

    def take(self, most: int) -> list[Waiter]:
        """Remove and return the oldest images that can still be answered in time."""
        taken: list[Waiter] = []
        now = self.clock()
        while self._waiters and len(taken) < most:
            waiter = self._waiters.popleft()
            self._leave(waiter)
            if waiter.waits(now):
                waiter.stage = "run"
                taken.append(waiter)
        return taken

    def dismiss(self, make: Callable[[], Exception]) -> None:
        """Fail every image in line."""
        fail(self.take(len(self)), make)

    def _leave(self, waiter: Waiter) -> None:
        waiter.in_line = False
        self.asked -= self.policy.asked(waiter.ask)


def fail(waiters: Iterable[Waiter], make: Callable[[], Exception]) -> None:
    """Fail each with an error of its own."""
    for waiter in waiters:
        waiter.fail(make())
