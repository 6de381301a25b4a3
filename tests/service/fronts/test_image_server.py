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
            pair.exchange.submit(0, image(3), LATER), pair.exchange.submit(1, image(5), LATER)
        )

    assert [3.0, 5.0] == [float(row.probabilities[999]) for row in rows]
    assert [True, True] == [queue.waits.is_set() for queue in pair.queues]


async def test_an_error_of_the_queue_is_the_answer():
    """Its class and its sentence reach the front."""
    async with opened_pair() as pair:
        pair.queue.then = fail_with(OutOfMemoryError("The device is out of memory."))
        with pytest.raises(OutOfMemoryError, match="out of memory"):
            await pair.remote.submit(image(1), LATER)


async def test_a_bug_is_an_answer_too(caplog):
    """Nobody waits for ever, the client learns nothing of it, and the log all."""
    async with opened_pair() as pair:
        pair.queue.then = fail_with(KeyError("path"))
        with pytest.raises(ServiceError, match="The server failed"):
            await pair.remote.submit(image(1), LATER)

    assert "a bug" in caplog.messages


async def test_closing_drops_what_waits():
    """Nothing is run for a front that has gone."""
    async with opened_pair() as pair:
        pair.queue.then = asyncio.Event().wait
        waiting = asyncio.create_task(pair.remote.submit(image(1), LATER))
        await pair.queue.waits.wait()
        pair.exchange.block.coming[0] = 5
        pair.desk.close()
        with pytest.raises(ModelFailedError):
            await waiting

    assert 1 == pair.queue.left
    assert 0 == pair.desk.block.coming[0]
    assert {} == pair.desk._tasks


async def test_whoever_leaves_before_it_began_leaves_nothing():
    """An image that is submitted and dropped in one message burdens nobody."""
    async with opened_pair() as pair:
        waiting = asyncio.create_task(pair.remote.submit(image(1), LATER))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        row = await pair.remote.submit(image(2), LATER)

    assert 2.0 == row.probabilities[0]
    assert {} == pair.desk._tasks
