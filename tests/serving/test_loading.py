import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest

from app.runtime.cuda_options import Gpu
from app.runtime.open_session import open_session
from app.serving.ask_classifier import ask_classifier
from app.serving.batching.lanes import Device
from app.serving.loading import Hosting, in_background, load_model
from app.serving.metrics import Metrics
from app.setup_errors import SessionError
from app.weights.labels import load_labels
from app.weights.manifests.catalog import load_catalog
from app.weights.provisioning import Provisioning
from tests.conftest import colour_rows
from tests.plain_session import PlainSession

TWO = (Gpu(0), Gpu(1))


class FakeGpuSession(PlainSession):
    """A session with two lanes, each with its own buffers, which distinguishes colours."""

    device = "cuda"

    def __init__(self, graph, gpu):
        self.graph, self.gpu = graph, gpu
        self.tuned: list[int] = []
        self.sizes: tuple[list[int], list[int]] = ([], [])
        self.buffers: tuple[dict[tuple[int, ...], np.ndarray], ...] = ({}, {})

    @property
    def lanes(self):
        return [(self._runner(number), self._blank(number)) for number in range(2)]

    def run(self, batch):
        return self._runner(0)(batch)

    def tune(self, images):
        self.tuned.append(images)

    def _runner(self, number):
        def run(batch):
            self.sizes[number].append(len(batch))
            return colour_rows(batch)

        return run

    def _blank(self, number):
        def blank(shape):
            return self.buffers[number].setdefault(shape, np.zeros(shape, np.uint8))

        return blank


class Machine:
    """A machine with fake GPUs."""

    def __init__(self, model_dir, found="cuda", gpus=TWO, **options):
        self.sessions: list[FakeGpuSession] = []
        self.manifest = load_catalog(model_dir)["colours"]
        self.devices = [Device() for _ in gpus]
        self.metrics = Metrics()
        settings = {
            "provisioning": Provisioning(model_dir, ask_classifier, or_float32=True),
            "device": "auto",
            "threads": 1,
            "max_batch_size": 4,
            "max_queue_delay": 0.0,
            "queue_budget": 10.0,
            "open_session": self.open,
            "find_device": lambda _wanted, _gpu: found,
            "gpus": gpus,
        }
        self.hosting = Hosting(**settings | options)

    def open(self, graph, *, device, threads, gpu):
        assert ("cuda", 1) == (device, threads)
        self.sessions.append(FakeGpuSession(graph, gpu))
        return self.sessions[-1]

    async def load(self):
        return await load_model(
            self.manifest,
            load_labels(self.manifest.labels, self.hosting.provisioning.model_dir),
            self.hosting,
            devices=self.devices,
            metrics=self.metrics,
            progress=lambda *_: None,
        )


@pytest.mark.anyio
async def test_each_gpu_has_a_session_and_two_lanes(model_dir):
    """Two GPUs give two sessions of one graph, each tuned, and every lane saw every size."""
    machine = Machine(model_dir)
    loaded = await machine.load()

    assert [0, 1] == [session.gpu.device_id for session in machine.sessions]
    assert [[4], [4]] == [session.tuned for session in machine.sessions]
    assert 1 == len({session.graph for session in machine.sessions})
    for session in machine.sessions:
        for sizes in session.sizes:
            assert {1, 2, 4} == set(sizes)
    assert ("cuda", "float32", 2) == (loaded.device, loaded.precision, loaded.devices)
    assert [1, 1] == [device.ahead for device in machine.devices]
    await loaded.queue.stop()


