"""Measure what a request costs the host, with runs that take no time: `python -m tests.measure_host`.

Prints, for each way to decode, the requests per second of a server that has one core to itself, with
the load from another, and the processor time per request in the process that speaks HTTP. With
decoding in other processes that time is nearly all Python, which runs in one thread at a time, and
so limits one process on any number of cores; the requests per second say how many cores a GPU needs.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx

from app.weights.manifests.catalog import BUILT_IN
from tests.conftest import REPOSITORY

_TICKS = os.sysconf("SC_CLK_TCK")
_SECONDS = 8
_ROUNDS = 3


def seconds_of(process: int) -> float:
    """Return the processor time of a process, its threads included."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def model_folder() -> Path:
    """Make a model with VGG's input and classes, and without weights; it is never run."""
    folder = Path(tempfile.mkdtemp())
    manifest = (BUILT_IN / "vgg11.toml").read_text()
    small = '{configuration = "A", width = 0.0625, hidden = [64, 64]}'
    manifest = manifest.replace('architecture = "vgg11"', f"architecture = {small}")
    (folder / "small.toml").write_text(manifest.replace('"vgg11"', '"small"'))
    return folder


@contextmanager
def instant_server(
    folder: Path, cores: set[int], **settings: object
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a server on these cores whose runs take no time; give its URL and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    all_settings = {
        "port": port,
        "models": "small",
        "model_dir": folder,
        "on_missing_weights": "untrained",
        "offline": "true",
        "max_batch_size": 64,
        "queue_budget_ms": 60_000,
        "drain_delay_ms": 0,
    } | settings
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.instant"],
        cwd=REPOSITORY,
        env=os.environ
        | {f"VGG_{name.upper()}": str(value) for name, value in all_settings.items()},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 (no threads yet)
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_ready(f"{url}/readyz")
        yield url, server
    finally:
        server.terminate()
        server.wait(30)


def measure(folder: Path, isolation: str, sizes: str, cores: set[int]) -> tuple[float, ...]:
    """Load a server on these cores from the last one.

    Returns:
        Requests per second; milliseconds per request in the process that speaks HTTP.
    """
    settings = {"decode_isolation": isolation, "decode_threads": len(cores)}
    with instant_server(folder, cores, **settings) as (url, server):
        arguments = f"-c 32 --seconds {_SECONDS} --repeats 1 --warmup 2 --sizes {sizes}".split()
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            load = subprocess.Popen(
                [sys.executable, "-m", "app", "bench", url, *arguments, "--json", file.name],
                cwd=REPOSITORY,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),  # noqa: PLW1509
            )
            before = seconds_of(server.pid)
            if load.wait(120):
                raise RuntimeError("vgg-serve bench failed")
            report = json.loads(Path(file.name).read_text())
        point = report["points"][0]["median"]
        requests = httpx.get(f"{url}/metrics").text
        total = sum(
            float(line.split()[-1])
            for line in requests.splitlines()
            if line.startswith("vgg_requests_total") and 'code="200"' in line
        )
        return point["goodput"], 1000 * (seconds_of(server.pid) - before) / total


def wait_ready(url: str) -> None:
    """Ask until the server is ready."""
    for _ in range(100):
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError(url)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    folder = model_folder()
    cores = sorted(os.sched_getaffinity(0))
    say(f"{len(cores)} cores; server on the first, generator on the last; medians of {_ROUNDS}")
    say("| photo | decoded in | requests/s of one core | ms of the HTTP process |")
    say("|---|---|---|---|")
    for sizes in ("500x375:8", "224x224:8"):
        for isolation in ("thread", "process"):
            rounds = [measure(folder, isolation, sizes, {cores[0]}) for _ in range(_ROUNDS)]
            rate, own = (median(column) for column in zip(*rounds, strict=True))
            say(f"| {sizes} | {isolation} | {rate:.0f} | {own:.2f} |")


if __name__ == "__main__":
    main()
