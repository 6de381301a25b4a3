"""Many submits in, few runs out.

Work-conserving: a run loop reserves the device first and then takes whatever has gathered,
oldest first, so that batches grow by themselves while the device is busy and a lone image
never waits for company. Batch sizes are fixed and a batch is padded up to the next.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from app.costs import BatchPolicy, CostTracker
from app.errors import ModelFailedError, OutOfMemoryError, OverloadedError, RunFailedError
from app.records import BatchReport, PixelBatch, Pixels, ProbabilityBatch, Row
from app.waiting import Waiter, WaitingLine, fail

log = logging.getLogger(__name__)

Run: TypeAlias = Callable[[PixelBatch], ProbabilityBatch]


@dataclass(slots=True)
class Device:
    """What runs share: one at a time, and models in turn.

    `asyncio.Lock` wakes its waiters in order, so a model that has just run stands behind one
    that waits, however long its own queue is.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    free_at: float = 0.0
    batchers: list["Batcher"] = field(default_factory=list)


class Batcher:
    """The queue and the run loop of one model."""

    def __init__(
        self,
        run: Run,
        policy: BatchPolicy,
        device: Device,
        observe: Callable[[BatchReport], None] = lambda _: None,
        left: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Join a device; nothing runs before `start`.

        Args:
            run: Called in a thread of its own, never twice at a time.
            policy: How batches are formed.
            device: Shared with the other models that run there.
            observe: Told of every run that succeeded, in the event loop.
            left: Told `queue` or `run` when a client leaves, by where its image was.
            clock: Seconds, for arrivals, deadlines and costs.
        """
        self.policy = policy
        self.coming = 0  # images that are accepted and not in line yet
        self._run = run
        self._device = device
        self._observe = observe
        self._clock = clock
        self._line = WaitingLine(clock, left)
        self._work = asyncio.Event()
        self._cost = CostTracker(policy.cost)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run")
        self._loop: asyncio.Task[None] | None = None
        self._run_began: float | None = None
        self._stopping = False
        device.batchers.append(self)

    def start(self) -> None:
        """Begin to run what is submitted."""
        self._loop = asyncio.create_task(self._serve(), name="run loop")

    async def stop(self, patience: float = 5.0) -> None:
        """Let the run at hand end, then answer everyone who still waits.

        Args:
            patience: Seconds after which a run is given up.
        """
        self._stopping = True
        self._work.set()
        if self._loop is not None:
            _, hung = await asyncio.wait({self._loop}, timeout=patience)
            for task in hung:
                task.cancel()
                await asyncio.wait(hung)
        self._line.dismiss(lambda: ModelFailedError("The server has stopped."))
        self._device.batchers.remove(self)
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def alive(self) -> bool:
        """Tell whether the run loop lives and no run hangs."""
        if self._loop is None or self._loop.done():
            return False
        began = self._run_began
        return began is None or self._clock() - began < self.policy.stuck_after

    @property
    def depth(self) -> int:
        """Count the images that wait for a run."""
        return len(self._line) + self.coming

    def predicted_wait(self, coming: int = 0) -> float:
        """Return the seconds after which an image that came now would begin to run.

        Counted: the run at hand, this model's images that wait, and the runs of other models
        that take their turn in between.

        Args:
            coming: Images that will be in line before this one.
        """
        largest = self.policy.sizes[-1]
        runs = (len(self._line) + coming) // largest
        wait = max(0.0, self._device.free_at - self._clock()) + runs * self._cost(largest)
        others = [batcher for batcher in self._device.batchers if batcher is not self]
        return wait + sum(other.seconds_of_turns(runs + 1) for other in others)

    def seconds_of_turns(self, most: int) -> float:
        """Return the seconds that this model's next runs take, `most` of them at most."""
        images, seconds = self.depth, 0.0
        for _ in range(most):
            if images <= 0:
                break
            size = self.policy.padded(images)
            seconds += self._cost(size)
            images -= size
        return seconds

    def admit(self, coming: int = 0, backlog: float = 0.0, patience: float = float("inf")) -> None:
        """Refuse what may have to wait longer than the budget, or than its client will.

        Args:
            coming: Images that will be in line before this one: those being decoded.
            backlog: Seconds until this one is decoded; the device goes on meanwhile.
            patience: Seconds until its deadline.

        Raises:
            OverloadedError: With the seconds after which the wait will have come down to it.
            ModelFailedError: If the run loop is dead or a run hangs.
        """
        if not self.alive:
            raise ModelFailedError("The model has stopped answering.")
        wait = max(backlog, self.predicted_wait(coming) * (1 + self._cost.doubt))
        budget = min(self.policy.queue_budget, patience)
        if wait > budget:
            raise OverloadedError(
                f"An answer may have to wait for {wait:.1f} s; the limit is {budget:g} s.",
                retry_after=wait - budget,
            )

    async def submit(self, pixels: Pixels, deadline: float) -> Row:
        """Wait for a place in a batch and return this image's row of it.

        Args:
            pixels: uint8 [crop, crop, 3].
            deadline: On the batcher's clock, in seconds.

        Raises:
            DeadlineExceededError: If the deadline passed first; unless its run had begun by
                then, the image is not run.
            RunFailedError: If the run failed.
            ModelFailedError: If the run loop has ended.
        """
        if self._stopping or self._loop is None or self._loop.done():
            raise ModelFailedError("The model has stopped answering.")
        self._work.set()
        return await self._line.wait(pixels, deadline, self.predicted_wait())

    async def _serve(self) -> None:
        try:
            while not self._stopping:
                await self._work.wait()
                await self._gather()
                async with self._device.lock:
                    batch = self._line.take(self.policy.sizes[-1])
                    if not self._line and not self._stopping:
                        self._work.clear()
                    if batch:
                        await self._run_batch(batch)
        except Exception:
            log.exception("the run loop has ended")
            raise
        finally:
            self._line.dismiss(lambda: ModelFailedError("The model has stopped answering."))

    async def _gather(self) -> None:
        """Wait for company, if that was asked for."""
        while 0 < len(self._line) < self.policy.sizes[-1] and not self._stopping:
            remaining = self._line.oldest + self.policy.max_queue_delay - self._clock()
            if remaining <= 0:
                return
            self._work.clear()
            try:
                await asyncio.wait_for(self._work.wait(), remaining)
            except TimeoutError:
                return

    async def _run_batch(self, batch: list[Waiter], *, may_split: bool = True) -> None:
        size = self.policy.padded(len(batch))
        images = [waiter.pixels for waiter in batch]
        began = self._run_began = self._clock()
        self._device.free_at = began + self._cost(size)
        try:
            rows = await asyncio.get_running_loop().run_in_executor(
                self._thread, _run_padded, self._run, images, size
            )
        except asyncio.CancelledError:
            fail(batch, lambda: ModelFailedError("The server has stopped."))
            raise
        except OutOfMemoryError:
            log.warning("out of memory with a batch of %d", size)
            half = -(-len(batch) // 2)
            if may_split and half < len(batch):
                await self._run_batch(batch[:half], may_split=False)
                await self._run_batch(batch[half:], may_split=False)
            else:
                fail(batch, lambda: OutOfMemoryError("The device is out of memory."))
            return
        except Exception as exc:  # a bad run fails its callers and not the next run
            log.exception("a run of %d failed", size)
            cause = exc
            fail(batch, lambda: _failed_run(cause))
            return
        finally:
            self._run_began = None
            self._device.free_at = 0.0
        seconds = self._clock() - began
        self._cost.observe(size, seconds)
        for waiter, row in zip(batch, rows, strict=False):  # padding has no waiter
            waiter.answer(Row(row, began - waiter.arrived, seconds, len(batch)))
        waits = tuple((began - waiter.arrived, waiter.predicted) for waiter in batch)
        self._observe(BatchReport(len(batch), size, seconds, waits))


def _run_padded(run: Run, images: list[Pixels], size: int) -> ProbabilityBatch:
    """Stack the images, fill up to `size` with zeros, run, and check what came back."""
    batch = np.zeros((size, *images[0].shape), np.uint8)
    np.stack(images, out=batch[: len(images)])
    rows = run(batch)
    if rows.shape[0] != size:
        raise RunFailedError(f"The model gave {rows.shape[0]} rows for {size} images.")
    return rows


def _failed_run(cause: Exception) -> RunFailedError:
    error = RunFailedError("The model failed on the batch that this image was in.")
    error.__cause__ = cause
    return error
