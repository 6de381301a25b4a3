"""The threads that decode images: off the event loop, few, and with an estimate of their backlog."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from app.errors import DeadlineExceededError, RequestError
from app.machine import return_freed_memory

T = TypeVar("T")

_TOO_LATE: Final = "The deadline passed before the image was decoded."
QUIET: Final = 1.0
"""Seconds without work after which freed memory is returned to the system."""
_MEMORY: Final = 0.9
"""Weight of the past in the mean time per image: about the last ten images count."""
_PICTURE: Final = 0.15
"""Seconds to draw a picture, before one was drawn: 0.144 were measured for 12 million pixels."""


@dataclass(slots=True)
class _Load:
    """Work of one kind.

    Attributes:
        pending: Images that are worked on or wait for it, also those whose client has left.
        seconds: Mean time of the last ones.
    """

    pending: int = 0
    seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        past = self.seconds or seconds
        self.seconds = _MEMORY * past + (1 - _MEMORY) * seconds


class DecodePool:
    """A few threads, and an estimate of the seconds of work that wait for them."""

    def __init__(self, threads: int) -> None:
        """Start with nothing to do; as many images are decoded at the same time as threads."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._threads = threads
        self._photos = _Load()
        self._pictures = _Load(seconds=_PICTURE)
        self._tidying: asyncio.TimerHandle | None = None

    def backlog(self, coming: int = 0) -> float:
        """Return the seconds until an image would be decoded that arrived after `coming` others."""
        photos, pictures = self._photos, self._pictures
        seconds = (photos.pending + coming) * photos.seconds + pictures.pending * pictures.seconds
        return seconds / self._threads

    @contextmanager
    def coming_picture(self) -> Iterator[None]:
        """Count a picture that will be drawn here once its photo is classified."""
        self._pictures.pending += 1
        try:
            yield
        finally:
            self._pictures.pending -= 1

    async def decode(self, work: Callable[[], T], deadline: float, *, picture: bool = False) -> T:
        """Do the work in a thread; work that is cancelled before it starts costs nothing.

        With `picture` it is a picture that is drawn, which takes longer than a photo.

        Raises:
            DeadlineExceededError: If the deadline, on the clock of `time.monotonic`, passed first.
                Work that has not started by then never does; work that has started is finished,
                and its result dropped.
        """
        loop = asyncio.get_running_loop()
        if self._tidying:
            self._tidying.cancel()
        answer: asyncio.Future[T] = loop.create_future()
        load = self._pictures if picture else self._photos
        started = self._executor.submit(self._do, work, deadline, answer, loop, load)
        load.pending += 1
        timer = loop.call_later(max(0.0, deadline - time.monotonic()), _expire, answer)
        try:
            return await answer
        finally:
            timer.cancel()
            if started.cancel():  # it had not started, and never will
                load.pending -= 1
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
        load: _Load,
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
            loop.call_soon_threadsafe(self._finish, answer, outcome, seconds, load)

    def _finish(
        self,
        answer: asyncio.Future[T],
        outcome: T | BaseException,
        seconds: float | None,
        load: _Load,
    ) -> None:
        load.pending -= 1
        if self._photos.pending + self._pictures.pending == 0:
            # Freed memory, up to 200 MB, is kept for the next images, but not for long.
            loop = asyncio.get_running_loop()
            self._tidying = loop.call_later(QUIET, self._executor.submit, return_freed_memory)
        if seconds is not None:
            load.observe(seconds)
        if answer.done():
            return
        if isinstance(outcome, BaseException):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _expire(answer: asyncio.Future[T]) -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceededError(_TOO_LATE))