@pytest.mark.anyio
async def test_images_go_through_the_lanes_buffers(model_dir):
    """Full batches are spread over both GPUs, and each client gets the row of its own image."""
    machine = Machine(model_dir)
    batcher = (await machine.load()).queue
    before = sum(len(sizes) for session in machine.sessions for sizes in session.sizes)
    images = [np.zeros((32, 32, 3), np.uint8) for _ in range(40)]
    for number, image in enumerate(images):
        image[..., number % 3] = 200

    rows = await asyncio.gather(
        *(batcher.submit(image, asyncio.get_running_loop().time() + 60) for image in images)
    )

    assert [number % 3 for number in range(40)] == [int(r.probabilities.argmax()) for r in rows]
    after = sum(len(sizes) for session in machine.sessions for sizes in session.sizes)
    assert 10 <= after - before < 40
    assert any(buffers for session in machine.sessions for buffers in session.buffers)
    await batcher.stop()


@pytest.mark.anyio
@pytest.mark.parametrize("wanted", ["auto", "float32", "float16"])
async def test_a_ready_graph_keeps_its_precision(model_dir, wanted):
    """VGG_PRECISION is for networks of the VGG family; the answer says what is really served."""
    machine = Machine(model_dir, precision=wanted, gpus=(Gpu(),))
    loaded = await machine.load()

    assert "float32" == loaded.precision
    await loaded.queue.stop()


@pytest.mark.anyio
async def test_a_graph_that_answers_otherwise_than_the_classifier(model_dir):
    """A model whose graph has one more softmax does not become ready."""

    def open_doubled(graph, *, device, threads, gpu):
        session = machine.open(graph, device=device, threads=threads, gpu=gpu)
        once = session._runner

        def twice(number):
            def run(batch):
                powers = np.exp(once(number)(batch))
                return powers / powers.sum(axis=1, keepdims=True)

            return run

        session._runner = twice
        return session

    machine = Machine(model_dir, open_session=open_doubled, gpus=(Gpu(),))

    with pytest.raises(SessionError, match="by the classifier itself"):
        await machine.load()


@pytest.mark.anyio
async def test_a_temperature_is_told_and_tested(model_dir, caplog):
    """The log says it, and the self-test expects it: a device that forgets it does not become ready."""
    caplog.set_level("INFO", "app.serving.loading")
    machine = Machine(model_dir, gpus=(Gpu(),))
    machine.manifest = replace(machine.manifest, temperature=2.0)

    with pytest.raises(SessionError, match="by the classifier itself"):
        await machine.load()

    told = "colours: its manifest has the temperature 2, which divides its logits before softmax"
    assert [told] == caplog.messages


@pytest.mark.anyio
@pytest.mark.parametrize("temperature", [0.05, 20.0])
async def test_the_furthest_temperatures_become_ready(model_dir, temperature):
    """A real graph passes the self-test with them."""
    machine = Machine(model_dir, found="cpu", open_session=open_session)
    machine.manifest = replace(machine.manifest, temperature=temperature)
    loaded = await machine.load()

    assert "cpu" == loaded.device
    await loaded.queue.stop()


@pytest.mark.anyio
async def test_cuda_that_cannot_be_used(model_dir):
    """Nothing is built or downloaded for a GPU that is missing."""

    def refuse(_wanted, _gpu):
        raise SessionError("CUDA was asked for and cannot be used: no driver")

    with pytest.raises(SessionError, match="no driver"):
        await Machine(model_dir, find_device=refuse).load()
    assert not (model_dir / "serving").exists()


@pytest.mark.anyio
async def test_result_and_error_reach_the_caller():
    """What the work returns or raises is what awaiting it returns or raises."""

    def fail():
        raise KeyError("x")

    assert 7 == await in_background(lambda: 7)
    with pytest.raises(KeyError):
        await in_background(fail)


@pytest.mark.anyio
async def test_the_loop_continues_and_cancelling_does_not_wait():
    """The work does not block the event loop, and its caller can be cancelled."""
    gate = threading.Event()
    task = asyncio.create_task(in_background(gate.wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()


@pytest.mark.anyio
async def test_the_thread_does_not_keep_the_process_from_ending():
    """The work runs in a daemon thread."""
    assert await in_background(lambda: threading.current_thread().daemon)
