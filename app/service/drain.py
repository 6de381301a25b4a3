"""Closing a port without a reset: every pending connection is accepted first.

Closing a listening socket resets the connections that are not accepted yet, although their
clients may have sent a request already.
"""

import asyncio
import ctypes
import selectors
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from socket import SOL_SOCKET, socket
from typing import Final

_ATTACH_FILTER: Final = 26
"""SO_ATTACH_FILTER of Linux (socket(7)), which Python does not name."""
_DETACH_FILTER: Final = 27
_FLAGS_BYTE, _SYN, _SYN_OR_ACK = 13, 0x02, 0x12
_NO_SYN: Final = (
    (0x30, 0, 0, _FLAGS_BYTE),  # load that byte of the TCP header
    (0x54, 0, 0, _SYN_OR_ACK),  # keep these of its bits
    (0x15, 0, 1, _SYN),  # SYN alone: next line; otherwise skip one
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFF),  # keep it
)
"""A filter (classic BPF: code, jump if true, jump if false, operand) that drops the packets that
open a connection and no others, so that handshakes under way can finish."""
_HANDSHAKE: Final = 0.2
"""Seconds for these. A client whose packet was dropped tries again after 1 s: the port is closed."""
_PATIENCE: Final = 1.0
"""Seconds after which the port closes in any case."""


async def accept_pending(listeners: Sequence[socket]) -> None:
    """Refuse new connections, where the system can do that, until the loop has accepted the others."""
    with selectors.DefaultSelector() as waiting, suppress(TimeoutError):
        for listener in listeners:
            waiting.register(listener, selectors.EVENT_READ)
        if all([_drop_new(listener) for listener in listeners]):  # noqa: C419 (each, not up to the first that fails)
            await asyncio.sleep(_HANDSHAKE)
        async with asyncio.timeout(_PATIENCE):
            while waiting.select(0):  # noqa: ASYNC110 (the loop accepts meanwhile)
                await asyncio.sleep(0)


def accept_new(listener: socket) -> None:
    """Undo what `accept_pending` does to a socket, for the next process that accepts from it."""
    if sys.platform == "linux":
        with suppress(OSError):  # there is no filter
            listener.setsockopt(SOL_SOCKET, _DETACH_FILTER, 0)


def _drop_new(listener: socket) -> bool:
    """Drop the packets that open a connection; return whether the system can do that."""
    if sys.platform != "linux":
        return False
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(held))
    with suppress(OSError):  # a sandbox without filters, such as gVisor
        listener.setsockopt(SOL_SOCKET, _ATTACH_FILTER, program)
        return True
    return False
