"""Measure the client of `vgg-serve bench` beside httpx: `.venv/bin/python -m tests.measure_client`.

A server whose runs take no time has the first core, the client the last; 32 closed loops post a
JPEG of 224 x 224. Prints, medians of interleaved rounds, the requests per second that each reaches
and the processor time that each takes per request, which it takes away from a server beside it.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from statistics import median
from typing import Any

import httpx
import uvicorn

from app.bench.loops import Closed, Plan, run_load
from app.bench.target import make_pictures, make_target
from tests.measure_host import instant_server, model_folder, say

CONNECTIONS = 32
SECONDS = 5
ROUNDS = 3
PICTURES = make_pictures("224x224")


async def ours(url: str) -> int:
    """Load the server with the client of `vgg-serve bench`; return the number of answers."""
    load = Closed(CONNECTIONS)
    plan = Plan((load,), seconds=SECONDS, warmup=0)
    target = make_target(url, PICTURES, field="")
    run = await run_load(load, plan, target)
    assert all(s.outcome.status == 200 for s in run.samples)
    return len(run.samples)


async def with_httpx(url: str) -> int:
    """Load the server with httpx; return the number of answers."""
    answers, end = 0, time.monotonic() + SECONDS

    async def one(client: httpx.AsyncClient) -> None:
        nonlocal answers
        while time.monotonic() < end:
            answer = await client.post("/predict", content=PICTURES[0].data)
            assert answer.status_code == 200
            assert answer.headers["x-batch-size"]
            answers += 1

    limits = httpx.Limits(max_connections=CONNECTIONS)
    headers = {"Content-Type": PICTURES[0].mime}
    async with httpx.AsyncClient(base_url=url, limits=limits, headers=headers) as client:
        await asyncio.gather(*(one(client) for _ in range(CONNECTIONS)))
    return answers


def measure(load: Callable[[str], Coroutine[Any, Any, int]], url: str) -> tuple[float, float]:
    """Return requests per second, and microseconds of processor time per request."""
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        before = time.process_time()
        answers = runner.run(load(url))
        return answers / SECONDS, 1e6 * (time.process_time() - before) / answers


def main() -> None:
    """Measure and print."""
    cores = sorted(os.sched_getaffinity(0))
    with instant_server(model_folder(), {cores[0]}, max_batch_size=64) as (url, _):
        os.sched_setaffinity(0, {cores[-1]})
        loads = {"vgg-serve bench": ours, "httpx": with_httpx}
        rounds = [{name: measure(load, url) for name, load in loads.items()} for _ in range(ROUNDS)]
    say("| client | requests/s | µs of the client per request |")
    say("|---|---|---|")
    for name in loads:
        rate, cost = (median(column) for column in zip(*(one[name] for one in rounds), strict=True))
        say(f"| {name} | {rate:.0f} | {cost:.0f} |")


if __name__ == "__main__":
    main()
