"""The two loops: closed, which waits for its answers, and open, which waits for nobody."""

import asyncio
import gc
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from app.bench.client import Lane, Outcome
from app.bench.connection import clock
from app.bench.plan import Closed, Load, Plan, poisson_arrivals
from app.bench.target import Target

GRACE: Final = 0.5
"""Seconds for answers under way after Ctrl-C."""
_PAUSE: Final = 0.05
"""Seconds before a client of a closed loop tries again after it got no answer at all."""
_TICK: Final = 0.5


class Sample(NamedTuple):
    """One request.

    Attributes:
        due: When it was to be sent; in a closed loop that is when it was.
        began: When the generator came round to it.
        outcome: What became of it.
    """

    due: float
    began: float
    outcome: Outcome


@dataclass(slots=True)
class Run:
    """What is seen of one load, while it goes on and after.

    Attributes:
        load: The load.
        counted_from: When its warm-up ends.
        counted_to: When it ends.
        samples: Requests that were answered or failed, warm-up included.
        not_sent: When requests were due that came while too many were in flight.
        in_flight: Requests without an outcome; after the end, those that were left behind.
        interrupted: Whether it ended before its time.
        cpu_seconds: Processor time of the generator, all in all.
    """

    load: Load
    counted_from: float
    counted_to: float
    samples: list[Sample] = field(default_factory=list)
    not_sent: list[float] = field(default_factory=list)
    in_flight: int = 0
    interrupted: bool = False
    cpu_seconds: float = 0


async def run_load(
    load: Load,
    plan: Plan,
    target: Target,
    *,
    stop: asyncio.Event,
    watch: Callable[[Run], None] = lambda _: None,
) -> Run:
    """Put a load on a server and wait until all of its requests have an outcome.

    Args:
        load: Which.
        plan: How long.
        target: Whom, its host an address; a name would be looked up again and again.
        stop: Ends it early when it is set.
        watch: Called twice a second.
    """
    gc.collect()
    gc.freeze()  # a collection would look through all modules, and send late meanwhile
    began, cpu = clock(), time.process_time()
    run = Run(load, began + plan.warmup, began + plan.warmup + plan.seconds)
    if isinstance(load, Closed):
        work = asyncio.create_task(_closed(run, load.connections, plan, target))
    else:
        due = poisson_arrivals(load.rate, plan.warmup + plan.seconds, plan.seed)
        arrivals = [began + seconds for seconds in due]
        work = asyncio.create_task(_open(run, arrivals, plan, target))
    stopped = asyncio.create_task(stop.wait())
    ticker = asyncio.create_task(_tick(run, watch))
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            run.interrupted = True
            run.counted_to = min(run.counted_to, clock())
            await asyncio.wait({work}, timeout=GRACE)
    finally:
        for task in (work, stopped, ticker):
            task.cancel()
        results = await asyncio.gather(work, stopped, ticker, return_exceptions=True)
        gc.unfreeze()
    for result in results:
        if isinstance(result, Exception):
            raise result
    run.cpu_seconds = time.process_time() - cpu
    return run


async def _closed(run: Run, connections: int, plan: Plan, target: Target) -> None:
    requests = itertools.cycle(target.requests)

    async def client() -> None:
        lane = Lane(target.host, target.port, plan.timeout)
        try:
            while (now := clock()) < run.counted_to and not run.interrupted:
                outcome = await _ask(run, lane, next(requests), now)
                if outcome.failure:
                    await asyncio.sleep(_PAUSE)
        finally:
            lane.close()

    async with asyncio.TaskGroup() as clients:
        for _ in range(connections):
            clients.create_task(client())


async def _open(run: Run, arrivals: list[float], plan: Plan, target: Target) -> None:
    requests = itertools.cycle(target.requests)
    idle: list[Lane] = []

    async def one(due: float) -> None:
        lane = idle.pop() if idle else Lane(target.host, target.port, plan.timeout)
        try:
            await _ask(run, lane, next(requests), due)
        finally:
            idle.append(lane)

    try:
        async with asyncio.TaskGroup() as clients:
            for due in arrivals:
                await _sleep_until(due)
                if run.interrupted:
                    break
                if run.in_flight < plan.max_in_flight:
                    clients.create_task(one(due))
                else:
                    run.not_sent.append(due)
    finally:
        for lane in idle:
            lane.close()


async def _ask(run: Run, lane: Lane, request: bytes, due: float) -> Outcome:
    began = clock()
    run.in_flight += 1
    outcome = await lane.ask(request)
    run.in_flight -= 1  # not reached if it is cancelled: then it was left behind
    run.samples.append(Sample(due, began, outcome))
    return outcome


async def _sleep_until(due: float) -> None:
    """Return at that time, or up to a millisecond later: timers are no finer than that.

    Others get their turn in any case, however late it is.
    """
    await asyncio.sleep(_to_next_tick(due - clock()))
    while (wait := due - clock()) > 0:  # noqa: ASYNC110 (a time, not an event)
        await asyncio.sleep(_to_next_tick(wait))


def _to_next_tick(seconds: float) -> float:
    """Round up to milliseconds: a timer that is rounded down would fire early, and spin."""
    return max(0.0, math.ceil(1000 * seconds) / 1000)


async def _tick(run: Run, watch: Callable[[Run], None]) -> None:
    while True:
        watch(run)
        await asyncio.sleep(_TICK)
