"""Loads: closed loops, whose clients wait for answers, and open ones, where requests arrive anyway."""

import asyncio
import gc
import itertools
import math
import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from app.bench.client import Client, Outcome, clock
from app.bench.target import Target
from app.setup_errors import SetupError

_GRACE: Final = 0.5
"""Seconds for answers under way after Ctrl-C."""
_PAUSE: Final = 0.05
"""Seconds before a client of a closed loop retries after it got no answer."""
_TICK: Final = 0.5


@dataclass(frozen=True, slots=True)
class Closed:
    """So many clients, each of which sends its next request as soon as it has its answer."""

    value: int
    kind = "closed"

    @property
    def label(self) -> str:
        """The name in tables."""
        return f"{self.value} connection{'s' if self.value > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Open:
    """So many requests per second, at random times, whether or not earlier ones were answered.

    The times between them are exponential (Poisson).
    """

    value: float
    kind = "open"

    @property
    def label(self) -> str:
        """The name in tables."""
        return f"{self.value:g}/s"


Load: TypeAlias = Closed | Open


@dataclass(frozen=True, slots=True)
class Plan:
    """Loads, durations in seconds, and limits.

    Attributes:
        seconds: Part of a run that counts, after the warm-up.
        repeats: Rounds; each measures all loads in their order.
        max_in_flight: Most requests of an open loop at a time; further ones are not sent.
    """

    loads: tuple[Load, ...]
    seconds: float = 20
    warmup: float = 2
    timeout: float = 30
    repeats: int = 3
    max_in_flight: int = 1000
    seed: int = 1


class Sample(NamedTuple):
    """One request.

    Attributes:
        due: When it should have been sent; in a closed loop, when it was.
        began: When it was sent.
    """

    due: float
    began: float
    outcome: Outcome


@dataclass(slots=True)
class LoadRun:
    """What happens under one load, updated while it runs.

    Attributes:
        counted_from: End of the warm-up.
        counted_to: End of the load.
        samples: Requests that have ended, warm-up included.
        not_sent: Due times of requests that were skipped because too many were in flight.
        in_flight: Requests without an outcome; at the end, those that were abandoned.
        cpu_seconds: Processor time of the generator.
    """

    counted_from: float
    counted_to: float
    samples: list[Sample] = field(default_factory=list)
    not_sent: list[float] = field(default_factory=list)
    in_flight: int = 0
    interrupted: bool = False
    cpu_seconds: float = 0


def choose_loads(connections: int, sweep: str | None, rates: list[str] | None) -> tuple[Load, ...]:
    """Return the loads of --sweep or --rate, or else one closed loop."""
    if sweep and rates:
        raise SetupError("--sweep is for closed loops and --rate for open ones. Give one of them.")
    if rates:
        return tuple(Open(_positive(part, "--rate")) for part in ",".join(rates).split(","))
    if sweep:
        counts = [_positive(part, "--sweep") for part in sweep.split(",")]
        if any(count % 1 for count in counts):
            raise SetupError(f"--sweep {sweep}: expected whole numbers of connections.")
        return tuple(Closed(int(count)) for count in counts)
    return (Closed(connections),)


async def run_load(
    load: Load, plan: Plan, target: Target, watch: Callable[[LoadRun], None] = lambda _: None
) -> LoadRun:
    """Put a load on a server and wait until every request has an outcome.

    Cancelling it, as Ctrl-C does, ends the load early: what happened until then is returned.
    The target needs an IP address; `watch` is called twice per second.
    """
    gc.collect()
    gc.freeze()  # a collection that walks all modules would delay requests
    began, cpu = clock(), time.process_time()
    run = LoadRun(began + plan.warmup, began + plan.warmup + plan.seconds)
    if isinstance(load, Closed):
        work = asyncio.create_task(_closed(run, load.value, plan, target))
    else:
        due = poisson_arrivals(load.value, plan.warmup + plan.seconds, plan.seed)
        work = asyncio.create_task(_open(run, [began + seconds for seconds in due], plan, target))
    try:
        while not work.done():
            watch(run)
            await asyncio.wait({work}, timeout=_TICK)
    except asyncio.CancelledError:
        run.interrupted = True
        run.counted_to = min(run.counted_to, clock())
        await asyncio.wait({work}, timeout=_GRACE)
    finally:
        work.cancel()
        await asyncio.wait({work})
        gc.unfreeze()
    if not work.cancelled():
        work.result()  # raises what the loop raised
    run.cpu_seconds = time.process_time() - cpu
    return run


async def _closed(run: LoadRun, connections: int, plan: Plan, target: Target) -> None:
    requests = itertools.cycle(target.requests)

    async def loop() -> None:
        with closing(Client(target.host, target.port, plan.timeout)) as client:
            while (now := clock()) < run.counted_to and not run.interrupted:
                outcome = await _post(run, client, next(requests), now)
                if outcome.failure:
                    await asyncio.sleep(_PAUSE)

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
    wait = due - clock()
    while True:
        # Rounded up: a timer that is rounded down would fire early, and spin.
        await asyncio.sleep(max(0.0, math.ceil(1000 * wait) / 1000))
        if (wait := due - clock()) <= 0:
            return


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the times of a Poisson process, in seconds from its start, ascending.

    The same seed draws the same times on every machine.
    """
    draw = random.Random(seed).random  # noqa: S311 (load, not cryptography)
    arrivals = []
    due = 0.0
    while (due := due - math.log(1 - draw()) / rate) < seconds:
        arrivals.append(due)
    return arrivals


def _positive(text: str, option: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < math.inf:
        raise SetupError(f"{option}: {text.strip()!r} is not a number above 0.")
    return number
