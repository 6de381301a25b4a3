import asyncio
import math
import time
from itertools import pairwise

import pytest

from app.bench.loops import Closed, Open, Plan, choose_loads, poisson_arrivals, run_load
from app.bench.summary import summarise
from app.setup_errors import SetupError
from tests.bench.conftest import BUSY, OK, run, scripted, scripted_elsewhere

pytestmark = pytest.mark.anyio


async def test_closed_loop_keeps_every_connection_busy():
    """N clients have N connections, and each waits for its answer."""
    together = highest = 0

    async def answer(_number, writer):
        nonlocal together, highest
        together += 1
        highest = max(highest, together)
        await asyncio.sleep(0.01)
        together -= 1
        writer.write(OK)

    async with scripted(answer) as server:
        seen = await run(server, Closed(3))

    summary = summarise(seen)
    assert (3, 3) == (server.connections, highest)
    assert len(server.requests) == summary.requests == summary.answered.samples
    assert 3 <= summary.requests <= 3 * 0.3 / 0.01 + 3
    assert {"200": summary.requests} == summary.codes
    assert {"4": summary.requests} == summary.batch_sizes
    assert summary.answered.max is not None
    assert summary.answered.max >= 9
    assert 0 == seen.in_flight


async def test_codes_and_failures_are_counted_apart():
    """Refusals, errors and broken connections each have their own count and latency."""

    async def mixed(number, writer):
        if number % 4 == 0:
            writer.write(OK[:10])
            writer.close()
        else:
            writer.write(
                (OK, BUSY, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")[number % 4 - 1]
            )

    async with scripted(mixed) as server:
        seen = summarise(await run(server, Closed(1)))

    total = len(server.requests)
    assert {"200", "503", "500"} == set(seen.codes)
    assert {"answer cut short": total // 4} == seen.failures
    assert total == seen.requests == sum(seen.codes.values()) + total // 4
    assert (seen.codes["200"], seen.codes["503"]) == (seen.answered.samples, seen.refused.samples)
    assert (2.0, 2.0) == seen.retry_after
    assert '{"detail":"busy"}' == seen.details["503"]


async def test_server_that_goes_away_is_not_hammered():
    """Without a server a closed loop retries 20 times per second and counts each failure."""
    async with scripted(OK) as server:
        pass

    seen = summarise(await run(server, Closed(2)))

    assert ["connection refused"] == list(seen.failures)
    assert 2 <= seen.requests <= 2 * (0.3 / 0.05 + 1)
    assert 0 == seen.goodput


async def test_open_loop_sends_on_time():
    """Each request is sent when it is due, however slow the answers are."""

    async def slow(_number, writer):
        await asyncio.sleep(0.1)
        writer.write(OK)

    async with scripted(slow) as server:
        seen = summarise(await run(server, Open(200)))

    assert server.connections > 5  # a closed loop would not need that many
    assert seen.requests == seen.answered.samples == len(server.requests)
    assert pytest.approx(200, abs=80) == seen.offered
    assert seen.answered.p50 is not None
    assert seen.answered.p50 >= 99


async def test_open_loop_does_not_hide_a_stall():
    """A stall of a second is in the latency of all requests that were due in it, not of one."""
    stalled = asyncio.Event()

    async def stall_once(number, writer):
        if number == 20:
            asyncio.get_running_loop().call_later(1.0, stalled.set)
        if number >= 20:
            await stalled.wait()
        writer.write(OK)

    async with scripted(stall_once) as server:
        seen = summarise(await run(server, Open(100), seconds=1.7))

    assert seen.answered.samples > 100
    assert seen.answered.p99 is not None
    assert 800 < seen.answered.p99 < 1500
    assert seen.answered.p90 is not None
    assert seen.answered.p90 > 500  # about half of all arrivals had to wait


async def test_blocked_generator_counts_its_late_requests():
    """Requests that the generator sends late count as late, with latencies from when they were due."""
    with scripted_elsewhere(OK) as server:
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.2)
        seen = summarise(await run(server, Open(500), seconds=0.4))

    assert 30 < seen.late < seen.requests
    assert seen.requests == seen.answered.samples
    assert seen.lag.max is not None
    assert seen.lag.max > 150
    assert seen.answered.max is not None
    assert seen.answered.max > 150


async def test_more_than_the_limit_is_not_sent_and_counted():
    """Requests above the limit of requests in flight are counted, neither as answers nor as errors."""

    async def slow(_number, writer):
        await asyncio.sleep(0.2)
        writer.write(OK)

    async with scripted(slow) as server:
        seen = summarise(await run(server, Open(200), max_in_flight=3))

    assert server.connections <= 3
    assert seen.not_sent > 20
    assert seen.requests == len(server.requests)
    assert pytest.approx(seen.offered * 0.3) == seen.requests + seen.not_sent


async def test_warmup_is_not_counted():
    """Requests of the warm-up are sent, but not counted."""
    async with scripted(OK) as server:
        seen = await run(server, Open(200), warmup=0.2, seconds=0.2)

    summary = summarise(seen)
    assert summary.requests < len(seen.samples) == len(server.requests)
    assert pytest.approx(0.2) == summary.seconds


@pytest.mark.parametrize("load", [Closed(2), Open(100)])
async def test_cancelling_ends_early_and_keeps_the_results(load):
    """After Ctrl-C nothing more is sent; requests that hang are abandoned and counted."""

    async def hang_later(number, writer):
        if number <= 5:
            writer.write(OK)
        if number == 6:
            asyncio.get_running_loop().call_later(0.05, running.cancel)

    async with scripted(hang_later) as server, asyncio.timeout(5):
        plan = Plan((load,), seconds=60, warmup=0)
        running = asyncio.create_task(run_load(load, plan, server.target()))
        seen = await running

    summary = summarise(seen)
    assert summary.interrupted
    assert 5 == summary.answered.samples
    assert summary.seconds < 3
    assert len(server.requests) - 5 == summary.unfinished > 0


async def test_watch_is_called_during_the_run():
    """The watcher sees the run grow."""
    seen = []
    async with scripted(OK) as server:
        plan = Plan((), seconds=0.6, warmup=0)
        await run_load(
            Closed(1), plan, server.target(), watch=lambda run: seen.append(len(run.samples))
        )

    assert 0 == seen[0] < seen[1]


def test_arrivals_are_the_same_on_every_machine():
    """A seed draws these very times."""
    assert [
        pytest.approx(0.0144291064, abs=1e-9),
        pytest.approx(0.2024447330, abs=1e-9),
        pytest.approx(0.3467416255, abs=1e-9),
    ] == poisson_arrivals(10, 0.36, seed=1)
    assert poisson_arrivals(10, 5, seed=2) != poisson_arrivals(10, 5, seed=3)


def test_arrivals_are_a_poisson_process():
    """As many as the rate says, and times between them whose spread equals their mean."""
    arrivals = poisson_arrivals(100, 200, seed=1)
    between = [b - a for a, b in pairwise(arrivals)]
    mean = sum(between) / len(between)
    spread = math.sqrt(sum((one - mean) ** 2 for one in between) / len(between))

    assert arrivals == sorted(arrivals)
    assert 200 > arrivals[-1]
    assert pytest.approx(20_000, rel=0.03) == len(arrivals)
    assert pytest.approx(mean, rel=0.03) == spread


def test_options_choose_the_loads():
    """One closed loop, a sweep of them, or open ones."""
    assert (Closed(16),) == choose_loads(16, None, None)
    assert (Closed(1), Closed(4)) == choose_loads(16, "1, 4", None)
    assert (Open(5), Open(7.5), Open(9)) == choose_loads(16, None, ["5,7.5", "9"])
    assert ["1 connection", "7.5/s"] == [Closed(1).label, Open(7.5).label]


@pytest.mark.parametrize(
    ("sweep", "rates", "word"),
    [
        ("1", ["5"], "Give one of them"),
        ("1,x", None, "'x'"),
        ("1.5", None, "whole"),
        (None, ["0"], "'0'"),
        (None, ["5,"], "''"),
        (None, ["nan"], "'nan'"),
        (None, ["inf"], "'inf'"),
    ],
)
def test_impossible_loads_are_refused(sweep, rates, word):
    """Values that are not numbers above 0, or two kinds of loop at once, are refused."""
    with pytest.raises(SetupError, match=word):
        choose_loads(16, sweep, rates)
