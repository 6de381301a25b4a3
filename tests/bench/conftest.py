"""A server whose answers a test scripts, and loads that end soon."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np

from app.bench.client import Outcome
from app.bench.loops import Load, LoadRun, Plan, Sample, run_load
from app.bench.raw import RawSessions, RawSummary
from app.bench.target import Picture, Target, make_target

Behave = Callable[[int, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nX-Batch-Size: 4\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 17\r\n\r\n"
    b'{"detail":"busy"}'
)


class Scripted:
    """Counts its connections, and answers the n-th request (from 1) as its script says."""

    def __init__(self, behave: Behave) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []
        self._behave = behave
        self._serving: set[asyncio.Task[None]] = set()

    def target(self, **options: Any) -> Target:
        picture = Picture("p", b"\xff\xd8pixels")
        return make_target(f"http://127.0.0.1:{self.port}", [picture], **options)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self._behave(len(self.requests), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._serving.discard(task)

    async def end(self) -> None:
        """Close every connection."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def scripted(behave: Behave | bytes) -> AsyncIterator[Scripted]:
    """Run a scripted server in this loop; bytes are the answer to everything."""

    async def same(_number: int, writer: asyncio.StreamWriter) -> None:
        assert isinstance(behave, bytes)
        writer.write(behave)

    server = Scripted(same if isinstance(behave, bytes) else behave)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.end()


@contextmanager
def scripted_elsewhere(behave: Behave | bytes) -> Iterator[Scripted]:
    """Run a scripted server in a thread of its own, for tests that block this one."""
    started = threading.Event()
    servers: list[tuple[Scripted, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        async with scripted(behave) as server:
            end = asyncio.Event()
            servers.append((server, asyncio.get_running_loop(), end))
            started.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    started.wait(10)
    server, loop, end = servers[0]
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)


async def run(server: Scripted, load: Load, **plan: Any) -> LoadRun:
    """Put a short load on a scripted server."""
    settings = {"seconds": 0.3, "warmup": 0.0, "timeout": 5.0} | plan
    short = Plan((load,), **settings)
    return await run_load(load, short, server.target())


def sample(
    due: float, took: float, status: int = 200, *, began: float | None = None, **headers: Any
) -> Sample:
    """Make up a request of a run; status 0 is one without an answer."""
    ended = due + took
    began = due if began is None else began
    failure = "" if status else "timed out"
    return Sample(due, began, Outcome(ended, failure, status, **headers))


def run_of(*samples: Sample, seconds: float = 10.0, **fields: Any) -> LoadRun:
    """Make up a run whose warm-up ends at 100 s."""
    return LoadRun(100.0, 100.0 + seconds, samples=list(samples), **fields)


class Session:
    """Records its name and the sizes of its batches in a list that all sessions share."""

    def __init__(self, name=None, log=None, device="cpu"):
        self.name, self.log, self.device = name, [] if log is None else log, device

    def run(self, batch):
        self.log.append((self.name, len(batch)))
        return np.zeros((len(batch), 1000), np.float32)


def raw_of(*rounds: Any, model: str = "m", trained: bool = True, device: str = "cpu") -> RawSummary:
    """Make up what was measured of session.run alone, on two threads."""
    sessions: Any = {way: Session(device=device) for way in rounds[0]}
    return RawSessions(model, 8, trained, 2, (1,), sessions).summarise(rounds)
