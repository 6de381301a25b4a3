import asyncio

import numpy as np
import pytest

from app.errors import DeadlineExceededError, ModelFailedError, OverloadedError, RunFailedError
from app.records import Row
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.queue import Queue, WaitingLine

PIXELS = np.zeros((1, 1, 3), np.uint8)
ROW = Row(np.zeros(1000, np.float32), 0.0, 0.0, 1)
NEVER = 1e9


class FixedQueue(Queue):
    """A queue with a fixed wait, which records what happens at a submit."""

    def __init__(self, wait=0.0, usable=1.0, **options):
        policy = BatchPolicy((1,), RunCost(0.1, 0.0, ((1, 0.1),)), queue_budget=2.0)
        super().__init__(policy, **options)
        self.wait, self.share = wait, usable
        self.coming_at_submit = []
        self.asks = []

    @property
    def usable(self):
        return self.share

    @property
    def depth(self):
        return self.coming

    def device_wait(self, behind=0):
        return self.wait + behind, self.wait + behind

    async def submit(self, _pixels, _deadline, ask=None):
        self.asks.append(ask)
        self.coming_at_submit.append(self.coming)
        return ROW

    async def stop(self):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("wait", "backlog", "patience", "late"),
    [(1.5, 0.0, 9.0, None), (2.5, 0.0, 9.0, 0.5), (0.5, 2.5, 9.0, 0.5), (0.5, 0.0, 0.25, 0.25)],
)
def test_an_image_that_would_wait_too_long_is_refused(wait, backlog, patience, late):
    """It must not wait longer than the budget or its client's patience, for decoding or a run."""
    refused = None
    try:
        FixedQueue(wait, decode_backlog=lambda _: backlog).admit(patience)
    except OverloadedError as exc:
        refused = exc.retry_after

    assert late == refused


def test_a_queue_is_alive_while_all_lanes_are_usable_and_admits_while_one_is():
    """With half of its lanes it fails the probes and still answers; with none it refuses."""
    FixedQueue(usable=0.5).admit()
    with pytest.raises(ModelFailedError):
        FixedQueue(usable=0.0).admit()

    assert [True, False, False] == [FixedQueue(usable=part).alive for part in (1.0, 0.5, 0.0)]


def test_the_images_of_a_request_are_admitted_together_or_not_at_all():
    """The first may wait for the budget and the last for the patience; then all are counted."""
    queue = FixedQueue(wait=1.0, clock=lambda: 0.0)
    with pytest.raises(OverloadedError, match="for the last of 10 images") as caught:
        queue.admit_all(10, deadline=9.0)

    assert (0, 1.0) == (queue.coming, caught.value.retry_after)
    assert 9 == len(queue.admit_all(9, deadline=9.0)) == queue.coming


class Entry:
    """A queue whose places can be taken and given back."""

    def __init__(self):
        self.left: list[str] = []
        self.backlogs = []
        clock = asyncio.get_running_loop().time
        self.queue = FixedQueue(left=self.left.append, clock=clock, decode_backlog=self.backlog)
        self.free = asyncio.Event()
        self.entered = []

    def backlog(self, awaited):
        self.backlogs.append(awaited)
        return 0.0

    def enter(self, number, deadline=NEVER):
        async def hold():
            async with self.queue.reserve(deadline) as place:
                self.entered.append(number)
                await self.free.wait()
                return await place.submit(PIXELS)

        return asyncio.create_task(hold())


def test_places_are_given_in_order_and_every_image_is_counted(turned):
    """RUNS_AHEAD runs of images have a place; the others wait, and all are counted as coming."""

    async def main():
        entry = Entry()
        tasks = [entry.enter(number) for number in range(8)]
        await asyncio.sleep(1)
        waiting = list(entry.entered), entry.queue.coming, entry.queue.awaiting
        entry.queue.admit()
        entry.free.set()
        rows = await asyncio.gather(*tasks)

        assert ([0, 1, 2], 8, 5) == waiting
        assert 5 == entry.backlogs[-1]
        assert list(range(8)) == entry.entered
        assert [ROW] * 8 == rows
        assert (0, 0) == (entry.queue.coming, entry.queue.awaiting)

    turned(main())


def test_an_image_in_line_is_no_longer_coming(turned):
    """It is counted once: as coming until it is submitted, then by the line."""

    async def main():
        entry = Entry()
        entry.free.set()
        await entry.enter(0)

        assert [0] == entry.queue.coming_at_submit

    turned(main())


def test_a_client_that_leaves_frees_its_place_at_once(turned):
    """Whether it waits for a place or holds one; the first counts as one that left the queue."""

    async def main():
        entry = Entry()
        tasks = [entry.enter(number) for number in range(6)]
        await asyncio.sleep(1)
        for number in (4, 0):
            tasks[number].cancel()
        await asyncio.sleep(1)

        assert [0, 1, 2, 3] == entry.entered
        assert ["queue"] == entry.left
        assert (4, 1) == (entry.queue.coming, entry.queue.awaiting)
        entry.free.set()
        await asyncio.gather(*tasks[1:4], tasks[5])
        assert 0 == entry.queue.coming

    turned(main())


