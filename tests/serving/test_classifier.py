import asyncio
import threading
import time

import numpy as np
import pytest

from app.errors import DeadlineExceededError
from app.images.decode_pool import DecodePool
from app.records import ImageInfo, Preprocess
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.lanes import Device, Lane
from app.serving.classifier import Classifier
from app.serving.metrics import Metrics
from app.weights.labels import load_labels
from app.weights.manifests import BUILT_IN

pytestmark = pytest.mark.anyio

PREPROCESS = Preprocess(8, 8, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Stand:
    """A classifier whose runs wait for a gate; it notes what is decoded, and in which order."""

    def __init__(self, sizes=(1, 2)):
        self.gate = threading.Event()
        self.decoded = []
        self.metrics = Metrics()
        self.decoders = DecodePool(1)
        policy = BatchPolicy(sizes, RunCost.fit({1: 0.01}), queue_budget=60)
        batcher = Batcher([Lane(self.run, Device())], policy)
        self.classifier = Classifier(
            "stand",
            PREPROCESS,
            load_labels("imagenet-1k", BUILT_IN),
            batcher=batcher,
            decoders=self.decoders,
            prepare=self.prepare,
            metrics=self.metrics,
        )
        batcher.start()

    def prepare(self, data, _preprocess):
        self.decoded.append(data[0])
        return np.full((8, 8, 3), data[0], np.uint8), ImageInfo(8, 8, "png")

    def run(self, batch):
        self.gate.wait(30)
        rows = np.zeros((len(batch), 1000), np.float32)
        rows[np.arange(len(batch)), batch[:, 0, 0, 0]] = 1
        return rows

    def ask(self, number, patience=60.0):
        deadline = time.monotonic() + patience
        return asyncio.create_task(self.classifier.classify(bytes([number]), 1, deadline))

    async def until_decoded(self, count):
        async with asyncio.timeout(10):
            while len(self.decoded) < count or self.decoders.pending:  # noqa: ASYNC110 (threads)
                await asyncio.sleep(0)
        for _ in range(5):  # what was decoded goes into line
            await asyncio.sleep(0)

    def left(self, stage):
        return self.metrics.registry.get_sample_value("vgg_cancelled_total", {"stage": stage})


@pytest.fixture
async def stand():
    stand = Stand()
    yield stand
    stand.gate.set()
    await stand.classifier.batcher.stop()
    stand.decoders.stop()


async def test_no_more_is_decoded_than_the_next_runs_take(stand):
    """With batches of 2 six images are decoded; the rest waits as it came, and is counted."""
    tasks = [stand.ask(number) for number in range(20)]
    await stand.until_decoded(6)

    assert list(range(6)) == stand.decoded
    assert 14 == stand.classifier.batcher.coming
    stand.gate.set()
    answers = await asyncio.gather(*tasks)
    assert list(range(20)) == stand.decoded
    assert list(range(20)) == [answer.predictions[0].class_index for answer in answers]
    assert 0 == stand.classifier.batcher.depth


async def test_who_leaves_before_it_is_decoded_costs_nothing(stand):
    """It is neither decoded nor run, and counts as one that left the queue."""
    tasks = [stand.ask(number) for number in range(10)]
    await stand.until_decoded(6)
    for task in tasks[6:9]:
        task.cancel()
    await asyncio.wait(tasks[6:9])
    stand.gate.set()
    await asyncio.gather(*tasks[:6], tasks[9])

    assert [*range(6), 9] == stand.decoded
    assert 3 == stand.left("queue")


async def test_deadline_passes_before_it_is_decoded(stand):
    """A deadline ends the wait for a place, too, and the place goes to the next."""
    tasks = [stand.ask(number) for number in range(6)]
    await stand.until_decoded(6)
    late, patient = stand.ask(6, patience=0.05), stand.ask(7)
    with pytest.raises(DeadlineExceededError):
        await late
    stand.gate.set()
    await asyncio.gather(*tasks, patient)

    assert [*range(6), 7] == stand.decoded


async def test_a_deadline_that_has_passed_is_told_as_that(stand):
    """It is no sign of a busy server."""
    with pytest.raises(DeadlineExceededError):
        await stand.ask(1, patience=-1)

    assert [] == stand.decoded


async def test_the_wait_for_a_place_counts_in_the_predicted_wait(stand):
    """Whoever is held back is ahead of the next one, and its wait is told as one in the queue."""
    tasks = [stand.ask(number) for number in range(20)]
    await stand.until_decoded(6)
    batcher = stand.classifier.batcher

    assert (
        stand.classifier.predicted_wait() >= batcher.predicted_wait(14) > batcher.predicted_wait()
    )
    stand.gate.set()
    last = (await asyncio.gather(*tasks))[-1]
    assert last.timings.queue > last.timings.decode
