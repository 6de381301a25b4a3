"""Photos that a busy server refuses, on a real socket: answered by their head, in any connection."""

import re
import socket
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.conftest import png, running_server, write_colours
from tests.e2e.wire import request, wire_to

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
PHOTO = png()


@contextmanager
def busy_server(folder, **settings):
    """Start a server whose device is busy until there is a file `gate`; others wait for it."""
    write_colours(folder)
    moody = running_server(
        folder,
        module="tests.e2e.moody_device",
        models="colours",
        max_batch_size="1",
        deadline_ms="55000",
        **settings,
    )
    with moody as server, ExitStack() as opened:
        busy = opened.enter_context(wire_to(server.url))
        busy.send(request("POST", "/predict", png("cyan")))
        server.wait_for("a long run")
        for _ in range(12):
            wire = opened.enter_context(wire_to(server.url))
            wire.send(request("POST", "/predict", PHOTO))
            httpx.get(f"{server.url}/healthz")
        yield server
        (folder / "gate").touch()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server whose queue is full: a run takes 30 ms, so no more than three may wait for theirs."""
    with busy_server(tmp_path_factory.mktemp("models"), queue_budget_ms="100") as server:
        yield server


@pytest.fixture
def wire(server):
    with wire_to(server.url) as wire:
        yield wire


def test_refused_connection_is_kept(wire):
    """After a refusal its connection takes the next request, and the refused body is no part of it."""
    for _ in range(3):
        wire.send(request("POST", "/predict", PHOTO + bytes(500_000)))
        assert (503, "overloaded") == wire.answer().problem
        wire.send(request("GET", "/healthz"))
        assert 200 == wire.answer().status


def test_refusal_comes_before_the_body(wire):
    """A client that waits with its body gets the answer at once, and no 100."""
    wire.send(HEAD + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    assert (503, "overloaded") == wire.answer().problem

    wire.send(bytes(1000) + request("GET", "/healthz"))
    assert 200 == wire.answer().status


def test_refused_requests_are_answered_in_order(wire):
    """Behind a request that is being answered, refusals wait for their turn."""
    wire.send(
        b"".join(
            request("GET" if path == "/models" else "POST", path, b"", x_request_id=str(number))
            for number, path in enumerate(["/predict", "/models", "/predict", "/predict"])
        )
    )

    answers = [wire.answer() for _ in range(4)]
    assert [503, 200, 503, 503] == [answer.status for answer in answers]
    assert ["0", "1", "2", "3"] == [answer.headers["x-request-id"] for answer in answers]


def test_every_refusal_says_when_to_return(wire):
    """With and without a connection that is kept, the answer has the same headers."""
    wire.send(request("POST", "/predict", PHOTO))
    kept = wire.answer()
    wire.send(request("POST", "/predict", PHOTO, connection="close"))
    last = wire.answer()

    assert wire.closed()
    assert "1" == kept.headers["retry-after"]
    assert "close" == last.headers.pop("connection")
    assert sorted(kept.headers) == sorted(last.headers)


def test_broken_body_of_a_refused_request_ends_the_connection(wire):
    """The answer has been sent, so that nothing else can say it."""
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")

    assert (503, "overloaded") == wire.answer().problem
    assert wire.closed()


def test_client_that_reads_no_refusal_is_bounded(server, wire):
    """Answers that nobody reads do not pile up: the server stops to read that connection."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.socket.settimeout(0.5)
    before = rss(server)
    flood = (HEAD + b"Content-Length: 0\r\n\r\n") * 10_000
    with pytest.raises(TimeoutError):
        wire.send(flood * 100)

    assert rss(server) < before + 20e6
    wire.socket.settimeout(20)
    assert (503, "overloaded") == wire.answer().problem


def test_each_refusal_is_counted_and_logged_once(server, wire):
    """Counters and the log agree with what clients got."""
    before = counted(server)
    for number in range(5):
        wire.send(request("POST", "/predict", PHOTO, x_request_id=f"count-{number}"))
        assert (503, "overloaded") == wire.answer().problem
    while server.wait_for("POST /predict 503")["request_id"] != "count-4":
        pass

    lines = [one for one in server.events if one.get("request_id", "").startswith("count-")]
    assert [f"count-{number}" for number in range(5)] == [one["request_id"] for one in lines]
    assert {("overloaded", 503)} == {(one["problem"], one["status"]) for one in lines}
    assert [5, 5] == [new - old for old, new in zip(before, counted(server), strict=True)]


IMPATIENT = request("POST", "/predict", PHOTO, x_request_timeout_ms="1")
"""Refused, since a run takes longer."""


def test_head_behind_a_refused_photo_has_the_usual_time(tmp_path):
    """It came with the end of the photo, and is late as any other."""
    with (
        busy_server(tmp_path, header_timeout_ms="1000") as server,
        wire_to(server.url) as wire,
    ):
        for rest in (b"", b"GET /heal"):
            wire.send(IMPATIENT + rest)
            assert (503, "overloaded") == wire.answer().problem

        assert (408, "slow-headers") == wire.answer().problem


def test_connection_is_kept_after_a_refused_body_in_parts(tmp_path):
    """It is idle then, and no head is late."""
    with (
        busy_server(tmp_path, header_timeout_ms="1000") as server,
        wire_to(server.url) as kept,
        wire_to(server.url) as late,
    ):
        for _ in range(2):
            kept.send(IMPATIENT[:-5])
            assert (503, "overloaded") == kept.answer().problem
            kept.send(IMPATIENT[-5:-2])
            httpx.get(f"{server.url}/healthz")
            kept.send(IMPATIENT[-2:])
        late.send(request("GET", "/healthz"))
        assert 200 == late.answer().status
        late.send(b"GET /heal")
        assert (408, "slow-headers") == late.answer().problem

        kept.send(request("GET", "/healthz"))
        assert 200 == kept.answer().status


def test_photo_behind_a_refused_one_is_not_idle(tmp_path):
    """However long its answer takes, the connection stays open for it."""
    with (
        busy_server(tmp_path, idle_timeout_ms="1000", queue_budget_ms="50000") as server,
        wire_to(server.url) as wire,
        wire_to(server.url) as idle,
    ):
        for rest in (b"", request("POST", "/predict", PHOTO)):
            wire.send(IMPATIENT + rest)
            assert (503, "overloaded") == wire.answer().problem
        idle.send(request("GET", "/healthz"))
        assert 200 == idle.answer().status
        assert idle.closed()
        (tmp_path / "gate").touch()

        assert 200 == wire.answer().status


def counted(server):
    """Read two counters of refused photos."""
    text = httpx.get(f"{server.url}/metrics").text
    lines = (
        r'vgg_requests_total{code="503",model="colours",protocol="predict"} (\S+)',
        r'vgg_rejected_total{reason="overloaded"} (\S+)',
    )
    return [float(re.search(line, text)[1]) for line in lines]  # type: ignore[index] # they are there


def rss(server):
    """Return the bytes of memory that a server holds."""
    with open(f"/proc/{server.process.pid}/statm") as file:  # noqa: PTH123 (a line of the kernel)
        return int(file.read().split()[1]) * 4096
