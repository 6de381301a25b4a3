"""The client without an event loop, against a real server on a real socket."""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from PIL import Image

from app.client import Client, ProblemError, UnreachableError
from app.web.keys import make_key
from tests.conftest import PHOTOS, REPOSITORY, running_server

COFFEE = PHOTOS / "coffee.jpg"


@contextmanager
def running_socket():
    """Listen, and answer nothing; what is yielded is the URL, and an event: somebody has connected."""
    accepted, held = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(listener.accept()[0])
                    accepted.set()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", accepted
        listener.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


@pytest.fixture(scope="module")
def client(mini_server):
    """A client of the small trained model."""
    with Client(mini_server.url) as client:
        yield client


def run(code: str, *arguments: str, **options):
    """Run a program in a process of its own; warnings are errors."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False, **options
    )


def test_nothing_heavy_is_loaded():
    """Httpx alone: a program that classifies by a server has neither onnxruntime nor numpy."""
    code = "import sys, app.client, json; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(run(code).stdout)}
    ours = {name for name in json.loads(run(code).stdout) if name.startswith("app.")}

    assert "httpx" in loaded
    assert set() == loaded & {"numpy", "PIL", "onnxruntime", "onnx", "fastapi", "starlette", "pydantic", "uvicorn",
                              "prometheus_client", "typer", "google"}  # fmt: skip
    assert {"app.client", "app.outgoing", "app.errors", "app.setup_errors"} == {
        name for name in ours if name.count(".") == 1
    }


def test_a_photo_is_classified(client):
    """The answer has the model, the photo, the classes, and under which name the log has it."""
    answer = client.classify(COFFEE, top_k=3, explain="box")

    assert ("espresso", "vgg16-mini", 3) == (
        answer.best.label,
        answer.model,
        len(answer.predictions),
    )
    assert ((500, 333), 32) == ((answer.image.width, answer.image.height), len(answer.request_id))
    assert answer.best.box.xmin < answer.best.box.xmax <= 500
    assert answer.seconds["total"] > 0


def test_an_image_may_be_given_in_many_ways(client):
    """The same pixels, the same answer."""
    data = COFFEE.read_bytes()
    with Image.open(COFFEE) as image, COFFEE.open("rb") as file:
        ways = [str(COFFEE), COFFEE, data, file, image, np.asarray(image)]
        answers = [client.classify(way).predictions for way in ways]

    assert [answers[0]] * len(ways) == answers


def test_errors_have_the_words_of_the_server(client):
    """Status, type, and what to do."""
    with pytest.raises(ProblemError, match=r"415 unsupported-format: .*Send JPEG") as caught:
        client.classify(b"no photo")
    with pytest.raises(ProblemError, match="it has vgg16-mini"):
        client.classify(COFFEE, model="vgg99")
    with pytest.raises(FileNotFoundError):
        client.classify("nowhere.jpg")

    assert caught.value.request_id
    assert 32 == len(caught.value.request_id)


def test_many_photos_come_in_order(client):
    """A bad one is in its place, if it is wanted there."""
    photos = [COFFEE, b"none", COFFEE.with_name("nowhere.jpg"), COFFEE]
    answers = list(client.classify_many(photos, return_exceptions=True, top_k=1))

    assert ["Answer", "ProblemError", "FileNotFoundError", "Answer"] == [
        type(one).__name__ for one in answers
    ]
    assert [] == list(client.classify_many([]))
    with pytest.raises(ProblemError):
        list(client.classify_many(photos))


def test_an_endless_iterable_is_not_run_ahead_of(client):
    """And it is run in the thread of the caller, whose errors are his own."""
    taken = []

    def endless():
        while True:
            taken.append(threading.current_thread())
            if len(taken) == 30:
                raise KeyError("mine")
            yield COFFEE

    found = client.classify_many(endless(), concurrency=4)
    for _ in range(10):
        next(found)
    assert len(taken) <= 10 + 4
    with pytest.raises(KeyError, match="mine"):
        list(found)
    assert {threading.current_thread()} == set(taken)
    client.classify_many(endless()).close()


def test_threads_share_a_client(client):
    """Each gets its own answer."""
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(client.classify(COFFEE).best.label))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert ["espresso"] * 8 == found


def test_the_server_is_described(client):
    """Its models, its version, and that it is ready."""
    [model] = client.models()

    assert ("vgg16-mini", True, "ready", 202) == (
        model.name,
        model.default,
        model.state,
        model.classes,
    )
    assert 64 == len(client.model("vgg16-mini").body["weights_sha256"])
    assert client.ready()
    assert client.version()


def test_a_closed_client_says_so(mini_server):
    """Closing twice is fine; its thread ends, also without a word where the client is forgotten."""
    before = set(threading.enumerate())
    client = Client(mini_server.url)
    client.classify(COFFEE)
    client.close()
    client.close()
    for call in (client.models, client.__enter__, lambda: client.classify(COFFEE),
                 lambda: client.classify_many([])):  # fmt: skip
        with pytest.raises(RuntimeError, match="The client is closed"):
            call()
    forgotten = Client(mini_server.url)
    forgotten.ready()
    [thread] = set(threading.enumerate()) - before
    del forgotten
    gc.collect()
    thread.join(60)

    assert not thread.is_alive()


def test_closing_ends_what_is_under_way():
    """A thread that waits for an answer hears of it."""
    errors = []
    with running_socket() as (url, accepted):
        client = Client(url, "")

        def wait() -> None:
            try:
                client.classify(COFFEE)
            except RuntimeError as exc:
                errors.append(str(exc))

        thread = threading.Thread(target=wait)
        thread.start()
        accepted.wait(60)
        client.close()
        thread.join(60)

    assert ["The client is closed."] == errors


def test_a_server_that_is_not_there_is_told():
    """With what to check; to ask whether it is ready is no error."""
    with Client("http://127.0.0.1:1", retries=0) as client:
        with pytest.raises(UnreachableError, match=r"No server listens at http://127\.0\.0\.1:1"):
            client.classify(COFFEE)
        assert not client.ready()


def test_a_program_ends_without_closing(mini_server):
    """Nothing is printed, nothing hangs: the URL and the photo are all that is needed."""
    code = "import sys; from app.client import Client; print(Client().classify(sys.argv[1]).best.label)"
    ended = run(code, str(COFFEE), env=os.environ | {"VGG_URL": mini_server.url})

    assert ("espresso\n", "", 0) == (ended.stdout, ended.stderr, ended.returncode)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_process_that_was_forked_has_its_own_connections(mini_server):
    """And that of the parent goes on."""
    code = """
