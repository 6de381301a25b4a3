"""A serving graph on a device."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np

from app.binding import Runner
from app.cuda import FIRST, IN_FLIGHT, WAYS, Gpu, Way, fastest, make_runners, providers
from app.cuda_errors import is_out_of_memory, is_sticky, why_not
from app.cudart import CudaMemory
from app.devices import DeviceName, find_device, no_cuda
from app.errors import DeviceLostError, OutOfMemoryError, RunFailedError, SessionError
from app.graph import STEM_FILE
from app.image_threads import ImageThreads
from app.records import PixelBatch, ProbabilityBatch
from app.runtime import CPU, OpenGraph, open_graph, run, shrink, side

log = logging.getLogger(__name__)

T = TypeVar("T")
Run: TypeAlias = Callable[[PixelBatch], ProbabilityBatch]
Blank: TypeAlias = Callable[[tuple[int, ...]], PixelBatch]

_SMALL: Final = 0.02
"""Seconds an image; a network that takes longer has layers that are worth sharing."""
_WORTH_IT: Final = 0.95
_ROUNDS: Final = 5


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
        self._apart: ImageThreads | None = None
        self._stem: OpenGraph | None = None
        self._runners: list[Runner] = []
        if self.device == "cuda":
            self._session, self._runners = self._open_cuda(FIRST)
        else:
            self._session = open_graph(graph, CPU, threads)
            stem = graph.with_name(STEM_FILE)
            if stem.exists():
                self._stem = open_graph(stem, CPU, threads, spin=True)

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
        if self._runners:
            return self._runners[0].run(batch)
        apart = self._apart if len(batch) >= self._threads else None
        if self._stem is None:
            return apart.run(batch) if apart else run(self._session, batch)
        if apart:
            maps = apart.run(batch)
        else:
            images = (batch[image : image + 1] for image in range(len(batch)))
            maps = np.concatenate([run(self._stem, image) for image in images])
        return run(self._session, maps)

    def tune(self, images: int) -> None:
        """Find out how this device runs this graph fastest.

        On a GPU: with which algorithms and which layout. On a CPU: whether the threads should take
        whole images. By itself onnxruntime shares each layer among its threads, which have to wait
        for each other after each; where layers are small they wait for a good part of the time. A
        large network loses nothing by that: of it two images are run, and no batch.

        Args:
            images: The largest batch that will be run; too few for the threads change nothing.
        """
        if self.device == "cuda":
            self._tune_cuda(images)
            return
        if not 1 < self._threads <= images:
            return
        try:
            one = partial(self.run, self._blank(1))
            if self._stem is None and _least_seconds(one, rounds=1) > _SMALL:
                return
            shared = _least_seconds(partial(self.run, self._blank(images)))
            by_image = self._graph.with_name(STEM_FILE) if self._stem else self._graph
            self._apart = ImageThreads(partial(run, open_graph(by_image, CPU, 1)), self._threads)
            apart = _least_seconds(partial(self.run, self._blank(images)))
        except RunFailedError:  # which sizes a model takes is found out elsewhere
            self._apart = None
            return
        if apart > _WORTH_IT * shared:
            self._apart = None
        log.info(
            "a batch of %d takes %.1f ms if threads share layers, %.1f ms if each takes images",
            images,
            1000 * shared,
            1000 * apart,
        )

    def trim(self) -> None:
        """Give back the memory that larger runs needed; the next run takes its own again."""
        if self.device != "cpu":
            return  # memory that was taken from a GPU stays, so that nobody else takes it
        shrink(self._stem or self._session, self._blank(1))  # all of them take from one arena

    def _blank(self, images: int) -> PixelBatch:
        pixels = side(self._stem or self._session)
        return np.zeros((images, pixels, pixels, 3), np.uint8)

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
        batch, pixels = self._blank(images), side(self._session)
        ways = (FIRST,) if self._gpu.tensorrt else WAYS
        self._runners = []
        del self._session  # its memory, before the ways take theirs
        way, (self._session, self._runners) = fastest(
            ways,
            lambda way: self._open_cuda(way, images, pixels),
            lambda opened: _checked(opened[1][0].run, batch),
        )
        log.info("GPU %d: %s", self._gpu.device_id, way)


def _least_seconds(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Return the least time of a few, after one more: neighbours only ever add."""
    work()
    least = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began)
    return least


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
