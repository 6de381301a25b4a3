"""Closing a port: pending connections are answered, later ones are refused."""

import asyncio
import errno
import socket
import sys

import pytest

from app.service.drain import accept_new, accept_pending


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)
        self.transport.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request):
    module = pytest.importorskip(request.param)
    with asyncio.Runner(loop_factory=module.new_event_loop) as runner:
        yield runner


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_pending_connections_are_answered(runner, host):
    """Connections that are not accepted yet when the port starts to close are answered."""

    async def main():
        server = await asyncio.get_running_loop().create_server(Echo, host, 0)
        address = server.sockets[0].getsockname()[:2]
        early = [socket.create_connection(address, timeout=5) for _ in range(50)]
        for connection in early:
            connection.sendall(b"here")
        await accept_pending(server.sockets)
        server.close()
        heard = [await asyncio.to_thread(connection.recv, 9) for connection in early]
        for connection in early:
            connection.close()
        return heard

    assert [b"here"] * 50 == runner.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has socket filters")
def test_later_connections_are_refused(runner):
    """A client that connects while the port closes is neither accepted nor reset."""

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        closing = asyncio.create_task(accept_pending(server.sockets))
        await asyncio.sleep(0)  # it has begun
        late = socket.socket()
        late.settimeout(5)
        coming = asyncio.create_task(asyncio.to_thread(late.connect_ex, address))
        await closing
        server.close()
        outcome = await coming
        late.close()
        return outcome

    assert errno.ECONNREFUSED == runner.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has socket filters")
def test_a_socket_can_be_used_again():
    """The next process that accepts from a closing socket gets new connections."""

    async def main(listener):
        server = await asyncio.get_running_loop().create_server(Echo, sock=listener.dup())
        await accept_pending(server.sockets)
        server.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(main(listener))
        accept_new(listener)
        accept_new(listener)  # there is nothing to undo any more
        with socket.create_connection(listener.getsockname(), timeout=5):
            accepted, _ = listener.accept()
            accepted.close()
