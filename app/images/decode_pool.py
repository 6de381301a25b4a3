"""The threads that decode: bounded, off the event loop, and aware of how far behind they are."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar, cast

from app.errors import DeadlineExceededError, RequestError
from app.machine import return_freed_memory

T = TypeVar("T")

_TOO_LATE: Final = "The deadline passed before the image was decoded."
QUIET: Final = 1.0
"""Seconds without anything to decode after which freed memory goes back to the system."""
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
        self._tidying: asyncio.TimerHandle | None = None

    @property
    def pending(self) -> int:
        """Count the images that are being decoded or wait for it, even if nobody waits for them."""
        return self._pending

    def backlog(self, coming: int = 0) -> float:
        """Return the seconds after which an image that came now would be decoded.

        Args:
            coming: Images that will be decoded before it and are not here yet.
        """
        return (self._pending + coming) * self._seconds / self._threads

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
        if self._tidying:
            self._tidying.cancel()
        answer: asyncio.Future[T] = loop.create_future()
        begun = self._executor.submit(self._do, work, deadline, answer, loop)
        self._pending += 1
        timer = loop.call_later(max(0.0, deadline - time.monotonic()), _expire, answer)
        try:
            return await answer
        finally:
            timer.cancel()
            if begun.cancel():  # so it had not begun, and never will
                self._pending -= 1
            # An error that is raised here leads to this frame: no circle around an upload.
            del work, answer, timer, begun

    def _do(
        self,
        work: Callable[[], T],
        deadline: float,
        answer: asyncio.Future[T],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Do the work in a thread, and hand over what comes of it."""
        began = time.monotonic()
        seconds: float | None = None
        result: T | None = None
        error: BaseException | None = None
        if began >= deadline:
            error = DeadlineExceededError(_TOO_LATE)
        else:
            try:
                result = work()
            except RequestError as exc:
                # It is the client's: nobody asks from where it came, and the frames that it leads
                # to hold pixels and uploads, until a collection of garbage that may be far away.
                exc.__traceback__ = exc.__cause__ = exc.__context__ = None
                error = exc
                return_freed_memory()
            except BaseException as exc:  # noqa: BLE001 (the waiter gets whatever it is)
                error = exc
            seconds = time.monotonic() - began
        # One wake-up of the loop for all that has to be told: each costs as much as a tenth of
        # a small decode.
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._finish, answer, result, error, seconds)

    def stop(self) -> None:
        """Begin nothing more."""
        if self._tidying:
            self._tidying.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _finish(
        self,
        answer: asyncio.Future[T],
        result: T | None,
        error: BaseException | None,
        seconds: float | None,
    ) -> None:
        self._pending -= 1
        if self._pending == 0:
            # What was freed is kept for the next images, but not for ever: it can be 200 MB.
            loop = asyncio.get_running_loop()
            self._tidying = loop.call_later(QUIET, self._executor.submit, return_freed_memory)
        if seconds is not None:
            self._learn(seconds)
        if answer.done():
            return
        if error is None:
            answer.set_result(cast("T", result))
        else:
            answer.set_exception(error)

    def _learn(self, seconds: float) -> None:
        self._seconds = (
            _MEMORY * self._seconds + (1 - _MEMORY) * seconds if self._seconds else seconds
        )


def _expire(answer: asyncio.Future[T]) -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceededError(_TOO_LATE))
