"""Measure what a connection costs: `.venv/bin/python -m tests.measure_connection`.

Prints a server's processor time per request with uvicorn's two parsers and with our protocol on top
of the first, the least of five rounds (other work on the machine only adds), and the memory that an
idle connection takes with each.
"""

import multiprocessing
import os
import socket
import time
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from app.web.connection.protocol import Bounds, Connection

REQUESTS = 20_000
TURNS = 5
IDLE = 4000
BOUNDS = Bounds(header_bytes=32_768, header_seconds=600, idle_seconds=600, connections=IDLE + 96)
KINDS: dict[str, Any] = {
    "httptools": "httptools",
    "ours": partial(Connection, bounds=BOUNDS),
    "h11": "h11",
}
HELLO = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b'{"status":"alive"}'


async def answer(scope, receive, send):
    """Read the body and answer 200, without a framework."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def serve(kind, listener):
    """Serve with one kind of protocol until the process is terminated."""
    config = uvicorn.Config(
        answer, http=KINDS[kind], lifespan="off", log_level="error", proxy_headers=False
    )
    uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def server(kind):
    """Start a server of one kind and give its process id and address."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        context = multiprocessing.get_context("fork")
        process = context.Process(target=serve, args=(kind, listener))
        process.start()
        try:
            yield process.pid, listener.getsockname()
        finally:
            process.terminate()
            process.join()


def processor_seconds(pid):
    """Return the processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 (a line of the kernel)
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """Return the bytes of memory that a process holds."""
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123 (a line of the kernel)
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ask(connection, request, times):
    """Send a request several times, each after the previous answer."""
    for _ in range(times):
        connection.sendall(request)
        received = b""
        while not received.endswith(BODY):
            piece = connection.recv(4096)
            assert piece
            received += piece


def cost(kind, size):
    """Return the server's processor time per request (microseconds)."""
    request = (
        "POST /predict HTTP/1.1\r\nHost: localhost:8000\r\nAccept: */*\r\n"
        "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
        f"User-Agent: python-httpx/0.28.1\r\nContent-Length: {size}\r\n"
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode() + b"x" * size
    with server(kind) as (pid, address), socket.create_connection(address) as connection:
        ask(connection, request, REQUESTS // 10)
        before = processor_seconds(pid)
        ask(connection, request, REQUESTS)
        return 1e6 * (processor_seconds(pid) - before) / REQUESTS


def idle_cost(kind):
    """Return the memory of one idle connection (bytes)."""
    with server(kind) as (pid, address), socket.create_connection(address) as first:
        ask(first, HELLO, 100)
        before = resident(pid)
        connections = [socket.create_connection(address) for _ in range(IDLE)]
        ask(connections[-1], HELLO, 1)
        after = resident(pid)
        for connection in connections:
            connection.close()
    return (after - before) / IDLE


def main():
    """Measure all kinds, interleaved, and print a table."""
    began = time.monotonic()
    for size in (0, 60_000):
        rows: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(TURNS):
            for kind, row in rows.items():
                row.append(cost(kind, size))
        for kind, row in rows.items():
            print(f"{kind:10} {size:6} bytes of body {min(row):7.1f} us per request")  # noqa: T201
    for kind in KINDS:
        print(f"{kind:10} {idle_cost(kind) / 1000:7.1f} kB per idle connection")  # noqa: T201
    print(f"in {time.monotonic() - began:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
