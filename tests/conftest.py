"""Shared by all tests: a tiny real network, a real server, a clock that can be turned."""

import asyncio
import io
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from app.service.app import create_app
from app.service.settings import Settings
from tests.plain_session import PlainSession

REPOSITORY = Path(__file__).resolve().parent.parent
PHOTOS = REPOSITORY / "tests" / "photos"
SHARED_DATA = Path(os.environ.get("VGG_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
SQUEEZENET = SHARED_DATA / "squeezenet1_0.onnx"

COLOURS_MANIFEST = """
name = "{name}"
title = "Tells three colours apart"
onnx = "{name}.onnx"
labels = "imagenet-1k"
license = "MIT"
trained = false
[preprocess]
resize = 36
crop = 32
channels = "RGB"
mean = [0.0, 0.0, 0.0]
std = [255.0, 255.0, 255.0]
"""

SQUEEZENET_MANIFEST = """
name = "squeezenet"
title = "SqueezeNet 1.0"
onnx = "squeezenet1_0.onnx"
labels = "imagenet-1k"
license = "BSD-2-Clause"
[preprocess]
resize = 256
crop = 227
channels = "BGR"
mean = [104.0, 117.0, 123.0]
std = [1.0, 1.0, 1.0]
"""


@pytest.fixture
def anyio_backend():
    return "asyncio"


def write_colours(folder: Path, name: str = "colours", classes: int = 1000) -> None:
    """Write a model that says class 0 for red, 1 for green, 2 for blue.

    Its classes are ImageNet's, or are called 0, 1, 2 and so on if there are not 1000.
    """
    weight = np.zeros((classes, 3), np.float32)
    weight[0, 0] = weight[1, 1] = weight[2, 2] = 20
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w"], ["logits"], transB=1),
        ],
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / f"{name}.onnx")
    manifest = COLOURS_MANIFEST.format(name=name)
    if classes != 1000:
        manifest = manifest.replace("imagenet-1k", f"{name}.txt")
        (folder / f"{name}.txt").write_text("".join(f"{number}\n" for number in range(classes)))
    (folder / f"{name}.toml").write_text(manifest)


@pytest.fixture
def model_dir(tmp_path):
    """A model folder with the network `colours` in it."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_colours(folder)
    return folder


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A model folder with the network `colours` in it, for all tests of a module."""
    folder = tmp_path_factory.mktemp("models")
    write_colours(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Let SIGINT interrupt: a shell that runs the tests in the background has them ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def squeezenet_dir(tmp_path_factory):
    """A model folder with SqueezeNet, a foreign graph of 1000 classes, of ../shared/data in it."""
    if not SQUEEZENET.exists():
        pytest.skip(f"no foreign graph: {SQUEEZENET} is not there")
    folder = tmp_path_factory.mktemp("real-models")
    (folder / SQUEEZENET.name).write_bytes(SQUEEZENET.read_bytes())
    (folder / "squeezenet.toml").write_text(SQUEEZENET_MANIFEST)
    return folder


class RunningServer:
    """A server in a process of its own, on a real socket; its log is read all the time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.url = ""
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, sentence: str) -> dict[str, Any]:
        """Read its log until an event holds the sentence."""
        while (line := self._lines.get(timeout=120)) is not None:
            event = json.loads(line) if line.startswith("{") else {"event": line.strip()}
            self.events.append(event)
            if sentence in event["event"]:
                return event
        raise AssertionError(f"it ended without saying {sentence!r}: {self.events}")

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)


@contextmanager
def running_server(
    model_dir: Path, *, ready: bool = True, module: str = "app", **settings: str
) -> Iterator[RunningServer]:
    """Start `vgg-serve serve` on a free port and stop it at the end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
    environment |= {"VGG_PORT": "0", "VGG_MODEL_DIR": str(model_dir), "VGG_DRAIN_DELAY_MS": "0"}
    environment |= {f"VGG_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", module, "serve"],
        cwd=REPOSITORY,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = RunningServer(process)
    try:
        server.url = server.wait_for("listening on")["event"].split()[2]
        if ready:
            server.wait_for("ready after")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def mini_server(tmp_path_factory):
    """A running server of vgg16-mini, the trained model in the box."""
    with running_server(tmp_path_factory.mktemp("models"), models="vgg16-mini") as server:
        yield server


class _InstantSelector(selectors.DefaultSelector):
    """Never waits: turns the clock forward by as long as it would have waited."""

    def __init__(self, loop: "TurnedLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout:
            self._loop.now += timeout
        return super().select(0)


class TurnedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything is to be done.

    What is given to an executor runs at once, in the loop, and its result comes after the
    seconds that `run_seconds` says.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.run_seconds = 1.0
        super().__init__(_InstantSelector(self))

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor, func, *args):  # type: ignore[override]  # noqa: ARG002
        future = self.create_future()
        try:
            deliver, outcome = future.set_result, func(*args)
        except Exception as exc:  # noqa: BLE001 (whatever it is, it goes to the caller)
            deliver, outcome = future.set_exception, exc
        self.call_later(self.run_seconds, lambda: future.done() or deliver(outcome))
        return future


@pytest.fixture
def turned():
    """Run a coroutine in a TurnedLoop: `turned(main())`."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=TurnedLoop) as runner:
            return runner.run(main)

    return run


def colour_rows(batch):
    """Compute what `colours` answers: softmax of the mean colour, times 20."""
    logits = np.zeros((len(batch), 1000))
    logits[:, :3] = 20 * batch.mean(axis=(1, 2)) / 255
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


class FakeSession(PlainSession):
    """A session whose answers a test decides; tells red, green and blue apart by itself."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.before_run: Callable[[], None] = lambda: None

    def open(self, _graph: Path, **_options: object) -> "FakeSession":
        return self

    @property
    def lanes(self) -> list[tuple[Any, None]]:
        return [(self.run, None)]

    def run(self, batch):
        self.sizes.append(len(batch))
        self.before_run()
        return colour_rows(batch)


@pytest.fixture
def session():
    return FakeSession()


@asynccontextmanager
async def started_app(model_dir: Path, session: FakeSession, **settings: Any) -> AsyncIterator[Any]:
    """Start the app in this process, its models loaded."""
    merged = {"models": "colours", "model_dir": model_dir} | settings
    app = create_app(Settings(**merged), session.open)  # type: ignore[arg-type] # a fake
    async with app.router.lifespan_context(app):
        await app.state.loading
        yield app


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to an app in this process."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def client(model_dir, session):
    """Talk to the app, its model `colours` ready, its session a fake that records."""
    async with started_app(model_dir, session) as app, client_of(app) as client:
        yield client


def png(colour: str = "red", size: tuple[int, int] = (48, 40)) -> bytes:
    """Paint a picture of one colour."""
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def client_gate():
    """A gate for `session.before_run`; opened at the end in any case."""
    gate = threading.Event()
    yield gate
    gate.set()
