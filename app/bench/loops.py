"""The two loops: closed, where clients wait for answers, and open, where requests arrive regardless."""

import asyncio
import gc
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from app.bench.client import Client
from app.bench.client_connection import Outcome, clock
from app.bench.plan import Closed, Load, Plan, poisson_arrivals
from app.bench.target import Target

GRACE: Final = 0.5
"""Seconds for answers under way after Ctrl-C."""
_PAUSE: Final = 0.05
"""Seconds before a client of a closed loop retries after it got no answer."""
_TICK: Final = 0.5


class Sample(NamedTuple):
    """One request.

    Attributes:
        due: When it should have been sent; in a closed loop, when it was.
        began: When it was sent.
        outcome: How it ended.
    """

    due: float
    began: float
    outcome: Outcome


@dataclass(slots=True)
class LoadRun:
    """What happens under one load, updated while it runs.

    Attributes:
        load: The load.
        counted_from: End of the warm-up.
        counted_to: End of the load.
        samples: Requests that have ended, warm-up included.
        not_sent: Due times of requests that were skipped because too many were in flight.
        in_flight: Requests without an outcome; at the end, those that were abandoned.
        interrupted: Whether Ctrl-C ended it early.
        cpu_seconds: Processor time of the generator.
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
    watch: Callable[[LoadRun], None] = lambda _: None,
) -> LoadRun:
    """Put a load on a server and wait until every request has an outcome.

    Args:
        load: The load.
        plan: Its duration and limits.
        target: The server, by its IP address.
        stop: Ends the load early when it is set.
        watch: Called twice per second.
    """
    gc.collect()
    gc.freeze()  # a collection that walks all modules would delay requests
    began, cpu = clock(), time.process_time()
    run = LoadRun(load, began + plan.warmup, began + plan.warmup + plan.seconds)
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


async def _closed(run: LoadRun, connections: int, plan: Plan, target: Target) -> None:
    requests = itertools.cycle(target.requests)

    async def loop() -> None:
        client = Client(target.host, target.port, plan.timeout)
        try:
            while (now := clock()) < run.counted_to and not run.interrupted:
                outcome = await _post(run, client, next(requests), now)
                if outcome.failure:
                    await asyncio.sleep(_PAUSE)
        finally:
            client.close()

    async with asyncio.TaskGroup() as loops:
        for _ in range(connections):
            loops.create_task(loop())


async def _open(run: LoadRun, arrivals: list[float], plan: Plan, target: Target) -> None:
    requests = itertools.cycle(target.requests)
    idle: list[Client] = []

    async def post(due: float) -> None:
        client = idle.pop() if idle else Client(target.host, target.port, plan.timeout)
        try:
            await _post(run, client, next(requests), due)
        finally:
            idle.append(client)

    try:
        async with asyncio.TaskGroup() as posts:
            for due in arrivals:
                await _sleep_until(due)
                if run.interrupted:
                    break
                if run.in_flight < plan.max_in_flight:
                    posts.create_task(post(due))
                else:
                    run.not_sent.append(due)
    finally:
        for client in idle:
            client.close()


async def _post(run: LoadRun, client: Client, request: bytes, due: float) -> Outcome:
    began = clock()
    run.in_flight += 1
    outcome = await client.post(request)
    run.in_flight -= 1  # not reached when cancelled: an abandoned request stays counted
    run.samples.append(Sample(due, began, outcome))
    return outcome


async def _sleep_until(due: float) -> None:
    """Return at that time or up to a millisecond later, the resolution of timers.

    Other tasks get their turn even if it is late already.
    """
    await asyncio.sleep(_to_next_tick(due - clock()))
    while (wait := due - clock()) > 0:  # noqa: ASYNC110 (a time, not an event)
        await asyncio.sleep(_to_next_tick(wait))


def _to_next_tick(seconds: float) -> float:
    """Round up to milliseconds: a timer that is rounded down would fire early, and spin."""
    return max(0.0, math.ceil(1000 * seconds) / 1000)


async def _tick(run: LoadRun, watch: Callable[[LoadRun], None]) -> None:
    while True:
        watch(run)
        await asyncio.sleep(_TICK)
