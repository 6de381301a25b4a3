"""The sockets that the service listens on: one for each address of VGG_HOST, or VGG_UDS."""

import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeAlias

from app.service.unix_socket import SocketFile
from app.setup_errors import SetupError

Address: TypeAlias = tuple[socket.AddressFamily, Any]
"""A family, and an address of it without its port: host, or host, flow and scope."""

EVERY: Final = "*"
PUBLIC: Final = (
    "anyone who can reach %s may use this service: set VGG_API_KEYS_FILE, or read SECURITY.md"
)
"""What the log says of an address that is not of this machine alone, where there are no keys."""
_ABSENT: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
"""Of an address that this machine does not have, such as any of IPv6 where that is switched off."""
_TRIES: Final = 20
"""For a free port: it has to be free at every address."""


def bind_all(
    host: str, port: int, uds: Path | None, mode: int, count: int = 1
) -> tuple[list[list[socket.socket]], Callable[[], None]]:
    """Return `count` times what to listen on, and what lets no new client come.

    Of addresses it does nothing: to close them is enough. `count` processes share one Unix socket,
    since the kernel spreads connections over several sockets of one port alone.

    Raises:
        SetupError: As of `bind` and `SocketFile`.
    """
    if uds is None:
        return bind(host, port, count), lambda: None
    file = SocketFile(uds, mode)
    return [[file.listener.dup()] for _ in range(count - 1)] + [[file.listener]], file.remove


def bind(
    host: str, port: int, count: int = 1, *, setting: str = "VGG_PORT"
) -> list[list[socket.socket]]:
    """Return `count` times a socket for each address of a host; none of them listens yet.

    `*` and `::` are every address, of IPv6 and of IPv4. A name is all its addresses on this
    machine. With `count` above 1 the kernel spreads connections over the sockets of an address.
    `setting` is where the port is from.

    Raises:
        SetupError: If an address is taken, even by another service of this kind, or none is of
            this machine.
    """
    if "/" in host:
        raise SetupError(
            f"VGG_HOST is {host!r}, a URL: write its host alone, and its port in {setting}."
        )
    try:
        addresses = _addresses(host)
        first = _bind_free(addresses) if port == 0 else _bind_each(addresses, port)
        if count == 1:
            return [first]
        names = [(one.family, one.getsockname()) for one in first]
        for one in first:  # they showed that nobody listens there; those below share the port
            one.close()
        return [[_bind(*name, shared=True) for name in names] for _ in range(count)]
    except (OSError, UnicodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise SetupError(f"VGG_HOST, {setting}: cannot listen on {host}, {port}: {why}.") from exc


def addresses_of(host: str) -> list[str]:
    """Return the addresses of a host as gRPC wants them; `[::]` is every address there too."""
    names = [(family, name[0]) for family, name in _addresses(host)]
    if len(names) > 1 and names[-1][1] == "::":
        return ["[::]"]
    return [f"[{name}]" if family == socket.AF_INET6 else name for family, name in names]


def url_of(listener: socket.socket) -> str:
    """Return the URL of a socket's address, or `unix:` and the path of its file."""
    if not isinstance(listener.getsockname(), tuple):
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_private(listener: socket.socket) -> bool:
    """Return whether only programs of this machine can connect."""
    if not isinstance(listener.getsockname(), tuple):
        return True
    return ip_address(listener.getsockname()[0]).is_loopback


def _addresses(host: str) -> list[Address]:
    """Return the addresses of a host, those of IPv4 first."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare == EVERY or _is_every(bare):
        return [(socket.AF_INET, ("0.0.0.0",)), (socket.AF_INET6, ("::",))]  # noqa: S104 (asked for)
    found = socket.getaddrinfo(bare, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = [(family, (name[0], *name[2:])) for family, _, _, _, name in found]
    return sorted(dict.fromkeys(addresses), key=lambda one: one[0] != socket.AF_INET)


def _is_every(host: str) -> bool:
    try:
        return ip_address(host) == ip_address("::")
    except ValueError:
        return False


def _bind_free(addresses: Sequence[Address]) -> list[socket.socket]:
    """Bind all addresses of this machine to one port that is free at each of them."""
    for _ in range(_TRIES):
        try:
            return _bind_each(addresses, 0)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
    return _bind_each(addresses, 0)


def _bind_each(addresses: Sequence[Address], port: int) -> list[socket.socket]:
    """Bind all addresses of this machine to one port: 0 is one that is free at the first."""
    absent = None
    with ExitStack() as bound:
        made: list[socket.socket] = []
        for family, (host, *rest) in addresses:
            wanted = made[0].getsockname()[1] if made else port
            try:
                made.append(bound.enter_context(_bind(family, (host, wanted, *rest))))
            except OSError as exc:
                if exc.errno not in _ABSENT:
                    raise
                absent = exc
        if absent is not None and not made:
            raise absent
        bound.pop_all()
        return made


def _bind(family: socket.AddressFamily, address: Any, *, shared: bool = False) -> socket.socket:  # noqa: ANN401 (of any family)
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows this would allow another program to take the port over
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:  # so that clients of IPv4 keep their addresses
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
