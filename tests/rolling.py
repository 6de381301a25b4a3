"""A rolling upgrade behind nginx: replicas restart one after the other while clients post photos.

python -m tests.rolling [ROUNDS] [PHOTOS]    prints the photos posted, the restarts, and the answers by status.

Each round restarts both replicas: SIGTERM, wait for the end, start, wait until it listens, which with
VGG_LISTEN=ready means that it is ready.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.conftest import REPOSITORY, png, write_colours
from tests.nginx import free_ports, nginx

_CLIENTS = 4


def start(port: int, models: Path) -> subprocess.Popen[bytes]:
    """Start a replica."""
    settings = {
        "VGG_PORT": str(port),
        "VGG_MODEL_DIR": str(models),
        "VGG_MODELS": "colours",
        "VGG_LISTEN": "ready",
        "VGG_TRUSTED_PROXIES": "127.0.0.1",
        "VGG_LOG_LEVEL": "warning",
    }
    variables = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")} | settings
    return subprocess.Popen([sys.executable, "-m", "app", "serve"], cwd=REPOSITORY, env=variables)


def wait_ready(port: int) -> None:
    """Ask until the replica is ready."""
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:  # it does not listen yet
            time.sleep(0.05)


def roll(folder: Path, rounds: int, photos: int) -> Counter[str]:
    """Post photos through nginx until every round is over, at least `photos`; count the answers."""
    models, place = folder / "models", folder / "nginx"
    models.mkdir()
    place.mkdir()
    write_colours(models)
    ports = free_ports(2)
    replicas = {port: start(port, models) for port in ports}
    counts: Counter[str] = Counter()
    over = threading.Event()

    def post(url: str) -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set() or counts.total() < photos:
                try:
                    said = str(client.post(f"{url}/predict", content=png()).status_code)
                except httpx.TransportError as exc:
                    said = type(exc).__name__
                counts[said] += 1

    try:
        for port in ports:
            wait_ready(port)
        with nginx(place, ports) as url, ThreadPoolExecutor(_CLIENTS) as clients:
            posting = [clients.submit(post, url) for _ in range(_CLIENTS)]
            try:
                for _ in range(rounds):
                    for port in ports:
                        replicas[port].send_signal(signal.SIGTERM)
                        replicas[port].wait(60)
                        replicas[port] = start(port, models)
                        wait_ready(port)
            finally:
                over.set()
            for one in posting:
                one.result()
    finally:
        for process in replicas.values():
            process.terminate()
            process.wait(60)
    return counts


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]] or [3, 2000]
    with tempfile.TemporaryDirectory() as name:
        answers = roll(Path(name), *given)
    sys.stdout.write(
        f"{answers.total()} photos, {given[0]} restarts of each replica: {dict(answers)}\n"
    )
