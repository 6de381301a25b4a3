"""Run the images of a batch on several threads, in place of sharing every layer among them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from app.records import PixelBatch


class BatchSplitter:
    """Runs the images of a batch one by one, several at a time."""

    def __init__(self, run_one: Callable[[PixelBatch], NDArray[np.float32]], threads: int) -> None:
        """Start no thread yet.

        Args:
            run_one: Turns a batch of one image into a batch of one result; called by several
                threads at a time.
            threads: Number of threads, the one that calls `run` included.
        """
        self._run_one = run_one
        self._helpers = threads - 1
        self._pool = ThreadPoolExecutor(self._helpers, thread_name_prefix="image")

    def run(self, batch: PixelBatch) -> NDArray[np.float32]:
        """Run every image; the calling thread takes its share, as waking one more costs 2 %."""
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
            helper.result()  # raises the error of its thread
        return np.concatenate([rows[image] for image in range(len(batch))])
