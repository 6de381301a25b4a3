"""Memory and copies of CUDA's runtime, on a fake one and as far as the real one goes without a GPU."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from app.errors import SessionError
from app.runtime.cudart import CudaMemory, load_cudart


class Function:
    """One function of a library; ctypes lets its result type be set."""

    def __init__(self, library, name):
        self.library, self.name = library, name
        self.restype = None

    def __call__(self, *arguments):
        self.library.calls.append((self.name, *arguments))
        return getattr(self.library, f"do_{self.name}", lambda *_: 0)(*arguments)


class FakeRuntime:
    """CUDA's runtime whose GPU is this machine's memory."""

    def __init__(self):
        self.calls = []
        self.kept = []
        self.failing = {}

    def __getattr__(self, name):
        if not name.startswith("cuda"):
            raise AttributeError(name)
        function = Function(self, name)
        setattr(self, name, function)
        return function

    def _allocate(self, pointer, size):
        self.kept.append(ctypes.create_string_buffer(size.value))
        pointer._obj.value = ctypes.addressof(self.kept[-1])
        return 0

    def do_cudaHostAlloc(self, pointer, size, _flags):  # noqa: N802 (CUDA's name)
        return self.failing.get("cudaHostAlloc") or self._allocate(pointer, size)

    def do_cudaMalloc(self, pointer, size):  # noqa: N802 (CUDA's name)
        return self.failing.get("cudaMalloc") or self._allocate(pointer, size)

    def do_cudaMemcpyAsync(self, to, origin, size, _kind, _stream):  # noqa: N802 (CUDA's name)
        ctypes.memmove(to, origin, size.value)
        return 0

    def do_cudaStreamSynchronize(self, _stream):  # noqa: N802 (CUDA's name)
        return self.failing.get("cudaStreamSynchronize", 0)

    def do_cudaGetErrorString(self, status):  # noqa: N802 (CUDA's name)
        return {2: b"out of memory", 700: b"an illegal memory access was encountered"}[status]

    def names(self):
        return [call[0] for call in self.calls]


@pytest.fixture
def runtime():
    return FakeRuntime()


def test_a_round_trip(runtime):
    """What is uploaded comes back, through arrays of the right shape and type."""
    memory = CudaMemory(0, runtime)
    pixels = memory.host((2, 4, 4, 3), np.dtype(np.uint8))
    back = memory.host((2, 4, 4, 3), np.dtype(np.uint8))
    pixels[...] = np.arange(96).reshape(2, 4, 4, 3)
    place = memory.device(pixels)

    memory.upload(pixels, place)
    memory.download(place, back)

    np.testing.assert_array_equal(pixels, back)
    assert ("cuda", 0, (2, 4, 4, 3)) == (place.kind, place.device_id, place.shape)
    assert np.uint8 == place.dtype
    rows = memory.host((2, 1000), np.dtype(np.float32))
    assert (2, 1000) == rows.shape
    assert np.float32 == rows.dtype
    assert rows.flags.writeable


def test_copies_are_waited_for_on_a_stream_of_their_own(runtime):
    """A copy is one call and one wait, on the stream that does not wait for others."""
    memory = CudaMemory(0, runtime)
    pixels = memory.host((1, 2, 2, 3), np.dtype(np.uint8))
    place = memory.device(pixels)
    runtime.calls.clear()

    memory.upload(pixels, place)

    assert [
        "cudaSetDevice", "cudaMemcpyAsync", "cudaSetDevice", "cudaStreamSynchronize",
    ] == runtime.names()  # fmt: skip
    made = CudaMemory(0, FakeRuntime())
    flags = [call[2] for call in made._library.calls if call[0] == "cudaStreamCreateWithFlags"]
    assert [1] == flags


def test_every_call_is_for_its_gpu(runtime):
    """A thread of the second GPU's lanes never works on the first."""
    memory = CudaMemory(1, runtime)
    memory.device(memory.host((1, 2, 2, 3), np.dtype(np.uint8)))

    assert {1} == {call[1] for call in runtime.calls if call[0] == "cudaSetDevice"}
    assert runtime.names().count("cudaSetDevice") == len(runtime.calls) / 2


@pytest.mark.parametrize(
    ("function", "status", "words"),
    [
        ("cudaHostAlloc", 2, "CUDA failure 2: out of memory ; expr=cudaHostAlloc"),
        ("cudaMalloc", 2, "CUDA failure 2: out of memory ; expr=cudaMalloc"),
        ("cudaStreamSynchronize", 700, "CUDA failure 700: an illegal memory access"),
    ],
)
def test_errors_are_told_as_onnxruntime_tells_them(runtime, function, status, words):
    """One place understands all of them, so they are written in one way."""
    runtime.failing[function] = status
    memory = CudaMemory(0, runtime)

    def work():
        pixels = memory.host((1, 2, 2, 3), np.dtype(np.uint8))
        memory.upload(pixels, memory.device(pixels))

    with pytest.raises(RuntimeError, match=words):
        work()


def test_no_runtime():
    """Where CUDA's runtime is not to be found the sentence names it."""
    with pytest.raises(SessionError, match=r"libnone\.so\.99"):
        load_cudart(["libnone.so.99"])


def test_the_real_runtime_without_a_driver():
    """The real library takes these very calls, and says what is missing here."""
    found = [*Path("/usr/local").glob("cuda*/lib*/libcudart.so.13")]
    if not found:
        pytest.skip("CUDA's runtime is not installed")
    library = ctypes.CDLL(str(found[0]))
    count = ctypes.c_int()
    if library.cudaGetDeviceCount(ctypes.byref(count)) == 0 and count.value:
        pytest.skip("there is a GPU")

    with pytest.raises(RuntimeError, match=r"CUDA failure (35|100): .* ; expr=cuda"):
        CudaMemory(0, library)
