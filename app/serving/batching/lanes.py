"""Where runs happen: lanes, each a thread, on devices that do one run at a time.

The second lane of a device prepares the next batch during a run, which hides the time to stack
images and copy them to a GPU. It takes only a full batch: images that arrive in the meantime
could still have joined a smaller one.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from app.errors import RunFailedError
from app.records import (
    Blank,
    Evidence,
    Explainer,
    Features,
    LastEnergies,
    Numbers,
    PixelBatch,
    Pixels,
    ProbabilityBatch,
    Run,
)


@dataclass(slots=True)
class Device:
    """One run at a time; the models that share it take turns.

    `asyncio.Lock` wakes its waiters in order, so a model that has just run goes behind one that
    waits, however long its own queue is.

    Attributes:
        ahead: Full batches that may be prepared during a run.
        lock: Held while the next batch is formed.
        turns: For each model on this device, a function that returns the seconds of its next
            runs, of at most as many as it is given.
    """

    ahead: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    turns: list[Callable[[int], float]] = field(default_factory=list)
    _runs: dict[int, float] = field(default_factory=dict)  # expected seconds, the current run first
    _began: float = 0.0
    _given: int = 0  # runs so far
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for_room(self, wanted: Callable[[], bool], full: Callable[[], bool]) -> None:
        """Wait until a batch may be formed, or none is wanted; during a run only a full one may."""
        while self._runs and wanted():
            if len(self._runs) <= self.ahead and full():
                return
            self._changed.clear()
            await self._changed.wait()

    def notify(self) -> None:
        """Have `wait_for_room` check again."""
        self._changed.set()

    def begin(self, seconds: float, now: float) -> int:
        """Count a run that is expected to take so many seconds, and return its number."""
        if not self._runs:
            self._began = now
        self._given += 1
        self._runs[self._given] = seconds
        return self._given

    def end(self, number: int, now: float) -> float:
        """Count a run as ended; return when the device began it."""
        del self._runs[number]
        began, self._began = self._began, now
        self.notify()
        return began

    def busy(self, now: float) -> float:
        """Return the seconds until all of its runs will have ended."""
        if not self._runs:
            return 0.0
        current, *others = self._runs.values()
        return max(0.0, self._began + current - now) + sum(others)


class Lane:
    """A thread that does one run at a time.

    Attributes:
        device: Where the runs happen.
        loop: The run loop that feeds the lane, once started.
        began: When the lane was given its current run; None without one.
    """

    def __init__(
        self,
        run: Run,
        device: Device,
        blank: Blank | None = None,
        explainer: Explainer | None = None,
        energies: LastEnergies | None = None,
    ) -> None:
        """Start the thread, which calls the others, on first use.

        Without `blank` each batch is new memory; without `explainer` no image may ask.
        """
        self.device = device
        self.loop: asyncio.Task[None] | None = None
        self.began: float | None = None
        self._run = run
        self._blank = blank or (lambda shape: np.empty(shape, np.uint8))
        self._explainer = explainer
        self._energies = energies or (lambda: None)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run")

    def start(self, loop: Coroutine[Any, Any, None]) -> None:
        """Start a run loop; it has to log its own errors."""
        self.loop = asyncio.create_task(loop, name="run loop")
        self.loop.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def make(
        self, images: list[Pixels], size: int, *, keep: bool = False
    ) -> tuple[ProbabilityBatch, list[float | None], Features]:
        """Stack the images, pad the batch to `size` with zeros, run it and check the result.

        Returns:
            The rows, their energies, and with `keep` what `explain` needs.
        """
        loop = asyncio.get_running_loop()
        run = self._able().run_keeping if keep else self._run_only
        return await loop.run_in_executor(self._thread, self._make, run, images, size)

    async def explain(
        self, features: Features, rows: Numbers, classes: Numbers, against: Numbers, *, cells: bool
    ) -> Evidence:
        """Explain images of the last batch; see `Explainer`."""
        work = partial(self._able().explain, features, rows, classes, against, cells=cells)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Start no further run."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def usable(self, now: float, stuck_after: float) -> bool:
        """Return whether the run loop is alive and no run takes longer than `stuck_after`."""
        if self.loop is None or self.loop.done():
            return False
        return self.began is None or now - self.began < stuck_after

    def _make(
        self,
        run: Callable[[PixelBatch], tuple[ProbabilityBatch, Features]],
        images: list[Pixels],
        size: int,
    ) -> tuple[ProbabilityBatch, list[float | None], Features]:
        batch = self._blank((size, *images[0].shape))
        np.stack(images, out=batch[: len(images)])
        batch[len(images) :] = 0
        rows, features = run(batch)
        if rows.shape[0] != size:
            raise RunFailedError(f"The model returned {rows.shape[0]} rows for {size} images.")
        energies = self._energies()
        return rows, [None] * size if energies is None else energies.tolist(), features

    def _run_only(self, batch: PixelBatch) -> tuple[ProbabilityBatch, Features]:
        return self._run(batch), {}

    def _able(self) -> Explainer:
        if self._explainer is None:
            raise RunFailedError("The model cannot be explained.")
        return self._explainer
