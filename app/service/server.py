"""The service in one process: from the settings to the exit status."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from socket import socket
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from app.errors import KeysError, SetupError
from app.machine import most_connections
from app.runtime.open_session import Session, open_session
from app.service.app import create_app
from app.service.drain import accept_pending
from app.service.settings import Settings
from app.serving.hosted_models import Models
from app.web.connection.protocol import Bounds, Connection
from app.web.keys import Keys

log = logging.getLogger(__name__)

GPU_LOST: Final = (
    "unrecoverable GPU failure, exiting with 1 so that a supervisor can restart the process"
)
_LAST_REQUESTS: Final = 0.25
"""Seconds between closing the port and closing idle connections."""
_PUBLIC: Final = "anyone who can reach http://%s:%d may use this service: set VGG_API_KEYS_FILE, or read SECURITY.md"


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM reports not ready and keeps answering for VGG_DRAIN_DELAY_MS.

    Attributes:
        failed: True once it stops for any reason but a signal.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        """Translate the settings for uvicorn; nothing runs before `run`."""
        bounds = Bounds(
            header_bytes=settings.max_header_bytes,
            header_seconds=settings.header_timeout_ms / 1000,
            idle_seconds=settings.idle_timeout_ms / 1000,
            connections=most_connections(settings.max_connections),
            count_refusal=app.state.metrics.connection_refused,
        )
        config = uvicorn.Config(
            app,
            lifespan="on",  # "auto" would serve without models if their start raised
            http=partial(Connection, bounds=bounds),  # type: ignore[arg-type] # it is only called
            ws="none",
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=bounds.idle_seconds,  # type: ignore[arg-type] # it is only added
            timeout_graceful_shutdown=settings.drain_timeout_ms / 1000,  # type: ignore[arg-type] # it is only waited for
        )
        super().__init__(config)
        self.failed = False
        self._state = app.state
        self._drain_delay = settings.drain_delay_ms / 1000
        self._signals = 0
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._watch: asyncio.Task[None] | None = None

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
        self._state.draining.set()
        log.info("draining: the port closes in %.1f s", self._drain_delay)
        asyncio.get_running_loop().call_later(self._drain_delay, self._close, sig, frame)

    def _close(self, sig: int, frame: FrameType | None) -> None:
        if self._signals == 1:  # otherwise the second signal has closed the port already
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen, and watch the models load.

        Raises:
            SetupError: If the port is taken, or the address is not of this machine.
        """
        try:
            await super().startup(sockets)
        except SystemExit as exc:  # uvicorn has logged the system's reason
            host, port = self.config.host, self.config.port
            raise SetupError(f"VGG_HOST, VGG_PORT: cannot listen on {host}, {port}.") from exc
        self._event_loop = asyncio.get_running_loop()
        if sockets is None:  # the owner of a front announces its sockets and reads the keys
            keys: Keys | None = self._state.keys
            announce([one for server in self.servers for one in server.sockets], keys)
            if keys is not None and hasattr(signal, "SIGHUP"):
                self._event_loop.add_signal_handler(signal.SIGHUP, reload_keys, keys)
        self._state.loading.add_done_callback(self._stop_if_failed)
        self._watch = asyncio.create_task(self._stop_if_lost(), name="lost device")

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Accept every pending connection, close the port, and answer the last requests."""
        if self._state.draining.is_set() and self._signals <= 1:
            await accept_pending([one for server in self.servers for one in server.sockets])
            for server in self.servers:
                server.close()
            await asyncio.sleep(_LAST_REQUESTS)
        await super().shutdown(sockets)

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


def announce(listeners: Sequence[socket], keys: Keys | None) -> None:
    """Log each address once, and who may use it."""
    for host, port in dict.fromkeys(listener.getsockname()[:2] for listener in listeners):
        shown = f"[{host}]" if ":" in host else host
        log.info("listening on http://%s:%d (models still loading)", shown, port)
        if keys is None and not ip_address(host).is_loopback:
            log.warning(_PUBLIC, shown, port)
    if keys is not None:
        log.info("%d API keys loaded", len(keys))


def reload_keys(keys: Keys) -> None:
    """Read the file of API keys again, and log what came of it."""
    try:
        keys.read()
    except KeysError as exc:
        log.error("%s; keeping the previous keys", exc)
    else:
        log.info("%d API keys loaded", len(keys))


def serve(settings: Settings, open_session: Callable[..., Session] = open_session) -> int:
    """Serve until a signal comes; return the exit status.

    Raises:
        SetupError: If the service cannot be built.
    """
    app = create_app(settings, open_session)
    server = Server(app, settings)
    server.run()
    exit_if_lost(app.state.models)
    return server.status


def exit_if_lost(models: Models) -> None:
    """Exit with 1 at once if a GPU is lost: what is left of CUDA may hang when it is torn down."""
    if models.lost.is_set():
        logging.shutdown()
        os._exit(1)
