"""Measure a request to an idle service: `.venv/bin/python -m tests.measure_idle [MODEL [CONV]]`.

Prints the time from start to ready with a cached serving graph, the peak resident memory, and
how much longer one request takes than its bare parts (decode and session.run), which are timed in
this process, interleaved with the requests, with the same number of threads.
"""

import sys
import time
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from app.cli.console import pull_bar
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.machine import usable_cpus
from app.runtime.open_session import open_session
from app.service.parts import provisioning
from app.service.settings import Settings
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from app.weights.pull import pull
from tests.conftest import PHOTOS, running_server

TURNS = 60
WARM = 5


def seconds(work):
    """Return how long the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def post(client, photo):
    """Classify a photo through the service, with the lightest client."""
    client.request("POST", "/predict", photo)
    answer = client.getresponse()
    answer.read()
    assert answer.status == HTTPStatus.OK


def peak_memory(pid):
    """Return the peak resident memory of a process in bytes (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main(name, conv):
    """Measure one model and print a table."""
    manifest = load_catalog(BUILT_IN)[name]
    settings = Settings(on_missing_weights="untrained", offline=True, device="cpu", conv=conv)
    with pull_bar(name) as progress:
        graph = pull(manifest, provisioning(settings), progress)
    photo = (PHOTOS / "coffee.jpg").read_bytes()
    decode = partial(prepare, photo, manifest.preprocess, ImageLimits())
    session = open_session(graph.path, device="cpu", threads=usable_cpus())
    began = time.perf_counter()
    with running_server(
        BUILT_IN, models=name, offline="true", on_missing_weights="untrained", conv=conv
    ) as server:
        started = time.perf_counter() - began
        bare, served = [], []
        client = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        for _ in range(TURNS):
            bare.append(seconds(lambda: session.run(decode()[0][None])))
            served.append(seconds(lambda: post(client, photo)))
        client.close()
        peak = peak_memory(server.process.pid)
    assert manifest.architecture is not None
    weights = 4 * manifest.architecture.parameters()
    bare_ms, served_ms = 1000 * median(bare[WARM:]), 1000 * median(served[WARM:])
    more = 1000 * median(b - a for a, b in zip(bare[WARM:], served[WARM:], strict=True))
    print(f"{name}, {usable_cpus()} processors, medians of {TURNS - WARM} turns")  # noqa: T201
    print(f"start to ready, from a cached graph   {started:6.2f} s")  # noqa: T201
    print(f"peak RSS                              {peak / 1e6:6.0f} MB")  # noqa: T201
    print(f"  over the weights ({weights / 1e6:.0f} MB)        {peak / weights:6.2f}")  # noqa: T201
    print(f"decode + session.run                  {bare_ms:6.1f} ms")  # noqa: T201
    print(f"one request                           {served_ms:6.1f} ms")  # noqa: T201
    print(f"  difference, turn by turn            {more:6.1f} ms")  # noqa: T201


if __name__ == "__main__":
    main(*(sys.argv[1:] + ["vgg16", "auto"][len(sys.argv) - 1 :]))
