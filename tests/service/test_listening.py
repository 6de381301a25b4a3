"""The addresses that a service listens on."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from app.service.listening import bind, is_private, url_of
from app.setup_errors import SetupError
from tests.conftest import REPOSITORY


def has_ipv6() -> bool:
    """Return whether this machine has the loopback address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def listening(host: str, port: int = 0, count: int = 1) -> list[list[socket.socket]]:
    sets = bind(host, port, count)
    for one in sets:
        for listener in one:
            listener.listen(100)
    return sets


def close(sets: list[list[socket.socket]]) -> None:
    for one in sets:
        for listener in one:
            listener.close()


@IPV6
@pytest.mark.parametrize("host", ["*", "::", "[::]", "0:0:0:0:0:0:0:0"])
def test_every_address_is_of_both_families(host):
    """A client reaches one port over IPv4 and over IPv6, and IPv4 addresses stay what they are."""
    sets = listening(host)
    port = sets[0][0].getsockname()[1]
    seen = []
    for address, listener in zip(("127.0.0.1", "::1"), sets[0], strict=True):
        with socket.create_connection((address, port)):
            accepted, (client, *_) = listener.accept()
            accepted.close()
            seen.append(client)
    close(sets)

    assert ["127.0.0.1", "::1"] == seen


@pytest.mark.parametrize(
    ("host", "urls"),
    [
        ("127.0.0.1", ["http://127.0.0.1"]),
        ("0.0.0.0", ["http://0.0.0.0"]),
        pytest.param("::1", ["http://[::1]"], marks=IPV6),
        pytest.param("[::1]", ["http://[::1]"], marks=IPV6),
        pytest.param("*", ["http://0.0.0.0", "http://[::]"], marks=IPV6),
    ],
)
def test_each_address_has_its_url(host, urls):
    """IPv6 addresses are in brackets; every address of a host has the same port."""
    [listeners] = bind(host, 0)
    [port] = {one.getsockname()[1] for one in listeners}
    shown = [url_of(one) for one in listeners]
    close([listeners])

    assert [f"{url}:{port}" for url in urls] == shown


def test_only_loopback_is_private():
    """The start warns about an address that others can reach."""
    [[everywhere]], [[here]] = bind("0.0.0.0", 0), bind("127.0.0.1", 0)
    private = (is_private(everywhere), is_private(here))
    close([[everywhere, here]])

    assert (False, True) == private


def test_a_name_is_all_its_addresses():
    """A client that resolves the name may take any of its addresses."""
    known = {one[4][0] for one in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    sets = listening("localhost")
    bound = {one.getsockname()[0] for one in sets[0]}
    for one in sets[0]:
        socket.create_connection(one.getsockname()[:2], timeout=5).close()
    close(sets)

    assert bound <= known
    assert "127.0.0.1" in bound


NO_IPV6 = """
import errno, socket
from app.service.listening import bind
real = socket.socket
def without(family=socket.AF_INET, *rest, **named):
    if family == socket.AF_INET6:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
    return real(family, *rest, **named)
socket.socket = without  # a kernel that was started with ipv6.disable=1
print([one.getsockname()[0] for one in bind({host!r}, 0)[0]])
"""


@pytest.mark.parametrize(
    ("host", "shown"), [("*", "['0.0.0.0']"), ("::", "['0.0.0.0']"), ("localhost", "['127.0.0.1']")]
)
def test_without_ipv6_the_rest_is_served(host, shown):
    """Where the kernel has no IPv6, every address is every one of IPv4."""
    ended = subprocess.run(
        [sys.executable, "-c", NO_IPV6.format(host=host)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown == ended.stdout.strip()


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")
@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("*", marks=IPV6)])
def test_each_front_gets_connections(host):
    """The kernel spreads the connections of each address over all sockets of the port."""
    sets = listening(host, count=2)
    port = sets[0][0].getsockname()[1]
    met = [0, 0]
    clients = [
        socket.create_connection((address, port))
        for address in ("127.0.0.1", "::1")[: len(sets[0])]
        for _ in range(60)
    ]
    for number, listeners in enumerate(sets):
        for listener in listeners:
            listener.settimeout(0)
            while True:
                try:
                    listener.accept()[0].close()
                except BlockingIOError:
                    break
                met[number] += 1
    for client in clients:
        client.close()
    close(sets)

    assert len(clients) == sum(met)
    assert min(met) > 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_taken_port_is_an_error(count):
    """The port of another program is refused, even if it is a service of this kind."""
    stranger = socket.create_server(("127.0.0.1", 0))
    alike = listening("127.0.0.1", count=count)
    with stranger:
        for taken in (stranger, alike[0][0]):
            with pytest.raises(SetupError, match="VGG_PORT"):
                bind("127.0.0.1", taken.getsockname()[1], count)
    close(alike)


@IPV6
def test_a_port_that_is_taken_in_one_family_is_an_error():
    """A service never listens on half of what it was told to."""
    with socket.socket(socket.AF_INET6) as stranger:
        stranger.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        stranger.bind(("::", 0))
        stranger.listen()
        with pytest.raises(SetupError, match=os.strerror(errno.EADDRINUSE)):
            bind("*", stranger.getsockname()[1])


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "no.such.host.invalid", "http://127.0.0.1", "127.0.0.1:80", "a" * 70]
)
def test_an_address_of_another_machine_is_an_error(host):
    """The error names the setting and its value."""
    with pytest.raises(SetupError, match="VGG_HOST") as refused:
        bind(host, 0)

    assert host in str(refused.value)
    assert ("write its host alone" in str(refused.value)) == ("/" in host)
