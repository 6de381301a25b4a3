"""The interface of a model's queue: reserve a place for an image, submit it, get its row."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Self

from app.errors import DeadlineExceededError, ModelFailedError
from app.records import Pixels, Row
from app.serving.batching.costs import BatchPolicy

RUNS_AHEAD: Final = 3
"""Runs whose images may be decoded: the current one, the next one, and the one after that."""

_NOT_DECODED: Final = "The deadline passed before the image was decoded."


class Queue(ABC):
    """A `Batcher`, or a front process's connection to the one in the owner process.

    Attributes:
        policy: How batches are formed.
        coming: Images that were admitted and are not in line yet.
        places: Limits the images that are decoded, in line or running.
    """

    def __init__(
        self,
        policy: BatchPolicy,
        *,
        decode_backlog: Callable[[int], float] = lambda _: 0.0,
        left: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create an empty queue.

        Args:
            policy: How batches are formed.
            decode_backlog: Returns the seconds until one more image would be decoded, behind the
                given number of images that wait for a place.
            left: Called with `queue` or `run`, where the image was, when its client leaves.
            clock: Seconds; deadlines are on this clock.
        """
        self.policy = policy
        self.coming = 0
        self.places = Places(RUNS_AHEAD * policy.sizes[-1], left, clock)
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
    def device_wait(self) -> tuple[float, float]:
        """Return the seconds until a device would run an image that arrives now.

        Returns:
            The predicted seconds; and the same with a safety margin learned from recent runs.
        """

    @abstractmethod
    async def submit(self, pixels: Pixels, deadline: float) -> Row:
        """Wait in line for a run and return the image's row of its result.

        Raises:
            DeadlineExceededError: If the deadline passed first; unless its run had begun by
                then, the image is not run.
            RunFailedError: If the run failed.
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
        return max(self._decode_backlog(self.places.awaited), self.device_wait()[0])

    def admit(self, patience: float = float("inf")) -> None:
        """Refuse an image that might wait longer than the queue budget or its client's patience.

        Args:
            patience: Seconds until the deadline.

        Raises:
            DeadlineExceededError: If the deadline has passed.
            OverloadedError: If the wait might be too long.
            ModelFailedError: If no lane is usable.
        """
        if patience <= 0:
            raise DeadlineExceededError(_NOT_DECODED)
        if not self.usable:
            raise ModelFailedError("The model has stopped.")
        wait = max(self._decode_backlog(self.places.awaited), self.device_wait()[1])
        self.policy.ensure_in_time(wait, patience)

    def reserve(self, deadline: float) -> "Place":
        """Admit an image; `async with` the result waits for a place and holds it.

        Raises:
            ServiceError: If the image is not admitted; see `admit`.
        """
        self.admit(deadline - self._clock())
        return Place(self, deadline)

    def count_coming(self, change: int) -> None:
        """Count images that were admitted, or that no longer come because they are in line."""
        self.coming += change


class Place:
    """A place in a queue, held from before an image is decoded until its row is there."""

    def __init__(self, queue: Queue, deadline: float) -> None:
        self._queue = queue
        self._deadline = deadline
        self._coming = True

    async def __aenter__(self) -> Self:
        """Wait for the place."""
        self._queue.count_coming(1)
        try:
            await self._queue.places.take(self._deadline)
        except BaseException:
            self._queue.count_coming(-1)
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Give the place back."""
        self._arrive()
        self._queue.places.give_back()

    async def submit(self, pixels: Pixels) -> Row:
        """Return the row of the decoded image; see `Queue.submit`."""
        self._arrive()
        return await self._queue.submit(pixels, self._deadline)

    def _arrive(self) -> None:
        if self._coming:
            self._coming = False
            self._queue.count_coming(-1)


class Places:
    """A fixed number of places, given to images in the order in which they were asked for.

    An upload is smaller than its pixels, and costs nothing if its client leaves before it is
    decoded: so an image is only decoded when its run is near.

    Attributes:
        awaited: Images that wait for a place.
    """

    def __init__(self, count: int, left: Callable[[str], None], clock: Callable[[], float]) -> None:
        self.awaited = 0
        self._free = asyncio.Semaphore(count)
        self._left = left
        self._clock = clock

    async def take(self, deadline: float) -> None:
        """Wait for a place.

        Raises:
            DeadlineExceededError: If the deadline passed first.
        """
        if not self._free.locked():
            await self._free.acquire()  # returns at once
            return
        self.awaited += 1
        try:
            async with asyncio.timeout(deadline - self._clock()):
                await self._free.acquire()
        except TimeoutError as exc:
            raise DeadlineExceededError(_NOT_DECODED) from exc
        except asyncio.CancelledError:
            self._left("queue")
            raise
        finally:
            self.awaited -= 1

    def give_back(self) -> None:
        """Let the next image have the place."""
        self._free.release()
