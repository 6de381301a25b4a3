"""The port of gRPC, if the settings name one: it needs the extra `grpc`, which is imported here alone."""

import importlib
import logging
import os
import sys
from ipaddress import ip_address
from typing import Any, Final

from fastapi import FastAPI

from app.machine import most_connections
from app.service.listening import PUBLIC, addresses_of, bind
from app.service.settings import Settings
from app.setup_errors import SetupError

log = logging.getLogger(__name__)

_SPOKEN: Final = "gRPC is spoken on %s"
_MODULE: Final = "app.web.protocols.oip.rpc.listener"


def check_grpc_port(settings: Settings) -> None:
    """Check that gRPC can be spoken and that nobody else listens on its port.

    Raises:
        SetupError: If not.
    """
    if settings.grpc_port is None:
        return
    _load()
    if settings.front_processes and not settings.grpc_port:
        raise SetupError(
            "VGG_GRPC_PORT is 0, a free port, which the VGG_FRONT_PROCESSES would each choose for"
            " themselves: name a port."
        )
    if settings.uds is None and settings.grpc_port == settings.port != 0:
        raise SetupError("VGG_GRPC_PORT is VGG_PORT, where HTTP is spoken: name another port.")
    for listener in bind(settings.host, settings.grpc_port, setting="VGG_GRPC_PORT")[0]:
        listener.close()


def announce_grpc(settings: Settings) -> None:
    """Log the addresses of a port that other processes listen on."""
    for address in addresses_of(settings.host) if settings.grpc_port else ():
        _announce(f"{address}:{settings.grpc_port}", settings)


def _announce(address: str, settings: Settings) -> None:
    log.info(_SPOKEN, address)
    host = ip_address(address.rpartition(":")[0].strip("[]"))
    if settings.api_keys_file is None and not host.is_loopback:
        log.warning(PUBLIC, address)


class GrpcPort:
    """A server of gRPC, not started before `start`; without a port there is none."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._listener: Any = None

    async def start(self, *, announced: bool) -> None:
        """Listen, and log each address unless another process has `announced` them.

        Raises:
            SetupError: If an address was taken meanwhile.
        """
        settings = self._settings
        if settings.grpc_port is None:
            return
        module = _load()
        limits = module.RpcLimits(
            message_bytes=settings.max_body_bytes,
            all_bytes=settings.all_upload_bytes,
            header_bytes=settings.max_header_bytes,
            connections=most_connections(settings.max_connections),
            idle_seconds=settings.idle_timeout_ms / 1000,
        )
        listener = module.Listener(self._app, limits, shared=settings.front_processes > 0)
        try:
            opened = await listener.start(addresses_of(settings.host), settings.grpc_port)
        except RuntimeError as exc:
            raise SetupError(
                f"VGG_GRPC_PORT: cannot listen on {settings.host}, {settings.grpc_port}."
            ) from exc
        self._listener = listener
        for address in () if announced else opened:
            _announce(address, settings)

    async def stop(self, seconds: float) -> None:
        """Refuse new calls, and give those that run so many seconds."""
        if self._listener is not None:
            await self._listener.stop(seconds)


def _load() -> Any:  # noqa: ANN401 (a module that is there with the extra alone)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # clients' mistakes, in lines that are no JSON
    try:
        return importlib.import_module(_MODULE)
    except ModuleNotFoundError as exc:
        if exc.name != "grpc":
            raise
        raise SetupError(
            "VGG_GRPC_PORT is set, and gRPC is not installed."
            f" Run: {sys.executable} -m pip install grpcio"
        ) from exc
