"""Tests by many views: what they average, what they cost, and whom they must not disturb."""

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import (
    DeadlineExceededError,
    ImageTooLargeError,
    OverloadedError,
    RunFailedError,
    UnknownParameterError,
)
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.vgg import VggConfig
from app.images.crop import crop_of
from app.images.decode_pool import DecodePool
from app.images.paper_views import ten_crops
from app.records import ImageInfo, Label
from app.runtime.conv_choice import lively_layers
from app.runtime.cpu_session import CpuSession
from app.runtime.dense_session import open_dense
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.lanes import Device, Lane
from app.serving.classifier import Classifier
from app.serving.loading import Loaded
from app.serving.metrics import Metrics
from app.serving.paper.tester import PaperTester
from app.weights.manifests.catalog import BUILT_IN, load_catalog

pytestmark = pytest.mark.anyio

CONFIG = VggConfig("D", (8, 16, 24, 32, 32), hidden=(8, 8), classes=10, side=64)
LABELS = tuple(Label(None, str(number)) for number in range(10))
SIZE = (144, 90)


class Line(Batcher):
    """A queue that records what is admitted and counted, and may have a predicted wait."""

    def __init__(self, run, policy, metrics):
        super().__init__([Lane(run, Device())], policy, left=metrics.cancelled)
        self.admitted: list[tuple[float, int]] = []
        self.counted: list[int] = []
        self.wait = 0.0

    def admit(self, patience=float("inf"), images=1):
        self.admitted.append((patience, images))
        if self.wait > patience:
            raise OverloadedError("Busy.", retry_after=self.wait - patience)
        super().admit(patience, images)

    def count_coming(self, change, asked=0):
        self.counted.append(change)
        super().count_coming(change, asked)


class Stand:
    """A tester of a small network; each decode waits for a gate, each run of a crop for another."""

    def __init__(self, folder):
        self.size = SIZE
        self.gate, self.run_gate = threading.Event(), threading.Event()
        self.gate.set()
        self.run_gate.set()
        self.decoding = threading.Event()
        self.metrics = Metrics()
        self.decoders = DecodePool(2)
        manifest = load_catalog(BUILT_IN)["vgg16-mini"]
        manifest = replace(manifest, architecture=CONFIG)
        write_vgg(folder, CONFIG, lively_layers(CONFIG), manifest.preprocess)
        self.graph = folder / GRAPH_FILE
        self.session = CpuSession(self.graph)
        policy = BatchPolicy((1, 2, 4), RunCost.fit({1: 0.001}), queue_budget=60.0)
        self.line = Line(self.run, policy, self.metrics)
        self.line.start()
        self.loaded = Loaded(
            manifest, LABELS, self.line, "cpu", "ab", trained=True, graph=str(self.graph)
        )
        classifier = Classifier(self.decoders, self.prepare, self.metrics)
        self.tester = PaperTester(
            classifier, self.decoders, self.prepare, self.metrics, threads=4, across_processes=True
        )

    def run(self, batch):
        self.run_gate.wait(30)
        return self.session.run(batch)

    def prepare(self, data, preprocess):
        self.decoding.set()
        self.gate.wait(30)
        (width, height), left, top, side = crop_of(self.size, preprocess)
        photo = np.random.default_rng(data[0]).integers(0, 256, (height, width, 3), np.uint8)
        above, before = max(0, -top), max(0, -left)
        padded = np.pad(photo, ((above, side), (before, side), (0, 0)))
        row, column = max(0, top), max(0, left)
        pixels = padded[row : row + side, column : column + side]
        return pixels, ImageInfo(*self.size, "png")

    def ask(self, test, seconds=60.0):
        deadline = time.monotonic() + seconds
        return self.tester.classify(self.loaded, test, b"\1", 3, deadline)

    def left(self, stage):
        return self.metrics.registry.get_sample_value("vgg_cancelled_total", {"stage": stage})


@pytest.fixture
async def stand(tmp_path):
    stand = Stand(tmp_path)
    yield stand
    stand.gate.set()
    stand.run_gate.set()
    await stand.line.stop()
    stand.decoders.stop()


async def test_ten_crops_are_averaged(stand):
    """The answer is the mean of what the network says to each crop; they are admitted together."""
    preprocess = replace(stand.loaded.manifest.preprocess, crop=68)
    square, _ = stand.prepare(b"\1", preprocess)
    expected = stand.session.run(ten_crops(square, 64)).mean(axis=0)

    found = await stand.ask("ten-crop")

    np.testing.assert_allclose(expected, found.probabilities, rtol=1e-5)
    assert ("ten-crop", 68, 10, 4) == (found.test, found.scale, found.views, found.batch_size)
    assert 10 in [images for _, images in stand.line.admitted]
    assert [1, 2, 3] == [one.rank for one in found.predictions]
    assert int(expected.argmax()) == found.predictions[0].class_index


async def test_a_whole_photo_is_run(stand):
    """All of it at the manifest's scale, mirrored as well; meanwhile it counts as so many images."""
    photo = np.random.default_rng(1).integers(0, 256, (68, 108, 3), np.uint8)
    expected = open_dense(stand.graph, CONFIG, stand.loaded.manifest.preprocess, 1).classify(photo)

    found = await stand.ask("dense")

    np.testing.assert_array_equal(expected.probabilities, found.probabilities)
    assert ("dense", 68, 4) == (found.test, found.scale, found.views)
    assert ImageInfo(*SIZE, "png") == found.image
    assert [4, -4] == stand.line.counted, "2 x 68 x 108 / 64 / 64 are 3.6"
    assert 0 == stand.line.coming


