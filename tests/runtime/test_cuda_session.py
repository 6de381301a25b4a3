"""A graph on a GPU, on fakes of onnxruntime and CUDA: tuning keeps the memory of one candidate only.

Not run on a real GPU: what is proved is that every allocation is freed, not what the driver makes of it.
"""

import ctypes
import itertools
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.errors import DeviceLostError, OutOfMemoryError
from app.graph.explain import resolved
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.records import Explanation
from app.runtime.cpu_session import CpuSession
from app.runtime.cuda_options import CANDIDATES, Gpu
from app.runtime.cuda_session import CudaSession, Runner
from app.runtime.cudart import Buffer, CudaMemory
from app.runtime.explain_session import open_explain
from app.runtime.ort import CPU, open_graph
from app.setup_errors import SessionError
from tests.graph.test_serving_graph import RGB, SIDE, lively, photos, small
from tests.runtime.fake_cudart import FakeRuntime

OUT_OF_MEMORY = "CUDA failure 2: out of memory ; GPU=0"
BATCH = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
NOTHING = (0, 0, 0)
ONE = (2, 2, 2)
"""Arrays, buffers and streams of a session with two runners, one of which has run one batch size."""


class FakeGraph:
    """onnxruntime's session on a GPU: each probability is the first pixel of the image."""

    def __init__(self, machine):
        self.machine = machine

    def get_inputs(self):
        return [SimpleNamespace(name="image", shape=["N", 4, 4, 3])]

    def get_outputs(self):
        return [SimpleNamespace(name="probabilities", shape=["N", 1000])]

    def io_binding(self):
        return FakeBinding()

    def run_with_iobinding(self, binding, _options):
        self.machine.run(len(binding.rows))
        binding.rows[:] = binding.pixels[:, 0, 0, :1]


class FakeBinding:
    """Arrays at the addresses that are bound."""

    def bind_input(self, _name, _kind, _device, dtype, shape, pointer):
        self.pixels = at(pointer, shape, dtype)

    def bind_output(self, _name, _kind, _device, dtype, shape, pointer):
        self.rows = at(pointer, shape, dtype)


