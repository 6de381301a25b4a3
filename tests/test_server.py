"""The server's own part: how it ends."""

import asyncio
import signal

import uvicorn

from app.config import Settings
from app.main import create_app
from app.server import Server


def test_a_signal_is_answered_by_the_loop(caplog):
    """The handler of a signal, which may interrupt a line of the log, writes none itself."""
    caplog.set_level("INFO", "app.server")
    app = create_app(Settings())
    server = Server(uvicorn.Config(app), app, drain_delay=0.0)

    async def main():
        server._event_loop = asyncio.get_running_loop()
        server.handle_exit(signal.SIGTERM, None)
        at_once = (list(caplog.messages), server.should_exit)
        for _ in range(10):  # turns of the loop
            await asyncio.sleep(0)
        return at_once

    assert ([], False) == asyncio.run(main())
    assert ["draining for 0.0 s"] == caplog.messages
    assert app.state.draining.is_set()
    assert server.should_exit


def test_a_second_signal_does_not_wait():
    """Whoever signals twice wants it to end now."""
    app = create_app(Settings())
    server = Server(uvicorn.Config(app), app, drain_delay=3600.0)

    async def main():
        server._event_loop = asyncio.get_running_loop()
        server.handle_exit(signal.SIGTERM, None)
        server.handle_exit(signal.SIGTERM, None)

    asyncio.run(main())
    assert server.should_exit
