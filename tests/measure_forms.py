"""What the short way through a plain form saves: `python -m tests.measure_forms`.

Prints the microseconds in which each way finds the file of a small form. Then it posts the same
photo to one server in two forms by turns: as clients send it, and with one more header in its part,
which only `app.web.forms` reads. Prints requests per second for each, with the server on one core,
and the processor time per request of the process that speaks HTTP.
"""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from statistics import median
from timeit import repeat as repeat_timing
from urllib.parse import urlsplit

from app.bench.target import make_pictures
from app.web.forms import find_file
from app.web.predict import only_file
from tests.e2e.wire import request
from tests.measure_host import instant_server, model_folder, say, seconds_of

CLIENTS = 16
SECONDS = 2.0
ROUNDS = 9
HEADERS = {"plain": "", "one more header": "Content-Transfer-Encoding: binary\r\n"}
"""What each form has in its part beside the headers that every client sends."""


def form(photo: bytes, more: str) -> bytes:
    """Return the request that posts a photo in a form."""
    head = (
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n{more}\r\n"
    )
    body = head.encode() + photo + b"\r\n--x--\r\n"
    return request("POST", "/predict", body, content_type="multipart/form-data; boundary=x")


def post(port: int | None, data: bytes, end: float) -> int:
    """Post again and again until the end; return how often it was answered with 200."""
    answered = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = connection.makefile("rb")
        while time.monotonic() < end:
            connection.sendall(data)
            head = b"".join(iter(lines.readline, b"\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(head)
            lines.read(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
            answered += 1
    return answered


def load(pid: int, port: int | None, data: bytes) -> tuple[float, float]:
    """Return requests per second, and microseconds of processor time per request."""
    used, began = seconds_of(pid), time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        end = began + SECONDS
        total = sum(pool.map(post, repeat(port, CLIENTS), repeat(data), repeat(end)))
    return total / (time.monotonic() - began), 1e6 * (seconds_of(pid) - used) / total


def main() -> None:
    """Measure all in turns and print a table."""
    body = form(bytes(2000), "").partition(b"\r\n\r\n")[2]
    for read in (only_file, find_file):
        once = partial(read, "multipart/form-data; boundary=x", body)
        best = min(repeat_timing(once, number=1000))
        say(f"{read.__name__}: {1e3 * best:.1f} us")
    folder, cores = model_folder(), sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    say("| photo | decoded in | form | requests per second | us per request |")
    say("|---|---|---|---|---|")
    for size in ("224x224", "500x375"):
        [photo] = make_pictures(f"{size}:1")
        for isolation in ("thread", "process"):
            rows: dict[str, list[tuple[float, float]]] = {name: [] for name in HEADERS}
            settings = {
                "decode_isolation": isolation,
                "decode_threads": 1,
                "queue_budget_ms": 600_000,
                "deadline_ms": 600_000,
            }
            with instant_server(folder, {cores[0]}, **settings) as (url, server):
                for _ in range(ROUNDS):
                    for name, more in HEADERS.items():
                        rows[name].append(
                            load(server.pid, urlsplit(url).port, form(photo.data, more))
                        )
            for name, row in rows.items():
                rate, own = (median(column) for column in zip(*row, strict=True))
                say(f"| {size} | {isolation} | {name} | {rate:.0f} | {own:.0f} |")


if __name__ == "__main__":
    main()
