"""Clients that are slow, greedy or wrong, on a real socket; each gets its exact answer."""

import os
import re
import resource
import socket
from contextlib import ExitStack

import httpx
import pytest

from app.web.connection.protocol import MAX_HEADERS, MAX_PIPELINED
from tests.conftest import png, running_server
from tests.e2e.wire import request, wire_to

FORM = "multipart/form-data; boundary=x"
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"


def part(data, name="file", boundary="x"):
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="p.png"'
    return f"--{boundary}\r\n{disposition}\r\n\r\n".encode() + data + b"\r\n"


@pytest.fixture(scope="module")
def server(colours):
    """A server that is impatient, so that slowness is seen soon."""
    with running_server(
        colours,
        models="colours",
        header_timeout_ms="1000",
        idle_timeout_ms="1200",
        deadline_ms="1500",
        upload_silence_ms="1500",
        max_body_bytes="6000000",
    ) as server:
        yield server


@pytest.fixture
def wire(server):
    with wire_to(server.url) as wire:
        yield wire
    assert 200 == httpx.post(f"{server.url}/predict", content=png()).status_code


@pytest.fixture(scope="module")
def patient(colours):
    """A server with the defaults."""
    with running_server(colours, models="colours") as server:
        yield server


def test_slow_headers_are_408(wire):
    """A head that does not end is given up after its time, however often a byte of it comes."""
    wire.socket.settimeout(0.1)
    wire.send(b"POST /predict HTTP/1.1\r\n")
    for number in range(100):
        if not wire.send(b"X-%d: y\r\n" % number):
            break
        try:
            if wire.socket.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            continue
    wire.socket.settimeout(20)

    answer = wire.answer()
    assert (408, "slow-headers") == answer.problem
    assert "close" == answer.headers["connection"]
    assert number < 20


def test_blank_lines_do_not_hold_a_connection(wire):
    """What is no part of any request does not stop the clock."""
    wire.socket.settimeout(0.1)
    ended = False
    for _ in range(100):
        if not wire.send(b"\r\n"):
            break
        try:
            ended = wire.socket.recv(1) == b""
        except TimeoutError:
            continue
        except ConnectionResetError:
            ended = True
        if ended:
            break

    assert ended


def drip(wire, piece, most):
    """Send a piece ten times per second until the server says something; return how often."""
    wire.socket.settimeout(0.1)
    number = 0
    for number in range(most):  # noqa: B007 (the last one is returned)
        if not wire.send(piece):
            break
        try:
            wire.socket.recv(1, socket.MSG_PEEK)
            break
        except TimeoutError:
            continue
    wire.socket.settimeout(20)
    return number


def test_steady_upload_outlives_the_deadline(wire):
    """A photo that takes twice the time of VGG_DEADLINE_MS to arrive is answered."""
    data = png() + bytes(600_000)
    wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data[:-600_000])
    drip(wire, bytes(20_000), 30)

    assert 200 == wire.answer().status


@pytest.mark.parametrize("piece", [b"x", bytes(200)], ids=["a byte", "half the least rate"])
def test_slow_loris_is_408(wire, piece):
    """A body that comes in drops, or at 2000 bytes per second, is given up, however long it is."""
    wire.send(HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(500_000))

    assert drip(wire, piece, 100) < 50
    assert (408, "slow-upload") == wire.answer().problem


