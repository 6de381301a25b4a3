import asyncio
import socket

import pytest

from app.errors import (
    DeadlineExceededError,
    DeviceLostError,
    ModelFailedError,
    OutOfMemoryError,
    OverloadedError,
    ServiceError,
)
from app.service.fronts.image_channel import REQUEST, ImageChannel, decode_error, encode_error

pytestmark = pytest.mark.anyio


async def test_messages_are_whole_however_they_come():
    """Messages that arrive in pieces, or several at once, are reported one by one."""
    received = []
    channel = ImageChannel(REQUEST, lambda *fields: received.append(fields))
    sent = [(0, 1, 2, 3, 4.5), (1, 0, 9, 8, 7.5), (0, 0, 1, 2, 3.5)]
    data = b"".join(REQUEST.pack(*fields) for fields in sent)
    for cut in (0, 7, 21, 40, len(data)):
        channel.data_received(data[:cut])
        data = data[cut:]

    assert sent == received


async def test_messages_of_one_turn_go_out_together():
    """Many small messages cost one write."""
    writes = []

    class Transport(asyncio.Transport):
        def write(self, data):
            writes.append(bytes(data))

        def is_closing(self):
            return False

    channel = ImageChannel(REQUEST, lambda *_: None)
    channel.connection_made(Transport())
    channel.send(b"one")
    channel.send(b"two")
    before = list(writes)
    await asyncio.sleep(0)

    assert [] == before
    assert [b"onetwo"] == writes


async def test_the_end_of_the_other_process_is_reported():
    """Requests that wait for an answer can then be failed."""
    ours, theirs = socket.socketpair()
    lost = asyncio.Event()
    channel = ImageChannel(REQUEST, lambda *_: None, lost.set)
    await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=ours)
    theirs.close()
    await asyncio.wait_for(lost.wait(), 10)
    channel.send(b"to nobody")


@pytest.mark.parametrize("kind", [OutOfMemoryError, DeviceLostError, DeadlineExceededError])
def test_an_error_keeps_its_class_and_its_sentence(kind):
    """Its class decides the answer, and its sentence is what the client reads."""
    error = decode_error(*encode_error(kind("Too much, naïvely."), 4000))

    assert (kind, None) == (type(error), error.retry_after)
    assert "Too much, naïvely." == str(error)


def test_an_error_keeps_its_retry_after():
    """The client gets the one that was computed, or else the one of its class."""
    errors = [OverloadedError("", retry_after=7.5), OverloadedError(""), ModelFailedError("")]
    sent = [decode_error(*encode_error(error, 4000)) for error in errors]

    assert [7.5, 1, 10] == [error.retry_after for error in sent]


def test_the_sentence_of_an_unhandled_exception_is_not_sent():
    """It is only in the log."""
    error = decode_error(*encode_error(KeyError("/secret/path"), 4000))

    assert ServiceError is type(error)
    assert "secret" not in str(error)
