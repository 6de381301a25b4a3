"""A serving graph on a CPU, its threads used in the way that is fastest for it."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from app.errors import RunFailedError
from app.graph.serving_graph import MAPS, STEM_FILE
from app.records import PixelBatch, ProbabilityBatch
from app.runtime.image_threads import ImageThreads
from app.runtime.ort import CPU, open_graph, run, shrink, side, takes
from app.runtime.stopwatch import least_seconds

log = logging.getLogger(__name__)

_SMALL: Final = 0.02
"""Seconds an image; a network that takes longer has layers that are worth sharing."""
_WORTH_IT: Final = 0.95

Run: TypeAlias = Callable[[PixelBatch], ProbabilityBatch]


class CpuSession:
    """A graph on a CPU: with its stem, if it has one, image by image before the batch."""

    def __init__(self, graph: Path, threads: int) -> None:
        """Load a graph.

        Args:
            graph: The .onnx file; its stem, if it has one, lies beside it.
            threads: Of one run.

        Raises:
            SessionError: If it cannot be loaded.
        """
        self._session = open_graph(graph, CPU, threads)
        behind = takes(self._session) == MAPS
        self._stem = open_graph(graph.with_name(STEM_FILE), CPU, threads) if behind else None
        self._graph = graph
        self._threads = threads
        self._apart: ImageThreads | None = None

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Run a batch; onnxruntime's errors come as they are."""
        if self._apart and len(batch) >= self._threads:
            return self._apart.run(batch)
        if self._stem is None:
            return run(self._session, batch)
        images = [run(self._stem, batch[image : image + 1]) for image in range(len(batch))]
        return run(self._session, np.concatenate(images, axis=1))

    def tune(self, images: int, checked: Run) -> None:
        """Find out whether the threads should take whole images.

        By itself onnxruntime shares each layer among its threads, which have to wait for each
        other after each; where layers are small they wait for a good part of the time. A large
        network loses nothing by that: of it two images are run, and no batch.

        With a stem the threads share layers: by themselves they are faster with an image each, but
        beside decoders and refusals one of them waits for the other (docs/performance.md).

        Args:
            images: The largest batch that will be run; too few for the threads change nothing.
            checked: Calls `run`; its RunFailedError ends the try.
        """
        if self._stem or not 1 < self._threads <= images:
            return
        try:
            one = partial(checked, self.blank(1))
            if least_seconds(one, rounds=1) > _SMALL:
                return
            shared = least_seconds(partial(checked, self.blank(images)))
            alone = partial(run, open_graph(self._graph, CPU, 1))
            self._apart = ImageThreads(alone, self._threads)
            apart = least_seconds(partial(checked, self.blank(images)))
        except RunFailedError:  # which sizes a model takes is found out elsewhere
            self._apart = None
            return
        if apart > _WORTH_IT * shared:
            self._apart = None
        log.debug(
            "a batch of %d takes %.1f ms if threads share layers, %.1f ms if each takes images",
            images,
            1000 * shared,
            1000 * apart,
        )

    def trim(self) -> None:
        """Give back the memory that larger runs needed; the next run takes its own again."""
        shrink(self._stem or self._session, self.blank(1))  # all graphs take from one arena

    def blank(self, images: int) -> PixelBatch:
        """Return a batch of black images of the size that the graph takes."""
        pixels = side(self._stem or self._session)
        return np.zeros((images, pixels, pixels, 3), np.uint8)
