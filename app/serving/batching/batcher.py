"""Many submitted images, few runs.

Work-conserving: a run loop reserves the device first and then takes whatever images wait, oldest
first. Batches so grow by themselves while the device is busy, and a lone image is run at once.
Batch sizes are fixed, and a batch is padded to the next.

Images that asked for an explanation get it after the run, in the same lane, all at once; the others
of their batch have their answers by then.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from app.errors import DeviceLostError, ModelFailedError, OutOfMemoryError, RunFailedError
from app.records import Ask, BatchReport, Features, Pixels, Row
from app.serving.batching.costs import BatchPolicy, CostTracker
from app.serving.batching.explaining import ExplainingCost, questions_of
from app.serving.batching.lanes import Lane
from app.serving.batching.queue import Queue, Stage, Waiter, WaitingLine, fail

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Times:
    """When the device began a run, and how long that took, in seconds."""

    began: float = 0.0
    seconds: float = 0.0


class Batcher(Queue):
    """The queue of one model, and a run loop for each of its lanes."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        policy: BatchPolicy,
        observe: Callable[[BatchReport], None] = lambda _: None,
        left: Callable[[Stage], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        lost: Callable[[], None] = lambda: None,
        decode_backlog: Callable[[int], float] = lambda _: 0.0,
    ) -> None:
        """Create a queue that runs nothing before `start`; see Queue for other arguments.

        There is at least one lane, and all devices are equally fast. `observe` is called in the
        event loop after every run that succeeded; `lost`, when a device cannot run anything until
        the process restarts.
        """
        super().__init__(policy, decode_backlog=decode_backlog, left=left, clock=clock)
        self._lanes = lanes
        self._devices = list({id(lane.device): lane.device for lane in lanes}.values())
        self._observe = observe
        self._lost = lost
        self._line = WaitingLine(policy, clock, left)
        self._work = asyncio.Event()
        self._cost = CostTracker(policy.cost)
        self._explaining = ExplainingCost(policy.explaining)
        self._stopping = False
        for device in self._devices:
            device.turns.append(self._seconds_of_turns)

    def start(self) -> None:
        """Start the run loops."""
        for lane in self._lanes:
            lane.start(self._serve(lane))

    async def stop(self, patience: float = 5.0) -> None:
        """Let the current run end, at most for `patience` seconds; then fail all that wait."""
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
            device.turns.remove(self._seconds_of_turns)
        for lane in self._lanes:
            lane.close()

    @property
    def usable(self) -> float:
        """Return the share of the lanes whose run loop is alive and whose run does not hang."""
        now = self._clock()
        lanes = [lane.usable(now, self.policy.stuck_after) for lane in self._lanes]
        return sum(lanes) / len(lanes)

    @property
    def depth(self) -> int:
        """Return the number of images that wait for a run."""
        return len(self._line) + self.coming

    def device_wait(self, behind: int = 0) -> tuple[float, float]:
        """Return the predicted seconds until a run, and the same with a safety margin."""
        wait = self._wait_behind(self.depth + behind)
        return wait, self._cost.at_most(wait, self.policy.sizes[-1])

    async def submit(self, pixels: Pixels, deadline: float, ask: Ask | None = None) -> Row:
        """Wait in line for a run and return the image's row of its result; see Queue."""
        if self._stopping or not self._loops():
            raise ModelFailedError("The model has stopped.")
        self._work.set()
        for device in self._devices:
            device.notify()
        predicted = self._wait_behind(len(self._line))
        return await self._line.wait(pixels, deadline, predicted, ask)

    def _wait_behind(self, images: int) -> float:
        """Return the predicted seconds until an image would run behind so many of this model.

        They are spent on current runs, runs of this model and their explanations, and turns of
        other models in between.
        """
        largest = self.policy.sizes[-1]
        runs = images // largest
        rounds, rest = divmod(runs, len(self._devices))
        busy = sorted(device.busy(self._clock()) for device in self._devices)
        wait = busy[rest] + rounds * self._cost(largest)
        if runs and (asked := self._line.asked + self.asked):
            ahead = asked * runs * largest // images  # as many as their share of the images
            wait += self._explaining(ahead, runs) / len(self._devices)
        others = [turns for turns in self._devices[0].turns if turns != self._seconds_of_turns]
        return wait + sum(seconds(runs + 1) for seconds in others) / len(self._devices)

    def _seconds_of_turns(self, most: int) -> float:
        images, seconds = self.depth, 0.0
        for _ in range(most):
            if images <= 0:
                break
            size = self.policy.padded(images)
            seconds += self._cost(size)
            images -= size
        asked = self._line.asked + self.asked
        return seconds + self._explaining(asked, most) if asked else seconds

    def _loops(self) -> list[asyncio.Task[None]]:
        return [lane.loop for lane in self._lanes if lane.loop and not lane.loop.done()]

    async def _serve(self, lane: Lane) -> None:
        largest, batch = self.policy.sizes[-1], list[Waiter]()
        try:
            while not self._stopping:
                await self._work.wait()
                await self._let_batch_fill()
                async with lane.device.lock:
                    await lane.device.wait_for_room(
                        lambda: bool(self._line), lambda: len(self._line) >= largest
                    )
                    batch = self._line.take(largest)
                    if not self._line and not self._stopping:
                        self._work.clear()
                    running = self._run_batch(lane, batch) if batch else None
                if running is not None:
                    await running
        except Exception:
            log.exception("a run loop ended; restart the server")
            raise
        finally:
            fail(batch, lambda: ModelFailedError("The server has stopped."))
            if self._loops() in ([], [lane.loop]):
                self._line.dismiss(lambda: ModelFailedError("The model has stopped."))

    async def _let_batch_fill(self) -> None:
        """Wait until the batch is full or its oldest image has waited `max_queue_delay`."""
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
        asked = sum(self.policy.asked(waiter.ask) for waiter in batch if waiter.ask)
        expected = self._cost(size) + (self._explaining(asked) if asked else 0.0)
        made = None
        try:
            with self._device_of(lane, expected, batch) as times:
                images = [waiter.pixels for waiter in batch]
                made = await lane.make(images, size, keep=asked > 0)
        except DeviceLostError:
            raise
        except OutOfMemoryError:
            log.warning("a batch of %d does not fit into the device's memory", size)
        except Exception as exc:  # a failed run fails its clients, but not the next run
            log.exception("a run of a batch of %d failed", size)
            cause = exc
            fail(batch, lambda: _failed_run(cause))
            return
        if made is None:
            await self._run_halves(lane, batch, may_split=may_split)
            return
        rows, energies, features = made
        self._cost.observe(size, times.seconds)
        asking, results = [], zip(batch, rows, energies, strict=False)  # padding has no waiter
        for place, (waiter, probabilities, energy) in enumerate(results):
            waited = times.began - waiter.arrived
            row = Row(probabilities, waited, times.seconds, len(batch), energy=energy)
            if waiter.ask is None:
                waiter.answer(row)
            else:
                asking.append((place, waiter, row))
        waits = tuple((times.began - waiter.arrived, waiter.predicted) for waiter in batch)
        self._observe(BatchReport(len(batch), waits))
        if asking:
            await self._explain(lane, asking, features)

    async def _explain(
        self, lane: Lane, asking: list[tuple[int, Waiter, Row]], features: Features
    ) -> None:
        """Explain the images whose clients still wait, and answer them; those with parts last."""
        failed: list[Waiter] = []
        for cells in (False, True):  # so nobody pays for the parts that another one wants
            waiting = [
                (place, waiter, row)
                for place, waiter, row in asking
                if waiter.ask and waiter.ask.cells == cells and waiter.waits(self._clock())
            ]
            if waiting:
                everyone = [waiter for _, waiter, _ in asking]
                failed += await self._explain_some(lane, waiting, features, everyone, cells=cells)
        await self._run_alone(lane, failed)  # only now, as a run ends the features

    async def _explain_some(
        self,
        lane: Lane,
        waiting: list[tuple[int, Waiter, Row]],
        features: Features,
        everyone: list[Waiter],
        *,
        cells: bool,
    ) -> list[Waiter]:
        """Explain images all at once, and return those that are to be tried alone."""
        waiters = [waiter for _, waiter, _ in waiting]
        for waiter in waiters:
            waiter.stage = "explain"
        questions = questions_of(
            [(place, waiter.ask, row.probabilities) for place, waiter, row in waiting if waiter.ask]
        )
        classes = questions.classes.size
        counted = math.ceil(classes * self.policy.cells_factor) if cells else classes
        try:
            with self._device_of(lane, self._explaining(counted), everyone) as times:
                evidence = await lane.explain(
                    features, questions.rows, questions.classes, questions.against, cells=cells
                )
        except DeviceLostError:
            raise
        except Exception as exc:  # the run itself succeeded, and the next one may
            log.exception("an explanation of %d classes failed", classes)
            if len(waiters) > 1:
                return waiters
            cause = exc
            fail(waiters, lambda: _failed_explanation(cause))
            return []
        self._explaining.observe(counted, times.seconds)
        for number, (_, waiter, row) in enumerate(waiting):
            seen = questions.answer(number, evidence, times.seconds)
            waiter.answer(replace(row, seen=seen))
        return []

    async def _run_alone(self, lane: Lane, waiters: list[Waiter]) -> None:
        """Run images again, each alone, so that one that cannot be explained fails no other."""
        for waiter in waiters:
            waiter.stage = "run"
            if waiter.waits(self._clock()):
                await self._run_batch(lane, [waiter])

    @contextmanager
    def _device_of(self, lane: Lane, seconds: float, batch: list[Waiter]) -> Iterator[_Times]:
        """Count work on the device of a lane; a lost device fails the images of the work."""
        times = _Times()
        now = lane.began = self._clock()
        number = lane.device.begin(seconds, now)
        try:
            yield times
        except DeviceLostError:
            fail(batch, lambda: ModelFailedError("The device has failed; the server restarts."))
            self._lost()
            raise
        finally:
            lane.began = None
            ended = self._clock()
            times.began = lane.device.end(number, ended)
            times.seconds = ended - times.began

    async def _run_halves(self, lane: Lane, batch: list[Waiter], *, may_split: bool) -> None:
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


def _failed_explanation(cause: Exception) -> RunFailedError:
    kind = OutOfMemoryError if isinstance(cause, OutOfMemoryError) else RunFailedError
    error = kind("The model classified the image, but could not explain it: leave out 'explain'.")
    error.__cause__ = cause
    return error
