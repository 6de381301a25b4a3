import asyncio
import socket
import time

import numpy as np
import pytest

from app.errors import (
    DeadlineExceededError,
    DeviceLostError,
    ModelFailedError,
    OutOfMemoryError,
    OverloadedError,
    ServiceError,
)
from app.records import Ask
from app.service.fronts.image_channel import REQUEST, ImageChannel, decode_error, encode_error
from tests.service.fronts.pair import image, opened_pair, seen_of

pytestmark = pytest.mark.anyio
LATER = time.monotonic() + 3600


class Recorder(ImageChannel):
    def __init__(self):
        super().__init__(REQUEST)
        self.messages = []
        self.closed = asyncio.Event()

    def received(self, fields):
        self.messages.append(fields)

    def close(self):
        super().close()
        self.closed.set()


async def test_messages_are_whole_however_they_come():
    """Messages that arrive in pieces, or several at once, are reported one by one."""
    channel = Recorder()
    sent = [(0, 1, 2, 3, 4.5), (1, 0, 9, 8, 7.5), (0, 0, 1, 2, 3.5)]
    data = b"".join(REQUEST.pack(*fields) for fields in sent)
    for cut in (0, 7, 21, 40, len(data)):
        channel.data_received(data[:cut])
        data = data[cut:]

    assert sent == channel.messages


async def test_messages_of_one_turn_go_out_together():
    """Many small messages cost one write."""
    writes = []

    class Transport(asyncio.Transport):
        def write(self, data):
            writes.append(bytes(data))

        def is_closing(self):
            return False

    channel = Recorder()
    channel.connection_made(Transport())
    channel.send(b"one")
    channel.send(b"two")
    before = list(writes)
    await asyncio.sleep(0)

    assert [] == before
    assert [b"onetwo"] == writes


async def test_the_end_of_the_other_process_is_reported():
    """Requests that wait for an answer can then be failed."""
    ours, theirs = socket.socketpair()
    channel = Recorder()
    await channel.open(ours)
    theirs.close()
    await asyncio.wait_for(channel.closed.wait(), 10)
    channel.send(b"to nobody")


@pytest.mark.parametrize("kind", [OutOfMemoryError, DeviceLostError, DeadlineExceededError])
def test_an_error_keeps_its_class_and_its_sentence(kind):
    """Its class decides the answer, and its sentence is what the client reads."""
    error = decode_error(*encode_error(kind("Too much, naïvely."), 4000))

    assert (kind, None) == (type(error), error.retry_after)
    assert "Too much, naïvely." == str(error)


def test_an_error_keeps_its_retry_after():
    """The client gets the one that was computed, or else the one of its class."""
    errors = [OverloadedError("", retry_after=7.5), OverloadedError(""), ModelFailedError("")]
    sent = [decode_error(*encode_error(error, 4000)) for error in errors]

    assert [7.5, 1, 10] == [error.retry_after for error in sent]


def test_the_sentence_of_an_unhandled_exception_is_not_sent():
    """It is only in the log."""
    error = decode_error(*encode_error(KeyError("/secret/path"), 4000))

    assert ServiceError is type(error)
    assert "secret" not in str(error)


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


async def test_a_row_is_kept_when_its_slot_is_used_again():
    """The row that a request gets is a copy."""
    async with opened_pair() as pair:
        row = await pair.remote.submit(image(3), LATER)
        pair.server.memory.rows[:] = 0.0

    assert 3.0 == row.probabilities[999]


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
    """A submit and a cancel that arrive together cost nothing, and the queue sees one that leaves."""
    async with opened_pair() as pair:
        waits = iter([asyncio.Event().wait()])
        pair.queue.then = lambda: next(waits, None)
        waiting = asyncio.create_task(pair.remote.submit(image(1), LATER))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        row = await pair.remote.submit(image(2), LATER)

    assert (2.0, 1) == (row.probabilities[0], pair.queue.left)
    assert {} == pair.server._tasks


async def test_an_explanation_comes_back_with_the_row():
    """The owner's queue is asked what the front was asked; without an ask nothing is explained."""
    ask = Ask(2, (7,), against=3, cells=True)
    async with opened_pair() as pair:
        plain, row = await asyncio.gather(
            pair.client.submit(0, image(3), LATER), pair.client.submit(0, image(5), LATER, ask)
        )

    wanted = seen_of(ask)
    assert [None, ask] == pair.queue.asks
    assert plain.seen is None
    assert 5.0 == row.probabilities[999]
    assert row.seen is not None
    assert wanted.classes.tolist() == row.seen.classes.tolist()
    assert (wanted.maps == row.seen.maps).all()
    assert np.array_equal(np.array(wanted.cells), np.array(row.seen.cells))
    assert wanted.seconds == row.seen.seconds


async def test_an_ask_that_makes_no_sense_fails_its_image_alone():
    """The queue never sees it."""
    async with opened_pair() as pair:
        with pytest.raises(ServiceError):
            await pair.client.submit(0, image(3), LATER, Ask(5, (1000,)))
        row = await pair.client.submit(0, image(4), LATER, Ask(1))

    assert 4.0 == row.probabilities[0]
    assert [Ask(1)] == pair.queue.asks


@pytest.mark.parametrize("energy", [None, -2.5, 17.25])
async def test_the_energy_of_an_image_comes_back(energy):
    """A front learns it as the owner did; a graph without logits has none."""
    async with opened_pair() as pair:
        pair.queue.energy = energy

        assert energy == (await pair.client.submit(0, image(1), LATER)).energy
