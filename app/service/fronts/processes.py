"""The front processes: started, replaced when they end, stopped in the end."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Final

from app.service.drain import accept_new
from app.service.fronts.owner_side import OwnerSide
from app.service.fronts.shared_memory import Layout, allocate
from app.setup_errors import SetupError

_PAUSE: Final = 1.0
"""Seconds before a front that could not serve is replaced."""
_MOST_FAILURES: Final = 5
"""Fronts in a row that cannot serve at one set of sockets, after which the service ends."""

log = logging.getLogger(__name__)


class FrontProcesses:
    """One front process for each set of listening sockets, replaced when it ends.

    Each front has its own sockets, over which the kernel spreads connections, and the owner keeps
    them for the next front: a client that connects in between waits. With one socket for all, the
    first front to wake would accept everything.

    Attributes:
        serving: Set once every front serves for the first time.
    """

    def __init__(
        self,
        listeners: Sequence[Sequence[socket.socket]],
        owner_side: OwnerSide,
        layout: Layout,
    ) -> None:
        """Start nothing before `run`; each front shares a memory of this layout with the owner."""
        self.serving = asyncio.Event()
        self._listeners = listeners
        self._owner_side = owner_side
        self._layout = layout
        self._starting = len(listeners)
        self._processes: set[asyncio.subprocess.Process] = set()
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Start the fronts; return once they have ended after `end`.

        Raises:
            SetupError: If one cannot start.
        """
        try:
            await asyncio.gather(*[self._keep(listeners) for listeners in self._listeners])
        finally:
            self.signal(signal.SIGKILL)

    def end(self, patience: float) -> None:
        """Replace no front from now on, and kill those that still run after `patience` seconds."""
        self._ending.set()
        for listener in chain.from_iterable(self._listeners):
            listener.close()  # the fronts that run keep theirs
        asyncio.get_running_loop().call_later(patience, self.signal, signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to each front."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, listeners: Sequence[socket.socket]) -> None:
        """Run a front at its sockets, and another one each time it ends.

        Raises:
            SetupError: If fronts cannot start: the kernel sends clients to these sockets too, and
                they would wait for ever.
        """
        failures = 0
        while not self._ending.is_set():
            for listener in listeners:
                accept_new(listener)  # a front that drains refuses new connections
            status, started = await self._run_one(listeners)
            if self._ending.is_set():
                return
            failures = 0 if started else failures + 1
            if not self.serving.is_set() or failures == _MOST_FAILURES:
                raise SetupError(
                    f"A front process ended with status {status} before it could serve;"
                    " the lines above say why."
                )
            log.error("a front process ended with status %d, starting another one", status)
            if not started:
                await asyncio.sleep(_PAUSE)

    async def _run_one(self, listeners: Sequence[socket.socket]) -> tuple[int, bool]:
        """Run a front to its end; return its exit status and whether it served."""
        memory = allocate(self._layout)
        images, their_images = socket.socketpair()
        messages, their_messages = socket.socketpair()
        shared = [memory, their_images.fileno(), their_messages.fileno()]
        ports = [listener.fileno() for listener in listeners]
        passed = [*shared, *ports]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.service.front_process", *map(str, passed)),
            pass_fds=passed,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # the owner handles Ctrl-C and signals the fronts
        )
        self._processes.add(process)
        if self._ending.is_set():  # since before the process was listed
            process.terminate()
        their_images.close()
        their_messages.close()
        front = await self._owner_side.connect(memory, images, messages)
        os.close(memory)
        front.started.add_done_callback(self._count_start)
        await self._owner_side.serve(front)
        status = await process.wait()
        self._processes.remove(process)
        return status, front.started.done()

    def _count_start(self, _started: asyncio.Future[None]) -> None:
        self._starting -= 1
        if self._starting == 0:
            self.serving.set()
