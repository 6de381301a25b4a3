"""Measure a service beyond its capacity: `.venv/bin/python -m tests.measure_overload [WHAT]`.

WHAT is one of

    overload  open loops at 1, 2, 5 and 10 times the capacity
    leaving   half of the clients hang up while they wait
    drain     SIGTERM under full load, 20 times: half of the clients keep their connections alive,
              half open one for each request

and all of them if it is left out. The model is VGG_MODELS (vgg16), from VGG_MODEL_DIR (models/),
untrained if its weights are missing, with VGG_PRECISION (auto). MEASURE_SECONDS (60) is the duration of each line. The load
comes from the same machine and takes its share of it.
"""

import asyncio
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from statistics import median

import httpx
import uvloop

from app.bench.client import Client, clock
from app.bench.loops import Closed, Load, LoadRun, Open, Plan, Sample, run_load
from app.bench.summary import percentile
from app.bench.target import Target, make_pictures, make_target
from app.serving.metrics import CANCELLED_STAGES
from app.weights.manifests.catalog import BUILT_IN
from tests.conftest import RunningServer, running_server

MODEL = os.environ.get("VGG_MODELS", "vgg16")
FOLDER = Path(os.environ.get("VGG_MODEL_DIR", str(BUILT_IN)))
PRECISION = os.environ.get("VGG_PRECISION", "auto")
SECONDS = int(os.environ.get("MEASURE_SECONDS", "60"))
DRAINS = 20
CONNECTIONS = 16
FACTORS = (1, 2, 5, 10)
ROUNDS = 3
OVERLOAD_COLUMNS = (
    "load",
    "200/s",
    "p50 ms",
    "p99 ms",
    "503/s",
    "503 p99",
    "other",
    "RSS MB",
    "2 s later",
    "a run, ms",
)


@contextmanager
def server_of(drain_delay_ms: int = 0) -> Iterator[RunningServer]:
    """Start the service with the model."""
    with running_server(
        FOLDER,
        models=MODEL,
        on_missing_weights="untrained",
        offline="true",
        precision=PRECISION,
        drain_delay_ms=str(drain_delay_ms),
    ) as server:
        yield server


def say(*cells: object) -> None:
    """Print a line of a table."""
    print("".join(f"{cell!s:>14}" for cell in cells), flush=True)  # noqa: T201


def target_of(server: RunningServer) -> Target:
    """Return the requests: six pictures of 500 x 375."""
    return make_target(server.url, make_pictures("500x375:6"))


def load_it(target: Target, load: Load, seconds: float, warmup: float = 3) -> LoadRun:
    """Put a load on the service."""
    plan = Plan((load,), seconds=seconds, warmup=warmup)
    # As `vgg-serve bench` does: the generator then takes a sixth less of the processors it shares.
    return uvloop.run(run_load(load, plan, target))


