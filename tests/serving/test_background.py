import asyncio
import threading

import pytest

from app.serving.background import in_background

pytestmark = pytest.mark.anyio


async def test_result_and_error_reach_the_caller():
    """What the work returns or raises is what awaiting it returns or raises."""

    def fail():
        raise KeyError("x")

    assert 7 == await in_background(lambda: 7)
    with pytest.raises(KeyError):
        await in_background(fail)


async def test_the_loop_continues_and_cancelling_does_not_wait():
    """The work does not block the event loop, and its caller can be cancelled."""
    gate = threading.Event()
    task = asyncio.create_task(in_background(gate.wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()


async def test_the_thread_does_not_keep_the_process_from_ending():
    """The work runs in a daemon thread."""
    assert await in_background(lambda: threading.current_thread().daemon)
