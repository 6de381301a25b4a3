"""A serving graph on one GPU, its batches in buffers that are bound once.

For each batch size the same memory is used, run after run: images are written into page-locked
memory, cross the bus once, and the probabilities come back the same way.
"""

import itertools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from onnxruntime import RunOptions

from app.errors import OutOfMemoryError, RunFailedError
from app.graph.serving_graph import ENERGY, INPUT, OUTPUT
from app.records import (
    Blank,
    Energies,
    Explainer,
    Features,
    LastEnergies,
    PixelBatch,
    ProbabilityBatch,
    Run,
)
from app.runtime.cuda_options import CANDIDATES, SAFE, CudaOptions, Gpu, fastest, providers
from app.runtime.cudart import Buffer, CudaMemory
from app.runtime.device_errors import NOT_NUMBERS, no_cuda, run_error, why_not
from app.runtime.explain_session import Explained, ExplainSession, open_explain
from app.runtime.ort import OpenGraph, open_graph
from app.setup_errors import SessionError

log = logging.getLogger(__name__)

_IN_FLIGHT: Final = 2
"""Batches on a GPU at a time: one runs while the other is copied there."""
_TYPES: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class CudaSession:
    """A graph on one GPU."""

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
        where = providers(replace(gpu, tensorrt=False), SAFE, graph, 1, 1)
        self._explain = None
        try:
            self._explain = open_explain(graph, where, open_graph)
        except SessionError as exc:
            log.warning("answers cannot be explained on this GPU: %s", why_not(str(exc)))
        self._loaded = self._load(SAFE)

    @property
    def lanes(self) -> list[tuple[Run, Blank | None]]:
        """List what can run at the same time, each with the source of its batches."""
        return [(runner.run, runner.blank) for runner in self._loaded.runners]

    @property
    def explainers(self) -> list[Explainer]:
        """List the runners, if there is a graph that explains."""
        return [*self._loaded.runners] if self._explain else []

    @property
    def energies(self) -> list[LastEnergies]:
        """List what each runner has run last."""
        return [runner.last_energies for runner in self._loaded.runners]

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch; see `Session`."""
        return self._loaded.runners[0].run(batch)

    def tune(self, images: int, together: int = 1) -> None:  # noqa: ARG002 (as Session)
        """Find the fastest algorithms and layout for this graph on this GPU.

        Args:
            images: The largest batch that will be run; fewer if they do not fit into the memory.
            together: Of CPUs alone.
        """
        side = self._loaded.side
        self._loaded.close()  # the candidates need its memory
        batch = np.zeros((images, side, side, 3), np.uint8)
        try:
            options, self._loaded = fastest(
                (SAFE,) if self._gpu.tensorrt else CANDIDATES,
                lambda options: self._load(options, images, side),
                lambda loaded: loaded.runners[0].run(batch),
            )
        except OutOfMemoryError:
            if images == 1:
                raise
        else:
            log.info("GPU %d: %s", self._gpu.device_id, options)
            return
        self.tune(images // 2)

    def trim(self) -> None:
        """Keep the GPU's memory, so that no other process takes it."""

    def _load(self, options: CudaOptions, images: int = 1, side: int = 224) -> "_LoadedGraph":
        where = providers(self._gpu, options, self._graph, images, side)
        try:
            session = self._open_graph(self._graph, where, threads=1)
            return _LoadedGraph(session, self._new_memory, self._explain)
        except (SessionError, RuntimeError) as exc:
            raise SessionError(no_cuda(why_not(str(exc.__cause__ or exc)))) from exc


class _LoadedGraph:
    """A graph in onnxruntime with a runner for each batch in flight; `close` frees all of it."""

    def __init__(
        self,
        session: OpenGraph,
        new_memory: Callable[[], CudaMemory],
        explain: ExplainSession | None,
    ) -> None:
        self.side: int = session.get_inputs()[0].shape[1]
        numbers = itertools.count(1)  # 0 is onnxruntime's own
        with ExitStack() as resources:
            gate = resources.enter_context(ThreadPoolExecutor(1, thread_name_prefix="device"))
            memories = [resources.enter_context(closing(new_memory())) for _ in range(_IN_FLIGHT)]
            self._resources = resources.pop_all()
        self.runners = [Runner(session, memory, gate, numbers, explain) for memory in memories]

    def close(self) -> None:
        """Free the session, which only the runners hold, and then the buffers that it is bound to."""
        self.runners.clear()
        self._resources.close()


