"""Measure Ray Serve on two nodes of this machine: `python -m tests.measure_ray`, by a Python that has Ray.

The device is a clock (100 ms a run of at most two photos, no processor), so that replicas do not share
processors. Prints the throughput of 1, 2 and 4 replicas; what is lost when a node is killed under load, by
a plain client and by one that tries again; what a rolling redeploy loses; and what a request costs beside
our own server, in turns.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from ray import serve

from app.client import Client, ClientError
from app.service.ray import Scale, bind
from app.service.settings import Settings
from tests.conftest import png
from tests.measure_host import instant_server, model_folder, say, seconds_of
from tests.nginx import free_ports
from tests.ray_cluster import add_node, build_clock, build_instant, cluster

_BATCH = 2
_SECONDS = 12.0
_PHOTO = png()


def deploy(replicas: int, build: Callable[[], Any] = build_clock) -> None:
    """Run so many replicas, and wait until all are there."""
    scale = Scale(min_replicas=replicas, max_replicas=replicas)
    serve.run(bind(Settings(), scale, build), name="vgg")
    wait_for(replicas)


def wait_for(replicas: int) -> None:
    """Wait until exactly so many replicas run, and none starts or stops."""
    while True:
        states = serve.status().applications["vgg"].deployments["vgg-serve"].replica_states
        if {str(getattr(k, "value", k)): n for k, n in states.items() if n} == {
            "RUNNING": replicas
        }:
            return
        time.sleep(0.2)


@contextmanager
def load(clients: int, post: Callable[[], str]) -> Iterator[Counter[str]]:
    """Have clients post one photo after the other meanwhile; give the counted outcomes."""
    over = threading.Event()
    counts: Counter[str] = Counter()

    def one() -> None:
        while not over.is_set():
            counts[post()] += 1

    with ThreadPoolExecutor(clients) as pool:
        tasks = [pool.submit(one) for _ in range(clients)]
        try:
            yield counts
        finally:
            over.set()
        for task in tasks:
            task.result()


def plain(client: httpx.Client) -> Callable[[], str]:
    """Post once, and name the status or what ended the connection."""

    def post() -> str:
        try:
            return str(client.post("/predict", content=_PHOTO).status_code)
        except httpx.TransportError as exc:
            return type(exc).__name__

    return post


def retrying(client: Client) -> Callable[[], str]:
    """Classify as users of app.client do."""

    def post() -> str:
        try:
            client.classify(_PHOTO)
        except ClientError as exc:
            return str(exc)
        return "200"

    return post


def measure_replicas(client: httpx.Client) -> None:
    """Print the throughput of 1, 2 and 4 replicas, each with as many clients as fill it."""
    one = 0.0
    for replicas in (1, 2, 4):
        deploy(replicas)
        with load(6 * replicas, plain(client)) as counts:
            time.sleep(3)
            before, began = counts["200"], time.monotonic()
            time.sleep(_SECONDS)
            rate = (counts["200"] - before) / (time.monotonic() - began)
        one = one or rate
        say(f"{replicas} replicas: {rate:.1f} photos/s, {rate / one:.2f} x one; {dict(counts)}")


def measure_kill(running: Any, name: str, post: Callable[[], str]) -> None:
    """Print what is lost when the second node is killed under load; start it again."""
    [node] = running.worker_nodes
    with load(12, post) as counts:
        time.sleep(3)
        before = counts["200"]
        running.remove_node(node, allow_graceful=False)
        time.sleep(12)
        after = counts["200"] - before
    lost = counts.total() - counts["200"]
    say(
        f"node killed, {name}: {lost} of {counts.total()} lost, of 12 in flight on two nodes;"
        f" {after} answered after; {dict(counts)}"
    )
    add_node(running, 2)
    wait_for(4)


def measure_redeploy(post: Callable[[], str]) -> None:
    """Print what is lost while each replica is replaced by a new one."""
    with load(12, post) as counts:
        time.sleep(2)
        os.environ["VGG_LOG_LEVEL"] = "error"
        began = time.monotonic()
        deploy(4)
        took = time.monotonic() - began
        time.sleep(2)
    lost = counts.total() - counts["200"]
    say(f"rolling redeploy in {took:.0f} s: {lost} of {counts.total()} lost; {dict(counts)}")


def ray_processes() -> list[int]:
    """Return the proxy and the replicas."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            title = (folder / "cmdline").read_bytes()
            if title.startswith((b"ray::ServeReplica", b"ray::ProxyActor")):
                found.append(int(folder.name))
    return found


def measure_overhead(folder: Path, url: str) -> None:
    """Print milliseconds per request, one at a time, of both servers in turns; and of processors."""
    deploy(1, build_instant)
    everywhere = os.sched_getaffinity(0)
    with instant_server(folder, everywhere, log_level="warning", max_batch_size=_BATCH) as (
        own,
        server,
    ):
        places = {"our server": (own, [server.pid]), "Ray": (url, ray_processes())}
        took: dict[str, list[float]] = {name: [] for name in places}
        spent = dict.fromkeys(places, 0.0)
        for _ in range(6):
            for name, (where, processes) in places.items():
                before = sum(map(seconds_of, processes))
                with httpx.Client(base_url=where, timeout=60) as client:
                    for _ in range(100):
                        began = time.perf_counter()
                        client.post("/predict", content=_PHOTO).raise_for_status()
                        took[name].append(1000 * (time.perf_counter() - began))
                spent[name] += sum(map(seconds_of, processes)) - before
        for name, times in took.items():
            used = 1000 * spent[name] / len(times)
            say(f"{name}: {median(times):.2f} ms a request, {used:.2f} ms of processors")


def main() -> None:
    """Measure and print."""
    folder = model_folder()
    os.environ |= {
        "VGG_MODELS": "small",
        "VGG_MODEL_DIR": str(folder),
        "VGG_ON_MISSING_WEIGHTS": "untrained",
        "VGG_OFFLINE": "true",
        "VGG_MAX_BATCH_SIZE": str(_BATCH),
        "VGG_THREADS": "1",
        "VGG_LOG_LEVEL": "warning",
    }
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with cluster(2, 2) as running:
        running.connect()
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        limits = httpx.Limits(max_connections=None)
        with httpx.Client(base_url=url, timeout=60, limits=limits) as client, Client(url) as trying:
            measure_replicas(client)
            measure_kill(running, "a plain client", plain(client))
            measure_kill(running, "a client that tries again", retrying(trying))
            measure_redeploy(plain(client))
            measure_overhead(folder, url)


if __name__ == "__main__":
    main()
