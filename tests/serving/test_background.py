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


async def test_loop_goes_on_and_cancelling_does_not_wait():
    """The work blocks nothing, and whoever waits for it can give up."""
    gate = threading.Event()
    task = asyncio.create_task(in_background(gate.wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()


async def test_thread_does_not_keep_the_process():
    """The work runs in a daemon thread."""
    assert await in_background(lambda: threading.current_thread().daemon)