import os, sys
from app.client import Client
client = Client(sys.argv[1])
client.classify(sys.argv[2])
if os.fork() == 0:
    print(client.classify(sys.argv[2]).best.label, flush=True)
    os._exit(0)
os.wait()
print(client.classify(sys.argv[2]).best.label)
"""
    assert "espresso\nespresso\n" == run(code, mini_server.url, str(COFFEE)).stdout


def test_ctrl_c_ends_many_photos_at_once():
    """Although none of them is answered."""
    code = """
import sys
from app.client import Client
try:
    list(Client(sys.argv[1], timeout=600).classify_many([sys.argv[2]] * 100))
except KeyboardInterrupt:
    print("interrupted")
"""
    with running_socket() as (url, accepted):
        command = [sys.executable, "-c", code, url, str(COFFEE)]
        with subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        ) as process:
            accepted.wait(60)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)

    assert ("interrupted\n", 0) == (out, process.returncode)


@pytest.fixture(scope="module")
def strict(colours):
    """A server that wants a key, and takes five requests a second from a client."""
    key, line = make_key("ada")
    (colours / "keys").write_text(line + "\n")
    with running_server(
        colours,
        models="colours",
        api_keys_file=str(colours / "keys"),
        rate_limit="5",
        rate_burst="5",
    ) as server:
        yield server, key


def test_a_key_is_wanted_and_a_rate_is_kept(strict):
    """401 says how to give a key; 429 is waited for, until every photo is answered."""
    server, key = strict
    with Client(server.url, "") as stranger, pytest.raises(ProblemError) as caught:
        stranger.classify(COFFEE)
    began = time.monotonic()
    with Client(server.url, key) as client:
        answers = list(client.classify_many([COFFEE] * 12))

    assert (401, "unauthorized") == (caught.value.status, caught.value.type)
    assert 12 == len(answers)
    assert time.monotonic() - began > 1