def metric(server: RunningServer, name: str, labels: str = "") -> float:
    """Read one number of /metrics, summed over the labels that are not given."""
    text = httpx.get(f"{server.url}/metrics").text
    values = re.findall(rf"^{name}(?:{{[^}}]*{labels}[^}}]*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, values))


def memory(server: RunningServer) -> float:
    """Return the resident MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def status(sample: Sample) -> str:
    """Return the HTTP status of an answer, or why there was none."""
    outcome = sample.outcome
    return str(outcome.status) if outcome.status else outcome.failure


def served(run: LoadRun) -> list[Sample]:
    """Return the requests that were answered 200 in the time that counts, whenever they were due."""
    return [
        sample
        for sample in run.samples
        if run.counted_from <= sample.outcome.ended < run.counted_to and status(sample) == "200"
    ]


def quantile(samples: list[Sample], permille: int) -> str:
    """Return a percentile of the latency (milliseconds), if there are samples enough for it."""
    value = percentile(sorted(s.outcome.ended - s.due for s in samples), permille)
    return "n/a" if value is None else f"{1000 * value:.0f}"


def one_request(target: Target) -> float:
    """Return the milliseconds of a single request without other load."""

    async def ask() -> float:
        client, began = Client(target.host, target.port, 30), clock()
        outcome = await client.post(target.requests[0])
        client.close()
        assert outcome.status == HTTPStatus.OK
        return 1000 * (outcome.ended - began)

    return asyncio.run(ask())


def overload() -> None:
    """Print goodput, latencies, refusals and memory at each multiple of the capacity.

    Each line is measured in ROUNDS parts, interleaved with the others, because the machine's speed drifts.
    """
    with server_of() as server:
        target = target_of(server)
        busy = load_it(target, Closed(CONNECTIONS), 20)
        rate = len(served(busy)) / 20
        alone = one_request(target)
        say(
            f"{MODEL}, {PRECISION}: {rate:.1f}/s with {CONNECTIONS} connections, {alone:.0f} ms alone"
        )
        say(*OVERLOAD_COLUMNS)
        shares: dict[int, list[float]] = {factor: [] for factor in FACTORS}
        for _ in range(ROUNDS):
            goodputs = {factor: overload_once(server, target, factor, rate) for factor in FACTORS}
            for factor, goodput in goodputs.items():
                shares[factor].append(goodput / goodputs[1])
        for factor, values in shares.items():
            listed = ", ".join(f"{value:.3f}" for value in values)
            say(
                f"{factor}x: goodput over that of 1x in the same round {median(values):.3f} ({listed})"
            )


def overload_once(server: RunningServer, target: Target, factor: int, rate: float) -> float:
    """Print a line and return its goodput, answers a second."""
    seconds = SECONDS / ROUNDS
    before = runs(server)
    run = load_it(target, Open(factor * rate), seconds)
    counted = [s for s in run.samples if run.counted_from <= s.due < run.counted_to]
    good, refused = ([s for s in counted if status(s) == code] for code in ("200", "503"))
    after = runs(server)
    time.sleep(2)  # the queue budget: what it is like after that
    goodput = len(served(run)) / seconds
    say(
        f"{factor}x {factor * rate:.0f}/s",
        f"{goodput:.1f}",
        quantile(good, 500),
        quantile(good, 990),
        f"{len(refused) / seconds:.1f}",
        quantile(refused, 990),
        len(counted) - len(good) - len(refused) + len(run.not_sent),
        f"{memory(server):.0f}",
        f"{one_request(target):.0f} ms",
        f"{1000 * (after[0] - before[0]) / (after[1] - before[1]):.0f}",
    )
    return goodput


def runs(server: RunningServer) -> tuple[float, float]:
    """Read the total run time, counted once per image of a batch, and the number of images."""
    name = "vgg_stage_duration_seconds"
    return metric(server, f"{name}_sum", 'stage="run"'), metric(
        server, f"{name}_count", 'stage="run"'
    )


async def _leave(target: Target, after: float, until: float) -> int:
    """Send requests and hang up without waiting for answers; return how often."""
    left = 0
    while clock() < until:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        del reader
        writer.write(target.requests[left % len(target.requests)])
        await writer.drain()
        await asyncio.sleep(after)
        writer.transport.abort()
        left += 1
    return left


def leaving() -> None:
    """Print what the other clients get, and what is run, without and with clients that hang up."""
    with server_of() as server:
        target = target_of(server)

        async def both(leavers: int) -> tuple[LoadRun, int]:
            load = Closed(CONNECTIONS // 2)
            until = clock() + 20
            gone = [asyncio.create_task(_leave(target, 0.15, until)) for _ in range(leavers)]
            run = await run_load(load, Plan((load,), seconds=20, warmup=0), target)
            return run, sum(await asyncio.gather(*gone))

        say(
            "stay, leave", "200/s", "p50 ms", "answered", "hung up", *CANCELLED_STAGES, "images run"
        )
        for leavers in (0, CONNECTIONS // 2) * 3:
            before = counters(server)
            run, gone = asyncio.run(both(leavers))
            time.sleep(2)  # until the last run has ended and is counted
            grown = [int(now - then) for now, then in zip(counters(server), before, strict=True)]
            rate = len(served(run)) / 20
            say(
                f"{CONNECTIONS // 2}, {leavers}",
                f"{rate:.1f}",
                quantile(run.samples, 500),
                len(run.samples),
                gone,
                *grown,
            )


def counters(server: RunningServer) -> list[float]:
    """Read how many clients hung up in each stage, and how many images were run."""
    left = [metric(server, "vgg_cancelled_total", f'stage="{stage}"') for stage in CANCELLED_STAGES]
    return [*left, metric(server, "vgg_batch_size_sum")]


def drain() -> None:
    """Print the outcomes of the requests around each SIGTERM."""

    async def both(url: str) -> list[Sample]:
        load = Closed(CONNECTIONS // 2)
        plan = Plan((load,), seconds=3, warmup=0)
        runs = [
            run_load(load, plan, make_target(url, pictures, headers=headers))
            for headers in ((), ("Connection: close",))
        ]
        return [sample for run in await asyncio.gather(*runs) for sample in run.samples]

    pictures = make_pictures("500x375:6")
    total: Counter[str] = Counter()
    for _ in range(DRAINS):
        with server_of(drain_delay_ms=500) as server:
            threading.Timer(1.5, server.process.terminate).start()
            samples = asyncio.run(both(server.url))
            server.process.wait(30)
            total.update(map(status, samples))
            total["retried"] += sum(sample.outcome.retried for sample in samples)
            total[f"exit {server.process.returncode}"] += 1
    say(f"{DRAINS} x SIGTERM with {CONNECTIONS} connections: {dict(total)}")


if __name__ == "__main__":
    parts = {"overload": overload, "leaving": leaving, "drain": drain}
    for part in sys.argv[1:] or parts:
        parts[part]()
