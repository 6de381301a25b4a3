"""The server's own part: how it ends."""

import asyncio
import signal
import socket

from app.service.app import create_app
from app.service.server import Server
from app.service.settings import Settings
from tests.e2e.wire import request


def test_a_signal_is_answered_by_the_loop(caplog):
    """The handler of a signal, which may interrupt a line of the log, writes none itself."""
    caplog.set_level("INFO", "app.service.server")
    app = create_app(Settings())
    server = Server(app, Settings(drain_delay_ms=0))

    async def main():
        server._event_loop = asyncio.get_running_loop()
        server.handle_exit(signal.SIGTERM, None)
        at_once = (list(caplog.messages), server.should_exit)
        for _ in range(10):  # turns of the loop
            await asyncio.sleep(0)
        return at_once

    assert ([], False) == asyncio.run(main())
    assert ["draining: the port closes in 0.0 s"] == caplog.messages
    assert app.state.draining.is_set()
    assert server.should_exit


def test_a_second_signal_does_not_wait():
    """Whoever signals twice wants it to end now."""
    app = create_app(Settings())
    server = Server(app, Settings(drain_delay_ms=600_000))

    async def main():
        server._event_loop = asyncio.get_running_loop()
        server.handle_exit(signal.SIGTERM, None)
        server.handle_exit(signal.SIGTERM, None)

    asyncio.run(main())
    assert server.should_exit


def test_nobody_who_has_connected_is_reset(model_dir):
    """As the port closes, a connection is answered that is not accepted yet, or not yet read."""
    app = create_app(Settings(models=("colours",), model_dir=model_dir))
    server = Server(app, Settings(port=0, drain_delay_ms=0))

    async def main():
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup()
        await app.state.loading
        address = server.servers[0].sockets[0].getsockname()
        accepted = socket.create_connection(address, timeout=5)
        while not server.server_state.connections:  # noqa: ASYNC110 (a set of uvicorn's)
            await asyncio.sleep(0)
        waiting = socket.create_connection(address, timeout=5)
        for client in (accepted, waiting):
            client.sendall(request("GET", "/healthz"))
        app.state.draining.set()  # nothing of all this has the loop seen
        await server.shutdown()
        answers = [client.recv(4096) for client in (accepted, waiting)]
        for client in (accepted, waiting):
            client.close()
        return answers

    for answer in asyncio.run(main()):
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


def test_drain_timeout_is_what_was_set():
    """Milliseconds stay milliseconds."""
    settings = Settings(drain_timeout_ms=250)

    assert 0.25 == Server(create_app(settings), settings).config.timeout_graceful_shutdown
