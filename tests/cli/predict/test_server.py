"""A server is sent what it can take, waited for, and given up."""

import asyncio
import json
import socket
import ssl
import struct

import httpx
import pytest

from app.cli.files import File
from app.cli.predict.server import Server
from app.client.order import in_order
from app.setup_errors import SetupError
from tests.cli.predict.conftest import BODY, PREDICTIONS, problem
from tests.client.listening import listening
from tests.client.script import BUSY, GOOD, HTML, LATE, LIMITED, Script, Step


class Silent(httpx.AsyncBaseTransport):
    """Takes no request, as a SOCKS proxy that accepts connections and then says nothing."""

    async def handle_async_request(self, request):
        await asyncio.sleep(10**6)
        raise httpx.ReadError("", request=request)


@pytest.fixture
def post(turned):
    """Post files to a script, on a clock that is turned; return the results."""

    def post(script, paths, *, patience=120.0, connections=8, key=None, model=None, top_k=2):
        async def main():
            asyncio.get_running_loop().run_seconds = 0.0  # type: ignore[attr-defined]
            server = Server(
                "http://server",
                key,
                model=model,
                top_k=top_k,
                connections=connections,
                patience=patience,
                transport=script,
            )
            try:
                files = [File(path) for path in paths]
                return [one async for one in in_order(server.classify, files, server.ahead)]
            finally:
                await server.close()

        return turned(main())

    return post


def errors(results):
    return [result.error for result in results]


def test_a_proxy_that_says_nothing_is_not_waited_for(post, photos):
    """No time limit of httpx holds while it talks to a SOCKS proxy."""
    with pytest.raises(SetupError, match="does not answer"):
        post(Silent(), photos(100))


def test_a_photo_is_sent_as_it_is(post, photos):
    """The bytes are the body, the length is known, options are in the URL."""
    script = Script(GOOD)
    [path] = photos(1_000_000)
    [result] = post(script, [path], key="secret", model="vgg19")
    [request] = script.requests

    assert result.error is None
    assert path.read_bytes() == request.content
    assert "1000000" == request.headers["Content-Length"]
    assert "Transfer-Encoding" not in request.headers
    assert "Bearer secret" == request.headers["Authorization"]
    assert {"top_k": "2", "model": "vgg19"} == dict(request.url.params)


@pytest.mark.parametrize(
    ("step", "key", "said"),
    [
        (
            (401, {}, problem(401, "unauthorized")),
            None,
            "--key KEY, or in the variable VGG_API_KEY",
        ),
        ((401, {}, problem(401, "unauthorized")), "secret", "does not know this API key"),
        ((401, {"WWW-Authenticate": 'Basic realm="x"'}, b""), None, "https://NAME:PASSWORD@HOST"),
        ((404, {}, problem(404, "unknown-model")), None, "Detail"),
        ((422, {}, problem(422, "unknown-parameter")), None, "Detail"),
        ((400, {}, problem(400, "bad-request", limit={"top_k": 3})), None, "Detail"),
        ((404, {}, problem(404, "not-found")), None, "Check the URL"),
    ],
)
def test_what_no_other_photo_would_pass_ends_the_command(post, photos, step, key, said):
    """A key, a model, a parameter that the server does not take, and a wrong path."""
    with pytest.raises(SetupError, match=r".") as caught:
        post(Script(step), photos(100, 100), key=key)
    assert said in str(caught.value)


def test_the_place_of_the_best_class_is_an_array(post, photos):
    """Heat, box and view are what is drawn."""
    corners = {"xmin": 1, "ymin": 0, "xmax": 3, "ymax": 2}
    heat = {"rows": 2, "columns": 2, "values": [0, 0.5, 1, 0.25]}
    best = PREDICTIONS[0] | {"heat": heat, "box": corners}
    body = BODY | {"view": corners, "predictions": [best]}
    [result] = post(Script((200, {}, json.dumps(body).encode())), photos(100))

    assert [[0, 0.5], [1, 0.25]] == result.marks.heat.tolist()
    assert ((1, 0, 3, 2), (1, 0, 3, 2)) == (result.marks.view, result.marks.box)


def test_a_server_chooses_how_many_classes(post, photos):
    """A network of three classes refuses to name five of them."""
    script = Script(GOOD)
    post(script, photos(100), top_k=None)

    assert {} == dict(script.requests[0].url.params)


