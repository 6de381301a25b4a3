"""The session runs on the wanted device, or the error says why it cannot."""

import pytest

from app.errors import SessionError
from app.runtime.cpu_session import CpuSession
from app.runtime.open_session import open_session
from app.runtime.ort import has_cuda
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
