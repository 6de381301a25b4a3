"""A service at a Unix socket: alone, as several processes, and behind nginx."""

import os
import signal
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import httpx
import pytest

from tests.conftest import png, running_server
from tests.e2e.services import serve_and_wait
from tests.nginx import nginx

PREFIX = {"X-Forwarded-Prefix": "/vgg"}


@pytest.fixture
def path(tmp_path):
    """A place for a socket, which a service that was killed has left there."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "vgg.sock"))
    return tmp_path / "vgg.sock"


def client(path):
    transport = httpx.HTTPTransport(uds=str(path))
    return httpx.Client(transport=transport, base_url="http://x", timeout=30)


def post(path):
    """Post a photo in a connection of its own; return the status, or None if nobody listens."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        connection = HTTPConnection("x")
        connection.sock = sock
        connection.request("POST", "/predict", png())
        return connection.getresponse().status


@pytest.mark.parametrize("fronts", ["0", "2"])
def test_its_life(model_dir, path, fronts):
    """It replaces a dead file, keeps a second service away, answers what was accepted, and removes its file."""
    settings = {"models": "colours", "uds": str(path), "front_processes": fronts}
    with running_server(model_dir, **settings, drain_delay_ms="300") as server:
        mode = stat.S_IMODE(path.stat().st_mode)
        second = serve_and_wait(model_dir, {"PATH": os.environ["PATH"]}, **settings)
        with client(path) as one:
            described = one.get("/openapi.json", headers=PREFIX).json()
        answers, asked = [], threading.Event()

        def load():
            while (status := post(path)) is not None:
                answers.append(status)
                asked.set()

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(load)
            assert asked.wait(60)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(60)

    assert (f"unix:{path}", 0o660) == (server.url, mode)
    assert (1, True) == (second.returncode, "another service listens on" in second.stderr)
    assert "servers" not in described  # the header does not count: nobody trusts the proxy
    assert {200} == set(answers)
    assert not path.exists()


@pytest.mark.nginx
def test_behind_nginx(model_dir, tmp_path, path):
    """With `unix` in VGG_TRUSTED_PROXIES, nginx says which prefix and which client a request has."""
    folder = tmp_path / "nginx"
    folder.mkdir()
    change = ("server 127.0.0.1:1 max_fails=0;", f"server unix:{path} max_fails=0;")
    with (
        running_server(
            model_dir,
            models="colours",
            uds=str(path),
            uds_mode="666",
            trusted_proxies="unix",
            rate_limit="0.001",
            rate_burst="1",
        ),
        nginx(folder, [1, 1], [change]) as url,
        client(path) as one,
    ):
        photo = httpx.post(f"{url}/predict", content=png())
        page = httpx.get(f"{url}/")
        described = httpx.get(f"{url}/openapi.json").json()
        others = [
            one.post("/predict", content=png(), headers={"X-Forwarded-For": address}).status_code
            for address in ("127.0.0.1", "192.0.2.1", "192.0.2.1")
        ]
        mode = stat.S_IMODE(path.stat().st_mode)

    assert ([200, 200], 0o666) == ([photo.status_code, page.status_code], mode)
    assert [{"url": "/vgg"}] == described["servers"]
    assert [429, 200, 429] == others