def test_results_are_in_the_order_of_the_files(post, photos):
    """A photo that has to wait is not overtaken in the results."""
    paths = photos(*[100] * 40)
    results = post(Script(BUSY, GOOD, seconds=0.1), paths)

    assert paths == [result.path for result in results]
    assert [None] * 40 == errors(results)


def test_retry_after_is_waited_for(post, photos):
    """The second try comes when the server wants it, the third too."""
    script = Script(BUSY, BUSY, GOOD)
    results = post(script, photos(100))

    assert [None] == errors(results)
    assert [0, 2, 4] == script.at


def test_without_retry_after_the_waits_grow(post, photos):
    """A server that says nothing is asked after 1 s, and ever more rarely."""
    script = Script(*[(503, {}, b"")] * 9, GOOD)
    results = post(script, photos(100))

    assert [None] == errors(results)
    waits = [later - at for at, later in zip(script.at, script.at[1:], strict=False)]
    assert [1, 1, 1, 1, 1.6, 3.2, 6.4, 10, 10] == pytest.approx(waits)


def test_a_rate_limit_holds_all_back(post, photos):
    """After 429 nobody sends until the server said."""
    script = Script(GOOD, LIMITED, GOOD, seconds=1)
    results = post(script, photos(100, 100, 100, 100), connections=1)

    assert [None] * 4 == errors(results)
    assert [0, 1, 7, 8, 9] == script.at


def test_fewer_are_sent_to_a_server_that_is_full(post, photos):
    """Refusals halve the photos in flight, answers let them grow again."""
    script = Script(*[GOOD] * 20, BUSY, GOOD, seconds=1)
    paths = photos(*[100] * 60)
    results = post(script, paths, connections=4)

    assert [None] * 60 == errors(results)
    assert 61 == len(script.at)
    assert 4 == script.most
    after = [at for at in script.at if 6 <= at < 10]
    assert len(after) <= 2 * 4 + 2  # two a second, and the one that was refused


def test_a_busy_server_is_not_waited_for_for_ever(post, photos):
    """When patience is over the photo fails, with the number of tries; the next one is tried."""
    script = Script(GOOD, *[BUSY] * 6, GOOD)
    first, second, third = post(script, photos(100, 100, 100), patience=9, connections=1)

    assert first.error is None
    assert "Detail. It was tried" in second.error
    assert "The server is busy" == second.trouble.kind
    assert third.error is None


def test_a_server_that_answers_nothing_ends_the_command(post, photos):
    """A hundred thousand photos do not wait one after the other."""
    script = Script(BUSY)
    with pytest.raises(SetupError, match=r"Nothing was answered for 1\d\d s; --patience is 120 s"):
        post(script, photos(*[100] * 50))
    assert len(script.at) < 150


def test_a_longer_wait_than_patience_is_told_at_once(post, photos):
    """Nobody waits an hour to hear that it was in vain."""
    script = Script((503, {"Retry-After": "3600"}, b""))
    with pytest.raises(SetupError, match="3,600 s"):
        post(script, photos(100))
    assert [0] == script.at


@pytest.mark.parametrize("step", [LATE, httpx.ReadError(""), httpx.RemoteProtocolError(""),
                                  httpx.ReadTimeout(""), httpx.WriteTimeout(""), HTML])  # fmt: skip
def test_a_photo_that_gets_no_answer_is_sent_four_times(post, photos, step):
    """It may itself be the reason: then it fails, and the others are classified."""
    script = Script(GOOD, evil=step)
    first, second, third = post(script, photos(100, 666, 100))

    assert (None, None) == (first.error, third.error)
    assert second.error.endswith("It was tried 4 times.")
    assert 2 + 4 == len(script.requests)


@pytest.mark.parametrize("step", [LATE, httpx.ReadError("")])
def test_a_lost_answer_is_asked_for_again(post, photos, step):
    """One loss is no failure."""
    script = Script(step, GOOD)

    assert [None] == errors(post(script, photos(100)))
    assert [0, 1] == script.at


def test_a_server_that_restarts_is_waited_for(post, photos):
    """Refused connections in the middle count by time, not by tries."""
    away = httpx.ConnectError("refused")
    script = Script(GOOD, httpx.ReadError(""), *[away] * 20, BUSY, GOOD)
    results = post(script, photos(*[100] * 12), connections=2)

    assert [None] * 12 == errors(results)


def test_a_server_that_was_never_there_is_told_at_once(post, photos):
    """The first photo says so, and no second try is made."""
    script = Script(httpx.ConnectError("refused"))
    with pytest.raises(SetupError, match="http://server"):
        post(script, photos(100), connections=1)
    assert [0] == script.at


