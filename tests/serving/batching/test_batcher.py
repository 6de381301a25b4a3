import asyncio
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from app.errors import (
    DeadlineExceededError,
    DeviceLostError,
    ModelFailedError,
    OutOfMemoryError,
    OverloadedError,
    RunFailedError,
)
from app.records import BatchReport
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.lanes import Device, Lane

NEVER = 1e9
SIZES = (1, 2, 4)


def cost(per_image=0.0, per_run=1.0):
    return RunCost(per_image=per_image, per_run=per_run, measured=((1, per_image + per_run),))


def pixels(value):
    return np.full((2, 2, 3), value, np.uint8)


class FakeRun:
    """Returns the brightness of each image, and records the batches."""

    def __init__(self):
        self.batches = []
        self.failures = []

    def __call__(self, batch):
        self.batches.append([int(image[0, 0, 0]) for image in batch])
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure
        rows = np.zeros((len(batch), 1000), np.float32)
        rows[:, 0] = batch[:, 0, 0, 0]
        return rows

    @property
    def sizes(self):
        return [len(batch) for batch in self.batches]


class Bench:
    """A started batcher with a fake run."""

    def __init__(self, device=None, **policy):
        self.run = FakeRun()
        self.reports: list[BatchReport] = []
        self.left: list[str] = []
        self.device = device or Device()
        self.backlog = 0.0
        policy = {"sizes": SIZES, "cost": cost(), "queue_budget": NEVER} | policy
        clock = asyncio.get_running_loop().time
        self.batcher = Batcher(
            [Lane(self.run, self.device)],
            BatchPolicy(**policy),
            observe=self.reports.append,
            left=self.left.append,
            clock=clock,
            decode_backlog=lambda _: self.backlog,
        )
        self.batcher.start()

    def submit(self, value, deadline=NEVER):
        return asyncio.create_task(self.batcher.submit(pixels(value), deadline))


async def values(*tasks):
    return [float((await task).probabilities[0]) for task in tasks]


def test_a_lone_image_is_run_at_once(turned):
    """An image that arrives at an idle device does not wait for others."""

    async def main():
        bench = Bench()
        row = await bench.submit(7)

        assert [[7]] == bench.run.batches
        assert (0.0, 1.0, 1) == (row.queue_seconds, row.run_seconds, row.batch_size)

    turned(main())


def test_images_that_arrive_during_a_run_form_the_next_batch(turned):
    """They do not wait any longer."""

    async def main():
        bench = Bench()
        first = bench.submit(1)
        await asyncio.sleep(0.5)
        rest = [bench.submit(value) for value in (2, 3, 4)]
        rows = await asyncio.gather(*rest)

        assert [1.0] == await values(first)
        assert [[1], [2, 3, 4, 0]] == bench.run.batches
        assert [0.5] * 3 == [row.queue_seconds for row in rows]

    turned(main())