def test_expected_body_that_does_not_come_is_408(wire):
    """A client that asks first gets its 100, and then the time that every other gets."""
    wire.send(HEAD + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n")

    assert b"HTTP/1.1 100 Continue\r\n\r\n" == wire.socket.recv(100)
    assert (408, "slow-upload") == wire.answer().problem


def test_slow_upload_behind_another_request(wire):
    """The clock of a pipelined upload begins when it is its turn, and ends that upload alone."""
    wire.send(request("POST", "/predict", png()) + HEAD + b"Content-Length: 1000\r\n\r\nhalf")

    assert 200 == wire.answer().status
    assert (408, "slow-upload") == wire.answer().problem


def test_drain_does_not_wait_for_a_slow_upload(colours):
    """After VGG_DRAIN_TIMEOUT_MS an upload that still arrives is told to go elsewhere."""
    with (
        running_server(colours, models="colours", drain_timeout_ms="500") as server,
        wire_to(server.url) as wire,
    ):
        wire.send(HEAD + b"Content-Length: 1000000\r\n\r\n")
        httpx.get(f"{server.url}/healthz")
        server.process.terminate()

        assert drip(wire, bytes(1000), 100) < 50
        assert (503, "draining") == wire.answer().problem
        server.process.wait(20)


def test_slow_body_is_408(wire):
    """A body that stops half-way is given up after VGG_UPLOAD_SILENCE_MS."""
    wire.send(HEAD + b"Content-Length: 1000\r\n\r\nhalf")

    answer = wire.answer()
    assert (408, "slow-upload") == answer.problem
    assert "close" == answer.headers["connection"]
    assert wire.closed()


def test_silent_connection_is_closed_without_a_word(wire):
    """A browser opens connections in advance; an answer to no question would confuse it."""
    assert wire.closed()


def test_idle_connection_is_closed(wire):
    """After its answer a connection may wait for VGG_IDLE_TIMEOUT_MS, and is then closed."""
    wire.send(request("GET", "/healthz"))

    assert 200 == wire.answer().status
    assert wire.closed()


def test_rest_of_an_unwanted_body_holds_no_connection(wire):
    """A body that nobody reads, dripped after its answer, ends with the connection."""
    wire.send(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")

    assert (404, "not-found") == wire.answer().problem
    wire.socket.settimeout(0.1)
    for _ in range(100):
        if not wire.send(b"drip"):
            break
        try:
            assert b"" == wire.socket.recv(1)
        except TimeoutError:
            continue
        except ConnectionResetError:
            pass
        break
    assert not wire.send(b"drip") or not wire.send(b"drip")


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"X: " + b"y" * 20_000_000,
        HEAD + (b"X: " + b"y" * 1000 + b"\r\n") * 20_000,
        HEAD + b"X: y\r\n" * 3_500_000,
        b"GET /" + b"y" * 20_000_000,
    ],
    ids=["one", "many", "tiny", "address"],
)
def test_twenty_megabytes_of_headers_are_431(server, wire, data):
    """A head is refused at its limit, whatever it is made of, and leaves no memory behind."""
    before = rss(server)
    wire.send(data)

    assert (431, "headers-too-large") == wire.answer().problem
    assert rss(server) < before + 10e6


def test_headers_at_the_limit_pass(wire):
    """32,768 bytes are the limit: what a browser sends never comes near it."""
    wire.send(request("GET", "/healthz", x_padding="y" * 32_000))

    assert 200 == wire.answer().status


def test_hundred_headers_pass_and_one_more_is_431(wire):
    """Many tiny headers hold far more memory than their bytes; a browser sends about twenty."""
    head = b"GET /healthz HTTP/1.1\r\n"
    wire.send(head + b"x: y\r\n" * MAX_HEADERS + b"\r\n")
    assert 200 == wire.answer().status
    wire.send(head + b"x: y\r\n" * (MAX_HEADERS + 1) + b"\r\n")

    answer = wire.answer()
    assert (431, "headers-too-large") == answer.problem
    assert b"more than 100 headers" in answer.body
    assert b'"limit":{"headers":100' in answer.body
    assert wire.closed()


@pytest.mark.parametrize(
    "rest", [b"x: " + b"y" * 20_000_000, b"x: y\r\n" * 1_000_000], ids=["one", "many"]
)
def test_endless_trailers_are_431(wire, rest):
    """Headers after a chunked body are bounded as those before it."""
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + rest)

    assert (431, "headers-too-large") == wire.answer().problem


def test_endless_chunk_extension_is_refused(wire):
    """What stands behind a chunk's size is bounded too."""
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"y" * 2_000_000)

    assert (431, "headers-too-large") == wire.answer().problem


def test_trailers_change_nothing(wire):
    """A header after the body is dropped."""
    data = png()
    wire.send(
        HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(data), data)
        + b"X-Request-ID: late\r\nContent-Type: multipart/form-data\r\n\r\n"
    )

    answer = wire.answer()
    assert 200 == answer.status
    assert "late" != answer.headers["x-request-id"]


def test_hundred_thousand_parts_are_400(wire):
    """A form has 64 photos and 15 other parts at most; a hundred thousand are refused at the eightieth."""
    body = b"--x\r\nContent-Disposition:form-data;name=a\r\n\r\n\r\n" * 100_000
    wire.send(request("POST", "/predict", body + b"--x--\r\n", content_type=FORM))

    answer = wire.answer()
    assert (400, "bad-request") == answer.problem
    assert b"more than 79 parts" in answer.body


