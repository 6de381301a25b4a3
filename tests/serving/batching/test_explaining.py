"""Explanations beside the runs of a batch: who waits for them, who does not, and what they cost."""

import asyncio
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
from app.records import Ask, BatchReport, Evidence
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.explaining import ExplainingCost, questions_of
from app.serving.batching.lanes import Device, Lane

NEVER = 1e9
SIZES = (1, 2, 4)
BOX = Ask(best=2)
ONE = Ask(best=1)


def line(per_image, per_run):
    return RunCost(per_image=per_image, per_run=per_run, measured=((1, per_image + per_run),))


def pixels(value):
    return np.full((2, 2, 3), value, np.uint8)


class FakeExplainer:
    """Explains by saying which image and which class it was; records, and fails when told to."""

    def __init__(self):
        self.plain, self.kept, self.asked, self.cells = [], [], [], []
        self.failures = []

    def run(self, batch):
        self.plain.append(self._values(batch))
        return self._rows(batch)

    def run_keeping(self, batch):
        self.kept.append(self._values(batch))
        return self._rows(batch), {"images": self._values(batch)}

    def explain(self, features, rows, classes, against=None, *, cells=True):
        self.cells.append(cells)
        self.asked.append((rows.tolist(), classes.tolist(), against.tolist()))
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure
        images = np.array([features["images"][row] for row in rows], np.float32)
        maps = images[:, None, None, None] + np.zeros((*classes.shape, 2, 2), np.float32)
        parts = classes[:, :, None, None] + np.zeros((*classes.shape, 1, 1), np.float32)
        nothing = np.zeros(classes.shape, np.float32)
        return Evidence(maps, nothing, parts, nothing) if cells else Evidence(maps, nothing)

    def _values(self, batch):
        return [int(image[0, 0, 0]) for image in batch]

    def _rows(self, batch):
        rows = np.zeros((len(batch), 10), np.float32)
        rows[:, 3], rows[:, 7] = 0.5, 0.25
        return rows


class Bench:
    """A started batcher whose model explains."""

    def __init__(self, **policy):
        self.model = FakeExplainer()
        self.left: list[str] = []
        self.lost: list[bool] = []
        self.reports: list[BatchReport] = []
        self.device = Device()
        policy = {
            "sizes": SIZES,
            "cost": line(0.0, 1.0),
            "explaining": line(0.0, 1.0),
            "queue_budget": NEVER,
        } | policy
        self.clock = asyncio.get_running_loop().time
        self.batcher = Batcher(
            [Lane(self.model.run, self.device, None, self.model)],
            BatchPolicy(**policy),
            observe=self.reports.append,
            left=self.left.append,
            lost=lambda: self.lost.append(True),
            clock=self.clock,
        )
        self.batcher.start()

    def submit(self, value, ask=None, deadline=NEVER):
        return asyncio.create_task(self.batcher.submit(pixels(value), deadline, ask))


def test_an_image_that_asks_gets_its_own_explanation(turned):
    """The two most probable classes, the map of this image, and the seconds of the explanation."""

    async def main():
        bench = Bench()
        row = await bench.submit(7, Ask(2, cells=True))

        assert [[7]] == bench.model.kept
        assert [([0, 0], [[3], [7]], [[-1], [-1]])] == bench.model.asked
        assert [3, 7] == row.seen.classes.tolist()
        assert (row.seen.maps == 7).all()
        assert [3, 7] == row.seen.cells.ravel().tolist()
        assert (1.0, 1.0) == (row.run_seconds, row.seen.seconds)

    turned(main())


def test_nothing_is_kept_of_a_batch_in_which_nobody_asks(turned):
    """The run is the same as without explanations."""

    async def main():
        bench = Bench()
        row = await bench.submit(7)

        assert ([[7]], [], []) == (bench.model.plain, bench.model.kept, bench.model.asked)
        assert row.seen is None

    turned(main())


