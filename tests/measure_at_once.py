"""How many photos a client may have under way.

`python -m tests.measure_at_once`: the device is a fake whose runs take 0.3 s, so that the figures are those of the queue and not of the machine. It prints,
for each number of clients that post without a pause, the answers per second, the waits and the refusals.
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

from app.service.server import serve
from app.service.settings import Settings
from tests.conftest import FakeSession, png, write_colours
from tests.nginx import free_ports

_RUN = 0.3
_SECONDS = 6.0


class SlowSession(FakeSession):
    """A device whose runs take the same time, whatever their size."""

    def run(self, batch):
        time.sleep(_RUN)  # a device that computes
        return super().run(batch)


def load(url: str, clients: int) -> tuple[list[float], int]:
    """Post from some clients; return the seconds of each 200, and the number of 503."""
    waits: list[float] = []
    refused = 0
    end = time.monotonic() + _SECONDS

    def post() -> None:
        nonlocal refused
        with httpx.Client(timeout=60) as client:
            while (began := time.monotonic()) < end:
                answer = client.post(f"{url}/predict", content=png())
                if answer.status_code == httpx.codes.OK:
                    waits.append(time.monotonic() - began)
                else:
                    refused += 1
                    time.sleep(float(answer.headers["retry-after"]))  # as it is asked to

    threads = [threading.Thread(target=post) for _ in range(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return waits, refused


def main() -> None:
    """Start a server, and load it with more and more clients."""
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory() as name:
        write_colours(Path(name))
        given = [sys.executable, "-m", "tests.measure_at_once", str(port), name]
        server = subprocess.Popen(given)
        url = f"http://127.0.0.1:{port}"
        try:
            while (
                httpx.Client(transport=httpx.HTTPTransport(retries=30))
                .get(f"{url}/readyz")
                .is_error
            ):
                time.sleep(0.1)
            batching = httpx.get(f"{url}/models/colours").json()["batching"]
            sys.stdout.write(f"{batching}\n")
            for clients in (1, 2, 4, 8, 12, 16, 24, 32, 48):
                waits, refused = load(url, clients)
                sys.stdout.write(
                    f"{clients:3} clients: {len(waits) / _SECONDS:5.1f} per second,"
                    f" median {statistics.median(waits):.2f} s, {refused} times 503\n"
                )
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        settings = Settings(
            port=int(sys.argv[1]),
            model_dir=Path(sys.argv[2]),
            models=("colours",),
            max_batch_size=4,
        )
        sys.exit(serve(settings, SlowSession().open))  # type: ignore[arg-type] # a fake
    main()