def test_a_deadline_ends_the_wait_for_a_place(turned):
    """The request fails at its deadline, and the next place goes to the one after it."""

    async def main():
        entry = Entry()
        now = asyncio.get_running_loop().time
        tasks = [entry.enter(number) for number in range(3)]
        await asyncio.sleep(0)
        late, patient = entry.enter(3, deadline=now() + 5), entry.enter(4)
        with pytest.raises(DeadlineExceededError):
            await late

        assert 1005.0 == now()
        entry.free.set()
        await asyncio.gather(*tasks, patient)
        assert [0, 1, 2, 4] == entry.entered

    turned(main())


def test_a_passed_deadline_is_reported_as_such(turned):
    """It is no sign of a busy server, and the image takes no place."""

    async def main():
        entry = Entry()
        entry.queue.wait = 100.0
        with pytest.raises(DeadlineExceededError):
            await entry.enter(0, deadline=asyncio.get_running_loop().time())

        assert [] == entry.entered

    turned(main())


def started(line, deadline=NEVER):
    return asyncio.create_task(line.wait(PIXELS, deadline, 0.0))


def line_here(left=lambda _: None):
    policy = BatchPolicy((1,), RunCost(0.1, 0.0, ((1, 0.1),)))
    return WaitingLine(policy, asyncio.get_running_loop().time, left)


def test_the_oldest_is_taken_first(turned):
    """Waiters are taken in the order of their arrival, as many as asked for."""

    async def main():
        line = line_here()
        tasks = [started(line) for _ in range(3)]
        await asyncio.sleep(0)
        first = line.take(2)
        for waiter in [*first, *line.take(2)]:
            waiter.answer(ROW)
        await asyncio.gather(*tasks)

        assert (2, 0) == (len(first), len(line))

    turned(main())


def test_waiter_past_its_deadline_is_not_taken(turned):
    """At its deadline its client gets an error, and the image is not taken any more."""

    async def main():
        line = line_here()
        task = started(line, deadline=asyncio.get_running_loop().time() + 1)
        await asyncio.sleep(2)

        assert [] == line.take(1)
        with pytest.raises(DeadlineExceededError):
            await task

    turned(main())


def test_a_late_answer_or_error_does_nothing(turned):
    """A waiter that was answered, or has left, is not touched again."""

    async def main():
        line = line_here()
        answered, gone = started(line), started(line)
        await asyncio.sleep(0)
        first, second = line.take(2)
        first.answer(ROW)
        first.fail(RunFailedError("late"))
        gone.cancel()
        await asyncio.wait({gone})
        second.answer(ROW)

        assert await answered is ROW
        assert gone.cancelled()

    turned(main())


def test_a_passed_deadline_says_whether_the_image_was_being_run(turned):
    """An image that was taken for a run is not said to have waited for one."""

    async def main():
        line = line_here()
        deadline = asyncio.get_running_loop().time() + 1
        run, waiting = started(line, deadline), started(line, deadline)
        await asyncio.sleep(0)
        line.take(1)
        errors = await asyncio.gather(run, waiting, return_exceptions=True)

        assert [
            "The deadline passed while the image was being run.",
            "The deadline passed before the image was run.",
        ] == [str(error) for error in errors]

    turned(main())


def test_a_deadline_that_passes_as_the_line_is_taken_is_one_before_the_run(turned):
    """An image that is taken too late was not run."""

    async def main():
        line = line_here()
        task = started(line, deadline=asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        taken = line.take(1)
        with pytest.raises(DeadlineExceededError, match="before the image was run"):
            await task

        assert [] == taken

    turned(main())


def test_a_client_that_leaves_as_the_line_is_taken_left_the_queue(turned):
    """It is counted by where its image was: in line, as no run was started for it."""

    async def main():
        left: list[str] = []
        line = line_here(left=left.append)
        tasks = [started(line) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        taken = line.take(1)
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.wait(tasks)

        assert 1 == len(taken)
        assert ["queue", "run", "queue"] == left
        assert 0 == len(line)

    turned(main())


def test_dismissed_waiters_get_an_error_each(turned):
    """No two waiters share an exception object."""

    async def main():
        line = line_here()
        tasks = [started(line) for _ in range(3)]
        await asyncio.sleep(0)
        line.dismiss(lambda: RunFailedError("over"))
        errors = await asyncio.gather(*tasks, return_exceptions=True)

        assert 3 == len({id(error) for error in errors})
        assert 0 == len(line)

    turned(main())
