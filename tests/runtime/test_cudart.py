"""Memory and copies of CUDA's runtime, on a fake one, and on the real one as far as it goes without a GPU."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from app.runtime.cudart import CudaMemory, load_cudart
from app.setup_errors import SessionError
from tests.runtime.fake_cudart import FakeRuntime


@pytest.fixture
def runtime():
    return FakeRuntime()


def test_a_round_trip(runtime):
    """Uploaded pixels come back, through arrays of the right shape and type."""
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
    """A copy is one call and one wait, on a stream that does not wait for others."""
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


def test_closing_frees_everything_once(runtime):
    """Every allocation has its free, of its own kind, and so has the stream; a second close does nothing."""
    memory = CudaMemory(1, runtime)
    pixels = memory.host((2, 4, 4, 3), np.dtype(np.uint8))
    memory.device(pixels)
    memory.device(memory.host((2, 1000), np.dtype(np.float32)))
    assert (2, 2, 1) == runtime.live()

    memory.close()
    memory.close()

    assert (0, 0, 0) == runtime.live()
    assert {1} == {call[1] for call in runtime.calls if call[0] == "cudaSetDevice"}


def test_closing_on_a_failed_gpu(runtime):
    """A GPU that frees nothing any more does not keep the process from closing the rest."""
    memory = CudaMemory(0, runtime)
    memory.device(memory.host((1, 2, 2, 3), np.dtype(np.uint8)))
    runtime.failing["cudaFree"] = 700

    memory.close()

    assert (0, 1, 0) == runtime.live()


@pytest.mark.parametrize(
    ("function", "status", "words"),
    [
        ("cudaHostAlloc", 2, "CUDA failure 2: out of memory ; expr=cudaHostAlloc"),
        ("cudaMalloc", 2, "CUDA failure 2: out of memory ; expr=cudaMalloc"),
        ("cudaStreamSynchronize", 700, "CUDA failure 700: an illegal memory access"),
    ],
)
def test_errors_read_like_those_of_onnxruntime(runtime, function, status, words):
    """One module understands all of them, so they are written in one way."""
    runtime.failing[function] = status
    memory = CudaMemory(0, runtime)

    def work():
        pixels = memory.host((1, 2, 2, 3), np.dtype(np.uint8))
        memory.upload(pixels, memory.device(pixels))

    with pytest.raises(RuntimeError, match=words):
        work()


def test_no_runtime():
    """The error names the library that is missing."""
    with pytest.raises(SessionError, match=r"libnone\.so\.99"):
        load_cudart(["libnone.so.99"])


def test_the_real_runtime_without_a_driver():
    """The real library accepts the same calls, and says what is missing here."""
    found = [*Path("/usr/local").glob("cuda*/lib*/libcudart.so.13")]
    if not found:
        pytest.skip("CUDA's runtime is not installed")
    library = ctypes.CDLL(str(found[0]))
    count = ctypes.c_int()
    if library.cudaGetDeviceCount(ctypes.byref(count)) == 0 and count.value:
        pytest.skip("there is a GPU")

    with pytest.raises(RuntimeError, match=r"CUDA failure (35|100): .* ; expr=cuda"):
        CudaMemory(0, library)
