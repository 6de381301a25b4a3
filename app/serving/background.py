"""Long blocking work beside the event loop that does not keep the process from ending."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_background(work: Callable[[], T]) -> T:
    """Do the work in a daemon thread and return or raise what it does.

    With `asyncio.to_thread`, a process that is told to end would wait for the work: for minutes,
    if a download has stalled.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # if the caller is cancelled, the work goes on

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:  # noqa: BLE001 (the caller gets it, whatever it is)
            future.set_exception(exc)

    threading.Thread(target=run, name="loading", daemon=True).start()
    return await asyncio.wrap_future(future)
