"""How a GPU is asked to run, and how the fastest of its ways is found."""

from pathlib import Path

import pytest

from app.errors import OutOfMemoryError, RunFailedError
from app.runtime.cuda_tuning import SAFE, WAYS, Gpu, Way, fastest, halving, providers

GRAPH = Path("/models/serving/vgg16.float16/key/graph.onnx")


def options(gpu=None, way=SAFE):
    return dict(providers(gpu or Gpu(), way, GRAPH, 64, 224))


def test_cuda_is_the_only_provider():
    """What CUDA cannot run is not run elsewhere; memory grows by what is asked for."""
    ((name, found),) = providers(Gpu(), SAFE, GRAPH, 64, 224)

    assert "CUDAExecutionProvider" == name
    assert "0" == found["device_id"]
    assert "kSameAsRequested" == found["arena_extend_strategy"]
    assert str(2**64 - 1) == found["gpu_mem_limit"]
    assert all(isinstance(value, str) for value in found.values())


def test_settings_reach_the_provider():
    """The number of the GPU and the limit of its memory are onnxruntime's."""
    found = options(Gpu(device_id=3, memory_limit=2_000_000_000))["CUDAExecutionProvider"]

    assert ("3", "2000000000") == (found["device_id"], found["gpu_mem_limit"])


def test_ways_reach_the_provider():
    """Search, layout and recording are what a way says."""
    found = options(way=Way("HEURISTIC", channels_last=True, recorded=False))
    cuda = found["CUDAExecutionProvider"]

    assert ("HEURISTIC", "1", "0") == (
        cuda["cudnn_conv_algo_search"],
        cuda["prefer_nhwc"],
        cuda["enable_cuda_graph"],
    )


def test_tensorrt_comes_first_and_cuda_behind_it():
    """TensorRT gets the range of batch sizes, keeps its engines, and records nothing of CUDA's."""
    found = options(Gpu(device_id=1, tensorrt=True))

    assert ["TensorrtExecutionProvider", "CUDAExecutionProvider"] == list(found)
    tensorrt = found["TensorrtExecutionProvider"]
    assert "image:1x224x224x3" == tensorrt["trt_profile_min_shapes"]
    assert "image:64x224x224x3" == tensorrt["trt_profile_max_shapes"]
    assert "1" == tensorrt["device_id"]
    assert "0" == found["CUDAExecutionProvider"]["enable_cuda_graph"]


class Stopwatch:
    """Opens ways that each take their time on a clock that nobody waits for."""

    def __init__(self, **seconds):
        self.seconds = seconds
        self.now = 0.0
        self.opened = []
        self.failing = {}

    def open(self, way):
        self.opened.append(way)
        if way in self.failing:
            raise self.failing[way]
        return str(way)

    def work(self, opened):
        self.now += self.seconds[opened.split(",")[0] + opened.split(",")[1]]

    def clock(self):
        return self.now


@pytest.fixture
def watch():
    return Stopwatch(
        **{
            "channels first exhaustive search": 0.005,
            "channels last exhaustive search": 0.003,
            "channels last heuristic search": 0.004,
            "channels first heuristic search": 0.006,
        }
    )


def test_the_fastest_way_is_kept(watch):
    """Every way is tried, and the one with the least time is what comes out."""
    way, opened = fastest(WAYS, watch.open, watch.work, watch.clock)

    assert Way("EXHAUSTIVE", channels_last=True) == way
    assert str(way) == opened
    assert list(WAYS) == watch.opened


def test_a_way_that_fails_is_left_out(watch, caplog):
    """A way that a card or a release cannot go is told in the log, and costs nothing else."""
    caplog.set_level("INFO", "app.runtime.cuda_tuning")
    error = RunFailedError("The model failed on this batch.")
    error.__cause__ = RuntimeError("CUDA failure 900: operation not permitted when capturing")
    watch.failing = {way: error for way in WAYS if way.recorded}

    way, _ = fastest(WAYS, watch.open, watch.work, watch.clock)

    assert not way.recorded
    assert "operation not permitted" in caplog.text


def test_no_way_at_all(watch):
    """If none works, the last error is told."""
    watch.failing = dict.fromkeys(WAYS, OutOfMemoryError("The device is out of memory."))

    with pytest.raises(OutOfMemoryError):
        fastest(WAYS, watch.open, watch.work, watch.clock)


def test_a_batch_that_does_not_fit_is_halved():
    """A small card is tuned with as many images as it holds; one that holds none fails."""
    tried = []

    def attempt(images):
        tried.append(images)
        if images > 16:
            raise OutOfMemoryError("The device is out of memory.")
        return images

    assert 16 == halving(64, attempt)
    assert [64, 32, 16] == tried
    with pytest.raises(OutOfMemoryError):
        halving(4, lambda images: attempt(images + 16))