def test_batches_are_padded_to_fixed_sizes_only(turned):
    """Only sizes that were warmed up ever run, and no client gets the row of padding."""

    async def main():
        bench = Bench()
        tasks = [bench.submit(0)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks += [bench.submit(value) for value in range(1, 9)]

        assert [float(value) for value in range(9)] == await values(*tasks)
        assert set(bench.run.sizes) <= set(SIZES)
        assert 9 == sum(report.images for report in bench.reports)

    turned(main())


def test_first_come_first_served(turned):
    """Batches take the oldest images, in the order of their arrival."""

    async def main():
        bench = Bench()
        tasks = [bench.submit(value) for value in range(1, 13)]
        await asyncio.gather(*tasks)

        assert list(range(1, 13)) == [value for batch in bench.run.batches for value in batch]

    turned(main())


def test_delay_counts_from_the_oldest_arrival(turned):
    """A batch waits to fill for at most the delay after the arrival of its first image."""

    async def main():
        bench = Bench(max_queue_delay=0.3)
        first = bench.submit(1)
        await asyncio.sleep(0.2)
        second = bench.submit(2)
        rows = await asyncio.gather(first, second)

        assert [[1, 2]] == bench.run.batches
        assert [pytest.approx(0.3), pytest.approx(0.1)] == [row.queue_seconds for row in rows]

    turned(main())


def test_full_batch_does_not_wait_out_the_delay(turned):
    """A batch that is full starts at once, whatever the delay."""

    async def main():
        bench = Bench(max_queue_delay=60)
        rows = await asyncio.gather(*[bench.submit(value) for value in range(4)])

        assert [0.0] * 4 == [row.queue_seconds for row in rows]

    turned(main())


def test_wait_during_a_run_counts_as_delay(turned):
    """A batch whose oldest image waited through a run longer than the delay starts at once."""

    async def main():
        bench = Bench(max_queue_delay=0.6)
        first = bench.submit(1)
        await asyncio.sleep(0.7)  # 0.6 of delay, then the run began
        second = bench.submit(2)
        row = await second

        assert [1.0] == await values(first)
        assert pytest.approx(0.9) == row.queue_seconds

    turned(main())


def test_a_failed_run_fails_its_clients_but_not_the_next_run(turned):
    """Each client of a failed run gets its own error; the next run succeeds."""

    async def main():
        bench = Bench()
        bench.run.failures = [ValueError("broken")]
        errors = await asyncio.gather(bench.submit(1), bench.submit(2), return_exceptions=True)

        assert [RunFailedError, RunFailedError] == [type(error) for error in errors]
        assert errors[0] is not errors[1]
        assert [3.0] == await values(bench.submit(3))
        assert bench.batcher.alive

    turned(main())


def test_wrong_number_of_rows_fails_the_run(turned):
    """If a model returns fewer rows than images, no client gets the row of another."""

    async def main():
        bench = Bench()
        bench.batcher._lanes[0]._run = lambda batch: np.zeros((len(batch) - 1, 1000), np.float32)
        with pytest.raises(RunFailedError):
            await bench.submit(1)

    turned(main())


def test_out_of_memory_splits_once(turned):
    """A batch that does not fit is run in two halves; a single image that does not, fails."""

    async def main():
        bench = Bench()
        bench.run.failures = [OutOfMemoryError("full")]
        tasks = [bench.submit(value) for value in (1, 2, 3, 4)]

        assert [1.0, 2.0, 3.0, 4.0] == await values(*tasks)
        assert [[1, 2, 3, 4], [1, 2], [3, 4]] == bench.run.batches

        bench.run.failures = [OutOfMemoryError("full")]
        with pytest.raises(OutOfMemoryError):
            await bench.submit(5)

    turned(main())


def test_a_device_lost_in_the_first_half_fails_the_second_at_once(turned):
    """Nobody waits until the deadline for a run that will not be."""

    async def main():
        bench = Bench()
        bench.run.failures = [OutOfMemoryError("full"), DeviceLostError("gone")]
        tasks = [bench.submit(value) for value in (1, 2, 3, 4)]
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)

        assert [ModelFailedError] * 4 == [type(one) for one in outcomes]
        assert [[1, 2, 3, 4], [1, 2]] == bench.run.batches

    turned(main())


def test_cancelled_image_is_not_run(turned):
    """A client that leaves while its image waits leaves the queue at once and costs no run."""

    async def main():
        bench = Bench()
        first = bench.submit(1)
        await asyncio.sleep(0.1)
        left, stayed = bench.submit(2), bench.submit(3)
        await asyncio.sleep(0.1)
        left.cancel()
        await asyncio.wait({left})

        assert 1 == bench.batcher.depth
        assert [1.0, 3.0] == await values(first, stayed)
        assert [[1], [3]] == bench.run.batches
        assert ["queue"] == bench.left

    turned(main())


def test_an_image_cancelled_during_its_run_does_not_affect_the_others(turned):
    """The other clients of the batch get their rows."""

    async def main():
        bench = Bench()
        left, stayed = bench.submit(1), bench.submit(2)
        await asyncio.sleep(0.5)
        left.cancel()

        assert [2.0] == await values(stayed)
        assert ["run"] == bench.left
        assert bench.batcher.alive

    turned(main())


def test_deadline_passes_in_the_queue(turned):
    """At its deadline the client of a waiting image gets an error, and the image is never run."""

    async def main():
        bench = Bench()
        now = asyncio.get_running_loop().time
        first = bench.submit(1)
        await asyncio.sleep(0.1)
        late = bench.submit(2, deadline=now() + 0.5)
        with pytest.raises(DeadlineExceededError):
            await late

        assert pytest.approx(1000.6) == now()
        assert [1.0] == await values(first)
        assert [[1]] == bench.run.batches

    turned(main())