class _Bound(NamedTuple):
    pixels: PixelBatch
    probabilities: ProbabilityBatch
    source: Buffer
    result: Buffer
    energies: tuple[Energies, Buffer] | None
    features: dict[str, Buffer]
    run: Callable[[], None]


class Runner(Explained):
    """Runs batches, one at a time, in buffers of its own."""

    def __init__(
        self,
        session: OpenGraph,
        memory: CudaMemory,
        gate: Executor,
        numbers: Iterator[int],
        explain: ExplainSession | None = None,
    ) -> None:
        """Allocate nothing yet.

        The single thread of `gate` runs the session: CUDA graphs belong to the thread that recorded
        them. `numbers` gives each set of buffers, of all runners of the session, its number.
        """
        self._session = session
        self._classes: int = session.get_outputs()[0].shape[1]
        self._memory = memory
        self._gate = gate
        self._numbers = numbers
        self._explain = explain
        self._buffers: dict[tuple[int, ...], _Bound] = {}
        self._gives_energy = any(one.name == ENERGY for one in session.get_outputs())
        self._energies: Energies | None = None

    def blank(self, shape: tuple[int, ...]) -> PixelBatch:
        """Return the memory that the next batch of this shape is read from, to be filled."""
        try:
            return self._bound(shape).pixels
        except Exception as exc:  # onnxruntime's errors share no base class of their own
            raise run_error(exc) from exc

    def last_energies(self) -> Energies | None:
        """Return those of the batch that was run last."""
        return self._energies

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch: the array from `blank`, or any other, which is copied there.

        Returns:
            float32 [N, classes], the caller's own.
        """
        try:
            bound = self._bound(batch.shape)
            if batch is not bound.pixels:
                np.copyto(bound.pixels, batch)
            self._memory.upload(bound.pixels, bound.source)
            self._gate.submit(bound.run).result()
            self._memory.download(bound.result, bound.probabilities)
            rows = bound.probabilities.copy()
            if bound.energies is not None:
                energies, result = bound.energies
                self._memory.download(result, energies)
                self._energies = energies.copy()
        except Exception as exc:  # onnxruntime's errors share no base class of their own
            raise run_error(exc) from exc
        if not np.isfinite(rows).all():
            raise RunFailedError(NOT_NUMBERS)
        return rows

    def run_keeping(self, batch: PixelBatch) -> tuple[ProbabilityBatch, Features]:
        """Classify a batch, and leave what `explain` needs on the GPU; see `Explainer`."""
        return self.run(batch), self._bound(batch.shape).features

    def _features(self, images: int) -> dict[str, Buffer]:
        """Allocate what the graph gives beside probabilities, and the other graph needs."""
        names = self._explain.features if self._explain else []
        infos = {one.name: one for one in self._session.get_outputs()}
        return {
            name: self._memory.device(
                np.empty((images, *infos[name].shape[1:]), _TYPES[infos[name].type])
            )
            for name in names
        }

    def _bound(self, shape: tuple[int, ...]) -> _Bound:
        if shape not in self._buffers:
            pixels = self._memory.host(shape, np.dtype(np.uint8))
            probabilities = self._memory.host((shape[0], self._classes), np.dtype(np.float32))
            source, result = self._memory.device(pixels), self._memory.device(probabilities)
            binding = self._session.io_binding()
            binding.bind_input(INPUT, *source)
            binding.bind_output(OUTPUT, *result)
            energies = None
            if self._gives_energy:
                values = self._memory.host((shape[0],), np.dtype(np.float32))
                energies = values, self._memory.device(values)
                binding.bind_output(ENERGY, *energies[1])
            features = self._features(shape[0])
            for name, buffer in features.items():
                binding.bind_output(name, *buffer)
            options = RunOptions()
            # A recorded CUDA graph holds addresses, so each set of buffers needs its own.
            options.add_run_config_entry("gpu_graph_id", str(next(self._numbers)))
            run = partial(self._session.run_with_iobinding, binding, options)
            self._buffers[shape] = _Bound(
                pixels, probabilities, source, result, energies, features, run
            )
        return self._buffers[shape]
