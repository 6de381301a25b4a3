import asyncio
import os
import signal

import pytest
from rich.console import Console

from app.bench.loops import Closed, Open, Plan
from app.bench.progress import LiveProgress
from app.bench.series import find_target, measure
from app.bench.target import Picture, make_target
from app.setup_errors import SetupError
from tests.bench.conftest import BUSY, OK, scripted, scripted_elsewhere

ROUND: dict[str | None, dict[str, float]] = {None: {"1": 5.0}}
SHORT = Plan((Closed(1), Open(50)), seconds=0.1, warmup=0, repeats=2)


class Recorder(LiveProgress):
    """Records what it is asked to show."""

    def __init__(self):
        super().__init__(Console(quiet=True))
        self.parts = []
        self.ticks = 0

    def part(self, title, _seconds):
        self.parts.append(title)

    def tick(self, _run):
        self.ticks += 1


def test_sides_are_interleaved():
    """Each round times session.run and then every load, before the next round begins."""
    watch = Recorder()
    with scripted_elsewhere(OK) as server:
        series = measure(SHORT, server.target(), lambda: dict(ROUND), watch)

    assert [
        "1/2 session.run alone", "1/2 1 connection", "1/2 50/s",
        "2/2 session.run alone", "2/2 1 connection", "2/2 50/s",
    ] == watch.parts  # fmt: skip
    assert [ROUND] * 2 == series.rounds
    assert [2, 2] == [len(runs) for runs in series.served.values()]
    assert [Closed(1), Open(50)] == list(series.served)
    assert watch.ticks >= 4
    assert not series.interrupted


def test_session_run_needs_no_server():
    """Without a URL only session.run is measured."""
    series = measure(SHORT, None, lambda: dict(ROUND), Recorder())

    assert ([ROUND] * 2, {}) == (series.rounds, series.served)


def test_ctrl_c_keeps_the_results():
    """Ctrl-C ends a run; its requests count, and nothing more is measured."""
    plan = Plan((Closed(1), Closed(2)), seconds=60, warmup=0, repeats=3)

    async def interrupted(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        if number == 100:  # some before the run, and many in it
            os.kill(os.getpid(), signal.SIGINT)

    with scripted_elsewhere(interrupted) as server:
        series = measure(plan, server.target(), None, Recorder())

    assert series.interrupted
    assert [Closed(1)] == list(series.served)
    assert series.served[Closed(1)][0].answered.samples > 0
    assert series.served[Closed(1)][0].seconds < 30


def test_ctrl_c_in_session_run_keeps_the_results():
    """Ctrl-C while session.run is timed ends the measurement, too."""
    rounds = iter([ROUND])

    def raw():
        for one in rounds:
            return one
        raise KeyboardInterrupt

    series = measure(SHORT, None, raw, Recorder())

    assert (True, [ROUND]) == (series.interrupted, series.rounds)


@pytest.mark.anyio
async def test_name_becomes_an_address():
    """A name is resolved once, to the address that answers."""
    async with scripted(OK) as server:
        target = make_target(f"http://localhost:{server.port}", [Picture("p", b"x")])
        found = await find_target(target, 5)

    assert "127.0.0.1" == found.host
    assert b"\r\nHost: localhost:" in server.requests[0]


@pytest.mark.anyio
async def test_busy_server_can_be_measured():
    """A server that refuses requests can be measured."""
    async with scripted(BUSY) as server:
        assert "127.0.0.1" == (await find_target(server.target(), 5)).host


@pytest.mark.anyio
async def test_a_missing_key_is_asked_for():
    """A server that wants a key is one that can be measured with it."""
    async with scripted(b"HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nkey") as server:
        with pytest.raises(SetupError, match="--key KEY, or in the variable VGG_API_KEY"):
            await find_target(server.target(), 5)


@pytest.mark.anyio
async def test_wrong_server_is_reported_at_once():
    """A server that is down, unknown, or answers with an error is reported before the load."""
    async with scripted(b"HTTP/1.1 422 No\r\nContent-Length: 5\r\n\r\nfield") as server:
        with pytest.raises(SetupError, match="answers 422 to a picture: field"):
            await find_target(server.target(), 5)
    with pytest.raises(SetupError, match=r"No answer from .* connection refused"):
        await find_target(server.target(), 5)
    nowhere = make_target("http://no.such.host.invalid", [Picture("p", b"x")])
    with pytest.raises(SetupError, match="Unknown host"):
        await find_target(nowhere, 5)
    await asyncio.sleep(0)
