"""The owner's side of a front."""

import asyncio
import time

import pytest

from app.errors import ModelFailedError, OutOfMemoryError, ServiceError
from tests.service.fronts.pair import image, opened_pair

pytestmark = pytest.mark.anyio
LATER = time.monotonic() + 3600


def fail_with(error):
    async def fail():
        raise error

    return fail


async def test_an_image_goes_to_the_queue_of_its_model():
    """Two models' images in two slots get the rows of their own queues."""
    async with opened_pair() as pair:
        rows = await asyncio.gather(
            pair.client.submit(0, image(3), LATER), pair.client.submit(1, image(5), LATER)
        )

    assert [3.0, 5.0] == [float(row.probabilities[999]) for row in rows]
    assert [True, True] == [queue.waits.is_set() for queue in pair.queues]


async def test_an_error_of_the_queue_is_the_answer():
    """The front gets its class and its sentence."""
    async with opened_pair() as pair:
        pair.queue.then = fail_with(OutOfMemoryError("The device is out of memory."))
        with pytest.raises(OutOfMemoryError, match="out of memory"):
            await pair.remote.submit(image(1), LATER)


async def test_an_unhandled_exception_is_answered(caplog):
    """The client gets an error that says nothing of it; the log says everything."""
    async with opened_pair() as pair:
        pair.queue.then = fail_with(KeyError("path"))
        with pytest.raises(ServiceError, match="The server failed"):
            await pair.remote.submit(image(1), LATER)

    assert "unhandled exception while an image of a front was run" in caplog.messages


async def test_closing_drops_the_images_that_wait():
    """Nothing is run for a front that has gone."""
    async with opened_pair() as pair:
        pair.queue.then = asyncio.Event().wait
        waiting = asyncio.create_task(pair.remote.submit(image(1), LATER))
        await pair.queue.waits.wait()
        pair.client.memory.coming[0] = 5
        pair.server.close()
        with pytest.raises(ModelFailedError):
            await waiting

    assert 1 == pair.queue.left
    assert 0 == pair.server.memory.coming[0]
    assert {} == pair.server._tasks


async def test_an_image_that_is_cancelled_at_once_leaves_nothing_behind():
    """A submit and a cancel that arrive together cost nothing."""
    async with opened_pair() as pair:
        waiting = asyncio.create_task(pair.remote.submit(image(1), LATER))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        row = await pair.remote.submit(image(2), LATER)

    assert 2.0 == row.probabilities[0]
    assert {} == pair.server._tasks
