import asyncio
import time

import pytest

from app.errors import DeadlineExceededError, ModelFailedError, OverloadedError
from app.records import Ask
from app.service.fronts.image_channel import REPLY
from tests.service.fronts.pair import LAYOUT, POLICY, image, opened_pair

pytestmark = pytest.mark.anyio
LATER = time.monotonic() + 3600


async def test_a_row_comes_back_with_its_times():
    """Probabilities, seconds and batch size are those of the run in the owner."""
    async with opened_pair() as pair:
        row = await pair.remote.submit(image(4), LATER)

    assert (4.0, 1000) == (row.probabilities[0], len(row.probabilities))
    assert (0.5, 0.25, 3) == (row.queue_seconds, row.run_seconds, row.batch_size)


async def test_a_client_that_leaves_is_dropped_by_the_owner():
    """The owner is told, and the slot is free at once for the next image."""
    async with opened_pair() as pair:
        pair.queue.then = asyncio.Event().wait
        for _ in range(2 * LAYOUT.slots):
            pair.queue.waits.clear()
            leaving = asyncio.create_task(pair.remote.submit(image(1), LATER))
            await pair.queue.waits.wait()
            leaving.cancel()
            await asyncio.wait({leaving})
        pair.queue.then = lambda: None
        row = await pair.remote.submit(image(9), LATER)

    assert 9.0 == row.probabilities[0]
    assert 2 * LAYOUT.slots == pair.queue.left


async def test_a_late_reply_is_dropped():
    """An image does not get the answer to the previous image in its slot."""
    async with opened_pair() as pair:
        gate = asyncio.Event()
        pair.queue.then = gate.wait
        first = asyncio.create_task(pair.remote.submit(image(1), LATER))
        await asyncio.sleep(0)
        ticket = pair.client._ticket
        first.cancel()
        await asyncio.wait({first})
        second = asyncio.create_task(pair.remote.submit(image(2), LATER))
        await asyncio.sleep(0)
        pair.client.received(REPLY.unpack(REPLY.pack(ticket, 0, 1, 0.0, 0.0, 0.0)))
        answered = second.done()
        gate.set()

        assert not answered
        assert 2.0 == (await second).probabilities[0]


async def test_there_are_no_more_images_than_slots():
    """One image too many is refused and harms no other; the places of a queue prevent it."""
    async with opened_pair() as pair:
        gate = asyncio.Event()
        pair.queue.then = gate.wait
        tasks = [
            asyncio.create_task(pair.remote.submit(image(n), LATER)) for n in range(LAYOUT.slots)
        ]
        await pair.queue.waits.wait()
        with pytest.raises(OverloadedError):
            await pair.remote.submit(image(9), LATER)
        gate.set()
        rows = await asyncio.gather(*tasks)

    assert [0.0, 1.0] == [row.probabilities[0] for row in rows]


async def test_an_owner_that_has_gone_fails_every_image():
    """Images that wait and images that come later get an error."""
    async with opened_pair() as pair:
        pair.queue.then = asyncio.Event().wait
        waiting = asyncio.create_task(pair.remote.submit(image(1), LATER))
        await pair.queue.waits.wait()
        pair.server.close()
        with pytest.raises(ModelFailedError):
            await waiting
        with pytest.raises(ModelFailedError):
            await pair.remote.submit(image(1), LATER)


async def test_the_shared_memory_decides_what_is_admitted():
    """An image that might wait too long is refused without a message to the owner."""
    async with opened_pair() as pair:
        pair.post(free_in=1.0, late_in=1.5)
        pair.remote.admit()
        with pytest.raises(OverloadedError):
            pair.remote.admit(patience=1.0)
        pair.post(late_in=2.5)
        with pytest.raises(OverloadedError) as refused:
            pair.remote.admit()

    assert 0.5 == pytest.approx(refused.value.retry_after, abs=0.1)


async def test_images_admitted_since_the_last_update_count():
    """A burst between two updates by the owner makes its own wait longer."""
    async with opened_pair() as pair:
        pair.post(free_in=0.0)
        waits = []
        for _ in range(5):
            pair.remote.count_coming(1)
            waits.append(pair.remote.device_wait()[1])
        pair.remote.count_coming(-5)  # they are in line, and the owner has not counted them yet
        waits.append(pair.remote.device_wait()[1])
        pair.post(free_in=0.0)
        waits.append(pair.remote.device_wait()[1])

    run = POLICY.cost(2)
    assert pytest.approx([0, run, run, 2 * run, 2 * run, 2 * run, 0]) == waits


async def test_a_hung_owner_is_not_waited_for_beyond_the_deadline():
    """An image without a reply fails soon after its deadline, and frees its slot."""
    async with opened_pair() as pair:
        pair.queue.then = asyncio.Event().wait
        late = time.monotonic() - 0.4
        for _ in range(LAYOUT.slots + 1):
            with pytest.raises(DeadlineExceededError):
                await pair.remote.submit(image(1), late)


async def test_waits_shrink_with_time():
    """The owner writes when a run would begin, not how long that is."""
    async with opened_pair() as pair:
        pair.post(free_in=1.0, late_in=2.0)
        waits = pair.remote.device_wait()
        pair.post(free_in=-1.0, late_in=-1.0)

    assert 0.5 < waits[0] <= 1.0 < waits[1] <= 2.0
    assert (0.0, 0.0) == pair.remote.device_wait()


async def test_dead_lanes_and_silent_owners_are_noticed():
    """Some dead lanes fail liveness; all of them, or an owner that hangs, fail admission too."""
    async with opened_pair() as pair:
        pair.post(usable=1.0)
        states = [pair.remote.alive]
        pair.post(usable=0.5)
        states.append(pair.remote.alive)
        pair.remote.admit()
        pair.post(usable=0.0)
        with pytest.raises(ModelFailedError):
            pair.remote.admit()
        pair.post(usable=1.0)
        pair.server.memory.updated_at[0] -= 60
        states.append(pair.remote.alive)

    assert [True, False, False] == states


async def test_the_owner_sees_the_images_that_come():
    """It counts the images that a front still decodes."""
    async with opened_pair() as pair:
        pair.remote.count_coming(2)
        seen = pair.server.memory.coming[0], pair.remote.coming
        pair.remote.count_coming(-1)
        later = pair.server.memory.coming[0], pair.remote.coming

    assert [(2.0, 2), (1.0, 1)] == [seen, later]


async def test_the_owner_learns_what_coming_images_ask():
    """From the admission of an image until it is in line."""
    async with opened_pair() as pair:
        pair.post()
        async with pair.remote.reserve(LATER, Ask(3, (5,))) as place:
            coming = pair.server.memory.read_coming(0)
            row = await place.submit(image(1))
        after = pair.server.memory.read_coming(0)

    assert [(1, 4), (0, 0)] == [coming, after]
    assert row.seen is not None
