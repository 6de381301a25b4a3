"""Threads that take whole images of a batch, in place of sharing every layer of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from app.records import PixelBatch


class ImageThreads:
    """Runs the images of a batch one by one, several at a time."""

    def __init__(self, run_one: Callable[[PixelBatch], NDArray[np.float32]], threads: int) -> None:
        """Start no thread yet.

        Args:
            run_one: Turns a batch of one into a result whose first side is 1; called by several
                threads at a time.
            threads: How many, with the one that calls `run`.
        """
        self._run_one = run_one
        self._helpers = threads - 1
        self._pool = ThreadPoolExecutor(self._helpers, thread_name_prefix="image")

    def run(self, batch: PixelBatch) -> NDArray[np.float32]:
        """Run every image; this thread takes its share of them."""
        rows: dict[int, NDArray[np.float32]] = {}
        left = iter(range(len(batch)))

        def work() -> None:
            for image in left:  # the interpreter lock gives each to one thread only
                rows[image] = self._run_one(batch[image : image + 1])

        helpers = [self._pool.submit(work) for _ in range(self._helpers)]
        try:
            work()
        finally:
            wait(helpers)
        for helper in helpers:
            helper.result()  # raises what it raised
        return np.concatenate([rows[image] for image in range(len(batch))])
