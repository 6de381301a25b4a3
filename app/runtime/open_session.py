"""A serving graph on a device: on the GPU where there is one, else on the CPU."""

from pathlib import Path
from typing import Literal, Protocol

from app.records import Blank, PixelBatch, ProbabilityBatch, Run
from app.runtime.cpu_session import CpuSession
from app.runtime.cuda_session import CudaSession
from app.runtime.cuda_tuning import Gpu
from app.runtime.find_device import DeviceName, find_device


class Session(Protocol):
    """A loaded serving graph."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where it runs."""

    @property
    def lanes(self) -> list[tuple[Run, Blank | None]]:
        """List what can run at the same time, each with the source of its batches; None for any."""

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch.

        Args:
            batch: uint8 [N, crop, crop, 3], C-contiguous.

        Returns:
            float32 [N, 1000].

        Raises:
            RunFailedError: If onnxruntime fails, or a probability is not a number.
            DeviceLostError: If the GPU has failed for good.
        """

    def tune(self, images: int) -> None:
        """Find the fastest way to run this graph here, in batches of up to `images`."""

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
