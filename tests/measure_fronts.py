"""Measure front processes, with runs that take no time: `python -m tests.measure_fronts`.

First the whole service on all cores, with load from wrk (Debian's package) on the same cores:
requests per second, and the processor time per request in the process with the models and in the
fronts. Then only the way of an image between two processes, with runs that sleep for some
milliseconds, so that batches are full: the owner's time per image limits the whole service.
"""

import asyncio
import os
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import uvicorn

from app.bench.target import make_pictures
from app.service.fronts.image_channel import ImageClient, ImageServer
from app.service.fronts.shared_memory import Layout, SharedMemory, allocate
from app.serving.batching.batcher import Batcher
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.batching.lanes import Device, Lane
from tests.measure_host import instant_server, model_folder, say, seconds_of

_SECONDS = 6
_ROUNDS = 3
_CONNECTIONS = 32
_LARGEST: Final = 64
_PLACES: Final = 3 * _LARGEST
_LAYOUT: Final = Layout((224,), (1000,), _PLACES)
_SCRIPT: Final = """
local bodies, n = {{}}, 0
for name in ("{names}"):gmatch("%S+") do
  local file = io.open(name, "rb"); bodies[#bodies + 1] = file:read("*a"); file:close()
end
request = function()
  n = n + 1
  return wrk.format("POST", "/predict", {{["Content-Type"] = "image/jpeg"}}, bodies[n % #bodies + 1])
end
"""


def write_script(size: str) -> Path:
    """Write eight photos, and the script by which wrk posts them."""
    folder = Path(tempfile.mkdtemp())
    names: list[str] = []
    for picture in make_pictures(f"{size}:8"):
        path = folder / f"{len(names)}.jpg"
        path.write_bytes(picture.data)
        names.append(str(path))
    script = folder / "post.lua"
    script.write_text(_SCRIPT.format(names=" ".join(names)))
    return script


def children_of(process: int) -> list[int]:
    """Return the child processes of a process."""
    return [
        int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def load(script: Path, seconds: int, url: str) -> tuple[int, float]:
    """Return the number of requests that were answered, and their rate per second."""
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    requests, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec: +(\S+)", said)
    if requests is None or rate is None:
        raise RuntimeError(said)
    return int(requests[1]), float(rate[1])


def measure(folder: Path, script: Path, fronts: int) -> tuple[float, float, float]:
    """Return requests per second, and ms per request in the main process and in all fronts."""
    everywhere = os.sched_getaffinity(0)
    with instant_server(folder, everywhere, front_processes=fronts, log_level="warning") as started:
        url, server = started
        load(script, 2, url)
        processes = [server.pid, *children_of(server.pid)]
        before = [seconds_of(process) for process in processes]
        requests, rate = load(script, _SECONDS, url)
        after = [seconds_of(process) for process in processes]
    own, *others = (1000 * (b - a) / requests for a, b in zip(before, after, strict=True))
    return rate, own, sum(others)


async def submit(way: socket.socket, descriptor: int) -> None:
    """Play a front process whose images are decoded already."""
    client = ImageClient(SharedMemory(descriptor, _LAYOUT))
    await client.open(way)
    pixels = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)
    end = time.monotonic() + _SECONDS

    async def one() -> None:
        while time.monotonic() < end:
            await client.submit(0, pixels, end + 60)

    await asyncio.gather(*[one() for _ in range(_PLACES)])


async def own(way: socket.socket, descriptor: int, run_seconds: float, front: int) -> list[float]:
    """Play the owner; return images per second, ms per image, images per batch."""
    rows = np.full((_LARGEST, 1000), 1e-3, np.float32)
    images = runs = 0

    def run(batch):
        time.sleep(run_seconds)
        return rows[: len(batch)]

    def observe(report):
        nonlocal images, runs
        images, runs = images + report.images, runs + 1

    device = Device(ahead=1)
    cost = RunCost(1e-6, run_seconds, ((1, run_seconds),))
    policy = BatchPolicy((1, 2, 4, 8, 16, 32, _LARGEST), cost, queue_budget=60)
    batcher = Batcher([Lane(run, device), Lane(run, device)], policy, observe=observe)
    batcher.start()
    server = ImageServer(SharedMemory(descriptor, _LAYOUT), lambda _: batcher)
    await server.open(way)
    before = time.process_time()
    await asyncio.to_thread(os.waitpid, front, 0)
    spent = time.process_time() - before
    await batcher.stop()
    return [images / _SECONDS, 1000 * spent / images, images / runs]


def measure_way(run_seconds: float) -> list[float]:
    """Measure the owner alone, with the simplest front."""
    factory = uvicorn.Config("").get_loop_factory()
    descriptor = allocate(_LAYOUT)
    ours, theirs = socket.socketpair()
    front = os.fork()
    if front == 0:
        ours.close()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(submit(theirs, descriptor))
        os._exit(0)
    theirs.close()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(own(ours, descriptor, run_seconds, front))


def main() -> None:
    """Measure and print."""
    say(f"{os.cpu_count()} cores, the load on the same; medians of {_ROUNDS}")
    say("| photo | fronts | requests/s | ms in the main process | ms in the fronts |")
    say("|---|---|---|---|---|")
    folder = model_folder()
    for size in ("500x375", "224x224"):
        script = write_script(size)
        for fronts in (0, 1, 2):
            rounds = [measure(folder, script, fronts) for _ in range(_ROUNDS)]
            rate, main_ms, fronts_ms = (median(column) for column in zip(*rounds, strict=True))
            say(f"| {size} | {fronts} | {rate:.0f} | {main_ms:.2f} | {fronts_ms:.2f} |")
    say("")
    say("| a run takes | images/s | ms per image in the owner | images per run |")
    say("|---|---|---|---|")
    for run_ms in (0, 5, 15):
        rate, cost, batch = measure_way(run_ms / 1000)
        say(f"| {run_ms} ms | {rate:.0f} | {cost:.3f} | {batch:.0f} |")


if __name__ == "__main__":
    main()
