"""A serving graph on a device."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from app.errors import DeviceLostError, OutOfMemoryError, RunFailedError, SessionError
from app.records import PixelBatch, ProbabilityBatch
from app.runtime.bound_buffers import Runner
from app.runtime.cpu_session import CpuSession
from app.runtime.cuda_errors import is_out_of_memory, is_sticky, why_not
from app.runtime.cuda_tuning import (
    IN_FLIGHT,
    SAFE,
    WAYS,
    Gpu,
    Way,
    fastest,
    halving,
    make_runners,
    providers,
)
from app.runtime.cudart import CudaMemory
from app.runtime.find_device import DeviceName, find_device, no_cuda
from app.runtime.ort import OpenGraph, open_graph, side

log = logging.getLogger(__name__)

T = TypeVar("T")
Run: TypeAlias = Callable[[PixelBatch], ProbabilityBatch]
Blank: TypeAlias = Callable[[tuple[int, ...]], PixelBatch]


class Session:
    """A loaded serving graph.

    Attributes:
        device: `cpu` or `cuda`, where it really runs.
    """

    def __init__(
        self, graph: Path, *, device: DeviceName = "auto", threads: int = 1, gpu: Gpu | None = None
    ) -> None:
        """Load a graph.

        Args:
            graph: The .onnx file of a serving graph; its stem, if it has one, lies beside it.
            device: `cuda` fails where CUDA cannot be used, `auto` then takes the CPU.
            threads: Of one run, on a CPU.
            gpu: Which, for `cuda`; None for the first.

        Raises:
            SessionError: If the graph cannot be loaded on that device.
        """
        self._gpu = gpu or Gpu()
        self.device = find_device(device, self._gpu)
        self._graph = graph
        self._threads = threads
        self._runners: list[Runner] = []
        self._cpu: CpuSession | None = None
        if self.device == "cuda":
            self._session, self._runners = self._open_cuda(SAFE)
        else:
            self._cpu = CpuSession(graph, threads)

    @property
    def lanes(self) -> list[tuple[Run, Blank | None]]:
        """List what can run at a time, each with what gives it a batch to fill, if it has such."""
        if not self._runners:
            return [(self.run, None)]
        return [
            (partial(_checked, runner.run), partial(_translated, runner.blank))
            for runner in self._runners
        ]

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch.

        Args:
            batch: uint8 [N, crop, crop, 3], C-contiguous.

        Returns:
            float32 [N, 1000].

        Raises:
            RunFailedError: If onnxruntime fails, or a probability is not a number.
            DeviceLostError: If a GPU can be used no more.
        """
        return _checked(self._run, batch)

    def _run(self, batch: PixelBatch) -> ProbabilityBatch:
        return self._cpu.run(batch) if self._cpu else self._runners[0].run(batch)

    def tune(self, images: int) -> None:
        """Find out how this device runs this graph fastest.

        On a GPU: with which algorithms and which layout. On a CPU: whether the threads should take
        whole images.

        Args:
            images: The largest batch that will be run.
        """
        if self._cpu:
            self._cpu.tune(images, self.run)
        else:
            self._tune_cuda(images)

    def trim(self) -> None:
        """Give back the memory that larger runs needed; the next run takes its own again."""
        if self._cpu:  # memory that was taken from a GPU stays, so that nobody else takes it
            self._cpu.trim()

    def _open_cuda(
        self, way: Way, images: int = 1, pixels: int = 224
    ) -> tuple[OpenGraph, list[Runner]]:
        where = providers(self._gpu, way, self._graph, images, pixels)
        try:
            session = open_graph(self._graph, where, self._threads)
            memories = [CudaMemory(self._gpu.device_id) for _ in range(IN_FLIGHT)]
        except (SessionError, RuntimeError) as exc:
            raise SessionError(no_cuda(why_not(str(exc.__cause__ or exc)))) from exc
        return session, make_runners(session, memories)

    def _tune_cuda(self, images: int) -> None:
        pixels = side(self._session)
        self._runners = []
        del self._session  # its memory, before the ways take theirs
        ways = (SAFE,) if self._gpu.tensorrt else WAYS

        def attempt(images: int) -> tuple[Way, tuple[OpenGraph, list[Runner]]]:
            batch = np.zeros((images, pixels, pixels, 3), np.uint8)
            return fastest(
                ways,
                lambda way: self._open_cuda(way, images, pixels),
                lambda opened: _checked(opened[1][0].run, batch),
            )

        way, (self._session, self._runners) = halving(images, attempt)
        log.info("GPU %d: %s", self._gpu.device_id, way)


def _checked(run: Run, batch: PixelBatch) -> ProbabilityBatch:
    """Run, and give only numbers or an error of ours."""
    probabilities = _translated(run, batch)
    if not np.isfinite(probabilities).all():
        raise RunFailedError("The model gave values that are not numbers.")
    return probabilities


def _translated(work: Callable[[Any], T], given: object) -> T:
    try:
        return work(given)
    except Exception as exc:  # onnxruntime's errors share no base class of their own
        if is_sticky(str(exc)):
            raise DeviceLostError("The GPU can be used no more.") from exc
        if is_out_of_memory(str(exc)):
            raise OutOfMemoryError("The device is out of memory.") from exc
        raise RunFailedError("The model failed on this batch.") from exc