async def test_a_whole_photo_has_the_temperature_of_the_manifest(stand):
    """As the crops of the same model do."""
    manifest = replace(stand.loaded.manifest, temperature=1.7)
    stand.loaded = replace(stand.loaded, manifest=manifest)
    photo = np.random.default_rng(1).integers(0, 256, (68, 108, 3), np.uint8)
    session = open_dense(stand.graph, CONFIG, manifest.preprocess, 1, temperature=1.7)

    found = await stand.ask("dense")

    np.testing.assert_array_equal(session.classify(photo).probabilities, found.probabilities)


async def test_it_is_no_reason_to_refuse_photos(stand):
    """Where images take long it counts as as many as wait for a quarter of the queue budget."""
    stand.line.policy = replace(stand.line.policy, cost=RunCost.fit({1: 0.1}), queue_budget=0.8)

    await stand.ask("dense")

    assert [2, -2] == stand.line.counted


async def test_on_a_gpu_nothing_is_counted(stand):
    """There a whole photo does not delay the runs."""
    stand.loaded = replace(stand.loaded, device="cuda")

    await stand.ask("dense")

    assert [0, 0] == stand.line.counted


@pytest.mark.parametrize("test", ["dense", "ten-crop"])
async def test_photos_that_wait_go_first(stand, test):
    """A test is refused once photos wait for a quarter of the queue budget."""
    stand.line.wait = 16.0

    with pytest.raises(OverloadedError) as refused:
        await stand.ask(test)

    assert [(15.0, 1)] == stand.line.admitted
    assert 1.0 == pytest.approx(refused.value.retry_after)
    assert not stand.decoding.is_set()


async def test_one_test_at_a_time(stand):
    """The second waits for a quarter of the queue budget, and is refused with a sentence."""
    stand.line.policy = replace(stand.line.policy, queue_budget=0.04)
    stand.gate.clear()
    first = asyncio.create_task(stand.ask("dense"))
    await asyncio.to_thread(stand.decoding.wait, 30)

    with pytest.raises(OverloadedError, match="one photo at a time") as refused:
        await stand.ask("ten-crop")

    assert 0.01 == pytest.approx(refused.value.retry_after)
    stand.gate.set()
    stand.line.policy = replace(stand.line.policy, queue_budget=60.0)
    assert "dense" == (await first).test
    assert "ten-crop" == (await stand.ask("ten-crop")).test


@pytest.mark.parametrize("test", ["dense", "ten-crop"])
async def test_a_client_that_leaves_ends_its_test(stand, test):
    """It is counted, nothing of it waits any more, and the next one has the turn."""
    stand.gate.clear()
    first = asyncio.create_task(stand.ask(test))
    await asyncio.to_thread(stand.decoding.wait, 30)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    stand.gate.set()

    assert test == (await stand.ask(test)).test
    assert 1 == stand.left("run")
    assert 0 == stand.line.coming


async def test_crops_of_a_client_that_leaves_are_not_run(stand):
    """Those in line leave it, those to come are given up."""
    stand.run_gate.clear()
    first = asyncio.create_task(stand.ask("ten-crop"))
    async with asyncio.timeout(10):
        while stand.line.coming != 6:  # noqa: ASYNC110 (threads)
            await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    stand.run_gate.set()

    assert "ten-crop" == (await stand.ask("ten-crop")).test
    assert 0 == stand.line.depth


async def test_a_run_that_nobody_waits_for_is_stopped(stand):
    """The turn of a large photo ends soon after its client has left, in the middle of the run."""
    stand.size = (64 * 8, 64)
    began = stand.line.counted
    first = asyncio.create_task(stand.ask("dense"))
    async with asyncio.timeout(30):
        while not began:  # noqa: ASYNC110 (threads)
            await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    assert "dense" == (await stand.ask("dense")).test


async def test_the_deadline_holds(stand):
    """A test that takes too long is answered in time, with 504."""
    stand.gate.clear()

    with pytest.raises(DeadlineExceededError):
        await stand.ask("dense", seconds=0.2)


@pytest.mark.parametrize("test", ["dense", "ten-crop"])
async def test_what_cannot_be_done_in_time_is_not_begun(stand, test):
    """The prediction is from what images cost: ten of them, or the area of the photo."""
    stand.line.policy = replace(stand.line.policy, cost=RunCost.fit({1: 30.0}))

    with pytest.raises(DeadlineExceededError, match="would take about"):
        await stand.ask(test)

    assert not stand.decoding.is_set()


async def test_a_strip_is_refused(stand):
    """Its pixels would take more memory than a test may."""
    stand.size = (1280, 64)

    with pytest.raises(ImageTooLargeError, match="8 times as long"):
        await stand.ask("dense")


async def test_weights_in_an_unknown_form_are_the_model_s_fault(stand):
    """A graph without the kernels of a VGG is refused with a sentence that says what can be done."""
    strange = replace(CONFIG, configuration="A", group_channels=(8, 8, 8, 8, 8))
    write_vgg(
        Path(stand.graph).parent, strange, lively_layers(strange), stand.loaded.manifest.preprocess
    )

    with pytest.raises(UnknownParameterError, match=r"conv1_2.*Use test=ten-crop"):
        await stand.ask("dense")


async def test_files_that_were_replaced_are_told(stand):
    """By a vgg-serve with other settings, in the same folder: ten crops need none, a whole photo does."""
    for file in stand.graph.parent.iterdir():
        file.unlink()
    with pytest.raises(RunFailedError, match=r"since the server started\. Restart"):
        await stand.ask("dense")

    assert 10 == (await stand.ask("ten-crop")).views
