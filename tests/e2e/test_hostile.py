"""Whatever is posted to a running server, it answers in time and goes on answering others."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import png, running_server, write_colours
from tests.crafted import costly
from tests.fuzz import HOSTILE, attack, mutations, resident, seeds

SECONDS = 12
"""Of mutations in each run of the tests; `make fuzz` posts 20,000 of them."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_colours(folder)
    with running_server(folder, models="colours") as server:
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
