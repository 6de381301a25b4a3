"""Where runs are made: lanes, each a thread of its own, on devices that make one run at a time.

A second lane of a device prepares the next batch while a run goes on, so that stacking images and
copying them to a GPU hide behind its work. It takes only a full batch: whoever comes in the
meantime would have joined a smaller one.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from app.errors import RunFailedError
from app.records import Blank, Pixels, ProbabilityBatch, Run


class Sharer(Protocol):
    """A model that runs on a device."""

    def seconds_of_turns(self, most: int) -> float:
        """Return the seconds that its next runs take, `most` of them at most."""


@dataclass(eq=False, slots=True)
class Flight:
    """A run that was given to a device.

    Attributes:
        seconds: That it is expected to take.
    """

    seconds: float


@dataclass(slots=True)
class Device:
    """What runs share: one goes on at a time, and models take turns.

    `asyncio.Lock` wakes its waiters in order, so a model that has just run stands behind one
    that waits, however long its own queue is.

    Attributes:
        ahead: Full batches that may be prepared while a run goes on.
        lock: Held by whoever forms the next batch.
        batchers: Those that run here.
    """

    ahead: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    batchers: list[Sharer] = field(default_factory=list)
    _flights: list[Flight] = field(default_factory=list)
    _began: float = 0.0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def room(self, wanted: Callable[[], bool], full: Callable[[], bool]) -> None:
        """Wait until a batch may be formed; give up when none is wanted any more.

        Args:
            wanted: Whether images wait.
            full: Whether they fill a batch.
        """
        while self._flights and wanted():
            if len(self._flights) <= self.ahead and full():
                return
            self._changed.clear()
            await self._changed.wait()

    def poke(self) -> None:
        """Have whoever waits for room look again."""
        self._changed.set()

    def begin(self, seconds: float, now: float) -> Flight:
        """Note a run that will take about so many seconds."""
        if not self._flights:
            self._began = now
        flight = Flight(seconds)
        self._flights.append(flight)
        return flight

    def end(self, flight: Flight, now: float) -> float:
        """Note that a run has ended; return when the device began it."""
        self._flights.remove(flight)
        began, self._began = self._began, now
        self.poke()
        return began

    def busy(self, now: float) -> float:
        """Return the seconds after which all runs that it was given will have ended."""
        if not self._flights:
            return 0.0
        first, *others = self._flights
        return max(0.0, self._began + first.seconds - now) + sum(one.seconds for one in others)


class Lane:
    """One run at a time, in a thread of its own.

    Attributes:
        device: Where the runs are made.
        loop: The run loop that feeds it, once that was started.
        began: When the run at hand was given to it; None without one.
    """

    def __init__(self, run: Run, device: Device, blank: Blank | None = None) -> None:
        """Be ready to run.

        Args:
            run: Called in the thread.
            device: Shared with other lanes.
            blank: Gives a batch to fill, in the thread; None for one of new memory.
        """
        self.device = device
        self.loop: asyncio.Task[None] | None = None
        self.began: float | None = None
        self._run = run
        self._blank = blank or (lambda shape: np.empty(shape, np.uint8))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run")

    def start(self, loop: Coroutine[Any, Any, None]) -> None:
        """Let a run loop feed it; that one logs whatever it ends by."""
        self.loop = asyncio.create_task(loop, name="run loop")
        self.loop.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def make(self, images: list[Pixels], size: int) -> ProbabilityBatch:
        """Stack the images, fill up to `size` with zeros, run, and check what came back."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._make, images, size)

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def usable(self, now: float, stuck_after: float) -> bool:
        """Tell whether its loop lives and no run hangs.

        Args:
            now: On the clock of `began`.
            stuck_after: Seconds after which a run counts as hung.
        """
        if self.loop is None or self.loop.done():
            return False
        return self.began is None or now - self.began < stuck_after

    def _make(self, images: list[Pixels], size: int) -> ProbabilityBatch:
        batch = self._blank((size, *images[0].shape))
        np.stack(images, out=batch[: len(images)])
        batch[len(images) :] = 0
        rows = self._run(batch)
        if rows.shape[0] != size:
            raise RunFailedError(f"The model gave {rows.shape[0]} rows for {size} images.")
        return rows
