"""A serving graph on a CPU, its threads used in the way that is fastest for it."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from timeit import repeat
from typing import Final, Literal

import numpy as np
from onnxruntime import RunOptions

from app.errors import RunFailedError
from app.graph.explain import EXPLAIN_FILE
from app.graph.int8.calibration import RANGES_FILE
from app.graph.serving_graph import ENERGY, INPUT, MAPS, OUTPUT, STEM_FILE
from app.records import (
    Blank,
    Explainer,
    Features,
    LastEnergies,
    PixelBatch,
    ProbabilityBatch,
    Run,
    Tensor,
)
from app.runtime.device_errors import NOT_NUMBERS, run_error
from app.runtime.explain_session import Explained, open_explain
from app.runtime.ort import CPU, OpenGraph, open_graph
from app.runtime.shared_weights import shared_weights

log = logging.getLogger(__name__)

_SMALL: Final = 0.02
"""Seconds per image; layers of a network that takes longer are worth sharing among threads."""
_WORTH_IT: Final = 0.95


class CpuSession(Explained):
    """A graph on a CPU; a stem, if it has one, is run image by image before the batch."""

    device: Literal["cpu"] = "cpu"

    def __init__(self, graph: Path, threads: int = 1) -> None:
        """Load a graph, and its stem if there is one beside it.

        Raises:
            SessionError: If it cannot be loaded.
        """
        self._weights = shared_weights(graph, graph.with_name(EXPLAIN_FILE))
        # In whole numbers, a run would repack all weights, which takes as long as the rest of it.
        repacked = graph.with_name(RANGES_FILE).exists()
        self._open = partial(open_graph, weights=self._weights, repacked=repacked)
        self._session = self._open(graph, CPU, threads)
        has_stem = self._session.get_inputs()[0].name == MAPS
        self._stem = open_graph(graph.with_name(STEM_FILE), CPU, threads) if has_stem else None
        self._explain = open_explain(
            graph, CPU, partial(open_graph, weights=self._weights), threads
        )
        outputs = {one.name for one in self._session.get_outputs()}
        self._results = [OUTPUT, *(name for name in (ENERGY,) if name in outputs)]
        self._energies: Tensor | None = None
        self._graph = graph
        self._threads = threads
        self._splitter: BatchSplitter | None = None

    @property
    def lanes(self) -> list[tuple[Run, Blank | None]]:
        """Return the single lane: one run uses all threads."""
        return [(self.run, None)]

    @property
    def explainers(self) -> list[Explainer]:
        """Return the session itself, if it has a graph that explains."""
        return [self] if self._explain else []

    @property
    def energies(self) -> list[LastEnergies]:
        """Return what the single lane has run last."""
        return [lambda: self._energies]

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch; see `Session`."""
        return self._outputs(batch, [])[0]

    def run_keeping(self, batch: PixelBatch) -> tuple[ProbabilityBatch, Features]:
        """Classify a batch, and keep what `explain` needs; see `Explainer`."""
        names = self._explain.features if self._explain else []
        rows, *kept = self._outputs(batch, names)
        return rows, dict(zip(names, kept, strict=True))

    def _outputs(self, batch: PixelBatch, more: list[str]) -> list[Tensor]:
        """Run a batch and return the probabilities, and more outputs of these names."""
        outputs: list[Tensor]
        names = [*self._results, *more]
        try:
            if self._splitter and len(batch) >= self._threads:
                outputs = self._splitter.run(batch, names)
            elif self._stem:
                maps = [_run(self._stem, [MAPS], batch[i : i + 1])[0] for i in range(len(batch))]
                outputs = self._session.run(names, {MAPS: np.concatenate(maps, axis=1)})
            else:
                outputs = _run(self._session, names, batch)
        except Exception as exc:  # onnxruntime's errors share no base class of their own
            raise run_error(exc) from exc
        if not np.isfinite(outputs[0]).all():
            raise RunFailedError(NOT_NUMBERS)
        if len(self._results) > 1:
            self._energies = outputs.pop(1)
        return outputs

    def tune(self, images: int, together: int = 1) -> None:
        """Find out whether each thread should take whole images.

        By itself onnxruntime shares each layer among its threads, which wait for each other after
        every layer; where layers are small that is a good part of the time. A large network loses
        nothing by sharing: one image shows that, and no batch is run.

        With a stem the threads share layers: an image per thread is faster on an idle machine, but
        not beside decoders and refused requests (docs/performance.md).

        Args:
            images: The largest batch that will be run; nothing changes if there are more threads.
            together: Images that a thread then takes at a time, while there are so many: with two, a
                product of matrices never has a single row, and is computed as in a batch, to the last bit.
        """
        rows_of_images = all(one.shape[0] == "N" for one in self._session.get_outputs())
        if self._stem or not rows_of_images or not 1 < self._threads <= images:
            return
        one, batch = (partial(self.run, self._black(size)) for size in (1, images))
        try:
            # The first run of each pays for caches and threads.
            if repeat(one, number=1, repeat=2)[1] > _SMALL:
                return
            shared = min(repeat(batch, number=1, repeat=6)[1:])
            alone = partial(_run, self._open(self._graph, CPU, 1))
            self._splitter = BatchSplitter(alone, self._threads)
            split = min(repeat(batch, number=1, repeat=6)[1:])
        except RunFailedError:  # warm-up finds out which sizes the model takes
            self._splitter = None
            return
        fast = split <= _WORTH_IT * shared
        self._splitter = BatchSplitter(alone, self._threads, together) if fast else None
        log.debug(
            "a batch of %d takes %.1f ms if threads share layers, %.1f ms if each takes images",
            images,
            1000 * shared,
            1000 * split,
        )

    def trim(self) -> None:
        """Give back the memory that larger runs needed; the next run allocates its own."""
        options = RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        first = self._stem or self._session  # all graphs share one arena
        first.run(None, {INPUT: self._black(1)}, options)

    def _black(self, images: int) -> PixelBatch:
        """Return black images of the size that the graph takes."""
        side = (self._stem or self._session).get_inputs()[0].shape[1]
        return np.zeros((images, side, side, 3), np.uint8)


class BatchSplitter:
    """Runs the images of a batch one by one, or a few together, in several threads."""

    def __init__(
        self,
        run_one: Callable[[list[str], PixelBatch], list[Tensor]],
        threads: int,
        together: int = 1,
    ) -> None:
        """Start no thread yet; the one that calls `run` is one of the threads."""
        self._run_one = run_one
        self._together = together
        self._helpers = threads - 1
        self._pool = ThreadPoolExecutor(self._helpers, thread_name_prefix="image")

    def run(self, batch: PixelBatch, names: list[str]) -> list[Tensor]:
        """Run every image; the calling thread takes its share, as waking one more costs 2 %.

        Returns:
            For each name that output, with a row for each image.
        """
        rows: dict[int, list[Tensor]] = {}
        starts = range(0, len(batch), self._together)
        left = iter(starts)

        def work() -> None:
            for image in left:  # the interpreter lock gives each to one thread only
                rows[image] = self._run_one(names, batch[image : image + self._together])

        helpers = [self._pool.submit(work) for _ in range(self._helpers)]
        try:
            work()
        finally:
            wait(helpers)
        for helper in helpers:
            helper.result()  # raises the error of its thread
        return [
            np.concatenate([rows[image][place] for image in starts]) for place in range(len(names))
        ]


def _run(session: OpenGraph, names: list[str], batch: PixelBatch) -> list[Tensor]:
    """Run images and return the outputs of these names."""
    result: list[Tensor] = session.run(names, {INPUT: batch})
    return result
