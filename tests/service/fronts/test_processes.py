"""The sockets of front processes."""

import socket

import pytest

from app.errors import SetupError
from app.service.fronts.processes import listen


def test_each_front_gets_connections():
    """The kernel spreads connections over all sockets of the port."""
    listeners = listen("127.0.0.1", 0, count=2, backlog=100)
    address = listeners[0].getsockname()
    met = [0, 0]
    with listeners[0], listeners[1]:
        clients = [socket.create_connection(address) for _ in range(60)]
        for number, listener in enumerate(listeners):
            listener.settimeout(0)
            while True:
                try:
                    listener.accept()[0].close()
                except BlockingIOError:
                    break
                met[number] += 1
        for client in clients:
            client.close()

    assert 60 == sum(met)
    assert min(met) > 0


def test_a_taken_port_is_an_error():
    """The port of another program is refused, even if it is a service of this kind."""
    stranger = socket.create_server(("127.0.0.1", 0))
    alike = listen("127.0.0.1", 0, count=2, backlog=10)
    with stranger, alike[0], alike[1]:
        for taken in (stranger, alike[0]):
            with pytest.raises(SetupError, match="VGG_PORT"):
                listen("127.0.0.1", taken.getsockname()[1], count=2, backlog=10)


def test_an_address_of_another_machine_is_an_error():
    """The error names the setting."""
    with pytest.raises(SetupError, match="VGG_HOST"):
        listen("192.0.2.1", 0, count=1, backlog=10)
