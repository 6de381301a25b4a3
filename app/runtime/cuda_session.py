"""A serving graph on one GPU."""

import itertools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np

from app.errors import SessionError
from app.records import Blank, PixelBatch, ProbabilityBatch, Run
from app.runtime.bound_buffers import Runner
from app.runtime.cuda_tuning import CANDIDATES, SAFE, CudaOptions, Gpu, fastest, halving, providers
from app.runtime.cudart import CudaMemory
from app.runtime.device_errors import why_not
from app.runtime.find_device import no_cuda
from app.runtime.ort import OpenGraph, binder, open_graph, side

log = logging.getLogger(__name__)

_IN_FLIGHT: Final = 2
"""Batches on a GPU at a time: one runs while the other is copied there."""


class CudaSession:
    """A graph on one GPU, its batches in buffers that are bound once."""

    device: Literal["cuda"] = "cuda"

    def __init__(
        self,
        graph: Path,
        gpu: Gpu,
        *,
        open_graph: Callable[..., OpenGraph] = open_graph,
        new_memory: Callable[[int], CudaMemory] = CudaMemory,
    ) -> None:
        """Load a graph; tests replace the parts that need a GPU.

        Raises:
            SessionError: If the graph cannot be loaded on that GPU.
        """
        self._graph = graph
        self._gpu = gpu
        self._open_graph = open_graph
        self._new_memory = partial(new_memory, gpu.device_id)
        self._loaded = self._load(SAFE)

    @property
    def lanes(self) -> list[tuple[Run, Blank | None]]:
        """List what can run at the same time, each with the source of its batches."""
        return [(runner.run, runner.blank) for runner in self._loaded.runners]

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch; see `Session`."""
        return self._loaded.runners[0].run(batch)

    def tune(self, images: int) -> None:
        """Find the fastest algorithms and layout for this graph on this GPU.

        Args:
            images: The largest batch that will be run; fewer if they do not fit into the memory.
        """
        pixels = self._loaded.side
        self._loaded.close()  # the candidates need its memory
        candidates = (SAFE,) if self._gpu.tensorrt else CANDIDATES

        def attempt(images: int) -> tuple[CudaOptions, _LoadedGraph]:
            batch = np.zeros((images, pixels, pixels, 3), np.uint8)
            return fastest(
                candidates,
                lambda options: self._load(options, images, pixels),
                lambda loaded: loaded.runners[0].run(batch),
            )

        options, self._loaded = halving(images, attempt)
        log.info("GPU %d: %s", self._gpu.device_id, options)

    def trim(self) -> None:
        """Keep the GPU's memory, so that no other process takes it."""

    def _load(self, options: CudaOptions, images: int = 1, pixels: int = 224) -> "_LoadedGraph":
        where = providers(self._gpu, options, self._graph, images, pixels)
        try:
            return _LoadedGraph(self._open_graph(self._graph, where, threads=1), self._new_memory)
        except (SessionError, RuntimeError) as exc:
            raise SessionError(no_cuda(why_not(str(exc.__cause__ or exc)))) from exc


class _LoadedGraph:
    """A graph in onnxruntime with the buffers of its runs; `close` frees all of it.

    Attributes:
        runners: One for each batch in flight.
        side: Side of the images, in pixels.
    """

    def __init__(self, session: OpenGraph, new_memory: Callable[[], CudaMemory]) -> None:
        """Make the runners; one thread runs the session for all of them."""
        self.side = side(session)
        bind = binder(session)
        numbers = itertools.count(1)  # 0 is onnxruntime's own
        with ExitStack() as resources:
            gate = resources.enter_context(ThreadPoolExecutor(1, thread_name_prefix="device"))
            memories = [resources.enter_context(closing(new_memory())) for _ in range(_IN_FLIGHT)]
            self._resources = resources.pop_all()
        self.runners = [Runner(memory, bind, gate, numbers) for memory in memories]

    def close(self) -> None:
        """Free the session, which only the runners hold, and then the buffers that it is bound to."""
        self.runners.clear()
        self._resources.close()
