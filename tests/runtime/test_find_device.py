"""A small graph that runs on the GPU shows that there is one; otherwise one sentence says why."""

import numpy as np
import pytest

from app.errors import SessionError
from app.runtime.cuda_tuning import Gpu
from app.runtime.find_device import _small_graph, find_device, no_cuda
from app.runtime.ort import CPU, has_cuda, open_graph, run

needs_no_cuda = pytest.mark.skipif(has_cuda(), reason="onnxruntime-gpu is installed")


def test_a_cpu_is_never_tried_for_cuda():
    """With `cpu` no driver is loaded."""
    assert "cpu" == find_device("cpu", Gpu(device_id=99))


@needs_no_cuda
def test_auto_says_what_is_missing(caplog):
    """`auto` uses the CPU, and the log has the reason."""
    caplog.set_level("INFO", "app.runtime.find_device")

    assert "cpu" == find_device("auto", Gpu())
    assert ["using the CPU, because CUDA cannot be used: onnxruntime-gpu is not installed"] == (
        caplog.messages
    )


@needs_no_cuda
def test_cuda_that_is_missing_is_an_error():
    """`cuda` gives the reason and both ways out, in one line."""
    with pytest.raises(SessionError) as caught:
        find_device("cuda", Gpu())

    assert no_cuda("onnxruntime-gpu is not installed") == str(caught.value)
    assert "VGG_DEVICE=auto" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_graph_that_is_tried_is_in_order():
    """It has a convolution in float16, and gives the right result on a CPU: sums of eight ones."""
    graph, pixels = _small_graph()

    result = run(open_graph(graph, CPU, 1), pixels)

    assert np.float32 == result.dtype
    assert np.all(result == 8)