def test_a_run_that_hangs_is_noticed_and_its_clients_are_answered(turned):
    """The clients get an error at their deadline, and the batcher is not alive."""

    async def main():
        bench = Bench(stuck_after=5)
        loop: Any = asyncio.get_running_loop()
        loop.run_seconds = 1e6
        with pytest.raises(DeadlineExceededError):
            await bench.submit(1, deadline=loop.time() + 2)
        before = bench.batcher.alive
        await asyncio.sleep(4)

        assert (True, False) == (before, bench.batcher.alive)
        with pytest.raises(ModelFailedError):
            bench.batcher.admit()

    turned(main())


def _raise(_):
    raise ZeroDivisionError


def test_the_death_of_a_run_loop_is_noticed_and_every_client_is_answered(turned):
    """No client waits forever, and the batcher is not alive."""

    async def main():
        bench = Bench()
        bench.batcher._observe = _raise  # outside of the run itself
        first = bench.submit(1)
        await asyncio.sleep(0.5)
        waiting = bench.submit(2)
        outcomes = await asyncio.gather(first, waiting, return_exceptions=True)

        assert ModelFailedError is type(outcomes[1])
        assert not bench.batcher.alive
        with pytest.raises(ModelFailedError):
            await bench.submit(3)

    turned(main())


def test_stop_finishes_the_current_run_and_fails_the_rest(turned):
    """The current batch succeeds; the images behind it get an error."""

    async def main():
        bench = Bench()
        running = bench.submit(1)
        await asyncio.sleep(0.5)
        waiting = bench.submit(2)
        await asyncio.sleep(0)
        await bench.batcher.stop()

        assert [1.0] == await values(running)
        with pytest.raises(ModelFailedError):
            await waiting

    turned(main())


def test_the_predicted_wait_is_the_real_wait(turned):
    """With steady costs, an image waits as long as predicted on its arrival."""

    async def main():
        bench = Bench()
        tasks = []
        for value in range(11):
            tasks.append(bench.submit(value))
            await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)

        real = [wait for report in bench.reports for wait, _ in report.waits]
        predicted = [wait for report in bench.reports for _, wait in report.waits]
        assert pytest.approx(real, abs=1e-6) == predicted

    turned(main())


