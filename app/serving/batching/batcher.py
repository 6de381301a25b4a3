"""Many submits in, few runs out.

Work-conserving: a run loop reserves the device first and then takes whatever has gathered,
oldest first, so that batches grow by themselves while the device is busy and a lone image
never waits for company. Batch sizes are fixed and a batch is padded up to the next.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from app.errors import (
    DeviceLostError,
    ModelFailedError,
    OutOfMemoryError,
    RunFailedError,
)
from app.records import BatchReport, Pixels, Row
from app.serving.batching.costs import BatchPolicy, CostTracker
from app.serving.batching.lanes import Lane
from app.serving.batching.queue import Queue
from app.serving.batching.waiting_line import Waiter, WaitingLine, fail

log = logging.getLogger(__name__)


class Batcher(Queue):
    """The queue of one model, and a run loop for each of its lanes."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        policy: BatchPolicy,
        observe: Callable[[BatchReport], None] = lambda _: None,
        left: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Join the devices of the lanes; nothing runs before `start`.

        Args:
            lanes: Where runs are made, at least one; each device is as fast as the others.
            policy: How batches are formed.
            observe: Told of every run that succeeded, in the event loop.
            left: Told `queue` or `run` when a client leaves, by where its image was.
            clock: Seconds, for arrivals, deadlines and costs.
            lost: Told when a device can run nothing more until the process is started anew.
        """
        self.policy = policy
        self.coming = 0  # images that are accepted and not in line yet
        self._lanes = lanes
        self._devices = list({id(lane.device): lane.device for lane in lanes}.values())
        self._observe = observe
        self._clock = clock
        self._lost = lost
        self._line = WaitingLine(clock, left)
        self._work = asyncio.Event()
        self._cost = CostTracker(policy.cost)
        self._stopping = False
        for device in self._devices:
            device.batchers.append(self)

    def start(self) -> None:
        """Begin to run what is submitted."""
        for lane in self._lanes:
            lane.start(self._serve(lane))

    async def stop(self, patience: float = 5.0) -> None:
        """Let the run at hand end, then answer everyone who still waits.

        Args:
            patience: Seconds after which a run is given up.
        """
        self._stopping = True
        self._work.set()
        if loops := {lane.loop for lane in self._lanes if lane.loop is not None}:
            _, hung = await asyncio.wait(loops, timeout=patience)
            for task in hung:
                task.cancel()
            if hung:
                await asyncio.wait(hung)
        self._line.dismiss(lambda: ModelFailedError("The server has stopped."))
        for device in self._devices:
            device.batchers.remove(self)
        for lane in self._lanes:
            lane.close()

    @property
    def usable(self) -> float:
        """Return the part of the lanes whose loop lives and whose run does not hang: 0 to 1."""
        now = self._clock()
        lanes = [lane.usable(now, self.policy.stuck_after) for lane in self._lanes]
        return sum(lanes) / len(lanes)

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
        rounds, rest = divmod(runs, len(self._devices))
        busy = sorted(device.busy(self._clock()) for device in self._devices)
        wait = busy[rest] + rounds * self._cost(largest)
        others = [batcher for batcher in self._devices[0].batchers if batcher is not self]
        turns = sum(other.seconds_of_turns(runs + 1) for other in others)
        return wait + turns / len(self._devices)

    def longest_wait(self, coming: int = 0) -> float:
        """Return the seconds that the predicted wait may become, as the last runs did."""
        return self._cost.at_most(self.predicted_wait(coming), self.policy.sizes[-1])

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
        if self._stopping or not self._loops():
            raise ModelFailedError("The model has stopped answering.")
        self._work.set()
        for device in self._devices:
            device.poke()
        return await self._line.wait(pixels, deadline, self.predicted_wait())

    def _loops(self) -> list[asyncio.Task[None]]:
        return [lane.loop for lane in self._lanes if lane.loop and not lane.loop.done()]

    async def _serve(self, lane: Lane) -> None:
        largest = self.policy.sizes[-1]
        try:
            while not self._stopping:
                await self._work.wait()
                await self._gather()
                async with lane.device.lock:
                    await lane.device.room(
                        lambda: bool(self._line), lambda: len(self._line) >= largest
                    )
                    batch = self._line.take(largest)
                    if not self._line and not self._stopping:
                        self._work.clear()
                    running = self._run_batch(lane, batch) if batch else None
                if running is not None:
                    await running
        except Exception:
            log.exception("a run loop has ended")
            raise
        finally:
            if self._loops() in ([], [lane.loop]):
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

    async def _run_batch(self, lane: Lane, batch: list[Waiter], *, may_split: bool = True) -> None:
        size = self.policy.padded(len(batch))
        now = lane.began = self._clock()
        flight = lane.device.begin(self._cost(size), now)
        rows = None
        try:
            rows = await lane.make([waiter.pixels for waiter in batch], size)
        except asyncio.CancelledError:
            fail(batch, lambda: ModelFailedError("The server has stopped."))
            raise
        except DeviceLostError:
            fail(batch, lambda: ModelFailedError("The device has failed; the server restarts."))
            self._lost()
            raise
        except OutOfMemoryError:
            log.warning("out of memory with a batch of %d", size)
        except Exception as exc:  # a bad run fails its callers and not the next run
            log.exception("a run of %d failed", size)
            cause = exc
            fail(batch, lambda: _failed_run(cause))
            return
        finally:
            lane.began = None
            ended = self._clock()
            began = lane.device.end(flight, ended)
        if rows is None:
            await self._halve(lane, batch, may_split=may_split)
            return
        seconds = ended - began
        self._cost.observe(size, seconds)
        for waiter, row in zip(batch, rows, strict=False):  # padding has no waiter
            waiter.answer(Row(row, began - waiter.arrived, seconds, len(batch)))
        waits = tuple((began - waiter.arrived, waiter.predicted) for waiter in batch)
        self._observe(BatchReport(len(batch), size, seconds, waits))

    async def _halve(self, lane: Lane, batch: list[Waiter], *, may_split: bool) -> None:
        half = -(-len(batch) // 2)
        if may_split and half < len(batch):
            await self._run_batch(lane, batch[:half], may_split=False)
            await self._run_batch(lane, batch[half:], may_split=False)
        else:
            fail(batch, lambda: OutOfMemoryError("The device is out of memory."))


def _failed_run(cause: Exception) -> RunFailedError:
    error = RunFailedError("The model failed on the batch that this image was in.")
    error.__cause__ = cause
    return error
