"""Work that is done one at a time: whoever has the turn of a file has it alone, in all processes of a service."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from app.errors import DeadlineExceededError, OverloadedError
from app.serving.metrics import Metrics

if sys.platform != "win32":
    import fcntl

SHARE: Final = 0.25
"""Of the queue budget: the longest predicted wait of photos with which such work is admitted, and the longest
wait for its turn or for a whole photo."""
_AGAIN: Final = 0.02
"""Seconds between two looks at a turn that another process has."""

T = TypeVar("T")


class Turns:
    """The turns of some files; in this process they are given in the order of the requests.

    Source:
        flock(2): the lock belongs to the open file, and ends with its process.
    """

    def __init__(
        self, metrics: Metrics, *, busy: str, late: str, stops: bool, across_processes: bool
    ) -> None:
        """Start with every turn free.

        Args:
            metrics: Counts clients that left.
            busy: What a client is told whose turn does not come.
            late: What a client is told whose deadline passes first.
            stops: Whether the work is cancelled once nobody waits for it; threads go on.
            across_processes: Whether other processes take turns as well: only then are files locked.
        """
        self._metrics = metrics
        self._busy, self._late, self._stops = busy, late, stops
        self._across_processes = across_processes and sys.platform != "win32"
        self._locks: dict[Path, asyncio.Lock] = {}  # a few: one per model

    async def work(
        self, file: Path, work: Callable[[], Coroutine[None, None, T]], wait: float, deadline: float
    ) -> T:
        """Do work in the turn of a file, which ends with the work, even if nobody waits for it any more.

        Args:
            file: Whose turn.
            work: Begins it.
            wait: Seconds to wait for the turn.
            deadline: Of the work, on the clock of `time.monotonic`.

        Raises:
            OverloadedError: If the turn did not come in time.
            DeadlineExceededError: If the work is not done in time.
        """
        try:
            give_back = await self._take(file, min(wait, deadline - time.monotonic()))
        except TimeoutError as exc:
            raise OverloadedError(self._busy, retry_after=wait) from exc
        except asyncio.CancelledError:
            self._metrics.cancelled("queue")
            raise
        task = asyncio.create_task(work())
        task.add_done_callback(lambda done: (give_back(), done.cancelled() or done.exception()))
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await asyncio.shield(task)
        except TimeoutError as exc:
            raise DeadlineExceededError(self._late) from exc
        except asyncio.CancelledError:
            self._metrics.cancelled("run")
            raise
        finally:
            if self._stops:
                task.cancel()

    async def _take(self, file: Path, seconds: float) -> Callable[[], None]:
        """Wait for the turn of a file; return what gives it back.

        Raises:
            TimeoutError: If it was not free within so many seconds.
        """
        lock = self._locks.setdefault(file, asyncio.Lock())
        until = time.monotonic() + seconds
        async with asyncio.timeout(seconds):
            await lock.acquire()
        if not self._across_processes:
            return lock.release
        with ExitStack() as stack:  # undoes everything unless it is kept
            stack.callback(lock.release)
            try:
                opened = stack.enter_context(file.open("rb"))
            except FileNotFoundError:
                # Another vgg-serve has replaced it: turns hold within this process.
                return stack.pop_all().close
            while not _lock(opened):
                if time.monotonic() > until:
                    raise TimeoutError
                await asyncio.sleep(_AGAIN)
            return stack.pop_all().close


def _lock(file: BinaryIO) -> bool:
    """Lock a file unless another process has; return whether it is locked here."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
