"""The end of a port: whoever has connected is taken in before it closes.

A listening socket that is closed resets the connections that nobody has accepted yet, though
their clients have sent a request by then.
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
    (0x15, 0, 1, _SYN),  # if they are SYN alone, go on, else pass over one
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFF),  # take it
)
"""A filter (classic BPF: code, jump if true, jump if false, operand) that drops what opens a
connection and takes all else, so that handshakes that have begun come to their end."""
_HANDSHAKE: Final = 0.2
"""Seconds for those. A client that is not let in asks again after 1 s and finds the port closed."""
_PATIENCE: Final = 1.0
"""Seconds after which the port closes in any case."""


async def take_in(listeners: Sequence[socket]) -> None:
    """Let nobody new in, where the system can do that, and wait until all others are accepted.

    Args:
        listeners: Sockets from which the running loop accepts connections.
    """
    with selectors.DefaultSelector() as waiting, suppress(TimeoutError):
        for listener in listeners:
            waiting.register(listener, selectors.EVENT_READ)
        if all([_turn_away(listener) for listener in listeners]):  # noqa: C419 (each, not up to the first that fails)
            await asyncio.sleep(_HANDSHAKE)
        async with asyncio.timeout(_PATIENCE):
            while waiting.select(0):  # noqa: ASYNC110 (what the loop does by itself, turn by turn)
                await asyncio.sleep(0)


def let_in(listener: socket) -> None:
    """Undo what `take_in` does to a socket, for one who accepts from it next."""
    if sys.platform == "linux":
        with suppress(OSError):  # there is no filter
            listener.setsockopt(SOL_SOCKET, _DETACH_FILTER, 0)


def _turn_away(listener: socket) -> bool:
    """Drop what would open a connection; tell whether that is possible here."""
    if sys.platform != "linux":
        return False
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(held))
    with suppress(OSError):  # a sandbox that does not know it, such as gVisor
        listener.setsockopt(SOL_SOCKET, _ATTACH_FILTER, program)
        return True
    return False
