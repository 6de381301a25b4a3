"""A graph on a GPU, on fakes of onnxruntime and CUDA: tuning keeps the memory of one candidate only.

Not run on a real GPU: what is proved is that every allocation is freed, not what the driver makes of it.
"""

import ctypes
import itertools
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.errors import DeviceLostError, OutOfMemoryError, SessionError
from app.runtime.cuda_session import CudaSession
from app.runtime.cuda_tuning import CANDIDATES, Gpu
from app.runtime.cudart import CudaMemory
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

    first, second, *others = machine.at_load[1:]
    assert (0, NOTHING) == first, "the session before tuning is closed"
    assert (1, ONE) == second
    assert [(1, ONE)] * (len(CANDIDATES) - 2) == others, "only the best so far stays"
    assert (1, ONE) == (len(machine.graphs), machine.runtime.live())
    assert [0.0, 48.0] == session.run(BATCH)[:, 0].tolist()


def test_a_candidate_that_fails_frees_its_memory(machine):
    """Its error, which is logged, keeps nothing alive."""
    session = machine.session()
    failures = ["CUDA failure 900: operation not permitted when stream is capturing"] * 3
    machine.failures = itertools.chain(failures, itertools.repeat(None))
    session.tune(64)

    assert [(0, NOTHING)] * 4 == machine.at_load[1:5]
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