def test_the_others_of_a_batch_do_not_wait_for_an_explanation(turned):
    """They have their rows after the run, one second before the image that asked has its own."""

    async def main():
        bench = Bench()
        first = bench.submit(0)
        await asyncio.sleep(0.5)
        began = bench.clock()
        tasks = [bench.submit(1, BOX), bench.submit(2), bench.submit(3)]
        when: dict[int, float] = {}
        for value, task in enumerate(tasks, start=1):
            task.add_done_callback(
                lambda _, value=value: when.setdefault(value, bench.clock() - began)
            )
        await asyncio.gather(first, *tasks)

        assert [[1, 2, 3, 0]] == bench.model.kept
        assert {1: 2.5, 2: 1.5, 3: 1.5} == when
        assert [([0, 0], [[3], [7]], [[-1], [-1]])] == bench.model.asked

    turned(main())


def test_parts_are_computed_for_those_who_ask_for_them(turned):
    """They take longer, which is predicted; the others have their answers before."""

    async def main():
        bench = Bench(explaining=line(0.1, 0.0), cells_factor=4.5)
        first = bench.submit(0, BOX)
        await asyncio.sleep(0.5)
        tasks = [bench.submit(1, BOX), bench.submit(2, Ask(1, cells=True))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 2 + 5 == bench.batcher._line.asked
        rows = await asyncio.gather(first, *tasks)

        assert [False, False, True] == bench.model.cells
        assert [True, True, False] == [row.seen.cells is None for row in rows]

    turned(main())


def test_all_images_of_a_batch_are_explained_at_once(turned):
    """Each with its own classes, and no more: nobody pays for a neighbour who asks about many."""

    async def main():
        bench = Bench()
        first = bench.submit(0)
        await asyncio.sleep(0.5)
        tasks = [bench.submit(1, Ask(1, (5, 3), against=9)), bench.submit(2), bench.submit(3, ONE)]
        rows = await asyncio.gather(*tasks)
        await first

        assert [([0, 0, 2], [[3], [5], [3]], [[9], [9], [-1]])] == bench.model.asked
        assert [3, 5] == rows[0].seen.classes.tolist()
        assert [3] == rows[2].seen.classes.tolist()
        assert [(2, 2, 2), (1, 2, 2)] == [rows[place].seen.maps.shape for place in (0, 2)]
        assert (rows[2].seen.maps == 3).all()
        assert rows[1].seen is None

    turned(main())


def test_the_next_run_waits_for_the_explanation(turned):
    """The device does one thing at a time, and the wait for it was predicted."""

    async def main():
        bench = Bench(explaining=line(0.5, 0.0))
        first = bench.submit(1, BOX)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        predicted = bench.batcher.predicted_wait()
        row = await bench.submit(2)
        await first

        assert 2.0 == predicted == row.queue_seconds

    turned(main())


def test_explanations_of_images_in_line_count_for_admission(turned):
    """Behind a full batch of images that ask, the next one waits for their explanations too."""

    async def main():
        bench = Bench(explaining=line(0.1, 0.2))
        tasks = [bench.submit(0)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        plain = bench.batcher.predicted_wait()
        tasks += [bench.submit(value, BOX) for value in range(1, 5)]
        await asyncio.sleep(0)
        asked = bench.batcher.predicted_wait()

        assert 1.0 == plain
        assert pytest.approx(1.0 + 1.0 + 0.2 + 8 * 0.1) == asked
        await asyncio.gather(*tasks)
        assert (0, 0) == (bench.batcher.depth, bench.batcher._line.asked)

    turned(main())


def test_images_that_come_count_with_what_they_ask(turned):
    """An image is counted from its admission, with its classes, until it is in line."""

    async def main():
        bench = Bench(explaining=line(1.0, 0.0), queue_budget=10.0)
        async with bench.batcher.reserve(NEVER, Ask(3, (1, 2))) as place:
            assert (1, 5) == (bench.batcher.coming, bench.batcher.asked)
            await place.submit(pixels(1))
        assert (0, 0) == (bench.batcher.coming, bench.batcher.asked)

        bench.batcher.count_coming(8, 8 * 3)
        with pytest.raises(OverloadedError):
            bench.batcher.admit()
        bench.batcher.count_coming(0, -8 * 3)
        bench.batcher.admit()

    turned(main())


def test_explanations_of_another_model_on_the_device_count(turned):
    """An image waits for a turn of the other model, with what its images ask."""

    async def main():
        bench = Bench(explaining=line(0.25, 0.0))
        other = Batcher(
            [Lane(bench.model.run, bench.device)],
            BatchPolicy(SIZES, line(0.0, 1.0), queue_budget=NEVER),
            clock=bench.clock,
        )
        bench.batcher.count_coming(1, 4)

        assert 1.0 + 4 * 0.25 == other.predicted_wait()

    turned(main())


def test_a_client_that_left_is_not_explained(turned):
    """Neither if it leaves during the run, nor is the device used for it."""

    async def main():
        bench = Bench()
        tasks = [bench.submit(1, BOX)]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        await asyncio.sleep(0.75)

        assert (["run"], []) == (bench.left, bench.model.asked)
        assert not bench.device._runs

    turned(main())


def test_a_client_that_leaves_while_it_is_explained_is_counted_there(turned):
    """The others who asked still get theirs."""

    async def main():
        bench = Bench()
        first = bench.submit(0)
        await asyncio.sleep(0.5)
        tasks = [bench.submit(1, BOX), bench.submit(2, BOX)]
        await asyncio.sleep(2)
        tasks[0].cancel()
        row = await tasks[1]
        await first

        assert ["explain"] == bench.left
        assert (row.seen.maps == 2).all()

    turned(main())


def test_a_deadline_that_passes_during_the_run_saves_the_explanation(turned):
    """Nothing is explained that could not be answered in time, and the sentence says when it was."""

    async def main():
        bench = Bench()
        with pytest.raises(DeadlineExceededError, match="while the image was being run"):
            await bench.submit(1, BOX, deadline=bench.clock() + 0.75)
        await asyncio.sleep(1)
        assert [] == bench.model.asked

        with pytest.raises(DeadlineExceededError, match="while the image was being explained"):
            await bench.submit(1, BOX, deadline=bench.clock() + 1.5)

    turned(main())


def test_an_explanation_that_fails_fails_its_own_image_alone(turned):
    """After a common failure each is run again, alone; the others of the batch never notice."""

    async def main():
        bench = Bench()
        first = bench.submit(0)
        await asyncio.sleep(0.5)
        tasks = [bench.submit(1, BOX), bench.submit(2), bench.submit(3, BOX)]
        bench.model.failures = [RunFailedError("no"), RunFailedError("no")]
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        await first
        after = await bench.submit(4, BOX)

        assert RunFailedError is type(outcomes[0])
        assert "could not explain it" in str(outcomes[0])
        assert outcomes[1].seen is None
        assert (outcomes[2].seen.maps == 3).all()
        assert (after.seen.maps == 4).all()
        assert [[1, 2, 3, 0], [1], [3], [4]] == bench.model.kept

    turned(main())


def test_an_image_is_tried_alone_after_the_others_of_its_batch_are_explained(turned):
    """A run ends the features of the one before, which an image that asks for parts still needs."""

    async def main():
        bench = Bench()
        first = bench.submit(0)
        await asyncio.sleep(0.5)
        tasks = [bench.submit(1, BOX), bench.submit(2, BOX), bench.submit(3, Ask(1, cells=True))]
        bench.model.failures = [RunFailedError("no")]
        rows = await asyncio.gather(*tasks)
        await first

        assert [1, 2, 3] == [row.seen.maps[0, 0, 0] for row in rows]
        assert [False, True, False, False] == bench.model.cells
        assert [[1, 2, 3, 0], [1], [2]] == bench.model.kept

    turned(main())


def test_a_device_lost_while_boxes_are_found_fails_those_who_ask_for_parts_too(turned):
    """Nobody waits until the deadline for an explanation that nobody will make."""

    async def main():
        bench = Bench()
        first = bench.submit(0)
        await asyncio.sleep(0.5)
        tasks = [bench.submit(1, BOX), bench.submit(2, Ask(1, cells=True))]
        bench.model.failures = [DeviceLostError("gone")]
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        await first

        assert [ModelFailedError, ModelFailedError] == [type(one) for one in outcomes]

    turned(main())


def test_a_device_lost_in_a_run_of_one_image_fails_the_others_that_are_to_be_tried_alone(turned):
    """They get their error with the first of them."""

    async def main():
        bench = Bench()
        first = bench.submit(0)
        await asyncio.sleep(0.5)
        tasks = [bench.submit(value, BOX) for value in (1, 2, 3)]
        bench.model.failures = [RunFailedError("no"), DeviceLostError("gone")]
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        await first

        assert [ModelFailedError] * 3 == [type(one) for one in outcomes]

    turned(main())


@pytest.mark.parametrize("kind", [OutOfMemoryError, ValueError])
def test_the_error_of_a_failed_explanation_has_its_kind(turned, kind):
    """What an explainer raises beyond its own errors is a failed run, never a crash of the loop."""

    async def main():
        bench = Bench()
        bench.model.failures = [kind("no")]
        wanted = OutOfMemoryError if kind is OutOfMemoryError else RunFailedError
        with pytest.raises(wanted) as caught:
            await bench.submit(1, BOX)

        assert wanted is type(caught.value)
        assert bench.batcher.alive

    turned(main())


def test_a_device_lost_in_an_explanation_ends_the_loop(turned):
    """As in a run: its images fail, and the process is told."""

    async def main():
        bench = Bench()
        bench.model.failures = [DeviceLostError("gone")]
        with pytest.raises(ModelFailedError, match="the server restarts"):
            await bench.submit(1, BOX)
        await asyncio.sleep(0)

        assert [True] == bench.lost
        assert not bench.batcher.alive

    turned(main())


def test_images_that_ask_fail_when_the_server_stops_meanwhile(turned):
    """An explanation under way does not keep a server from ending."""

    async def main():
        bench = Bench()
        loop: Any = asyncio.get_running_loop()
        loop.run_seconds = 100.0
        task = bench.submit(1, BOX)
        await asyncio.sleep(150)
        await bench.batcher.stop(patience=1)
        with pytest.raises(ModelFailedError):
            await task

        assert not bench.device._runs

    turned(main())


def test_a_lane_without_an_explainer_refuses_to_explain(turned):
    """The web refuses such requests first; this is the second line."""

    async def main():
        bench = Bench()
        lane = Lane(bench.model.run, bench.device)
        with pytest.raises(RunFailedError, match="cannot be explained"):
            await lane.make([pixels(1)], 1, keep=True)

    turned(main())


def test_the_cost_of_explanations_is_learned():
    """It follows the machine as that of runs does; what nobody asks costs nothing."""
    cost = ExplainingCost(line(0.1, 0.5))
    before = cost(5)
    for _ in range(100):
        cost.observe(5, 2.0)

    assert pytest.approx(1.0) == before
    assert pytest.approx(2.0, rel=0.01) == cost(5)
    assert [0.0, 0.0] == [cost(0), ExplainingCost(None)(5)]
    assert pytest.approx(2.0) == ExplainingCost(line(0.1, 0.5))(10, runs=2)


def test_a_class_that_is_among_the_best_is_explained_once():
    """Equally probable classes come in the order of their indices, as in the answer."""
    probabilities = np.array([0.1, 0.4, 0.4, 0.1], np.float32)
    questions = questions_of([(2, Ask(2, (2, 0)), probabilities)])

    assert [[1], [2], [0]] == questions.classes.tolist()
    assert ([2, 2, 2], (3,)) == (questions.rows.tolist(), questions.ends)
