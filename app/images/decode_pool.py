"""The threads that decode images: off the event loop, few, and with an estimate of their backlog."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from app.errors import DeadlineExceededError, RequestError
from app.machine import return_freed_memory

T = TypeVar("T")

_TOO_LATE: Final = "The deadline passed before the image was decoded."
QUIET: Final = 1.0
"""Seconds without work after which freed memory is returned to the system."""
_MEMORY: Final = 0.9
"""Weight of the past in the mean time per image: about the last ten images count."""


class DecodePool:
    """A few threads, and an estimate of the seconds of work that wait for them."""

    def __init__(self, threads: int) -> None:
        """Start with nothing to do; as many images are decoded at the same time as threads."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._threads = threads
        self._pending = 0
        """Images that are decoded or wait for it, also those whose client has left."""
        self._seconds = 0.0
        self._tidying: asyncio.TimerHandle | None = None

    def backlog(self, coming: int = 0) -> float:
        """Return the seconds until an image would be decoded that arrived after `coming` others."""
        return (self._pending + coming) * self._seconds / self._threads

    async def decode(self, work: Callable[[], T], deadline: float) -> T:
        """Do the work in a thread; work that is cancelled before it starts costs nothing.

        Raises:
            DeadlineExceededError: If the deadline, on the clock of `time.monotonic`, passed first.
                Work that has not started by then never does; work that has started is finished,
                and its result dropped.
        """
        loop = asyncio.get_running_loop()
        if self._tidying:
            self._tidying.cancel()
        answer: asyncio.Future[T] = loop.create_future()
        started = self._executor.submit(self._do, work, deadline, answer, loop)
        self._pending += 1
        timer = loop.call_later(max(0.0, deadline - time.monotonic()), _expire, answer)
        try:
            return await answer
        finally:
            timer.cancel()
            if started.cancel():  # it had not started, and never will
                self._pending -= 1
            # Break the cycle error -> traceback -> frame -> upload.
            del work, answer, timer, started

    def stop(self) -> None:
        """Start nothing more."""
        if self._tidying:
            self._tidying.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _do(
        self,
        work: Callable[[], T],
        deadline: float,
        answer: asyncio.Future[T],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Do the work in a thread, and hand its outcome to the loop."""
        started = time.monotonic()
        seconds: float | None = None
        outcome: T | BaseException
        if started >= deadline:
            outcome = DeadlineExceededError(_TOO_LATE)
        else:
            try:
                outcome = work()
            except RequestError as exc:
                # Client errors need no traceback, and a traceback would keep pixels and uploads
                # in memory until the next garbage collection.
                exc.__traceback__ = exc.__cause__ = exc.__context__ = None
                outcome = exc
                return_freed_memory()
            except BaseException as exc:  # noqa: BLE001 (the caller gets it, whatever it is)
                outcome = exc
            seconds = time.monotonic() - started
        # The loop is woken once for everything: each time costs a tenth of a small decode.
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._finish, answer, outcome, seconds)

    def _finish(
        self, answer: asyncio.Future[T], outcome: T | BaseException, seconds: float | None
    ) -> None:
        self._pending -= 1
        if self._pending == 0:
            # Freed memory, up to 200 MB, is kept for the next images, but not for long.
            loop = asyncio.get_running_loop()
            self._tidying = loop.call_later(QUIET, self._executor.submit, return_freed_memory)
        if seconds is not None:
            past = self._seconds or seconds
            self._seconds = _MEMORY * past + (1 - _MEMORY) * seconds
        if answer.done():
            return
        if isinstance(outcome, BaseException):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _expire(answer: asyncio.Future[T]) -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceededError(_TOO_LATE))