def test_wrong_boundary_is_400(wire):
    """A form whose parts are set off by something else is refused."""
    body = part(png(), boundary="y") + b"--y--\r\n"
    wire.send(request("POST", "/predict", body, content_type=FORM))

    answer = wire.answer()
    assert (400, "bad-request") == answer.problem
    assert b"malformed" in answer.body


def test_65th_file_is_400(wire):
    """A form has 64 photos at most; none of more is answered."""
    body = 65 * part(png()) + b"--x--\r\n"
    wire.send(request("POST", "/predict", body, content_type=FORM))

    answer = wire.answer()
    assert (400, "bad-request") == answer.problem
    assert b"Too many files" in answer.body


def test_length_that_is_too_large_waits_for_the_rest(wire):
    """A body shorter than it was declared is a slow body."""
    wire.send(request("POST", "/predict", png(), content_length="5000"))

    assert (408, "slow-upload") == wire.answer().problem
    assert wire.closed()


def test_length_that_is_too_small_ends_the_connection(wire):
    """The image is as long as it was declared; what follows is no request and is told so after."""
    data = png()
    wire.send(request("POST", "/predict", data + b"more of it", content_length=str(len(data))))

    assert 200 == wire.answer().status
    assert (400, "bad-request") == wire.answer().problem
    assert wire.closed()


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Content-Length: 3 3\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Bad Header: x\r\n",
        b"X: a\nb\x00c\r\n",
    ],
)
def test_ambiguous_length_is_400(wire, headers):
    """A request that two parsers could read in two ways is read in none."""
    wire.send(HEAD + headers + b"\r\nabc")

    answer = wire.answer()
    assert (400, "bad-request") == answer.problem
    assert "close" == answer.headers["connection"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"hello\r\n\r\n",
    ],
    ids=["tls", "http2", "prose"],
)
def test_other_protocols_are_400(wire, data):
    """What is no HTTP/1 is told so, as a problem."""
    wire.send(data)

    assert (400, "bad-request") == wire.answer().problem
    assert wire.closed()


def test_declared_body_above_the_limit_is_413_though_all_of_it_is_sent(wire):
    """The answer survives the 20 MB that the client sends all the same."""
    wire.send(request("POST", "/predict", b"\0" * 20_000_000))

    answer = wire.answer()
    assert (413, "body-too-large") == answer.problem
    assert "close" == answer.headers["connection"]


def test_chunks_without_end_are_413(wire):
    """A body that does not tell its length is counted."""
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        if not wire.send(b"10000\r\n" + b"\0" * 65536 + b"\r\n"):
            break

    assert (413, "body-too-large") == wire.answer().problem


def test_broken_chunk_is_400(wire):
    """A chunk that is none ends its request."""
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")

    assert (400, "bad-request") == wire.answer().problem
    assert wire.closed()


def test_pipelined_requests_are_answered_in_order(wire):
    """Requests that do not wait for answers get all of them, each its own."""
    colours = ["red", "green", "blue", "green"]
    wire.send(b"".join(request("POST", "/predict?top_k=1", png(name)) for name in colours))

    answers = [wire.answer() for _ in colours]
    assert [200] * 4 == [answer.status for answer in answers]
    for number, answer in zip([0, 1, 2, 1], answers, strict=True):
        assert b'"class_index":%d' % number in answer.body


def test_pipeline_is_bounded(server, wire):
    """Of a flood of requests in one connection a few are answered, the rest is refused."""
    before = rss(server)
    for _ in range(50):
        if not wire.send(b"GET /healthz HTTP/1.1\r\n\r\n" * 10_000):
            break

    for _ in range(MAX_PIPELINED + 1):
        assert 200 == wire.answer().status
    assert (400, "bad-request") == wire.answer().problem
    assert rss(server) < before + 20e6


def test_broken_request_behind_a_good_one(wire):
    """A mistake further back does not take the answer from the request before it."""
    wire.send(
        request("POST", "/predict", png())
        + HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n"
    )

    assert 200 == wire.answer().status
    assert (400, "bad-request") == wire.answer().problem
    assert wire.closed()


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
def test_upgrade_is_not_taken(wire, upgrade):
    """A client that offers another protocol, as Java's does, gets its answer in this one."""
    wire.send(request("POST", "/predict", png(), connection="Upgrade", upgrade=upgrade))

    assert 200 == wire.answer().status
    wire.send(request("POST", "/predict", png()))
    assert 200 == wire.answer().status