def test_admission_refuses_beyond_the_budget_and_says_when_to_retry(turned):
    """An image whose predicted wait exceeds the budget is refused with a Retry-After."""

    async def main():
        bench = Bench(queue_budget=1.5)
        tasks = [bench.submit(0)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks += [bench.submit(value) for value in range(3)]
        await asyncio.sleep(0.2)
        bench.batcher.admit()  # 0.8 s
        tasks += [bench.submit(3)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as refused:
            bench.batcher.admit()  # 0.8 s and a full batch

        assert pytest.approx(0.3) == refused.value.retry_after
        await asyncio.gather(*tasks)
        bench.batcher.admit()

    turned(main())


def test_a_slower_machine_admits_less(turned):
    """The extra time of a run, compared to warm-up, reduces the time to wait for it."""

    async def main():
        bench = Bench(queue_budget=1.5)
        asyncio.get_running_loop().run_seconds = 1.3  # type: ignore[attr-defined] # a TurnedLoop
        for value in range(200):  # until there is no doubt
            await bench.submit(value)
        bench.batcher.admit()  # nobody is there: it runs at once
        task = bench.submit(0)
        await asyncio.sleep(0.05)
        with pytest.raises(OverloadedError) as refused:
            bench.batcher.admit()  # 1.25 s, and 0.3 s that its run takes longer

        assert pytest.approx(0.05, abs=0.001) == refused.value.retry_after
        await task

    turned(main())


def test_images_that_are_being_decoded_count_as_waiting(turned):
    """They make the predicted wait longer."""

    async def main():
        bench = Bench()
        waits = [bench.batcher.predicted_wait()]
        for images in (3, 1):
            bench.batcher.count_coming(images)
            waits.append(bench.batcher.predicted_wait())

        assert [0.0, 0.0, 1.0] == waits

    turned(main())


def test_backlog_of_the_decoders_counts(turned):
    """An image that would wait for its decoding longer than the budget is refused too."""

    async def main():
        bench = Bench(queue_budget=1.0)
        bench.backlog = 1.0
        bench.batcher.admit()
        bench.backlog = 1.5
        with pytest.raises(OverloadedError) as refused:
            bench.batcher.admit()

        assert 0.5 == refused.value.retry_after
        assert 1.5 == bench.batcher.predicted_wait()

    turned(main())


def test_two_models_take_turns_on_one_device(turned):
    """However long the queue of one model is, the other model waits for at most one run."""

    async def main():
        device = Device()
        greedy, modest = Bench(device), Bench(device)
        crowd = [greedy.submit(value) for value in range(40)]
        await asyncio.sleep(0.5)
        rows = []
        for value in range(3):
            row = await modest.submit(value)
            rows.append(row.queue_seconds)

        assert [0.5, 1.0, 1.0] == rows
        await asyncio.gather(*crowd)

    turned(main())


def test_prediction_counts_the_turns_of_other_models(turned):
    """With two busy models the predicted wait includes the runs in between."""

    async def main():
        device = Device()
        one, other = Bench(device), Bench(device)
        tasks = [one.submit(value) for value in range(8)]
        await asyncio.sleep(0.5)  # one runs; 4 of it wait
        tasks += [other.submit(value) for value in range(4)]
        await asyncio.sleep(0)
        predicted = one.batcher.predicted_wait()  # the rest of a run, one of other, one of one
        row = await one.submit(9)
        await asyncio.gather(*tasks)

        assert pytest.approx(2.5) == predicted
        assert pytest.approx(2.5) == row.queue_seconds

    turned(main())


class LeakyBatcher(Batcher):
    """Forgets to answer now and then: a planted leak that the check below must catch."""

    async def _run_batch(self, lane, batch, *, may_split=True):
        if len(batch) > 2:
            batch.pop()
        await super()._run_batch(lane, batch, may_split=may_split)


async def storm(kind, seed, steps):
    """Submit, cancel and fail at random; count the outcomes."""
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    run = FakeRun()
    policy = BatchPolicy(SIZES, cost(), queue_budget=NEVER)
    batcher = kind([Lane(run, Device())], policy, clock=loop.time)
    batcher.start()
    tasks, cancelled = {}, set()
    for step in range(steps):
        action = chance.random()
        if action < 0.7:
            deadline = loop.time() + chance.choice([0.5, 3, 1e6])
            tasks[step] = asyncio.create_task(batcher.submit(pixels(step % 251), deadline))
        elif action < 0.8 and tasks:
            victim = chance.choice(list(tasks)[-20:])
            if not tasks[victim].done():
                tasks[victim].cancel()
                cancelled.add(victim)
        elif action < 0.85:
            run.failures.append(chance.choice([ValueError(), OutOfMemoryError(""), None]))
        else:
            await asyncio.sleep(chance.choice([0, 0.1, 1.0, 5.0]))
    await asyncio.wait(set(tasks.values()), timeout=1000)
    outcomes: Counter[str] = Counter()
    for step, task in tasks.items():
        if not task.done():
            outcomes["unanswered"] += 1
            task.cancel()
        elif task.cancelled():
            outcomes["cancelled"] += 1
            assert step in cancelled
        elif task.exception() is not None:
            outcomes[type(task.exception()).__name__] += 1
        else:
            outcomes["answered"] += 1
            assert step % 251 == task.result().probabilities[0]
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    outcomes["left in line"] = batcher.depth
    await batcher.stop()
    return outcomes


def test_a_storm_answers_every_client_exactly_once_and_leaks_nothing(turned):
    """After 10,000 random submits, cancels and failures each client has its row or an error."""
    outcomes = turned(storm(Batcher, 1, 10_000))

    assert 0 == outcomes["unanswered"]
    assert 0 == outcomes["left in line"]
    for kind in ("answered", "cancelled", "RunFailedError", "DeadlineExceededError"):
        assert outcomes[kind] > 100, kind


def test_the_storm_would_notice_a_leak(turned):
    """The check above can fail: it catches a batcher that forgets a waiter."""
    outcomes = turned(storm(LeakyBatcher, 1, 2_000))

    assert outcomes["unanswered"] > 0