def at(pointer, shape, dtype):
    """Return the array at an address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_ubyte * size).from_address(pointer), dtype).reshape(shape)


class Machine:
    """A GPU that holds `most` images; records what is still allocated whenever a graph is loaded."""

    def __init__(self, most=64):
        self.most = most
        self.runtime = FakeRuntime()
        self.graphs: weakref.WeakSet[FakeGraph] = weakref.WeakSet()
        self.at_load = []
        self.sizes = []
        self.failures = itertools.repeat(None)

    def open_graph(self, _graph, _where, threads):
        assert 1 == threads
        self.at_load.append((len(self.graphs), self.runtime.live()))
        graph = FakeGraph(self)
        self.graphs.add(graph)
        return graph

    def run(self, images):
        self.sizes.append(images)
        failure = next(self.failures)
        if images > self.most:
            failure = OUT_OF_MEMORY
        if failure:
            raise RuntimeError(failure)

    def session(self, gpu=None):
        """Load a graph on it."""
        return CudaSession(
            Path("graph.onnx"),
            gpu or Gpu(),
            open_graph=self.open_graph,
            new_memory=partial(CudaMemory, library=self.runtime),
        )


@pytest.fixture
def machine():
    return Machine()


def test_two_lanes_give_their_rows(machine):
    """One batch runs while the next is copied: two lanes, each with memory to fill."""
    session = machine.session()

    assert "cuda" == session.device
    assert 2 == len(session.lanes)
    for run, blank in session.lanes:
        pixels = blank(BATCH.shape)
        pixels[...] = BATCH
        assert [[0.0] * 1000, [48.0] * 1000] == run(pixels).tolist()
    assert [0.0, 48.0] == session.run(BATCH)[:, 0].tolist()


def test_a_candidate_that_loses_frees_its_memory(machine):
    """Page-locked and device memory, streams and graph are gone before the next one is loaded."""
    session = machine.session()
    session.run(BATCH)
    session.tune(64)

    first, second = machine.at_load[1:]
    assert (0, NOTHING) == first, "the session before tuning is closed"
    assert (1, ONE) == second, "only the best so far stays"
    assert (1, ONE) == (len(machine.graphs), machine.runtime.live())
    assert [0.0, 48.0] == session.run(BATCH)[:, 0].tolist()


def test_a_candidate_that_fails_frees_its_memory(machine):
    """Its error, which is logged, keeps nothing alive."""
    session = machine.session()
    failures = ["CUDA failure 900: operation not permitted when stream is capturing"] * 2
    machine.failures = itertools.chain(failures, itertools.repeat(None))
    session.tune(64)

    assert [(0, NOTHING)] * 3 == machine.at_load[1:4]
    assert (1, ONE) == (len(machine.graphs), machine.runtime.live())


def test_a_batch_that_does_not_fit_leaves_nothing_behind():
    """Before each try with half the images all memory is free."""
    machine = Machine(most=16)
    session = machine.session()
    session.tune(64)

    failed = 2 * len(CANDIDATES)  # with 64 and with 32 images
    assert [(0, NOTHING)] * (failed + 1) == machine.at_load[1 : failed + 2]
    assert {64, 32, 16} == set(machine.sizes)
    assert (1, ONE) == (len(machine.graphs), machine.runtime.live())


def test_tuning_that_fails_leaves_nothing_behind():
    """A GPU that cannot run a single image has all of its memory back."""
    machine = Machine(most=0)
    session = machine.session()

    with pytest.raises(OutOfMemoryError):
        session.tune(2)

    assert (0, NOTHING) == (len(machine.graphs), machine.runtime.live())


@pytest.mark.parametrize("function", ["cudaHostAlloc", "cudaMalloc"])
def test_buffers_that_do_not_fit_are_freed(machine, function):
    """Memory allocated before the allocation that failed is freed with the candidate."""
    session = machine.session()
    machine.runtime.failing[function] = 2

    with pytest.raises(OutOfMemoryError):
        session.tune(1)

    assert NOTHING == machine.runtime.live()


def test_memory_that_cannot_be_set_up_is_freed(machine):
    """A graph whose second stream cannot be made frees the first, and the error says what to do."""
    machine.runtime.most_streams = 1

    with pytest.raises(SessionError, match="VGG_GPU_MEMORY_LIMIT_MB"):
        machine.session()

    assert NOTHING == machine.runtime.live()


def test_tensorrt_is_not_tuned_with_the_options_of_cudnn(machine):
    """TensorRT decides by itself: one graph is loaded, for the largest batch."""
    machine.session(Gpu(tensorrt=True)).tune(64)

    assert 2 == len(machine.at_load)


def test_a_gpu_that_is_lost(machine):
    """An error after which every call fails is distinguished from those that a smaller batch avoids."""
    session = machine.session()
    machine.failures = iter(["CUDA failure 700: an illegal memory access was encountered"])

    with pytest.raises(DeviceLostError):
        session.run(BATCH)


def test_trimming_keeps_the_memory(machine):
    """Another process could take memory that is freed."""
    session = machine.session()
    session.run(BATCH)
    session.trim()

    assert ONE == machine.runtime.live()


# --- bound buffers ------------------------------------------------------------------------


class FakeCard:
    """Memory of a GPU that is not there, and a session on it; records every call."""

    def __init__(self):
        self.calls: list[tuple[Any, ...]] = []
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: list[np.ndarray] = []
        self.threads: set[str] = set()
        self.addresses = itertools.count(1000)
        self.failure: Exception | None = None

    def get_outputs(self):
        return [SimpleNamespace(name="probabilities", shape=["N", 1000])]

    def host(self, shape, dtype):
        self.calls.append(("host", shape))
        array = np.full(shape, 99, dtype)
        self.pinned.append(array)
        return array

    def device(self, host):
        address = next(self.addresses)
        self.calls.append(("device", host.shape))
        self.memory[address] = np.zeros_like(host)
        return Buffer("cuda", 0, host.dtype.type, host.shape, address)

    def upload(self, host, buffer):
        assert any(host is array for array in self.pinned), "only page-locked memory is copied"
        self.calls.append(("upload", buffer.pointer))
        self.memory[buffer.pointer][...] = host

    def download(self, buffer, host):
        assert any(host is array for array in self.pinned)
        self.calls.append(("download", buffer.pointer))
        host[...] = self.memory[buffer.pointer]

    def io_binding(self):
        return Binding(self.calls)

    def run_with_iobinding(self, binding, options):
        number = int(options.get_run_config_entry("gpu_graph_id"))
        self.threads.add(threading.current_thread().name)
        self.calls.append(("run", number))
        if self.failure is not None:
            raise self.failure
        self.memory[binding.result][:, 0] = self.memory[binding.source][:, 0, 0, 0]

    def kinds(self):
        return [call[0] for call in self.calls]


class Binding:
    """Records the addresses that are bound."""

    def __init__(self, calls):
        self.calls = calls

    def bind_input(self, _name, _kind, _device, _dtype, _shape, pointer):
        self.source = pointer

    def bind_output(self, _name, _kind, _device, _dtype, _shape, pointer):
        self.result = pointer
        self.calls.append(("bind", self.source, self.result))


class HostMemory:
    """A CPU's: the session works in the caller's arrays, and nothing is copied."""

    def __init__(self):
        self.arrays = []

    def host(self, shape, dtype):
        return np.zeros(shape, dtype)

    def device(self, host):
        self.arrays.append(host)
        return Buffer("cpu", 0, host.dtype.type, host.shape, host.ctypes.data)

    def upload(self, host, buffer):
        assert host.ctypes.data == buffer.pointer

    def download(self, buffer, host):
        assert host.ctypes.data == buffer.pointer


def runner_on(card, gate, numbers, session=None, explain=None):
    return Runner(session or card, card, gate, numbers, explain)


@pytest.fixture
def gate():
    with ThreadPoolExecutor(1, thread_name_prefix="device") as pool:
        yield pool


def batch_of(*values):
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def test_the_first_run_of_a_size_takes_its_memory_and_the_next_ones_none(gate):
    """Once a size has run, a run is an upload, a run and a download, at the same addresses."""
    card = FakeCard()
    runner = runner_on(card, gate, itertools.count(1))
    runner.run(batch_of(1, 2))
    assert ["host", "host", "device", "device", "bind", "upload", "run", "download"] == card.kinds()
    card.calls.clear()

    rows = runner.run(batch_of(3, 4))

    assert [("upload", 1000), ("run", 1), ("download", 1001)] == card.calls
    assert [3.0, 4.0] == rows[:, 0].tolist()


def test_each_size_has_buffers_and_a_number_of_its_own(gate):
    """A recording holds addresses: no number is ever given to two of them."""
    card = FakeCard()
    runner = runner_on(card, gate, itertools.count(1))
    for size in (4, 2, 1, 2, 4):
        runner.run(batch_of(*range(size)))

    bound = [call for call in card.calls if call[0] == "bind"]
    assert 6 == len({address for call in bound for address in call[1:]})
    assert [1, 2, 3, 2, 1] == [call[1] for call in card.calls if call[0] == "run"]


def test_pixels_are_written_once(gate):
    """Pixels in the blank batch are uploaded from there, without another copy."""
    card = FakeCard()
    runner = runner_on(card, gate, itertools.count(1))
    blank = runner.blank((2, 2, 2, 3))
    blank[...] = batch_of(7, 8)

    rows = runner.run(blank)

    assert blank is runner.blank((2, 2, 2, 3))
    assert any(blank is array for array in card.pinned)
    assert 1 == card.kinds().count("upload")
    assert [7.0, 8.0] == rows[:, 0].tolist()


def test_rows_outlive_the_next_run(gate):
    """Returned probabilities stay the same when the buffer is used again."""
    card = FakeCard()
    runner = runner_on(card, gate, itertools.count(1))
    first = runner.run(batch_of(1))
    runner.run(batch_of(2))

    assert 1.0 == first[0, 0]


def test_two_in_flight_share_no_buffer(gate):
    """Two runners of one session have memory and numbers of their own, and one thread runs both."""
    card, numbers = FakeCard(), itertools.count(1)
    runners = [runner_on(card, gate, numbers) for _ in range(2)]
    blanks = [runner.blank((2, 2, 2, 3)) for runner in runners]
    for value, blank in enumerate(blanks):
        blank[...] = value + 5
    rows = [runner.run(blank) for runner, blank in zip(runners, blanks, strict=True)]

    assert not np.shares_memory(blanks[0], blanks[1])
    bound = [call for call in card.calls if call[0] == "bind"]
    assert 4 == len({address for call in bound for address in call[1:]})
    assert [1, 2] == [call[1] for call in card.calls if call[0] == "run"]
    assert [5.0, 6.0] == [row[0, 0] for row in rows]
    assert 1 == len(card.threads)


def test_two_at_a_time_get_their_own_rows(gate):
    """With two threads that run as fast as they can, every caller gets its own rows."""
    card, numbers = FakeCard(), itertools.count(1)

    def work(start):
        runner = runner_on(card, gate, numbers)
        return [runner.run(batch_of(start + i))[0, 0] for i in range(100)]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(work, (0, 100))

    assert [float(i) for i in range(100)] == one
    assert [float(i) for i in range(100, 200)] == other


def test_a_run_that_failed_does_not_spoil_the_buffers(gate):
    """An error of CUDA's becomes ours, and the next run of the size uses the same memory."""
    card = FakeCard()
    runner = runner_on(card, gate, itertools.count(1))
    card.failure = RuntimeError("CUDA failure 2: out of memory")
    with pytest.raises(OutOfMemoryError, match="out of memory"):
        runner.run(batch_of(1))
    card.failure = None

    assert 9.0 == runner.run(batch_of(9))[0, 0]
    assert 1 == card.kinds().count("bind")


