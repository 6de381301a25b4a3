import asyncio
import socket

import pytest

from app.bench.client import Client
from tests.bench.conftest import BUSY, CHUNKED, OK, scripted

pytestmark = pytest.mark.anyio

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"


async def ask(server, times=1, patience=5.0):
    client = Client("127.0.0.1", server.port, patience)
    outcomes = [await client.post(REQUEST) for _ in range(times)]
    client.close()
    return outcomes


async def test_one_connection_carries_many_requests():
    """A connection is kept; status and batch size are read from each answer."""
    async with scripted(OK) as server:
        outcomes = await ask(server, 3)

    assert 1 == server.connections
    assert [(200, 4, "")] * 3 == [(o.status, o.batch_size, o.failure) for o in outcomes]
    assert [REQUEST] * 3 == server.requests


async def test_refusal_keeps_its_reason():
    """Retry-After and the start of the body of a 503 are kept."""
    async with scripted(BUSY) as server:
        (outcome,) = await ask(server)

    assert (503, 2.0, '{"detail":"busy"}') == (
        outcome.status,
        outcome.retry_after,
        outcome.detail,
    )


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED,
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_every_framing_is_understood(answer):
    """After a chunked response, a 100, or one without a body, the connection can be reused."""
    async with scripted(answer) as server:
        outcomes = await ask(server, 2)

    assert ["", ""] == [outcome.failure for outcome in outcomes]
    assert 1 == server.connections


async def test_answer_in_pieces_ends_with_its_last_byte():
    """An answer ends when its last byte arrives."""

    async def slowly(_number, writer):
        writer.write(OK[:20])
        await asyncio.sleep(0.02)
        writer.write(OK[20:-1])
        await asyncio.sleep(0.02)
        writer.write(OK[-1:])

    async with scripted(slowly) as server:
        first, second = await ask(server, 2)

    assert second.ended - first.ended >= 0.03


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n{}",  # its end is that of the connection
    ],
)
async def test_server_that_closes_gets_a_new_connection(answer):
    """If the server closes the connection after its answer, the next request opens another."""

    async def close(_number, writer):
        writer.write(answer)
        writer.close()

    async with scripted(close) as server:
        outcomes = await ask(server, 2)

    assert [(200, False)] * 2 == [(o.status, o.retried) for o in outcomes]
    assert 2 == server.connections


async def test_request_on_a_closed_idle_connection_is_sent_again():
    """A connection that the server closed while idle causes no failure, and the retry is counted."""

    async def hang_up(number, writer):
        if number == 2:
            writer.close()
        else:
            writer.write(OK)

    async with scripted(hang_up) as server:
        outcomes = await ask(server, 3)

    assert ["", "", ""] == [outcome.failure for outcome in outcomes]
    assert [False, True, False] == [outcome.retried for outcome in outcomes]
    assert 2 == server.connections


async def hang_up(_number, writer):
    writer.close()


async def reset(_number, writer):
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, 0 s: close with RST
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


async def cut_short(_number, writer):
    writer.write(OK[:-1])
    writer.close()


async def gibberish(_number, writer):
    writer.write(b"220 smtp.example.com ESMTP\r\n")


async def silence(_number, _writer):
    pass


@pytest.mark.parametrize(
    ("behave", "failure"),
    [
        (hang_up, "closed by the server"),
        (reset, "connection reset"),
        (cut_short, "answer cut short"),
        (gibberish, "no HTTP"),
        (silence, "timed out"),
    ],
)
async def test_failure_has_a_name_and_the_next_request_a_chance(behave, failure):
    """Each kind of failure has its own name, and the next request a new connection."""
    async with scripted(behave) as server:
        outcomes = await ask(server, 2, patience=0.1)

    assert [(failure, False)] * 2 == [(o.failure, o.retried) for o in outcomes]
    assert 2 == server.connections


async def test_port_without_a_server_refuses():
    """A port that no process listens on refuses the connection."""
    async with scripted(OK) as server:
        pass

    (outcome,) = await ask(server)

    assert "connection refused" == outcome.failure


async def test_answer_before_the_request_is_fully_sent_counts():
    """A refusal that comes before the body was read counts; the connection is not reused."""
    ended = asyncio.Event()

    async def early(reader, writer):
        await reader.readexactly(1)
        writer.write(BUSY)
        await ended.wait()
        writer.transport.abort()

    listening = await asyncio.start_server(early, "127.0.0.1", 0)
    client = Client("127.0.0.1", listening.sockets[0].getsockname()[1], 5.0)
    outcome = await client.post(
        b"POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000)
    )
    ended.set()
    listening.close()
    await asyncio.sleep(0.01)

    assert 503 == outcome.status
    assert client._connection is not None
    assert not client._connection.usable
