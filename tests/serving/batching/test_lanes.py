import asyncio
import threading

import numpy as np
import pytest

from app.errors import DeviceLostError, ModelFailedError, OutOfMemoryError
from app.records import BatchReport
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.lanes import Device, Lane

NEVER = 1e9
COST = RunCost(per_image=0.0, per_run=1.0, measured=((1, 1.0),))
POLICY = BatchPolicy((1, 2, 4), COST, queue_budget=NEVER)


def pixels(value):
    return np.full((2, 2, 3), value, np.uint8)


class Card:
    """A fake GPU: returns the brightness of each image, records its runs and their times."""

    def __init__(self, lanes=1, ahead=0):
        self.device = Device(ahead=ahead)
        self.runs = []
        self.failure = None
        self.clock = asyncio.get_running_loop().time
        self.made = self.clock()
        self.lanes = [Lane(self.run, self.device) for _ in range(lanes)]

    def run(self, batch):
        self.runs.append((self.clock() - self.made, [int(image[0, 0, 0]) for image in batch]))
        if self.failure is not None:
            raise self.failure
        rows = np.zeros((len(batch), 1000), np.float32)
        rows[:, 0] = batch[:, 0, 0, 0]
        return rows

    @property
    def batches(self):
        return [batch for _, batch in self.runs]


class Bench:
    """A started batcher on cards."""

    def __init__(self, *cards, policy=POLICY):
        self.lost = 0
        self.reports: list[BatchReport] = []
        clock = asyncio.get_running_loop().time
        lanes = [lane for card in cards for lane in card.lanes]
        self.batcher = Batcher(
            lanes, policy, observe=self.reports.append, clock=clock, lost=self.note
        )
        self.batcher.start()

    def note(self):
        self.lost += 1

    def submit(self, value):
        return asyncio.create_task(self.batcher.submit(pixels(value), NEVER))


async def values(tasks):
    return [float((await task).probabilities[0]) for task in tasks]


# --- several devices -------------------------------------------------------------------


def test_devices_share_the_work(turned):
    """Two cards take twice the batches in the same time, oldest images first."""

    async def main():
        first, second = Card(), Card()
        bench = Bench(first, second)
        tasks = [bench.submit(value) for value in range(1, 17)]

        assert [float(value) for value in range(1, 17)] == await values(tasks)
        assert [[1, 2, 3, 4], [9, 10, 11, 12]] == first.batches
        assert [[5, 6, 7, 8], [13, 14, 15, 16]] == second.batches
        assert 2.0 == asyncio.get_running_loop().time() - first.made

    turned(main())


def test_a_lone_image_is_run_once(turned):
    """Two idle cards do not both run it."""

    async def main():
        first, second = Card(), Card()
        bench = Bench(first, second)
        await bench.submit(7)

        assert [[7]] == first.batches + second.batches

    turned(main())


def test_the_prediction_counts_all_devices(turned):
    """With both cards busy and a full queue, the predicted wait is the real one."""

    async def main():
        bench = Bench(Card(), Card())
        tasks = [bench.submit(value) for value in range(21)]
        await asyncio.sleep(0.5)  # 8 run, 13 wait: the next is in the fourth batch from now
        predicted = bench.batcher.predicted_wait()
        row = await bench.submit(99)
        await asyncio.gather(*tasks)

        assert pytest.approx(1.5) == predicted
        assert pytest.approx(1.5) == row.queue_seconds

    turned(main())


def test_a_lost_device_leaves_its_work_to_the_others(turned):
    """Only its batch fails; the loss is reported, and the batcher is not alive any more."""

    async def main():
        good, bad = Card(), Card()
        bad.failure = DeviceLostError("CUDA failure 700")
        bench = Bench(good, bad)
        tasks = [bench.submit(value) for value in range(16)]
        done = await asyncio.gather(*tasks, return_exceptions=True)

        failed = [value for value, row in enumerate(done) if isinstance(row, Exception)]
        assert bad.batches == [failed]
        assert all(isinstance(done[value], ModelFailedError) for value in failed)
        assert 3 == len(good.batches)
        assert 1 == bench.lost
        assert not bench.batcher.alive
        bench.batcher.admit()
        assert 50.0 == (await bench.submit(50)).probabilities[0]
        await bench.batcher.stop()

    turned(main())


def test_the_loss_of_the_last_device_answers_every_client(turned):
    """With no card left, images that wait fail at once, and none is admitted."""

    async def main():
        card = Card()
        card.failure = DeviceLostError("CUDA failure 719")
        bench = Bench(card)
        tasks = [bench.submit(value) for value in range(10)]
        done = await asyncio.gather(*tasks, return_exceptions=True)

        assert {ModelFailedError} == {type(error) for error in done}
        assert 1 == len(card.batches)
        with pytest.raises(ModelFailedError):
            bench.batcher.admit()
        with pytest.raises(ModelFailedError):
            await bench.submit(1)

    turned(main())