def test_onnxruntime_gives_through_bound_buffers_what_it_gives_without(tmp_path, gate):
    """On a CPU the same code, with onnxruntime's own binding, gives the same bits as a plain run."""
    write_vgg(tmp_path, small("D"), lively(small("D")).items(), RGB)
    session = open_graph(tmp_path / GRAPH_FILE, CPU, 1)
    numbers = itertools.count(1)
    runners = [runner_on(HostMemory(), gate, numbers, session) for _ in range(2)]
    images = photos(8)

    for size in (8, 4, 1, 4, 8):
        for runner in runners:
            blank = runner.blank((size, SIDE, SIDE, 3))
            blank[...] = images[:size]
            rows, energies = session.run(None, {"image": images[:size]})
            np.testing.assert_array_equal(rows, runner.run(blank))
            np.testing.assert_array_equal(energies, runner.last_energies())
            rows, energies = session.run(None, {"image": images[-size:]})
            np.testing.assert_array_equal(rows, runner.run(images[-size:]))
            np.testing.assert_array_equal(energies, runner.last_energies())


def test_what_is_kept_stays_where_it_is_and_is_explained(tmp_path, gate):
    """The other graph reads the buffers of the last run, with the answers of a session on a CPU."""
    config = small("D")
    explanation = resolved(Explanation(), config)
    write_vgg(tmp_path, config, lively(config).items(), RGB, explanation=explanation)
    session = open_graph(tmp_path / GRAPH_FILE, CPU, 1)
    explain = open_explain(tmp_path / GRAPH_FILE, CPU, open_graph)
    numbers = itertools.count(1)
    runners = [runner_on(HostMemory(), gate, numbers, session, explain) for _ in range(2)]
    images, asked = photos(4), (np.array([3, 1]), np.array([[1, 2], [3, 4]]))
    plain = CpuSession(tmp_path / GRAPH_FILE)
    expected = plain.explain(plain.run_keeping(images)[1], *asked)

    for runner in runners:
        for _ in range(2):
            rows, features = runner.run_keeping(images)
            found = runner.explain(features, *asked)

            np.testing.assert_array_equal(plain.run(images), rows)
            for name in ("maps", "logits", "cells", "constants"):
                np.testing.assert_allclose(getattr(expected, name), getattr(found, name), rtol=1e-4)
        assert found.cells is not None
        assert found.cells.shape == (2, 2, 2, 2)
        assert runner.explain(features, *asked, cells=False).cells is None


def test_a_gpu_that_cannot_explain_still_classifies(tmp_path, machine, caplog):
    """If the other graph cannot be loaded there, the log says why, and there is nothing to explain with."""
    (tmp_path / "explain.onnx").write_bytes(b"a graph")

    def open_graph(graph, where, threads):
        if graph.name == "explain.onnx":
            raise SessionError("no kernel")
        return machine.open_graph(graph, where, threads)

    session = CudaSession(
        tmp_path / GRAPH_FILE,
        Gpu(),
        open_graph=open_graph,
        new_memory=partial(CudaMemory, library=machine.runtime),
    )

    assert [] == session.explainers
    assert [0.0, 48.0] == session.run(BATCH)[:, 0].tolist()
    assert "answers cannot be explained on this GPU: no kernel" in caplog.text
