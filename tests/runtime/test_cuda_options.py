"""onnxruntime's options for a GPU, and how the fastest of them are found."""

from pathlib import Path

import pytest

from app.errors import OutOfMemoryError, RunFailedError
from app.runtime.cuda_options import CANDIDATES, SAFE, CudaOptions, Gpu, fastest, providers

GRAPH = Path("/models/serving/vgg16.float16/key/graph.onnx")


def provider_options(gpu=None, options=SAFE):
    return dict(providers(gpu or Gpu(), options, GRAPH, 64, 224))


def test_cuda_is_the_only_provider():
    """Nothing falls back to the CPU, and memory grows by what is needed."""
    ((name, found),) = providers(Gpu(), SAFE, GRAPH, 64, 224)

    assert "CUDAExecutionProvider" == name
    assert "0" == found["device_id"]
    assert "kSameAsRequested" == found["arena_extend_strategy"]
    assert str(2**64 - 1) == found["gpu_mem_limit"]
    assert all(isinstance(value, str) for value in found.values())


def test_settings_reach_the_provider():
    """The number of the GPU and the limit of its memory are passed to onnxruntime."""
    found = provider_options(Gpu(device_id=3, memory_limit=2_000_000_000))["CUDAExecutionProvider"]

    assert ("3", "2000000000") == (found["device_id"], found["gpu_mem_limit"])


def test_options_reach_the_provider():
    """Layout and recording are passed on; cuDNN chooses the algorithms."""
    found = provider_options(options=CudaOptions(channels_last=True, recorded=False))
    cuda = found["CUDAExecutionProvider"]

    assert ("HEURISTIC", "1", "0") == (
        cuda["cudnn_conv_algo_search"],
        cuda["prefer_nhwc"],
        cuda["enable_cuda_graph"],
    )


def test_tensorrt_comes_first_and_cuda_behind_it():
    """TensorRT gets the range of batch sizes, keeps its engines, and records nothing of CUDA's."""
    found = provider_options(Gpu(device_id=1, tensorrt=True))

    assert ["TensorrtExecutionProvider", "CUDAExecutionProvider"] == list(found)
    tensorrt = found["TensorrtExecutionProvider"]
    assert "image:1x224x224x3" == tensorrt["trt_profile_min_shapes"]
    assert "image:64x224x224x3" == tensorrt["trt_profile_max_shapes"]
    assert "1" == tensorrt["device_id"]
    assert "0" == found["CUDAExecutionProvider"]["enable_cuda_graph"]


class Loaded:
    """A graph that was loaded with some options, until it is closed."""

    def __init__(self, options):
        self.options = options
        self.closed = 0

    def close(self):
        self.closed += 1


class Machine:
    """Loads graphs whose runs take their time on a clock that nobody waits for."""

    def __init__(self, **seconds):
        self.seconds = seconds
        self.now = 0.0
        self.loaded = []
        self.failing = {}

    def load(self, options):
        self.loaded.append(Loaded(options))
        if options in self.failing:
            raise self.failing[options]
        return self.loaded[-1]

    def run(self, loaded):
        assert not loaded.closed
        self.now += self.seconds[str(loaded.options)]

    def clock(self):
        return self.now


@pytest.fixture
def machine():
    return Machine(
        **{
            "channels first, recorded": 0.005,
            "channels last, recorded": 0.003,
            "channels last, not recorded": 0.004,
        }
    )


@pytest.mark.parametrize("candidates", [CANDIDATES[:2], CANDIDATES[1::-1]])
def test_the_fastest_options_are_kept_and_the_others_closed(machine, candidates):
    """Every candidate is tried once, and the one with the least time is returned, still open."""
    options, loaded = fastest(candidates, machine.load, machine.run, machine.clock)

    assert CudaOptions(channels_last=True) == options == loaded.options
    assert list(candidates) == [one.options for one in machine.loaded]
    assert {loaded: 0} == {one: one.closed for one in machine.loaded if one.closed != 1}


def test_recording_is_not_given_up_for_the_largest_batch(machine):
    """What records is kept even where the largest batch is faster without: small batches are not."""
    machine.seconds["channels last, not recorded"] = 0.001

    options, _ = fastest(CANDIDATES, machine.load, machine.run, machine.clock)

    assert CudaOptions(channels_last=True) == options
    assert list(CANDIDATES[:2]) == [one.options for one in machine.loaded]


def test_options_that_fail_are_left_out(machine, caplog):
    """Options that a GPU or a release does not support are logged, and cost nothing else."""
    caplog.set_level("INFO", "app.runtime.cuda_options")
    error = RunFailedError("The model failed on this batch.")
    error.__cause__ = RuntimeError("CUDA failure 900: operation not permitted when capturing")
    machine.failing = {options: error for options in CANDIDATES if options.recorded}

    options, _ = fastest(CANDIDATES, machine.load, machine.run, machine.clock)

    assert not options.recorded
    assert "operation not permitted" in caplog.text


def test_no_options_at_all(machine):
    """If all fail, the last error is raised."""
    machine.failing = dict.fromkeys(CANDIDATES, OutOfMemoryError("The device is out of memory."))

    with pytest.raises(OutOfMemoryError):
        fastest(CANDIDATES, machine.load, machine.run, machine.clock)
