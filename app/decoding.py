"""The threads that decode: bounded, off the event loop, and aware of how far behind they are."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from app.errors import DeadlineExceededError

T = TypeVar("T")

_MEMORY: Final = 0.9
"""Weight of the past in the mean time of a decode; the last ten or so count."""


class DecodePool:
    """A few threads, and an estimate of the seconds of work that wait for them."""

    def __init__(self, threads: int) -> None:
        """Start with nothing to do.

        Args:
            threads: How many images are decoded at a time.
        """
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._threads = threads
        self._pending = 0
        self._seconds = 0.0

    @property
    def pending(self) -> int:
        """Count the images that are being decoded or wait for it."""
        return self._pending

    def backlog(self) -> float:
        """Return the seconds after which an image that came now would be decoded."""
        return self._pending * self._seconds / self._threads

    async def decode(self, work: Callable[[], T], deadline: float) -> T:
        """Do the work in a thread; whoever is cancelled before it began costs nothing.

        Args:
            work: Decodes one image.
            deadline: On the clock of `time.monotonic`, in seconds; not begun after that.

        Raises:
            DeadlineExceededError: If the deadline passed before a thread was free.
            Exception: Whatever the work raises.
        """
        self._pending += 1
        try:
            result, seconds = await asyncio.get_running_loop().run_in_executor(
                self._executor, _timed, work, deadline
            )
        finally:
            self._pending -= 1
        self._seconds = _MEMORY * self._seconds + (1 - _MEMORY) * seconds
        return result

    def stop(self) -> None:
        """Begin nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _timed(work: Callable[[], T], deadline: float) -> tuple[T, float]:
    began = time.monotonic()
    if began >= deadline:
        raise DeadlineExceededError("The deadline passed before the image was decoded.")
    return work(), time.monotonic() - began
