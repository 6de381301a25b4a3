"""A classifier over a queue and a decode pool that are real, and a device that waits for a gate."""

import asyncio
import threading
import time

import numpy as np
import pytest

from app.images.decode_pool import DecodePool
from app.records import ImageInfo
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.lanes import Device, Lane
from app.serving.classifier import Classifier
from app.serving.loading import Loaded
from app.serving.metrics import Metrics
from app.weights.labels import load_labels
from app.weights.manifests.catalog import BUILT_IN, load_catalog


class Stand:
    """A classifier and a model whose runs wait for a gate; records what is decoded."""

    def __init__(self):
        self.gate = threading.Event()
        self.running = threading.Event()
        self.decoding = threading.Event()
        self.decoding.set()
        self.decoded = []
        self.failing = False
        self.metrics = Metrics()
        self.decoders = DecodePool(1)
        policy = BatchPolicy((1, 2), RunCost.fit({1: 0.01}), queue_budget=60)
        lane = Lane(self.run, Device())
        self.queue = Batcher(
            [lane], policy, left=self.metrics.cancelled, decode_backlog=self.decoders.backlog
        )
        labels = load_labels("imagenet-1k", BUILT_IN)
        manifest = load_catalog(BUILT_IN)["vgg16"]
        self.loaded = Loaded(manifest, labels, self.queue, "cpu", "ab", trained=True)
        self.classifier = Classifier(self.decoders, self.prepare, self.metrics)
        self.queue.start()

    def prepare(self, data, _preprocess):
        self.decoding.wait(30)
        self.decoded.append(data[0])
        return np.full((8, 8, 3), data[0], np.uint8), ImageInfo(8, 8, "png")

    def run(self, batch):
        self.running.set()
        self.gate.wait(30)
        if self.failing:
            raise ValueError("it fails")
        rows = np.zeros((len(batch), 1000), np.float32)
        rows[np.arange(len(batch)), batch[:, 0, 0, 0]] = 1
        return rows

    def ask(self, number):
        work = self.classifier.classify(self.loaded, bytes([number]), 1, time.monotonic() + 60)
        return asyncio.create_task(work)

    async def until_coming(self, count):
        async with asyncio.timeout(10):
            while self.queue.coming != count:  # noqa: ASYNC110 (threads)
                await asyncio.sleep(0)

    def left(self, stage):
        return self.metrics.registry.get_sample_value("vgg_cancelled_total", {"stage": stage})


@pytest.fixture
async def stand():
    stand = Stand()
    yield stand
    stand.decoding.set()
    stand.gate.set()
    await stand.queue.stop()
    stand.decoders.stop()
