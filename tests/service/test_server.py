"""How a server drains and stops."""

import asyncio
import signal
import socket

from app.service.app import create_app
from app.service.listening import bind
from app.service.server import Server
from app.service.settings import Settings
from tests.e2e.wire import request


def test_a_signal_is_answered_by_the_loop(caplog):
    """The signal handler, which may interrupt a line of the log, logs nothing itself."""
    caplog.set_level("INFO", "app.service.server")
    app = create_app(Settings())
    server = Server(app, Settings(drain_delay_ms=0), [])

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
    """A second signal stops the server at once."""
    app = create_app(Settings())
    server = Server(app, Settings(drain_delay_ms=600_000), [])

    async def main():
        server._event_loop = asyncio.get_running_loop()
        server.handle_exit(signal.SIGTERM, None)
        server.handle_exit(signal.SIGTERM, None)

    asyncio.run(main())
    assert server.should_exit


def test_no_open_connection_is_reset(model_dir):
    """While the port closes, connections that are not yet accepted or read are answered."""
    app = create_app(Settings(models=("colours",), model_dir=model_dir))
    [listeners] = bind("127.0.0.1", 0)
    server = Server(app, Settings(drain_delay_ms=0), listeners)

    async def main():
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup()
        await app.state.loading
        address = listeners[0].getsockname()
        accepted = socket.create_connection(address, timeout=5)
        while not server.server_state.connections:  # noqa: ASYNC110 (a set of uvicorn's)
            await asyncio.sleep(0)
        waiting = socket.create_connection(address, timeout=5)
        for client in (accepted, waiting):
            client.sendall(request("GET", "/healthz"))
        app.state.draining.set()  # the loop has seen none of this
        await server.shutdown()
        answers = [client.recv(4096) for client in (accepted, waiting)]
        for client in (accepted, waiting):
            client.close()
        return answers

    for answer in asyncio.run(main()):
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


def test_drain_timeout_is_what_was_set():
    """Uvicorn gets the setting in seconds."""
    settings = Settings(drain_timeout_ms=250)

    assert 0.25 == Server(create_app(settings), settings, []).config.timeout_graceful_shutdown
