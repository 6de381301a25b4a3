"""The front processes: started, replaced when they end, told to end."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from app.errors import SetupError
from app.service.drain import let_in
from app.service.fronts.owner_side import Front, OwnerSide
from app.service.fronts.shared_memory import Layout, allocate

_PAUSE: Final = 1.0
"""Seconds before another front is started in the place of one that could not serve."""

log = logging.getLogger(__name__)


def listen(host: str, port: int, count: int, backlog: int) -> list[socket.socket]:
    """Return as many sockets of one port, among which the kernel spreads connections.

    Each front has its own, and the owner keeps it for the front that takes its place: whoever
    connects in between waits. With one for all, the first to wake would take in everyone.

    Args:
        host: Address to listen on.
        port: 0 takes a free one.
        count: How many.
        backlog: Connections that may wait in each.

    Raises:
        SetupError: If the address is taken, be it by another service like this one.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address[:2], family=family) as probe:
            address = probe.getsockname()
        return [
            socket.create_server(address[:2], family=family, backlog=backlog, reuse_port=True)
            for _ in range(count)
        ]
    except OSError as exc:
        raise SetupError(f"VGG_HOST, VGG_PORT: cannot listen on {host}, {port}: {exc}") from exc


class Keeper:
    """As many fronts as there are listeners, until they shall end.

    Attributes:
        serving: Set once each of them has been seen to serve.
    """

    def __init__(
        self,
        hub: OwnerSide,
        shape: Layout,
        listeners: Sequence[socket.socket],
        keys: int | None = None,
    ) -> None:
        """Start nothing before `run`.

        Args:
            hub: Talks with them.
            shape: Of the memory that each shares with the owner.
            listeners: One for each.
            keys: Descriptor of a file with the keys, if there are any.
        """
        self.serving = asyncio.Event()
        self._hub = hub
        self._shape = shape
        self._listeners = listeners
        self._starting = len(listeners)
        self._keys = keys
        self._processes: dict[asyncio.subprocess.Process, Front | None] = {}
        self._ending = False

    async def run(self) -> None:
        """Return once they have ended, as they should.

        Raises:
            SetupError: If one cannot start.
        """
        try:
            await asyncio.gather(*[self._keep(listener) for listener in self._listeners])
        finally:
            self.kill()

    def end(self) -> None:
        """Replace none any more, and leave the port to them."""
        self._ending = True
        for listener in self._listeners:
            listener.close()

    def signal(self, number: int) -> None:
        """Send a signal to each."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def read_keys(self) -> None:
        """Have those that serve read the keys again; the others have not read them yet."""
        for process, front in self._processes.items():
            if front is not None and front.started.is_set():
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End them at once."""
        self.signal(signal.SIGKILL)

    async def _keep(self, listener: socket.socket) -> None:
        while not self._ending:
            let_in(listener)  # a front that was told to end has closed it to newcomers
            status, started = await self._attend(listener)
            await self._judge(status, started=started)

    async def _judge(self, status: int, *, started: bool) -> None:
        """Say what the end of a front means.

        Raises:
            SetupError: If fronts cannot start here.
        """
        if self._ending:
            return
        if not self.serving.is_set():
            raise SetupError(f"A front process ended with {status} before all could serve.")
        log.error("a front process has ended with %d: another one takes its place", status)
        if not started:
            await asyncio.sleep(_PAUSE)

    async def _attend(self, listener: socket.socket) -> tuple[int, bool]:
        """Start a front and stay with it to its end; return its status and whether it served."""
        block = allocate(self._shape)
        images, their_images = socket.socketpair()
        words, their_words = socket.socketpair()
        passed = [listener.fileno(), block, their_images.fileno(), their_words.fileno()]
        passed += [] if self._keys is None else [self._keys]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.service.front", *map(str, passed)),
            pass_fds=passed,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the owner, which tells them
        )
        self._processes[process] = None
        if self._ending:  # a signal has come in between
            process.terminate()
        their_images.close()
        their_words.close()
        front = self._processes[process] = await self._hub.connect(block, images, words)
        os.close(block)
        serving = asyncio.create_task(self._note(front.started))
        await self._hub.serve(front)
        status = await process.wait()
        del self._processes[process]
        serving.cancel()
        return status, front.started.is_set()

    async def _note(self, started: asyncio.Event) -> None:
        await started.wait()
        self._starting -= 1
        if self._starting == 0:
            self.serving.set()
