"""Each way in which a server can fail ends in time, and says whether to try again."""

import asyncio
import socket
import threading
import time

import pytest

from app.weights.download.http_get import (
    GetError,
    Lookups,
    RangeError,
    RefusedError,
    get,
    open_client,
)
from tests.outgoing.field import leave_alone
from tests.weights.download.file_server import CONTENT, DRIPS, HALF, chunked, reply, running, serve


@pytest.fixture
def server():
    """Start a server."""
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_proxy_of_ours(monkeypatch):
    leave_alone(monkeypatch)


def read(url, start=0, first=0.5, timeout=0.5):
    """Get all of it; return the reply and the body."""

    async def all_of_it():
        asyncio.get_running_loop().set_default_executor(Lookups())
        async with (
            open_client({}) as client,
            get(client, url, start, first=first, timeout=timeout) as answer,
        ):
            return answer, b"".join([data async for data in answer.body])

    return asyncio.run(all_of_it())


def fails(url, start=0, **options):
    """See it fail within a second and a half; return the error."""
    began = time.monotonic()
    with pytest.raises(GetError) as caught:
        read(url, start, **options)
    assert time.monotonic() - began < 1.5
    return caught.value


def test_whole_file(server):
    """Without a start the whole file comes, as it is."""
    answer, body = read(server.url)

    assert (answer.start, answer.sizes, body) == (0, {len(CONTENT)}, CONTENT)
    assert answer.digest is None
    assert server.requests[0].headers["Accept-Encoding"] == "identity"
    assert [None] == server.ranges()


def test_rest_of_a_file(server):
    """The size is that of the whole file."""
    answer, body = read(server.url, HALF)

    assert (answer.start, answer.sizes, body) == (HALF, {len(CONTENT)}, CONTENT[HALF:])
    assert [f"bytes={HALF}-"] == server.ranges()


def test_server_without_ranges_sends_the_whole_file(server):
    """It says so by its status, and the reply by its start."""
    server.script = [serve(resumes=False)]

    answer, body = read(server.url, HALF)

    assert (answer.start, body) == (0, CONTENT)


def test_unknown_size(server):
    """A body without an announced length has no size."""
    server.script = [chunked(CONTENT)]

    answer, body = read(server.url)

    assert (answer.sizes, body) == (set(), CONTENT)


def test_hub_describes_the_file_on_its_redirect(server):
    """The digest and the size are on the first hop, and the body comes from the last."""
    headers = {
        "Location": server.url,
        "X-Linked-ETag": f'"{"0" * 64}"',
        "X-Linked-Size": len(CONTENT),
    }
    server.script = [reply(302, headers), chunked(CONTENT)]

    answer, body = read(server.url)

    assert (answer.sizes, answer.digest) == ({len(CONTENT)}, "sha256:" + "0" * 64)
    assert body == CONTENT


def test_absurd_size_is_ignored(server):
    """A size with more digits than any file needs is no size."""
    server.script = [serve(extra={"X-Linked-Size": "9" * 5000})]

    assert read(server.url)[0].sizes == {len(CONTENT)}


def test_redirect_to_an_impossible_port_is_refused(server):
    """The sentence says what is wrong with the address."""
    server.script = [reply(302, {"Location": "http://127.0.0.1:99999/vgg.bin"})]

    error = fails(server.url)

    assert isinstance(error, RefusedError)
    assert "port" in str(error)


@pytest.mark.parametrize("etag", ["", '"abc"', f'W/"{"0" * 64}"'])
def test_other_etags_are_no_digests(server, etag):
    """What is not 64 hex digits vouches for nothing."""
    server.script = [serve(extra={"X-Linked-ETag": etag})]

    assert read(server.url)[0].digest is None


@pytest.mark.parametrize(
    "answer",
    [
        reply(416),
        reply(206, {"Content-Range": f"bytes 0-9/{len(CONTENT)}"}, CONTENT[:10]),
        reply(206, {}, CONTENT[HALF:]),
    ],
    ids=["none", "another", "unnamed"],
)
def test_wrong_range(server, answer):
    """A range that cannot be had, or another one than was asked for, is not taken."""
    server.script = [answer]

    assert isinstance(fails(server.url, HALF), RangeError)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 206, 304, 416])
def test_final_answers(server, status):
    """What will not change is refused."""
    server.script = [reply(status)]

    error = fails(server.url)

    assert isinstance(error, RefusedError)
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_answers(server, status):
    """What may pass may be tried again."""
    server.script = [reply(status)]

    error = fails(server.url)

    assert type(error) is GetError
    assert str(status) in str(error)


