"""The service in one process: from the settings to the exit status."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from socket import socket
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from app.machine import most_connections
from app.runtime.open_session import Session, open_session
from app.service.app import create_app
from app.service.drain import accept_pending
from app.service.grpc_port import GrpcPort, check_grpc_port
from app.service.key_file import KeyFile, log_count
from app.service.listening import PUBLIC, bind_all, is_private, url_of
from app.service.settings import Settings
from app.serving.hosted_models import Models
from app.setup_errors import SetupError
from app.web.connection.protocol import Bounds, Connection
from app.web.keys import Keys

log = logging.getLogger(__name__)

GPU_LOST: Final = (
    "unrecoverable GPU failure, exiting with 1 so that a supervisor can restart the process"
)
_LAST_REQUESTS: Final = 0.25
"""Seconds between closing the port and closing idle connections."""
_READY: Final = 0.05
"""Seconds between two looks at the models while the port is to stay closed until they are ready."""


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM reports not ready and keeps answering for VGG_DRAIN_DELAY_MS.

    Attributes:
        failed: True once it stops for any reason but a signal.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        listeners: Sequence[socket],
        key_file: KeyFile | None = None,
        *,
        let_none_come: Callable[[], None] = lambda: None,
        announced: bool = True,
    ) -> None:
        """Translate the settings for uvicorn; nothing runs before `run`.

        Args:
            app: What answers.
            settings: All of them.
            listeners: Bound sockets.
            key_file: The file of API keys, if this process reads it.
            let_none_come: Called before the port closes.
            announced: Whether another process has logged the addresses.
        """
        bounds = Bounds(
            header_bytes=settings.max_header_bytes,
            header_seconds=settings.header_timeout_ms / 1000,
            idle_seconds=settings.idle_timeout_ms / 1000,
            connections=most_connections(settings.max_connections),
            count_refusal=app.state.metrics.connection_refused,
            refuse=app.state.refusals.answer,
        )
        config = uvicorn.Config(
            app,
            lifespan="on",  # "auto" would serve without models if their start raised
            http=partial(Connection, bounds=bounds),  # type: ignore[arg-type] # it is only called
            ws="none",
            proxy_headers=False,  # `create_app` decides whom to trust
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=bounds.idle_seconds,  # type: ignore[arg-type] # it is only added
            timeout_graceful_shutdown=settings.drain_timeout_ms / 1000,  # type: ignore[arg-type] # it is only waited for
        )
        super().__init__(config)
        self.failed = False
        self._state = app.state
        self._listeners = listeners
        self._when_ready = settings.listen == "ready"
        self._key_file = key_file
        self._let_none_come = let_none_come
        self._announced = announced
        self._rpc = GrpcPort(app, settings)
        self._drain_timeout = settings.drain_timeout_ms / 1000
        self._drain_delay = settings.drain_delay_ms / 1000
        self._signals = 0
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def status(self) -> int:
        """Return the exit status of a server that has stopped."""
        return 0 if self.started and not self.failed else 1

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second."""
        self._signals += 1
        if self._signals > 1 or self._event_loop is None:
            super().handle_exit(sig, frame)
        else:  # a signal may interrupt anything: the loop's timers, the log in the middle of a line
            self._event_loop.call_soon_threadsafe(self._drain, sig, frame)

    def _drain(self, sig: int, frame: FrameType | None) -> None:
        models: Models = self._state.models
        self._state.draining.set()
        # A service that was never ready gets no requests from a load balancer.
        delay = self._drain_delay if models.ready or models.loaded else 0.0
        log.info("draining: the port closes in %.1f s", delay)
        asyncio.get_running_loop().call_later(delay, self._close, sig, frame)

    def _close(self, sig: int, frame: FrameType | None) -> None:
        if self._signals == 1:  # otherwise the second signal has closed the port already
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket] | None = None) -> None:  # noqa: ARG002 (uvicorn's)
        """Listen, now or once the models are ready, and watch the models load.

        Raises:
            SetupError: If an address was taken meanwhile.
        """
        await super().startup(sockets=[])  # the app alone
        self._event_loop = asyncio.get_running_loop()
        work = [self._stop_if_lost()]
        if self._when_ready:
            work.append(self._listen_when_ready())
        else:
            await self._listen()
        if self._key_file is not None:
            work.append(self._key_file.watch())
            if hasattr(signal, "SIGHUP"):
                self._event_loop.add_signal_handler(signal.SIGHUP, self._key_file.read)
        self._state.loading.add_done_callback(self._stop_if_failed)
        self._tasks = [asyncio.create_task(one) for one in work]
        for task in self._tasks:
            task.add_done_callback(self._stop_if_broken)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Accept every pending connection, close the port, and answer the last requests."""
        for task in self._tasks:
            task.cancel()
        self._let_none_come()
        if self.servers and self._state.draining.is_set() and self._signals <= 1:
            await accept_pending([one for server in self.servers for one in server.sockets])
            for server in self.servers:
                server.close()
            await asyncio.sleep(_LAST_REQUESTS)
        began = asyncio.get_running_loop().time()
        await self._stop_rpc()
        spent = asyncio.get_running_loop().time() - began
        left = max(0.0, self._drain_timeout - spent)
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment] # it is only waited for
        await super().shutdown(sockets)
        for listener in self._listeners:
            listener.close()

    async def _stop_rpc(self) -> None:
        """Let calls of gRPC end, within the time to drain; at a second signal at once."""
        stopping = asyncio.create_task(self._rpc.stop(self._drain_timeout))
        while not stopping.done() and not self.force_exit:
            await asyncio.wait({stopping}, timeout=_READY)
        await self._rpc.stop(0)
        await stopping

    async def _listen(self) -> None:
        """Accept connections, as uvicorn would."""
        make = partial(
            self.config.http_protocol_class,  # type: ignore[call-arg] # of uvicorn's own kinds
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        loop, backlog = asyncio.get_running_loop(), self.config.backlog
        for listener in self._listeners:
            try:
                server = await loop.create_server(make, sock=listener, backlog=backlog)
            except OSError as exc:
                url = url_of(listener)
                raise SetupError(f"VGG_HOST, VGG_PORT: cannot listen on {url}: {exc}.") from exc
            self.servers.append(server)
        if not self._announced:
            announce(self._listeners, self._state.keys, loading=not self._when_ready)
        await self._rpc.start(announced=self._announced)

    async def _listen_when_ready(self) -> None:
        models: Models = self._state.models
        while not models.ready:  # noqa: ASYNC110 (in a front, messages of the owner make them ready)
            await asyncio.sleep(_READY)
        await self._listen()

    def _stop_if_broken(self, task: asyncio.Task[None]) -> None:
        """Stop a server that cannot listen, or does not know what happens to its models."""
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, SetupError):
                log.error("%s", error)
            else:
                log.error("unhandled exception, exiting with 1", exc_info=error)
            self.failed = self.should_exit = True

    def _stop_if_failed(self, loading: asyncio.Task[None]) -> None:
        """Stop a server whose models cannot be used."""
        if loading.cancelled():
            return
        if error := loading.exception():
            log.error("unhandled exception while loading models, exiting with 1", exc_info=error)
        models: Models = self._state.models
        if error or models.failed:
            self.failed = self.should_exit = True

    async def _stop_if_lost(self) -> None:
        """Drain and stop once a GPU has failed for good: only a new process can use it."""
        models: Models = self._state.models
        await models.lost.wait()
        self.failed = True
        log.error(GPU_LOST)
        self._state.draining.set()
        await asyncio.sleep(self._drain_delay)
        self.should_exit = True


def announce(listeners: Sequence[socket], keys: Keys | None, *, loading: bool) -> None:
    """Log each address, and who may use it."""
    for listener in listeners:
        url = url_of(listener)
        log.info("listening on %s%s", url, " (models still loading)" if loading else "")
        if keys is None and not is_private(listener):
            log.warning(PUBLIC, url)
    if keys is not None:
        log_count(keys)


def serve(settings: Settings, open_session: Callable[..., Session] = open_session) -> int:
    """Serve until a signal comes; return the exit status.

    Raises:
        SetupError: If the service cannot be built, or its address is taken or not of this machine.
    """
    check_grpc_port(settings)
    app = create_app(settings, open_session)
    where = (settings.host, settings.port, settings.uds, int(settings.uds_mode, 8))
    [listeners], let_none_come = bind_all(*where)
    keys: Keys | None = app.state.keys
    key_file = None if keys is None else KeyFile(keys)
    server = Server(
        app, settings, listeners, key_file, let_none_come=let_none_come, announced=False
    )
    try:
        server.run()
    finally:
        let_none_come()  # after a start that failed
    exit_if_lost(app.state.models)
    return server.status


def exit_if_lost(models: Models) -> None:
    """Exit with 1 at once if a GPU is lost: what is left of CUDA may hang when it is torn down."""
    if models.lost.is_set():
        logging.shutdown()
        os._exit(1)