def test_connect_is_400(wire):
    """This is no proxy."""
    wire.send(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")

    assert (400, "bad-request") == wire.answer().problem
    assert wire.closed()


def test_client_that_does_not_read_is_dropped(server, wire):
    """An answer that nobody takes is held for VGG_IDLE_TIMEOUT_MS, and not longer."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    files = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    wire.send(files * MAX_PIPELINED)
    server.wait_for("swagger-ui-bundle.js")

    while wire.send(b"\r\n"):
        httpx.get(f"{server.url}/healthz")


def test_thousand_idle_connections_stop_nobody(patient):
    """A thousand connections that say nothing, or half a head, cost little and block no one."""
    before = rss(patient)
    with ExitStack() as stack:
        for number in range(1000):
            idle = stack.enter_context(wire_to(patient.url))
            if number % 2:
                idle.send(HEAD)
        answer = httpx.post(f"{patient.url}/predict", content=png())
        during = rss(patient)

    assert 200 == answer.status_code
    assert during < before + 30e6


def test_promised_bodies_take_no_memory(patient):
    """Connections that declare large bodies and send nothing do not use up VGG_MAX_UPLOAD_BYTES."""
    with ExitStack() as stack:
        for _ in range(100):
            idle = stack.enter_context(wire_to(patient.url))
            idle.send(HEAD + b"Content-Length: 9000000\r\n\r\n")
        large = png() + b"\0" * 8_000_000
        answer = httpx.post(f"{patient.url}/predict", content=large)

    assert 200 == answer.status_code


def test_connections_are_bounded_and_the_newest_is_served(colours):
    """Beyond VGG_MAX_CONNECTIONS those that are awaited longest are closed, slow uploads too."""
    with (
        running_server(colours, models="colours", max_connections="20") as server,
        ExitStack() as stack,
    ):
        wires = [stack.enter_context(wire_to(server.url)) for _ in range(10)]
        for wire in wires:
            wire.send(HEAD + b"Content-Length: 1000\r\n\r\nslow")
        later = [stack.enter_context(wire_to(server.url)) for _ in range(25)]
        answer = httpx.post(f"{server.url}/predict", content=png())

        assert 200 == answer.status_code
        assert all(wire.closed() for wire in wires)
        later[-1].send(request("GET", "/healthz"))
        assert 200 == later[-1].answer().status
        later[-2].send(b"nonsense\r\n\r\n")
        assert 400 == later[-2].answer().status
        counted = httpx.get(f"{server.url}/metrics").text
        refused = dict(re.findall(r'vgg_refused_connections_total{reason="(.+)"} (.+)', counted))

    assert int(float(refused["overloaded"])) >= 16  # 10 + 25 + 1, of which 20 may stay
    assert "1.0" == refused["bad-request"]


def test_nothing_of_an_upload_is_written_or_logged(colours):
    """A server that can write to no file answers; its log, at its most talkative, has no content."""
    private = "my-private-name"
    with running_server(colours, models="colours", log_level="debug") as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, 0))
        data = png("green") + private.encode() * 300_000
        form = httpx.post(
            f"{server.url}/predict",
            files={"file": (f"{private}.png", data, f"image/{private}")},
            headers={"x-note": private},
        )
        wrong = httpx.post(
            f"{server.url}/predict", files={private: (f"{private}.png", b"no image")}
        )
        raw = httpx.post(f"{server.url}/predict?top_k=3", content=private.encode())
        httpx.get(f"{server.url}/{'x' * 9}")
        server.wait_for("/xxxxxxxxx 404")

    assert [200, 400, 415] == [form.status_code, wrong.status_code, raw.status_code]
    assert private not in str(server.events)
    assert "POST /predict 200" in str(server.events)


def test_nothing_is_fetched_for_a_client(patient):
    """An address in the place of a photo is bytes like any other."""
    with socket.create_server(("127.0.0.1", 0)) as bait:
        bait.settimeout(0.1)
        url = f"http://127.0.0.1:{bait.getsockname()[1]}/photo.jpg"
        answers = [
            httpx.post(f"{patient.url}/predict", content=url.encode()),
            httpx.post(f"{patient.url}/predict", files={"file": url.encode()}),
            httpx.post(f"{patient.url}/predict?url={url}", content=b""),
        ]
        with pytest.raises(TimeoutError):
            bait.accept()

    assert [415, 415, 422] == [answer.status_code for answer in answers]
    assert all("The server fetches nothing" in answer.text for answer in answers)


def rss(server):
    """Return the bytes of memory that a server holds."""
    with open(f"/proc/{server.process.pid}/statm") as file:  # noqa: PTH123 (a line of the kernel)
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
