"""The threads that decode: bounded, off the event loop, and aware of how far behind they are."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from app.errors import DeadlineExceededError

T = TypeVar("T")

_TOO_LATE: Final = "The deadline passed before the image was decoded."
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
        """Count the images that are being decoded or wait for it, even if nobody waits for them."""
        return self._pending

    def backlog(self) -> float:
        """Return the seconds after which an image that came now would be decoded."""
        return self._pending * self._seconds / self._threads

    async def decode(self, work: Callable[[], T], deadline: float) -> T:
        """Do the work in a thread; what is cancelled before it began costs nothing.

        Args:
            work: Decodes one image.
            deadline: On the clock of `time.monotonic`, in seconds.

        Raises:
            DeadlineExceededError: If the deadline passed first. Work that has not begun by then
                is not begun; a thread that is at it finishes, for nobody.
            Exception: Whatever the work raises.
        """
        loop = asyncio.get_running_loop()

        def timed() -> T:
            began = time.monotonic()
            if began >= deadline:
                raise DeadlineExceededError(_TOO_LATE)
            try:
                return work()
            finally:
                seconds = time.monotonic() - began
                _tell(loop, lambda: self._learn(seconds))

        job = self._executor.submit(timed)
        self._pending += 1
        job.add_done_callback(lambda _: _tell(loop, self._finish))
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.wrap_future(job)
        except TimeoutError as exc:
            raise DeadlineExceededError(_TOO_LATE) from exc

    def stop(self) -> None:
        """Begin nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _learn(self, seconds: float) -> None:
        self._seconds = (
            _MEMORY * self._seconds + (1 - _MEMORY) * seconds if self._seconds else seconds
        )

    def _finish(self) -> None:
        self._pending -= 1


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(what)
