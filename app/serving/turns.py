"""One at a time: whoever holds the turn of a file has it alone, among all processes of a service."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

if sys.platform != "win32":
    import fcntl

_AGAIN: Final = 0.02
"""Seconds between two looks at a turn that another process has."""


class Turns:
    """The turns of some files; in this process they are given in the order of the requests.

    Source:
        flock(2): the lock belongs to the open file, and ends with its process.
    """

    def __init__(self, *, across_processes: bool) -> None:
        """Start with every turn free; a file is locked only if other processes take turns as well."""
        self._across_processes = across_processes and sys.platform != "win32"
        self._locks: dict[Path, asyncio.Lock] = {}  # a few: one per model

    async def take(self, file: Path, seconds: float) -> Callable[[], None]:
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
            except FileNotFoundError:  # another vgg-serve has replaced it: this process is alone
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
