"""When and where the port opens, with front processes and without."""

import socket

import httpx
import pytest

from app.web.keys import make_key
from tests.conftest import png, running_server
from tests.e2e.fronts import fronted_server
from tests.e2e.services import starting
from tests.service.test_listening import IPV6
from tests.weights.download.file_server import running, serve

FRONTS = pytest.mark.parametrize("fronts", ["0", "2"])


@IPV6
@FRONTS
@pytest.mark.parametrize("host", ["*", "::"])
def test_both_families_are_answered(model_dir, fronts, host):
    """The log names a URL of each family, and photos are answered at both."""
    settings = {"models": "colours", "host": host, "front_processes": fronts, "listen": "ready"}
    with running_server(model_dir, ready=False, **settings) as server:
        second = server.wait_for("listening on http://[::]:")["event"].split()[2]
        port = second.rpartition(":")[2]
        urls = (f"http://127.0.0.1:{port}", f"http://[::1]:{port}")
        answers = [httpx.post(f"{url}/predict", content=png()).status_code for url in urls]

    assert f"http://0.0.0.0:{port}" == server.url
    assert [200, 200] == answers


@FRONTS
def test_a_service_that_listens_when_ready_refuses_connections_until_then(tmp_path, fronts):
    """VGG_LISTEN=ready: a proxy cannot connect to a replica that still loads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running() as hub:
        hub.script = [serve(pause=True)]
        settings = {"models": "vgg16", "hf_endpoint": hub.url, "front_processes": fronts}
        with starting(tmp_path, listen="ready", port=str(port), **settings) as server:
            assert hub.half_sent.wait(60)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
            said = [event["event"] for event in server.events]

    assert [] == [event for event in said if "listening" in event]


@FRONTS
def test_a_service_that_listens_when_ready_answers_its_first_request(model_dir, fronts):
    """No connection that is accepted gets 503: each front listens only once its models answer."""
    settings = {"models": "colours", "front_processes": fronts, "listen": "ready"}
    with running_server(model_dir, ready=False, **settings) as server:
        answers = {httpx.get(f"{server.url}/readyz").status_code for _ in range(20)}

    assert {200} == answers
    assert "models still loading" not in server.events[-1]["event"]


def test_a_model_that_fails_ends_a_service_that_never_listened(model_dir):
    """The exit status is 1, as if the port had been open."""
    (model_dir / "colours.onnx").write_bytes(b"no graph")
    with starting(model_dir, listen="ready") as server:
        server.wait_for("failed to load")
        status = server.process.wait(30)

    assert 1 == status


def test_503_while_loading_says_when_to_come_back(tmp_path):
    """The API, the page's form and the probe carry Retry-After."""
    with running() as hub:
        hub.script = [serve(pause=True)]
        with running_server(tmp_path, ready=False, models="vgg16", hf_endpoint=hub.url) as server:
            form = {"accept": "text/html,application/xhtml+xml", "sec-fetch-mode": "navigate"}
            answers = [
                httpx.post(f"{server.url}/predict", content=png()),
                httpx.post(f"{server.url}/predict", files={"file": png()}, headers=form),
                httpx.get(f"{server.url}/readyz"),
            ]

    assert "text/html" in answers[1].headers["content-type"]
    assert [(503, "5")] * 3 == [(one.status_code, one.headers["retry-after"]) for one in answers]


@FRONTS
def test_a_removed_key_is_refused_within_seconds(model_dir, tmp_path, fronts):
    """Nobody signals a mounted secret: the service looks at the file itself, for its fronts too."""
    (alice, alices), (bob, bobs) = make_key("alice"), make_key("bob")
    file = tmp_path / "keys"
    file.write_text(f"{alices}\n")
    start = fronted_server if fronts != "0" else running_server
    with start(model_dir, models="colours", api_keys_file=str(file)) as server:
        file.write_text(f"{bobs}\n")
        server.wait_for("1 API keys loaded")  # again: the line of the start was read before
        answers = {
            holder: httpx.post(
                f"{server.url}/predict",
                content=png(),
                headers={"authorization": f"Bearer {key}"},
            ).status_code
            for holder, key in (("alice", alice), ("bob", bob))
        }

    assert {"alice": 401, "bob": 200} == answers
