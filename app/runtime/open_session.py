"""A serving graph on a device: on the GPU if one can be used, else on the CPU, and why."""

import ctypes
import logging
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, parser

from app.graph.serving_graph import INPUT, OUTPUT
from app.records import Blank, Explainer, LastEnergies, PixelBatch, ProbabilityBatch, Run
from app.runtime.cpu_session import CpuSession
from app.runtime.cuda_options import SAFE, Gpu, providers
from app.runtime.cuda_session import CudaSession
from app.runtime.device_errors import no_cuda, why_not
from app.runtime.ort import has_cuda, open_graph
from app.setup_errors import SessionError

log = logging.getLogger(__name__)

DeviceName: TypeAlias = Literal["auto", "cpu", "cuda"]


class Session(Protocol):
    """A loaded serving graph."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where it runs."""

    @property
    def lanes(self) -> list[tuple[Run, Blank | None]]:
        """List what can run at the same time, each with the source of its batches; None for any."""

    @property
    def explainers(self) -> list[Explainer]:
        """List one for each of `lanes`, in its order, to be called in the lane's thread.

        Empty for a graph that cannot be explained: somebody's own.
        """

    @property
    def energies(self) -> list[LastEnergies]:
        """List one for each of `lanes`, in its order, to be called in the lane's thread; or nothing."""

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch: uint8 [N, crop, crop, 3], C-contiguous, to float32 [N, classes].

        Raises:
            RunFailedError: If onnxruntime fails, or a probability is not a number.
            DeviceLostError: If the GPU has failed for good.
        """

    def tune(self, images: int, together: int = 1) -> None:
        """Find the fastest way to run this graph here, in batches of up to `images`.

        Where each thread of a CPU takes whole images, it takes so many `together`.
        """

    def trim(self) -> None:
        """Give back the memory that larger runs needed, unless others might take it."""


def open_session(
    graph: Path, *, device: DeviceName = "auto", threads: int = 1, gpu: Gpu | None = None
) -> Session:
    """Load a graph.

    Args:
        graph: The .onnx file of a serving graph; its stem, if it has one, is beside it.
        device: `cuda` fails where CUDA cannot be used, `auto` then takes the CPU.
        threads: Threads per run, on a CPU.
        gpu: The GPU for `cuda`; None for the first.

    Raises:
        SessionError: If the graph cannot be loaded on that device.
    """
    gpu = gpu or Gpu()
    if find_device(device, gpu) == "cuda":
        return CudaSession(graph, gpu)
    return CpuSession(graph, threads)


def find_device(wanted: DeviceName, gpu: Gpu) -> Literal["cpu", "cuda"]:
    """Return the device to run on: for `auto`, CUDA if a small graph really runs on the GPU.

    Raises:
        SessionError: If `cuda` is wanted and cannot be used, with the reason.
    """
    if wanted == "cpu":
        return "cpu"
    reason = _missing_for_cuda() or _failure_of(gpu)
    if reason is None:
        return "cuda"
    if wanted == "cuda":
        raise SessionError(no_cuda(reason))
    log.info("using the CPU, because CUDA cannot be used: %s", reason)
    return "cpu"


@cache
def _failure_of(gpu: Gpu) -> str | None:
    """Return why the GPU does not run a convolution in float16; None if it does."""
    graph, pixels = _small_graph()
    where = providers(replace(gpu, tensorrt=False), SAFE, Path(), 1, 1)
    try:
        open_graph(graph, where, 1).run(None, {INPUT: pixels})
    except Exception as exc:  # noqa: BLE001 (onnxruntime's errors share no base class)
        return why_not(str(exc.__cause__ or exc))
    return None


def _small_graph() -> tuple[bytes, NDArray[np.uint8]]:
    """Make a graph with one convolution in float16, and its input."""
    model = parser.parse_model(f"""<ir_version: 9, opset_import: ["": 17]>
        try (uint8[1,8,8,8] {INPUT}) => (float[1,8,8,8] {OUTPUT})
        {{
            half = Cast<to = {TensorProto.FLOAT16}>({INPUT})
            convolved = Conv(half, weight)
            {OUTPUT} = Cast<to = {TensorProto.FLOAT}>(convolved)
        }}""")
    weight = numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float16), "weight")
    model.graph.initializer.append(weight)
    return model.SerializeToString(), np.ones((1, 8, 8, 8), np.uint8)


def _missing_for_cuda() -> str | None:
    """Return what CUDA needs and is not installed here, as far as that is known without trying."""
    if not has_cuda():
        return "onnxruntime-gpu is not installed"
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return "there is no NVIDIA driver here, or this container has no access to the GPU"
    return None
