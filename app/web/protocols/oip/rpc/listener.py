"""The port of gRPC: opened beside that of HTTP, in the same event loop."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from fastapi import FastAPI

from app.web.protocols.oip.rpc.calls import Calls


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """What clients of gRPC may take.

    Attributes:
        message_bytes: Of one message, even if it came compressed.
        all_bytes: Of all messages that are being read.
        header_bytes: Of the metadata of one call.
        connections: Open at a time, and calls.
        idle_seconds: After which a connection without a call is closed, and a stream without a message.
    """

    message_bytes: int
    all_bytes: int
    header_bytes: int
    connections: int
    idle_seconds: float


_COPIES: Final = 2
"""Of a message, while gRPC hands it over."""
_LAST_CALLS: Final = 0.25
"""Seconds from the first refusal until gRPC stops."""
_STREAMS: Final = 256
"""Calls at a time in one connection."""


class Listener:
    """A server of gRPC around an app."""

    def __init__(self, app: FastAPI, limits: RpcLimits, *, shared: bool) -> None:
        """Build it, in a running event loop; `shared` lets other processes listen on the same port."""
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", int(shared)),
                ("grpc.max_receive_message_length", limits.message_bytes),
                ("grpc.max_metadata_size", limits.header_bytes),
                ("grpc.max_concurrent_streams", _STREAMS),
                ("grpc.max_allowed_incoming_connections", limits.connections),
                ("grpc.max_connection_idle_ms", round(1000 * limits.idle_seconds)),
                ("grpc.http2.bdp_probe", 0),  # it would let each call hold megabytes unread
            ],
            maximum_concurrent_rpcs=limits.connections,
        )
        most_reading = max(1, limits.all_bytes // (_COPIES * limits.message_bytes))
        self._calls = Calls(app, most_reading, limits.idle_seconds)
        self._server.add_generic_rpc_handlers(self._calls.handlers())

    async def start(self, hosts: Sequence[str], port: int) -> list[str]:
        """Listen at each host, an address; return each with its port.

        Raises:
            RuntimeError: If one cannot be bound.
        """
        opened = []
        for host in hosts:
            port = self._server.add_insecure_port(f"{host}:{port}")
            opened.append(f"{host}:{port}")
        await self._server.start()
        return opened

    async def stop(self, seconds: float) -> None:
        """Refuse new calls, and give those that run so many seconds.

        gRPC cancels the calls that it has received and not passed on yet. Refused before, clients
        have none on the way: they see UNAVAILABLE, after which they may ask another server.
        """
        self._calls.close()
        if seconds:
            await asyncio.sleep(_LAST_CALLS)
        await self._server.stop(seconds)
