"""A serving graph on a CPU, its threads used in the way that is fastest for it."""

import logging
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np

from app.errors import RunFailedError
from app.graph.serving_graph import MAPS, STEM_FILE
from app.records import Blank, PixelBatch, ProbabilityBatch, Run
from app.runtime.batch_splitter import BatchSplitter
from app.runtime.device_errors import finite, translated_errors
from app.runtime.ort import CPU, open_graph, run, shrink, side, takes
from app.runtime.stopwatch import least_seconds

log = logging.getLogger(__name__)

_SMALL: Final = 0.02
"""Seconds per image; layers of a network that takes longer are worth sharing among threads."""
_WORTH_IT: Final = 0.95


class CpuSession:
    """A graph on a CPU; a stem, if it has one, is run image by image before the batch."""

    device: Literal["cpu"] = "cpu"

    def __init__(self, graph: Path, threads: int = 1) -> None:
        """Load a graph, and its stem if there is one beside it.

        Raises:
            SessionError: If it cannot be loaded.
        """
        self._session = open_graph(graph, CPU, threads)
        has_stem = takes(self._session) == MAPS
        self._stem = open_graph(graph.with_name(STEM_FILE), CPU, threads) if has_stem else None
        self._graph = graph
        self._threads = threads
        self._splitter: BatchSplitter | None = None

    @property
    def lanes(self) -> list[tuple[Run, Blank | None]]:
        """Return the single lane: one run uses all threads."""
        return [(self.run, None)]

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch; see `Session`."""
        with translated_errors():
            if self._splitter and len(batch) >= self._threads:
                rows = self._splitter.run(batch)
            elif self._stem:
                maps = [run(self._stem, batch[i : i + 1]) for i in range(len(batch))]
                rows = run(self._session, np.concatenate(maps, axis=1))
            else:
                rows = run(self._session, batch)
        return finite(rows)

    def tune(self, images: int) -> None:
        """Find out whether each thread should take whole images.

        By itself onnxruntime shares each layer among its threads, which wait for each other after
        every layer; where layers are small that is a good part of the time. A large network loses
        nothing by sharing: one image shows that, and no batch is run.

        With a stem the threads share layers: an image per thread is faster on an idle machine, but
        not beside decoders and refused requests (docs/performance.md).

        Args:
            images: The largest batch that will be run; nothing changes if there are more threads.
        """
        if self._stem or not 1 < self._threads <= images:
            return
        try:
            if least_seconds(partial(self.run, self._black(1)), rounds=1) > _SMALL:
                return
            batch = partial(self.run, self._black(images))
            shared = least_seconds(batch)
            alone = partial(run, open_graph(self._graph, CPU, 1))
            self._splitter = BatchSplitter(alone, self._threads)
            split = least_seconds(batch)
        except RunFailedError:  # warm-up finds out which sizes the model takes
            self._splitter = None
            return
        if split > _WORTH_IT * shared:
            self._splitter = None
        log.debug(
            "a batch of %d takes %.1f ms if threads share layers, %.1f ms if each takes images",
            images,
            1000 * shared,
            1000 * split,
        )

    def trim(self) -> None:
        """Give back the memory that larger runs needed; the next run allocates its own."""
        shrink(self._stem or self._session, self._black(1))  # all graphs share one arena

    def _black(self, images: int) -> PixelBatch:
        """Return a batch of black images of the size that the graph takes."""
        pixels = side(self._stem or self._session)
        return np.zeros((images, pixels, pixels, 3), np.uint8)
