"""Long blocking work beside the event loop that does not keep the process from ending."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_background(work: Callable[[], T]) -> T:
    """Do the work in a daemon thread and return or raise what it does.

    With `asyncio.to_thread`, a process that shall end would wait for the work: for minutes, if a
    download has stalled.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # None only if T is None

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001 (the caller gets it, whatever it is)
            error = exc
        with suppress(RuntimeError):  # the loop has ended in the meantime
            loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=run, name="loading", daemon=True).start()
    return await future
