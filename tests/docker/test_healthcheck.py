"""docker/healthcheck.py, run as the container runs it."""

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.conftest import REPOSITORY


class Readiness(BaseHTTPRequestHandler):
    server: "Service"

    def do_GET(self):
        self.send_response(self.server.status if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(b"the reason")


class Service(HTTPServer):
    status = 200


@pytest.fixture
def service():
    with Service(("127.0.0.1", 0), Readiness) as service:
        threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
        yield service
        service.shutdown()


@pytest.fixture
def dead_port():
    """A port that is taken and refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def check(port, **environment):
    return subprocess.run(
        [sys.executable, "docker/healthcheck.py"],
        cwd=REPOSITORY,
        env={**os.environ, **environment, "VGG_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ready_is_0(service):
    """A ready service is healthy, and its answer is printed."""
    ended = check(service.server_port)

    assert (0, "the reason\n") == (ended.returncode, ended.stdout)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "[::]", "*", " * ", "127.0.0.1", "localhost"]
)
def test_it_asks_where_the_service_listens(service, host):
    """Every address of the machine includes the one that is asked; others are asked themselves."""
    ended = check(service.server_port, VGG_HOST=host, VGG_ROOT_PATH="/vgg")

    assert (0, "") == (ended.returncode, ended.stderr)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_is_asked(host):
    """An IPv6 address is asked, with or without its brackets."""
    ended = check(1, VGG_HOST=host)

    assert ended.stderr.startswith("[::1]:1/readyz: ")


@pytest.mark.parametrize("host", ["a b", "a" * 300])
def test_a_host_that_cannot_be_one_is_named(host):
    """The service did not start there either; one line says so, without a traceback."""
    ended = check(1, VGG_HOST=host)

    assert 1 == ended.returncode
    assert ended.stderr.startswith(f"{host}:1/readyz: ")


def test_a_link_of_kubernetes_is_no_port():
    """A Service called vgg puts its address into VGG_PORT; the service ignores it, too."""
    ended = check("tcp://10.0.0.1:80", VGG_HOST="127.0.0.9")

    assert ended.stderr.startswith("127.0.0.9:8000/readyz: ")


def test_a_unix_socket_is_asked(tmp_path):
    """With VGG_UDS the host and the port do not matter; where nobody listens, the file is named."""
    path = tmp_path / "s"

    class UnixService(Service):
        address_family = socket.AF_UNIX

        def server_bind(self):
            self.socket.bind(self.server_address)

        def get_request(self):
            return self.socket.accept()[0], ("unix", 0)

    with UnixService(str(path), Readiness) as service:  # type: ignore[arg-type] # of another family
        threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
        ended = check(1, VGG_UDS=str(path))
        service.shutdown()
    gone = check(1, VGG_UDS=str(path))

    assert (0, "the reason\n", "") == (ended.returncode, ended.stdout, ended.stderr)
    assert 1 == gone.returncode
    assert gone.stderr.startswith(f"unix:{path}/readyz: ")


def test_a_proxy_is_not_asked(service, dead_port):
    """HTTP_PROXY is for downloads; the check never leaves the container."""
    dead = f"http://127.0.0.1:{dead_port}"
    ended = check(service.server_port, HTTP_PROXY=dead, http_proxy=dead, NO_PROXY="", no_proxy="")

    assert (0, "") == (ended.returncode, ended.stderr)


def test_not_ready_is_1_with_the_reason(service):
    """`docker inspect` shows why the service is not ready."""
    service.status = 503
    ended = check(service.server_port)

    assert (1, "the reason\n") == (ended.returncode, ended.stderr)


def test_nobody_there_is_1(dead_port):
    """A port without a listener is unhealthy, and is named."""
    ended = check(dead_port)

    assert 1 == ended.returncode
    assert f"127.0.0.1:{dead_port}" in ended.stderr
