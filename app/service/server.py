"""The service on a socket: from the settings to the exit status."""

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

from app.errors import KeysError
from app.machine import most_connections
from app.runtime.open_session import Session, open_session
from app.service.app import create_app
from app.service.drain import take_in
from app.service.settings import Settings
from app.serving.hosted_models import Models
from app.web.connection.bounds import Bounds
from app.web.connection.protocol import Connection
from app.web.keys import Keys

log = logging.getLogger(__name__)

_LAST_WORDS: Final = 0.25
"""Seconds between the close of the port and the close of the connections that ask for nothing."""

_PUBLIC: Final = (
    "anyone who can reach http://%s:%d may use it: set VGG_API_KEYS_FILE, or read SECURITY.md"
)


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM first says that it is not ready and goes on for a while."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_delay: float) -> None:
        """Take the app's state along.

        Args:
            config: uvicorn's.
            app: Whose state says that it drains.
            drain_delay: Seconds between the signal and the close of the port.
        """
        super().__init__(config)
        self._app = app
        self._drain_delay = drain_delay
        self._signalled = False
        self._impatient = False
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._watch: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second."""
        if self._signalled or self._event_loop is None:
            self._impatient = True
            super().handle_exit(sig, frame)
            return
        self._signalled = True
        # A signal may interrupt anything: the loop in its timers, the log in the middle of a line.
        self._event_loop.call_soon_threadsafe(self._drain, sig, frame)

    def _drain(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.draining.set()
        log.info("draining for %.1f s", self._drain_delay)
        asyncio.get_running_loop().call_later(self._drain_delay, self._close, sig, frame)

    def _close(self, sig: int, frame: FrameType | None) -> None:
        if not self._impatient:  # else a second signal has done it, and a third would not drain
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Bind, say where, and watch the models load."""
        await super().startup(sockets)
        self._event_loop = asyncio.get_running_loop()
        keys: Keys | None = self._app.state.keys
        if sockets is None:  # else whoever gave them does that
            announce([one for server in self.servers for one in server.sockets], keys)
        if keys is not None and hasattr(signal, "SIGHUP"):
            self._event_loop.add_signal_handler(signal.SIGHUP, read_again, keys)
        self._app.state.loading.add_done_callback(lambda _: self._stop_if_failed())
        self._watch = asyncio.create_task(self._stop_if_lost(), name="lost device")

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Close the port behind the last who has connected, and let everyone say what they want."""
        if self._app.state.draining.is_set() and not self._impatient:
            await take_in([listener for server in self.servers for listener in server.sockets])
            for server in self.servers:
                server.close()
            await asyncio.sleep(_LAST_WORDS)
        await super().shutdown(sockets)

    def _stop_if_failed(self) -> None:
        """Stop a server that cannot do what it was started for."""
        models: Models = self._app.state.models
        if any(model.state == "failed" for model in models.all().values()):
            self.should_exit = True

    async def _stop_if_lost(self) -> None:
        """Drain and stop once a GPU has failed for good: only a new process can use it."""
        models: Models = self._app.state.models
        await models.lost.wait()
        log.error("a GPU has failed for good: this process ends, to be started anew")
        self._app.state.draining.set()
        await asyncio.sleep(self._drain_delay)
        self.should_exit = True


def announce(listeners: Sequence[socket], keys: Keys | None) -> None:
    """Say where the service answers, and whom; each address once."""
    for host, port in dict.fromkeys(listener.getsockname()[:2] for listener in listeners):
        shown = f"[{host}]" if ":" in host else host
        log.info("http://%s:%d answers; its models are loading", shown, port)
        if keys is None and not ip_address(host).is_loopback:
            log.warning(_PUBLIC, shown, port)
    if keys is not None:
        log.info("%d API keys", len(keys))


def read_again(keys: Keys) -> bool:
    """Read the keys again and say so; tell whether the file was in order."""
    try:
        keys.read()
    except KeysError as exc:
        log.error("%s; the keys stay what they were", exc)
        return False
    log.info("%d API keys", len(keys))
    return True


def serve(settings: Settings, open_session: Callable[..., Session] = open_session) -> int:
    """Serve until a signal comes; return the exit status.

    Args:
        settings: All of them.
        open_session: Loads a serving graph; tests give another one.

    Raises:
        SetupError: If the service cannot be built.
    """
    app = create_app(settings, open_session)
    config = make_config(app, settings)
    server = Server(config, app, settings.drain_delay_ms / 1000)
    server.run()
    models: Models = app.state.models
    failed = any(model.state == "failed" for model in models.all().values())
    if models.lost.is_set():
        logging.shutdown()
        os._exit(1)  # what is left of CUDA may hang when it is taken down
    return 1 if failed or not server.started else 0


def make_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Say in uvicorn's words what is set."""
    bounds = Bounds(
        header_bytes=settings.max_header_bytes,
        header_seconds=settings.header_timeout_ms / 1000,
        idle_seconds=settings.idle_timeout_ms / 1000,
        connections=most_connections(settings.max_connections),
        count_refusal=app.state.metrics.connection_refused,
    )
    return uvicorn.Config(
        app,
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