def test_a_server_that_stays_away_ends_the_command(post, photos):
    """After patience, not after that of each photo."""
    script = Script(GOOD, httpx.ConnectError("refused"))
    with pytest.raises(SetupError, match=r"--patience is 5 s"):
        post(script, photos(*[100] * 50), patience=5, connections=1)
    assert script.at[-1] <= 6


def test_no_patience_is_no_wait(post, photos):
    """With 0 each photo is tried once."""
    script = Script(BUSY, GOOD)
    first, second = post(script, photos(100, 100), patience=0, connections=1)

    assert first.error == "Detail. It was tried once."
    assert second.error is None


def test_another_server_ends_the_command_only_at_the_start(post, photos):
    """A page in place of the first answer is a wrong URL; later it may be a proxy's."""
    with pytest.raises(SetupError, match="not a vgg-serve"):
        post(Script(HTML), photos(100))
    assert [None, None] == errors(post(Script(GOOD, HTML, GOOD), photos(100, 100), connections=1))


def test_files_above_the_limit_are_not_sent(post, photos):
    """Once the server has said its limit, larger files fail without it."""
    limit: Step = (413, {}, problem(413, "body-too-large", limit={"bytes": 1000}))
    script = Script(limit, GOOD)
    results = post(script, photos(2000, 3000, 900), connections=1)

    assert 2 == len(script.requests)
    assert "Detail." == results[0].error
    assert "the server takes at most" in results[1].error
    assert results[2].error is None


def test_what_is_no_photo_is_not_sent(post, photos, tmp_path):
    """It fails here, between the others."""
    (tmp_path / "text.jpg").write_text("text")
    script = Script(GOOD)
    results = post(script, [*photos(100), tmp_path / "text.jpg"])

    assert 1 == len(script.requests)
    assert "not an image" == results[1].trouble.kind


def test_an_endless_answer_is_cut(post, photos):
    """A server cannot fill the memory of the client."""
    script = Script((200, {}, b" " * 2**25))
    with pytest.raises(SetupError, match="not a vgg-serve"):
        post(script, photos(100))


async def classify(url: str, *paths):
    server = Server(
        url,
        None,
        model=None,
        top_k=2,
        connections=2,
        patience=5,
    )
    try:
        return [one async for one in in_order(server.classify, [File(p) for p in paths], 4)]
    finally:
        await server.close()


def test_the_limit_of_a_server_that_closes_is_asked_for(tmp_path):
    """A huge file makes the connection fail before the answer is read; the head alone gets it."""
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.write(b"\xff\xd8\xff\xe0")
        file.truncate(100_000_000)
    body = problem(413, "body-too-large", "body-too-large", limit={"bytes": 10_000_000})

    def refuse(connection: socket.socket) -> None:
        received = connection.recv(4096)
        connection.settimeout(0.3)
        try:
            if not received.endswith(b"\r\n\r\n") or connection.recv(1):  # a body follows
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except TimeoutError:
            answer = b"HTTP/1.1 413 X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            connection.sendall(answer % (len(body), body))

    with listening(refuse) as port:
        [result] = asyncio.run(classify(f"http://127.0.0.1:{port}", path))

    assert "body-too-large" == result.trouble.kind
    assert "Detail." == result.error


def test_a_server_without_tls_is_told(photos):
    """https:// to a server that speaks plain HTTP."""

    def plain(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with listening(plain) as port, pytest.raises(SetupError, match="begin with http:// instead"):
        asyncio.run(classify(f"https://127.0.0.1:{port}", *photos(100)))


def test_a_certificate_that_is_not_trusted_is_told(photos, certificate):
    """The sentence names the variable that helps."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def greet(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).close()  # fails: the client goes away

    with listening(greet) as port, pytest.raises(SetupError, match="SSL_CERT_FILE"):
        asyncio.run(classify(f"https://127.0.0.1:{port}", *photos(100)))


def test_a_closed_port_and_an_unknown_host_are_told(photos):
    """Both before anything is waited for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SetupError, match=f"No server listens at http://127.0.0.1:{port}"):
        asyncio.run(classify(f"127.0.0.1:{port}", *photos(100)))
    with pytest.raises(SetupError, match=r"There is no host nowhere\.invalid"):
        asyncio.run(classify("http://nowhere.invalid", *photos(100)))
