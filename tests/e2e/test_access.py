"""Keys, rates, proxies and origins on a real server."""

import signal
import subprocess
import sys
from functools import partial

import httpx
import pytest

from app.web.keys import make_key
from tests.conftest import REPOSITORY, png, running_server
from tests.e2e.wire import request, wire_to


@pytest.fixture
def alice():
    return make_key("alice")


def post(url, key=None, **headers):
    if key:
        headers["authorization"] = f"Bearer {key}"
    return httpx.post(f"{url}/predict", content=png(), headers=headers)


def test_key_is_required_before_the_body_is_read(model_dir, tmp_path, alice):
    """Without a key the answer comes before the body is sent; with a key it has the photo's classes."""
    file = tmp_path / "keys"
    file.write_text(alice[1])
    with (
        running_server(model_dir, models="colours", api_keys_file=str(file)) as server,
        wire_to(server.url) as wire,
    ):
        wire.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
        early = wire.answer()
        wire.send(b"\0" * 5000 + request("GET", "/healthz"))
        reused = wire.answer()
        admitted = post(server.url, alice[0])

    assert (401, "unauthorized") == early.problem
    assert early.headers["www-authenticate"].startswith("Bearer")
    assert 200 == reused.status
    assert 200 == admitted.status_code
    assert not [event for event in server.events if event.get("level") == "warning"]


def test_keys_are_read_again_on_sighup(model_dir, tmp_path, alice):
    """A key added to the file is valid from the signal on; a mistake in the file changes nothing."""
    bob = make_key("bob")
    file = tmp_path / "keys"
    file.write_text(alice[1])
    with running_server(model_dir, models="colours", api_keys_file=str(file)) as server:
        before = post(server.url, bob[0])
        file.write_text(bob[1])
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("1 API keys loaded")
        after = [post(server.url, key) for key in (alice[0], bob[0])]
        file.write_text("nonsense")
        server.process.send_signal(signal.SIGHUP)
        said = server.wait_for("keeping the previous keys")
        still = post(server.url, bob[0])

    assert [401, 401, 200, 200] == [x.status_code for x in (before, *after, still)]
    assert "line 1" in said["event"]


def test_broken_file_of_keys_stops_the_start(model_dir, tmp_path):
    """A server that should require keys never starts without them."""
    file = tmp_path / "keys"
    file.write_text("alice = vgg_secret")
    ended = subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=REPOSITORY,
        env={"VGG_MODEL_DIR": str(model_dir), "VGG_PORT": "0", "VGG_API_KEYS_FILE": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 1 == ended.returncode
    assert f"{file}, line 1" in ended.stderr.replace("\n", "")
    assert "vgg_secret" not in ended.stderr


def test_command_makes_a_key_that_the_file_takes(model_dir, tmp_path):
    """`vgg-serve key NAME >> keys` stores the line and shows the key to the operator only."""
    file = tmp_path / "keys"
    made = subprocess.run(
        [sys.executable, "-m", "app", "key", "alice"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    file.write_text(made.stdout)
    key = made.stderr.split()[-1]
    with running_server(model_dir, models="colours", api_keys_file=str(file)) as server:
        answer = post(server.url, key)

    assert 200 == answer.status_code
    assert key not in made.stdout
    assert "alice" in made.stderr


def test_rate_is_for_each_address_and_only_a_trusted_proxy_names_it(model_dir):
    """X-Forwarded-For counts only if a trusted proxy sends it."""
    limited = partial(
        running_server, model_dir, models="colours", rate_limit="0.001", rate_burst="1"
    )
    with limited() as server:
        direct = [post(server.url, **{"x-forwarded-for": f"192.0.2.{n}"}) for n in range(3)]
    with limited(trusted_proxies="127.0.0.0/8") as server:
        behind = [
            post(server.url, **{"x-forwarded-for": address})
            for address in (
                "192.0.2.1",
                "192.0.2.2",
                "6.6.6.6, 192.0.2.2",
                "2001:db8::1",
                "2001:db8::2",
            )
        ]

    assert [200, 429, 429] == [answer.status_code for answer in direct]
    assert [200, 200, 429, 200, 429] == [answer.status_code for answer in behind]
    assert "/problems/rate-limited" == direct[1].json()["type"]
    assert 990 < int(direct[1].headers["retry-after"]) <= 1000


def test_public_address_without_keys_is_a_warning(model_dir, tmp_path, alice):
    """A server that everyone can use logs one warning; with keys or on loopback it logs none."""
    file = tmp_path / "keys"
    file.write_text(alice[1])
    start = partial(running_server, model_dir, models="colours")
    warned = []
    for starting in (
        start(host="0.0.0.0"),
        start(host="0.0.0.0", api_keys_file=str(file)),
        start(host="127.0.0.1"),
    ):
        with starting as server:
            events = [event for event in server.events if "anyone" in event["event"]]
            warned.append([event["level"] for event in events])

    assert [["warning"], [], []] == warned


def test_only_allowed_origins_may_call(model_dir):
    """A preflight of an allowed origin is answered by a real server too."""
    asks = {"access-control-request-method": "POST"}
    with running_server(
        model_dir, models="colours", allowed_origins="https://lab.example"
    ) as server:
        answers = [
            httpx.options(f"{server.url}/predict", headers={"origin": origin, **asks})
            for origin in ("https://lab.example", "https://evil.example")
        ]
        read = post(server.url, origin="https://lab.example")

    assert [204, 204] == [answer.status_code for answer in answers]
    assert ["https://lab.example", None] == [
        answer.headers.get("access-control-allow-origin") for answer in answers
    ]
    assert "https://lab.example" == read.headers["access-control-allow-origin"]