def test_the_end_of_one_loop_leaves_the_others(turned):
    """The batcher is not alive, and continues with the other loop."""

    async def main():
        bench = Bench(Card(), Card())
        await asyncio.sleep(0)
        loop = bench.batcher._lanes[0].loop
        assert loop is not None
        loop.cancel()
        rows = await values([bench.submit(value) for value in range(6)])

        assert [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] == rows
        assert not bench.batcher.alive

    turned(main())


# --- two batches on one device ---------------------------------------------------------


def test_a_full_batch_is_prepared_while_one_runs(turned):
    """The second of two full batches is given to its lane before the first has ended."""

    async def main():
        card = Card(lanes=2, ahead=1)
        bench = Bench(card)
        tasks = [bench.submit(value) for value in range(8)]
        await asyncio.gather(*tasks)

        assert [(0.0, [0, 1, 2, 3]), (0.0, [4, 5, 6, 7])] == card.runs

    turned(main())


def test_a_batch_that_is_not_full_waits_for_the_device(turned):
    """Images that arrive during a run wait until it ends, as with one lane."""

    async def main():
        card = Card(lanes=2, ahead=1)
        bench = Bench(card)
        tasks = [bench.submit(1)]
        await asyncio.sleep(0.25)
        tasks.append(bench.submit(2))
        await asyncio.sleep(0.25)
        tasks.append(bench.submit(3))
        await asyncio.gather(*tasks)

        assert [(0.0, [1]), (1.0, [2, 3])] == card.runs

    turned(main())


def test_a_batch_is_prepared_as_soon_as_it_is_full(turned):
    """The image that fills the batch starts it, in the middle of a run."""

    async def main():
        card = Card(lanes=2, ahead=1)
        bench = Bench(card)
        tasks = [bench.submit(0)]
        for value in range(1, 5):
            await asyncio.sleep(0.125)
            tasks.append(bench.submit(value))
        await asyncio.gather(*tasks)

        assert [(0.0, [0]), (0.5, [1, 2, 3, 4])] == card.runs

    turned(main())


def test_no_more_than_one_batch_is_prepared(turned):
    """A third full batch waits in line, where its images can still leave it."""

    async def main():
        card = Card(lanes=2, ahead=1)
        bench = Bench(card)
        tasks = [bench.submit(value) for value in range(12)]
        await asyncio.sleep(0.5)

        assert 2 == len(card.runs)
        assert 4 == bench.batcher.depth
        await asyncio.gather(*tasks)

    turned(main())


def test_a_device_is_busy_until_all_of_its_runs_have_ended():
    """A run given ahead is counted after the current run, and begins when that one ends."""
    device = Device(ahead=1)
    one = device.begin(2.0, now=10.0)
    other = device.begin(3.0, now=11.0)

    assert 3.5 == device.busy(now=11.5)
    assert 10.0 == device.end(one, now=12.5)
    assert 2.5 == device.busy(now=13.0)
    assert 12.5 == device.end(other, now=15.0)
    assert 0.0 == device.busy(now=15.0)


def test_two_models_still_take_turns(turned):
    """A model with a long queue prepares ahead, and the other model's batch runs in between."""

    async def main():
        card = Card(lanes=2, ahead=1)
        other_lanes = [Lane(card.run, card.device) for _ in range(2)]
        greedy = Bench(card)
        modest = Batcher(other_lanes, POLICY, clock=asyncio.get_running_loop().time)
        modest.start()
        crowd = [greedy.submit(value) for value in range(40)]
        await asyncio.sleep(0.5)
        await asyncio.create_task(modest.submit(pixels(200), NEVER))

        assert 3 >= next(i for i, batch in enumerate(card.batches) if 200 in batch)
        await asyncio.gather(*crowd)

    turned(main())


def test_out_of_memory_halves_the_batch_once(turned):
    """The halves run one after the other; if they do not fit either, their clients get an error."""

    async def main():
        card = Card(lanes=2, ahead=1)
        bench = Bench(card)
        card.failure = OutOfMemoryError("")
        tasks = [bench.submit(value) for value in range(4)]
        done = await asyncio.gather(*tasks, return_exceptions=True)

        assert [[0, 1, 2, 3], [0, 1], [2, 3]] == card.batches
        assert {OutOfMemoryError} == {type(error) for error in done}
        card.failure = None
        assert 9.0 == (await bench.submit(9)).probabilities[0]

    turned(main())


# --- a lane ----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_images_are_written_once_into_the_batch_that_is_run():
    """The run gets the memory that the lane was given to fill, with zeros as padding."""
    memory = np.full((4, 2, 2, 3), 77, np.uint8)
    seen = []

    def run(batch):
        seen.append((batch is memory, batch.copy(), threading.current_thread().name))
        return np.zeros((len(batch), 1000), np.float32)

    lane = Lane(run, Device(), blank=lambda shape: memory[: shape[0]] if shape[0] < 4 else memory)
    await lane.make([pixels(1), pixels(2), pixels(3)], 4)
    lane.close()

    ((same, batch, thread),) = seen
    assert same
    assert [1, 2, 3, 0] == batch[:, 0, 0, 0].tolist()
    assert thread.startswith("run")
