"""The session runs on the wanted device, or the error says why it cannot."""

import numpy as np
import pytest

from app.runtime.cpu_session import CpuSession
from app.runtime.cuda_options import Gpu
from app.runtime.device_errors import no_cuda
from app.runtime.open_session import _small_graph, find_device, open_session
from app.runtime.ort import CPU, has_cuda, open_graph
from app.setup_errors import SessionError
from tests.runtime.test_cpu_session import brightness

needs_no_cuda = pytest.mark.skipif(has_cuda(), reason="onnxruntime-gpu is installed")


@pytest.mark.parametrize("device", ["cpu", "auto"])
@needs_no_cuda
def test_cpu(tmp_path, device):
    """Without CUDA, `auto` is the CPU, and the session says so."""
    session = open_session(brightness(tmp_path), device=device)

    assert isinstance(session, CpuSession)
    assert "cpu" == session.device


@needs_no_cuda
def test_cuda_where_there_is_none(tmp_path):
    """A user who asked for CUDA reads how to get it, and how to do without."""
    with pytest.raises(SessionError) as caught:
        open_session(brightness(tmp_path), device="cuda")

    message = str(caught.value)
    assert message.startswith("CUDA cannot be used: onnxruntime-gpu is not installed.")
    assert "Install requirements/cuda.txt" in message
    assert "VGG_DEVICE=auto or VGG_DEVICE=cpu" in message


def test_auto_does_not_hide_a_broken_graph(tmp_path):
    """`auto` falls back to another device, never to silence."""
    (tmp_path / "graph.onnx").write_bytes(b"no graph")

    with pytest.raises(SessionError):
        open_session(tmp_path / "graph.onnx", device="auto")


def test_a_cpu_is_never_tried_for_cuda():
    """With `cpu` no driver is loaded."""
    assert "cpu" == find_device("cpu", Gpu(device_id=99))


@needs_no_cuda
def test_auto_says_what_is_missing(caplog):
    """`auto` uses the CPU, and the log has the reason."""
    caplog.set_level("INFO", "app.runtime.open_session")

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

    result = open_graph(graph, CPU, 1).run(None, {"image": pixels})[0]

    assert np.float32 == result.dtype
    assert np.all(result == 8)
