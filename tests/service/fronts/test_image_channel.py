"""Small messages of one size."""

import asyncio
import socket

import pytest

from app.errors import DeadlineExceededError, DeviceLostError, OutOfMemoryError, ServiceError
from app.service.fronts.image_channel import ORDER, Wire, decode_error, encode_error

pytestmark = pytest.mark.anyio


async def test_messages_are_whole_however_they_come():
    """What arrives in pieces, or several at a time, is told message by message."""
    told = []
    wire = Wire(ORDER, lambda *fields: told.append(fields))
    sent = [(0, 1, 2, 3, 4.5), (1, 0, 9, 8, 7.5), (0, 0, 1, 2, 3.5)]
    data = b"".join(ORDER.pack(*fields) for fields in sent)
    for cut in (0, 7, 21, 40, len(data)):
        wire.data_received(data[:cut])
        data = data[cut:]

    assert sent == told


async def test_messages_of_one_turn_go_out_together():
    """Many small ones cost one write."""
    writes = []

    class Transport(asyncio.Transport):
        def write(self, data):
            writes.append(bytes(data))

        def is_closing(self):
            return False

    wire = Wire(ORDER, lambda *_: None)
    wire.connection_made(Transport())
    wire.send(b"one")
    wire.send(b"two")
    before = list(writes)
    await asyncio.sleep(0)

    assert [] == before
    assert [b"onetwo"] == writes


async def test_the_end_of_the_other_side_is_told():
    """Whoever waits for an answer has to learn that none will come."""
    ours, theirs = socket.socketpair()
    lost = asyncio.Event()
    wire = Wire(ORDER, lambda *_: None, lost.set)
    await asyncio.get_running_loop().create_unix_connection(lambda: wire, sock=ours)
    theirs.close()
    await asyncio.wait_for(lost.wait(), 10)
    wire.send(b"to nobody")


@pytest.mark.parametrize("kind", [OutOfMemoryError, DeviceLostError, DeadlineExceededError])
def test_an_error_arrives_as_what_it_was(kind):
    """Its class decides the answer, and its sentence is what the client reads."""
    error = decode_error(*encode_error(kind("Too much, naïvely."), 4000))

    assert kind is type(error)
    assert "Too much, naïvely." == str(error)


def test_a_bug_tells_nothing():
    """The sentence of an error that is not ours stays in the log."""
    error = decode_error(*encode_error(KeyError("/secret/path"), 4000))

    assert ServiceError is type(error)
    assert "secret" not in str(error)