def test_server_may_ask_to_be_left_alone(server):
    """The seconds are passed on, of an answer that may pass."""
    server.script = [
        reply(429, {"RateLimit": '"resolvers";r=0;t=9'}),
        reply(404, {"Retry-After": 9}),
    ]

    assert [9.0, 0.0] == [fails(server.url).wait, fails(server.url).wait]


def test_encoded_body_is_refused(server):
    """A body that was compressed on the way is not the file."""
    server.script = [serve(extra={"Content-Encoding": "gzip"})]

    assert "gzip" in str(fails(server.url))


def test_endless_redirects_are_refused(server):
    """A redirect loop is not tried again."""
    server.script = [reply(302, {"Location": server.url})] * 1000

    assert isinstance(fails(server.url), RefusedError)


def test_cut_body(server):
    """A connection that ends early may be tried again."""
    server.script = [serve(cut=HALF)]

    assert type(fails(server.url)) is GetError


def test_proxy_of_the_environment_is_used(server, monkeypatch):
    """HTTP_PROXY is asked for hosts that only it can reach."""
    monkeypatch.setenv("HTTP_PROXY", f"http://{server.address}")

    assert read("http://weights.invalid/vgg.bin")[1] == CONTENT
    assert server.requests[0].path == "http://weights.invalid/vgg.bin"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks4://127.0.0.1:1"),
        ("NO_PROXY", "10.0.0.0/33"),
        ("ALL_PROXY", "gopher://127.0.0.1:1"),
        ("SSL_CERT_FILE", "/nowhere.pem"),
    ],
)
def test_useless_environment_is_refused(monkeypatch, name, value):
    """A proxy that is not known, a list that is wrong, or a lost file of certificates, is named."""
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv(name, value)

    error = fails("https://weights.invalid/")

    assert isinstance(error, RefusedError)
    assert name in str(error)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "http://" + "a" * 64 + ".invalid/", "http://a:b"]
)
def test_useless_address_is_refused(url):
    """An address that cannot be connected to."""
    assert isinstance(fails(url), RefusedError)


def closed_port():
    """Find a port that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{closed}/",
        "http://weights.invalid/",
        "http://192.0.2.1/",  # RFC 5737: nobody is there
        "https://{address}/",  # speaks no TLS
        "http://{silent}/",
        "https://{silent}/",
    ],
)
def test_unreachable_server(server, url):
    """Without a way to the server, it ends in time and may be tried again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        url = url.format(closed=closed_port(), address=server.address, silent=host)

        assert type(fails(url, first=0.3)) is GetError


@pytest.mark.parametrize(("name", "late"), [("head", "no answer"), ("body", "fewer than 10000")])
def test_drip(server, name, late):
    """The time is for the answer as a whole, and for many bytes, not for each of them."""
    server.script = [DRIPS[name]]

    assert late in str(fails(server.url, first=0.3, timeout=0.3))


def test_stalled_body(server):
    """A server that falls silent in the middle may be tried again."""
    server.script = [serve(pause=True)]

    assert type(fails(server.url, timeout=0.2)) is GetError


def test_one_who_is_slow_to_read_misses_nothing(server):
    """The clock is for the server, not for a disk that takes its time."""

    async def read_slowly():
        async with (
            open_client({}) as client,
            get(client, server.url, 0, first=0.3, timeout=0.1) as answer,
        ):
            pieces = [await anext(answer.body)]
            time.sleep(0.3)  # noqa: ASYNC251 - as a disk would block it
            return b"".join([*pieces, *[data async for data in answer.body]])

    assert asyncio.run(read_slowly()) == CONTENT


def test_who_leaves_hangs_up(server):
    """A body that is not read to its end leaves no connection, nor does it end the program late."""
    server.script = [serve(CONTENT * 100)]
    before = threading.enumerate()

    async def leave():
        async with (
            open_client({}) as client,
            get(client, server.url, 0, first=0.5, timeout=0.5) as answer,
        ):
            await anext(answer.body)

    asyncio.run(leave())

    for thread in set(threading.enumerate()) - set(before):  # the server's, which still sends
        thread.join(1)
        assert not thread.is_alive()


def test_lookup_that_hangs_is_not_waited_for():
    """Neither the event loop nor the process waits for a call that cannot be cancelled."""
    end = threading.Event()

    async def look_up():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(Lookups())
        async with asyncio.timeout(0.05):
            await loop.run_in_executor(None, end.wait)

    with pytest.raises(TimeoutError):
        asyncio.run(look_up())
    (lookup,) = (thread for thread in threading.enumerate() if thread.name == "lookup")
    end.set()
    lookup.join(1)

    assert lookup.daemon
    assert not lookup.is_alive()


def test_lookup_that_fails_says_so():
    """What the call raises is raised where it is awaited."""

    async def look_up():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(Lookups())
        await loop.run_in_executor(None, int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(look_up())
