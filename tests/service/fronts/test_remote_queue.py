"""The front's way to the queues of the owner."""

import asyncio
import time

import pytest

from app.errors import DeadlineExceededError, ModelFailedError, OverloadedError
from app.service.fronts.image_channel import REPLY
from tests.service.fronts.pair import POLICY, SHAPE, image, opened_pair

pytestmark = pytest.mark.anyio
LATER = time.monotonic() + 3600


async def test_a_row_comes_back_with_its_times():
    """Probabilities, seconds and company are those of the run in the owner."""
    async with opened_pair() as pair:
        row = await pair.remote.submit(image(4), LATER)

    assert (4.0, 1000) == (row.probabilities[0], len(row.probabilities))
    assert (0.5, 0.25, 3) == (row.queue_seconds, row.run_seconds, row.batch_size)


async def test_whoever_leaves_is_dropped_there():
    """The owner learns of it, and the slot is free at once for the next."""
    async with opened_pair() as pair:
        pair.queue.then = asyncio.Event().wait
        for _ in range(2 * SHAPE.slots):
            pair.queue.waits.clear()
            leaving = asyncio.create_task(pair.remote.submit(image(1), LATER))
            await pair.queue.waits.wait()
            leaving.cancel()
            await asyncio.wait({leaving})
        pair.queue.then = lambda: None
        row = await pair.remote.submit(image(9), LATER)

    assert 9.0 == row.probabilities[0]
    assert 2 * SHAPE.slots == pair.queue.left


async def test_a_reply_that_comes_too_late_is_nobodys():
    """A slot that is used again does not get the answer to the image before."""
    async with opened_pair() as pair:
        gate = asyncio.Event()
        pair.queue.then = gate.wait
        first = asyncio.create_task(pair.remote.submit(image(1), LATER))
        await asyncio.sleep(0)
        ticket = pair.exchange._ticket
        first.cancel()
        await asyncio.wait({first})
        second = asyncio.create_task(pair.remote.submit(image(2), LATER))
        await asyncio.sleep(0)
        pair.exchange._received(ticket, *REPLY.unpack(REPLY.pack(ticket, 0, 1, 0.0, 0.0))[1:])
        answered = second.done()
        gate.set()

        assert not answered
        assert 2.0 == (await second).probabilities[0]


async def test_no_more_than_the_slots():
    """One image too many is refused and harms no other; the places of a classifier forbid it."""
    async with opened_pair() as pair:
        gate = asyncio.Event()
        pair.queue.then = gate.wait
        tasks = [
            asyncio.create_task(pair.remote.submit(image(n), LATER)) for n in range(SHAPE.slots)
        ]
        await pair.queue.waits.wait()
        with pytest.raises(OverloadedError):
            await pair.remote.submit(image(9), LATER)
        gate.set()
        rows = await asyncio.gather(*tasks)

    assert [0.0, 1.0] == [row.probabilities[0] for row in rows]


async def test_an_owner_that_has_gone_fails_everyone():
    """Whoever waits and whoever comes later gets an error."""
    async with opened_pair() as pair:
        pair.queue.then = asyncio.Event().wait
        waiting = asyncio.create_task(pair.remote.submit(image(1), LATER))
        await pair.queue.waits.wait()
        pair.desk.close()
        with pytest.raises(ModelFailedError):
            await waiting
        with pytest.raises(ModelFailedError):
            await pair.remote.submit(image(1), LATER)


async def test_the_board_decides_who_is_admitted():
    """A wait beyond the budget, or beyond the client's patience, is refused without asking."""
    async with opened_pair() as pair:
        pair.post(free_in=1.0, late_in=1.5)
        pair.remote.admit()
        with pytest.raises(OverloadedError):
            pair.remote.admit(patience=1.0)
        with pytest.raises(OverloadedError):
            pair.remote.admit(backlog=2.5)
        pair.post(late_in=2.5)
        with pytest.raises(OverloadedError) as refused:
            pair.remote.admit()

    assert 0.5 == pytest.approx(refused.value.retry_after, abs=0.1)


async def test_what_came_since_the_board_was_written_counts():
    """A burst between two looks at the queue finds itself on the board."""
    async with opened_pair() as pair:
        pair.post(free_in=0.0)
        waits = []
        for count in range(1, 6):
            pair.remote.coming = count
            waits.append(pair.remote.longest_wait())
        pair.remote.coming = 0  # they are in line: the board still knows nothing of them
        waits.append(pair.remote.longest_wait())
        pair.post(free_in=0.0)
        waits.append(pair.remote.longest_wait())

    run = POLICY.cost(2)
    assert pytest.approx([0, run, run, 2 * run, 2 * run, 2 * run, 0]) == waits


async def test_a_hung_owner_is_not_waited_for_beyond_the_deadline():
    """An image whose owner says nothing any more fails soon after its deadline, and frees its slot."""
    async with opened_pair() as pair:
        pair.queue.then = asyncio.Event().wait
        late = time.monotonic() - 0.4
        for _ in range(SHAPE.slots + 1):
            with pytest.raises(DeadlineExceededError):
                await pair.remote.submit(image(1), late)


async def test_waits_come_down_with_time():
    """What the owner wrote is when a run begins, so that it need not write while nothing changes."""
    async with opened_pair() as pair:
        pair.post(free_in=1.0, late_in=2.0)
        waits = pair.remote.predicted_wait(), pair.remote.longest_wait()
        pair.post(free_in=-1.0, late_in=-1.0)

    assert 0.5 < waits[0] <= 1.0 < waits[1] <= 2.0
    assert (0.0, 0.0) == (pair.remote.predicted_wait(), pair.remote.longest_wait())


async def test_dead_lanes_and_silent_owners_are_noticed():
    """Some dead lanes fail liveness, all of them admission too, as does an owner that hangs."""
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
        pair.desk.block.beat[0] -= 60
        states.append(pair.remote.alive)

    assert [True, False, False] == states


async def test_what_is_coming_stands_on_the_board():
    """The owner counts the images that a front still decodes."""
    async with opened_pair() as pair:
        pair.remote.coming += 2
        seen = pair.desk.block.coming[0], pair.remote.coming
        pair.remote.coming -= 1
        later = pair.desk.block.coming[0], pair.remote.coming

    assert [(2.0, 2), (1.0, 1)] == [seen, later]
