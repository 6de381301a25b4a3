"""One request on a real socket, to servers that do not behave."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from app.client import (
    AsyncClient,
    ChangedError,
    NoAnswerError,
    ProblemError,
    StrangerError,
    TimedOutError,
)
from tests.cli.predict.conftest import problem
from tests.client.listening import listening

PHOTO = b"\xff\xd8\xff\xe0" + bytes(100)


@contextmanager
def speaking(serve):
    """Run `serve(connection)` for each connection, once the head of a request was read."""

    def after_head(connection):
        received = b""
        while b"\r\n\r\n" not in received and (part := connection.recv(4096)):
            received += part
        serve(connection)

    with listening(after_head) as port:
        yield f"http://127.0.0.1:{port}"


def classify(url, image=PHOTO, **options):
    async def main():
        async with AsyncClient(url, "", retries=0, **options) as client:
            return await client.classify(image)

    return asyncio.run(main())


def answering(status: str, body: bytes = b"", **headers: str):
    """Answer this, and close."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{named}\r\n"
    return lambda connection: connection.sendall(head.encode() + body)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answering("200 OK", b"<html>", Content_Type="text/html; charset=utf-8"), "200 OK with text/html"),
        (answering("404 Not Found", b"<html>", Content_Type="text/html"), "404 Not Found with text/html"),
        (answering("301 Moved", Location="https://there/"), "redirects to https://there/"),
        (answering("200 OK", b'{"hello": "world"}'), "is not a vgg-serve"),
    ],
)  # fmt: skip
def test_another_server_is_told(answer, said):
    """A page, a redirect, somebody else's JSON; a redirect is not followed, so the key stays here."""
    with speaking(answer) as url, pytest.raises(StrangerError, match=said):
        classify(url)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
                                  b"SSH-2.0-OpenSSH_9.2\r\n"])  # fmt: skip
def test_a_cut_connection_is_told(sent):
    """Before the answer, in its head, in its body; and what is no HTTP at all."""
    with speaking(lambda connection: connection.sendall(sent)) as url:
        with pytest.raises(NoAnswerError, match="closed the connection") as caught:
            classify(url)
        assert not isinstance(caught.value, TimedOutError)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_limit_of_time_holds_whatever_a_server_does(sent):
    """One that says nothing, and one that sends a byte now and then for ever."""
    stopped = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(sent)
        while not stopped.wait(0.05):
            connection.sendall(b" " if sent else b"")

    began = time.monotonic()
    with speaking(trickle) as url, pytest.raises(TimedOutError, match=r"within 0\.3 s"):
        classify(url, timeout=0.3)
    stopped.set()
    assert time.monotonic() - began < 30


def test_a_file_that_shrinks_is_told():
    """Its length was announced; the server is not to blame."""
    with (
        speaking(lambda connection: connection.recv(1)) as url,
        pytest.raises(ChangedError, match="changed while it was sent"),
    ):
        classify(url, _Shrinking())


class _Shrinking:
    """A file that says it has 1,000 bytes, and has none."""

    def seekable(self):
        return True

    def tell(self):
        return 0

    def seek(self, _at, whence=0):
        return 1000 if whence else 0

    def read(self, _size=-1):
        return b""


def test_the_limit_of_a_server_that_closes_is_asked_for():
    """The connection breaks while a large photo is sent; the head alone gets the answer."""
    body = problem(413, "body-too-large", limit={"bytes": 1000})
    tries = []

    def refuse(connection: socket.socket) -> None:
        tries.append(connection)
        connection.settimeout(10)
        if len(tries) > 1:
            answering("413 Too Large", body)(connection)  # and no byte of a body came

    with speaking(refuse) as url, pytest.raises(ProblemError) as caught:
        classify(url, bytes(5_000_000))
    assert (413, {"bytes": 1000}) == (caught.value.status, caught.value.limit)
