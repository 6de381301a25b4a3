"""Servers with front processes: which they are, and a connection to each."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.conftest import RunningServer, running_server
from tests.e2e.wire import Wire, wire_to


def fronts_of(server: RunningServer) -> set[int]:
    """Return the process ids of its fronts."""
    owner = server.process.pid
    return {int(pid) for pid in Path(f"/proc/{owner}/task/{owner}/children").read_text().split()}


def front_at(wire: Wire, server: RunningServer) -> int | None:
    """Return the process that has accepted a connection; None while nobody has."""
    port = f":{wire.socket.getsockname()[1]:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    inodes = {fields[9] for line in lines if (fields := line.split())[2].endswith(port)}
    for front in fronts_of(server):
        for descriptor in Path(f"/proc/{front}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except FileNotFoundError:  # it was the folder's own
                continue
            if target.startswith("socket:[") and target[8:-1] in inodes:
                return front
    return None


@contextmanager
def a_wire_to_each(server: RunningServer) -> Iterator[dict[int, Wire]]:
    """Connect to each front: connections are spread by chance, so try until all are met."""
    with ExitStack() as opened:
        wires: dict[int, Wire] = {}
        for _ in range(200):
            wire = opened.enter_context(wire_to(server.url))
            wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            wire.answer()
            front = front_at(wire, server)
            if front is not None:  # the kernel's list may miss a line while others come and go
                wires.setdefault(front, wire)
            if set(wires) == fronts_of(server):
                break
        yield wires


@contextmanager
def fronted_server(model_dir: Path, **settings: str) -> Iterator[RunningServer]:
    """Start a service with two fronts, and wait until both know that the model is ready."""
    settings = {"models": "colours", "front_processes": "2"} | settings
    with running_server(model_dir, **settings) as server:  # type: ignore[arg-type] # names
        with a_wire_to_each(server) as wires:
            for wire in wires.values():
                wait_ready(wire)
        yield server


def wait_ready(wire: Wire) -> None:
    """Ask until the front at the other end is ready."""
    for _ in range(2000):
        wire.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        if wire.answer().status == httpx.codes.OK:
            return
    raise TimeoutError
