"""Whatever is posted to a running server, it answers in time and goes on answering others."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import httpx
import pytest
from PIL import Image

from app.images.decode_pool import QUIET
from tests.conftest import png, running_server
from tests.fuzz import HOSTILE, attack, mutations, resident, seeds
from tests.images.crafted import costly

SECONDS = 12
"""Of mutations in each run of the tests; `make fuzz` posts 20,000 of them."""


@pytest.fixture(scope="module")
def server(colours):
    with running_server(colours, models="colours") as server:
        attack(server.url, [("a photo", png())] * 20)
        yield server


@pytest.mark.real
def test_hostile_files_are_answered_and_hurt_nobody(server):
    """Each is a 200 or a 4xx problem within 2 s, and the photo right after it is classified."""
    if not HOSTILE.is_dir():
        pytest.skip("there is no folder of hostile files (VGG_TEST_DATA)")
    before = resident(server.process.pid)

    report = attack(server.url, seeds().items())

    assert [] == report.problems
    assert report.statuses[200] > 300
    assert resident(server.process.pid) - before < 100e6
    assert server.process.poll() is None


def test_mutations_are_answered_and_hurt_nobody(server):
    """The same of files that were damaged at random, for a while; the seed is fixed."""
    before = resident(server.process.pid)

    report = attack(server.url, mutations(seeds(), seed=0), SECONDS)

    assert [] == report.problems
    assert report.statuses.total() > 100
    assert resident(server.process.pid) - before < 100e6
    assert server.process.poll() is None


def test_files_that_cost_more_than_they_weigh(server):
    """Four times each, and one good photo after each: in time, and memory comes back."""
    before = resident(server.process.pid)

    report = attack(server.url, [one for one in costly().items() for _ in range(4)])

    assert [] == report.problems
    assert {200: 4, 422: 32} == report.statuses
    assert resident(server.process.pid) - before < 100e6


def test_memory_comes_back_when_it_is_quiet(server):
    """That of pictures of 6 MP, too, which is kept while there are more: 8 at a time, and then none."""
    before = resident(server.process.pid)
    file = BytesIO()
    Image.new("RGBA", (2500, 2500), "red").save(file, "PNG")

    def post(_):
        return httpx.post(f"{server.url}/predict", content=file.getvalue()).status_code

    with ThreadPoolExecutor(8) as pool:
        assert {200} == set(pool.map(post, range(16)))
    end = time.monotonic() + 10 * QUIET
    while resident(server.process.pid) - before > 50e6:
        assert time.monotonic() < end
    assert httpx.get(f"{server.url}/healthz").is_success


class _Broken(BaseHTTPRequestHandler):
    """Answers everything with 500, and says nothing of it."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(500)

    def log_message(self, *_):
        pass


def test_what_must_not_be_is_seen():
    """The attack reports a server that fails, and that the photo after it was not classified."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Broken) as broken:
        threading.Thread(target=broken.serve_forever, daemon=True).start()

        report = attack(f"http://127.0.0.1:{broken.server_port}", [("it", b"bad")])

        broken.shutdown()
    assert ["it: 500", "the photo after it: 500"] == [
        line.partition(" text")[0].partition(" b'")[0] for line in report.problems
    ]
