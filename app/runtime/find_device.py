"""Is there a GPU that can be used, and if not, why not: one sentence, before anything is built."""

import ctypes
import logging
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.errors import SessionError
from app.graph.serving_graph import INPUT, OUTPUT
from app.runtime.cuda_tuning import SAFE, Gpu, providers
from app.runtime.device_errors import why_not
from app.runtime.ort import has_cuda, open_graph, run

log = logging.getLogger(__name__)

DeviceName: TypeAlias = Literal["auto", "cpu", "cuda"]


def find_device(wanted: DeviceName, gpu: Gpu) -> Literal["cpu", "cuda"]:
    """Say where to run: `auto` is CUDA where a small graph really runs on it.

    Args:
        wanted: `cuda` fails where that does not.
        gpu: Which.

    Raises:
        SessionError: Why CUDA cannot be used, in a sentence.
    """
    if wanted == "cpu":
        return "cpu"
    lacking = _lacking_for_cuda() or _tried(gpu)
    if lacking is None:
        return "cuda"
    if wanted == "cuda":
        raise SessionError(no_cuda(lacking))
    log.info("no CUDA here: %s", lacking)
    return "cpu"


@cache
def _tried(gpu: Gpu) -> str | None:
    """Say why the GPU does not run a convolution in float16; None if it does."""
    graph, pixels = _small_graph()
    where = providers(replace(gpu, tensorrt=False), SAFE, Path(), 1, 1)
    try:
        run(open_graph(graph, where, 1), pixels)
    except SessionError as exc:
        return why_not(str(exc.__cause__ or exc))
    except Exception as exc:  # noqa: BLE001 (onnxruntime's errors share no base class)
        return why_not(str(exc))
    return None


def _small_graph() -> tuple[bytes, NDArray[np.uint8]]:
    """Make a graph with one convolution in float16, and its input."""
    weight = numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float16), "weight")
    nodes = [
        helper.make_node("Cast", [INPUT], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "weight"], ["convolved"]),
        helper.make_node("Cast", ["convolved"], [OUTPUT], to=TensorProto.FLOAT),
    ]
    shape = [1, 8, 8, 8]
    graph = helper.make_graph(
        nodes,
        "try",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)],
        [weight],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    return model.SerializeToString(), np.ones(shape, np.uint8)


def _lacking_for_cuda() -> str | None:
    """Say what CUDA lacks here, if that can be told without trying it."""
    if not has_cuda():
        return "onnxruntime-gpu is not installed"
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return "there is no NVIDIA driver here, or this container was not given the GPU"
    return None


def no_cuda(reason: str) -> str:
    """Say why CUDA cannot be used, and what to do."""
    return (
        f"CUDA cannot be used: {reason}. Install requirements/cuda.txt and a"
        " driver for CUDA 13, or set VGG_DEVICE=auto or VGG_DEVICE=cpu."
    )
