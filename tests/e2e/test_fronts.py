"""Several processes that speak HTTP, in front of the one with the models."""

import json
import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from select import select

import httpx
import pytest

from tests.conftest import REPOSITORY, png, running_server, write_colours
from tests.e2e.fronts import a_wire_to_each, front_at, fronted_server, fronts_of, wait_ready
from tests.e2e.services import Posters, serve_and_wait
from tests.e2e.wire import request, wire_to

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")


COLOURS = ("red", "lime", "blue")
KEYS = {"alice": b"one", "bob": b"two"}
MOODY = "tests.e2e.moody_device"
ANSWERED = 'vgg_requests_total{code="200",model="colours",protocol="predict"}'
DEPTH = 'vgg_queue_depth{model="colours"}'
CANCELLED = [f'vgg_cancelled_total{{stage="{stage}"}}' for stage in ("upload", "decode", "queue")]


def get(wire, path):
    wire.send(request("GET", path))
    return wire.answer()


def count_of(text, line):
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def wait_for_metric(wire, value, *lines):
    """Wait until the sum of these lines has a value."""
    for _ in range(2000):
        text = get(wire, "/metrics").body.decode()
        if sum(count_of(text, line) for line in lines) == value:
            return
    raise TimeoutError(text)


def end_one(server, front, number):
    """End one of two fronts and wait for its successor."""
    os.kill(front, number)
    server.wait_for("starting another one")
    while len(fronts_of(server)) < 2:
        pass


@contextmanager
def watching_at(server, front):
    """Connect to one front."""
    with ExitStack() as opened:
        for _ in range(200):
            wire = opened.enter_context(wire_to(server.url))
            get(wire, "/healthz")
            if front_at(wire, server) == front:
                break
        yield wire


def test_each_front_answers_as_one_process_would(model_dir):
    """Whichever process is asked, the answers are right, and the same byte for byte."""
    with fronted_server(model_dir) as server, a_wire_to_each(server) as wires:
        said = []
        for wire in wires.values():
            wire.send(b"".join(request("POST", "/predict?top_k=1", png(c)) for c in COLOURS))
            said.append([wire.answer().body for _ in COLOURS])
        models = {get(wire, "/models/colours").body for wire in wires.values()}
    with running_server(model_dir, models="colours") as alone:
        bodies = [
            httpx.post(f"{alone.url}/predict?top_k=1", content=png(c)).content for c in COLOURS
        ]

    assert 2 == len(wires)
    assert [bodies, bodies] == said
    assert [0, 1, 2] == [json.loads(body)["predictions"][0]["class_index"] for body in bodies]
    assert 1 == len(models)


def test_each_front_has_all_models(model_dir):
    """A request is answered by the model that it names, whichever front it comes to."""
    write_colours(model_dir, "again")
    names = []
    both = fronted_server(model_dir, models="colours,again")
    with both as server, a_wire_to_each(server) as wires:
        for wire in wires.values():
            for query in ("", "?model=again"):
                wire.send(request("POST", f"/predict{query}", png()))
                names.append(json.loads(wire.answer().body)["model"]["name"])

    assert ["colours", "again"] * 2 == names


def test_metrics_of_any_front_are_those_of_all(model_dir):
    """One scrape counts every request, whichever front answered it and whichever is scraped."""
    with fronted_server(model_dir) as server, a_wire_to_each(server) as wires:
        for times, wire in enumerate(wires.values(), 1):
            for _ in range(times):
                wire.send(request("POST", "/predict", png()))
                assert 200 == wire.answer().status
        texts = [get(wire, "/metrics").body.decode() for wire in wires.values()]

    for text in texts:
        assert 3 == count_of(text, ANSWERED)
        assert 3 == count_of(text, 'vgg_batch_size_sum{model="colours"}')
        assert 3 == count_of(text, 'vgg_stage_duration_seconds_count{model="colours",stage="run"}')
        assert 1 == count_of(text, 'vgg_ready{model="colours"}')
        assert 1 == text.count("\nvgg_model_info{")
        assert 0 == count_of(text, "vgg_upload_bytes")


def test_a_front_that_is_killed_is_replaced_and_harms_no_other(model_dir):
    """Only its own connections break; its successor answers; no count ever falls."""
    with fronted_server(model_dir) as server, a_wire_to_each(server) as wires:
        stop = threading.Event()
        answers: dict[int, list[int]] = {front: [] for front in wires}

        def load(front, wire):
            while not stop.is_set() and wire.send(request("POST", "/predict", png())):
                try:
                    answers[front].append(wire.answer().status)
                except (AssertionError, ConnectionResetError):
                    return

        doomed, other = wires
        with ThreadPoolExecutor(2) as pool:
            for front, wire in wires.items():
                pool.submit(load, front, wire)
            try:
                with wire_to(server.url) as watching:
                    before = 0.0
                    while before < 20:
                        text = get(watching, "/metrics").body.decode()
                        before = count_of(text, ANSWERED)
                end_one(server, doomed, signal.SIGKILL)
                with a_wire_to_each(server) as fresh:
                    for wire in fresh.values():
                        wait_ready(wire)
                    text = get(next(iter(fresh.values())), "/metrics").body.decode()
            finally:
                stop.set()

    assert other in fresh
    assert doomed not in fresh
    assert 2 == len(fresh)
    assert {200} == set(answers[other])
    assert before <= count_of(text, ANSWERED)


def test_a_front_that_is_told_to_end_is_replaced(model_dir):
    """The successor of a front that has drained takes in newcomers at the same port."""
    with fronted_server(model_dir, drain_delay_ms="0") as server:
        doomed = min(fronts_of(server))
        end_one(server, doomed, signal.SIGTERM)
        with a_wire_to_each(server) as fresh:
            statuses = {get(wire, "/healthz").status for wire in fresh.values()}

    assert 2 == len(fresh)
    assert doomed not in fresh
    assert {200} == statuses


def test_the_old_keys_hold_while_the_file_has_a_mistake(model_dir, tmp_path):
    """In every front, also in one that was started since; and a new file counts in all of them."""
    file = tmp_path / "keys"
    file.write_text(f"alice sha256:{sha256(b'one').hexdigest()}\n")
    with fronted_server(model_dir, api_keys_file=str(file)) as server:
        file.write_text("nonsense\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("keeping the previous keys")
        end_one(server, min(fronts_of(server)), signal.SIGKILL)
        with a_wire_to_each(server) as wires:
            for wire in wires.values():
                wait_ready(wire)
            old = [ask_with(wire, "one") for wire in wires.values()]
            file.write_text(f"bob sha256:{sha256(b'two').hexdigest()}\n")
            server.process.send_signal(signal.SIGHUP)
            for wire in wires.values():
                while ask_with(wire, "two") != 200:
                    pass
            fresh = [ask_with(wire, "one") for wire in wires.values()]

    assert [200, 200] == old
    assert [401, 401] == fresh


STALLED_START = """
import os, sys, time
folder = {folder!r}

def stall(event, args):
    if event == "import" and args[0] == "uvloop" and os.path.exists(folder + "/gate"):
        open(folder + "/stalled", "w").close()
        while os.path.exists(folder + "/gate"):
            time.sleep(0.005)

if "app.service.front_process" in sys.orig_argv:
    sys.addaudithook(stall)
"""
"""Stops a front process, while there is a file `gate`, between the build of its app and its start."""


def test_a_key_revoked_while_a_front_starts_is_revoked_there_too(model_dir, tmp_path, monkeypatch):
    """The new file holds in every front, also in one that the signal found half-way."""
    file, gate = tmp_path / "keys", tmp_path / "gate"
    both = [f"{name} sha256:{sha256(key).hexdigest()}" for name, key in KEYS.items()]
    file.write_text("\n".join(both))
    (tmp_path / "sitecustomize.py").write_text(STALLED_START.format(folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
    with fronted_server(model_dir, api_keys_file=str(file)) as server:
        gate.touch()
        os.kill(min(fronts_of(server)), signal.SIGKILL)
        while not (tmp_path / "stalled").exists():
            pass
        file.write_text(both[1])
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("1 API keys loaded")
        gate.unlink()
        with a_wire_to_each(server) as wires:
            for wire in wires.values():
                wait_ready(wire)
            statuses = [
                [ask_with(wire, key.decode()) for key in KEYS.values()] for wire in wires.values()
            ]

    assert [[401, 200]] * 2 == statuses


def ask_with(wire, key):
    wire.send(request("POST", "/predict", png(), authorization=f"Bearer {key}"))
    return wire.answer().status


def test_sigterm_drains_all_fronts_and_loses_nothing(model_dir):
    """From the signal on none is ready, and every request that is accepted is answered."""
    with (
        fronted_server(model_dir, drain_delay_ms="700") as server,
        a_wire_to_each(server) as held,
        Posters(server.url) as posters,
    ):
        server.process.send_signal(signal.SIGTERM)
        for _ in held:
            server.wait_for("draining")
        states = [get(wire, "/readyz").status for wire in held.values()]
        fronts = set(held)
        status = server.process.wait(30)

    assert [503, 503] == states
    assert {200} == set(posters.statuses)
    assert len(posters.gone) <= 4
    assert -signal.SIGTERM == status
    assert not [front for front in fronts if Path(f"/proc/{front}").exists()]


def test_fronts_end_with_their_owner(model_dir):
    """An owner that is killed leaves no process behind."""
    with fronted_server(model_dir) as server:
        fronts = [os.pidfd_open(front) for front in fronts_of(server)]
        server.process.kill()
        ended = [select([front], [], [], 20)[0] for front in fronts]

    assert 2 == len(ended)
    assert all(ended)


def test_a_second_signal_does_not_wait(model_dir):
    """A second signal ends all processes now."""
    with fronted_server(model_dir, drain_delay_ms="600000") as server:
        server.process.send_signal(signal.SIGTERM)
        for _ in range(2):
            server.wait_for("draining")
        server.process.send_signal(signal.SIGTERM)
        status = server.process.wait(20)

    assert -signal.SIGTERM == status


def test_overload_is_refused_by_every_front(model_dir):
    """What the queue cannot do in time is refused at once by those who see only its board."""
    moody = fronted_server(model_dir, module=MOODY, queue_budget_ms="100", max_batch_size="1")
    with moody as server, a_wire_to_each(server) as wires, ExitStack() as opened:
        busy = opened.enter_context(wire_to(server.url))
        busy.send(request("POST", "/predict", png("cyan")))
        server.wait_for("a long run")
        refused = []
        for front, watching in wires.items():
            for _ in range(12):  # a run takes 30 ms: no more than three may wait for theirs
                wire = opened.enter_context(watching_at(server, front))
                wire.send(request("POST", "/predict", png()))
                get(watching, "/metrics")
            refused.append(wire.answer())
        (model_dir / "gate").touch()
        late = busy.answer().status

    assert 200 == late
    assert [(503, "overloaded")] * 2 == [answer.problem for answer in refused]
    assert {"1"} == {answer.headers["retry-after"] for answer in refused}


def test_client_that_leaves_frees_its_place(model_dir):
    """The owner drops the image of a client that has left before its run, and counts it."""
    moody = fronted_server(model_dir, module=MOODY, max_batch_size="1")
    with moody as server, wire_to(server.url) as busy, wire_to(server.url) as watching:
        busy.send(request("POST", "/predict", png("cyan")))
        server.wait_for("a long run")
        with wire_to(server.url) as leaving:
            leaving.send(request("POST", "/predict", png()))
            wait_for_metric(watching, 1, DEPTH)
        # A photo counts as waiting from its admission on: its client may have left before the queue.
        wait_for_metric(watching, 1, *CANCELLED)
        depth = count_of(get(watching, "/metrics").body.decode(), DEPTH)
        (model_dir / "gate").touch()
        status = busy.answer().status

    assert 0 == depth
    assert 200 == status


def test_images_of_a_front_that_died_are_dropped(model_dir):
    """Nobody waits for them any more, so that they are not run."""
    moody = fronted_server(model_dir, module=MOODY, max_batch_size="1")
    with moody as server, a_wire_to_each(server) as wires:
        doomed, other = wires
        wires[other].send(request("POST", "/predict", png("cyan")))
        server.wait_for("a long run")
        wires[doomed].send(request("POST", "/predict", png()))
        with watching_at(server, other) as watching:
            wait_for_metric(watching, 1, DEPTH)
            os.kill(doomed, signal.SIGKILL)
            wait_for_metric(watching, 0, DEPTH)
        (model_dir / "gate").touch()
        status = wires[other].answer().status

    assert 200 == status


@pytest.mark.parametrize(
    ("colour", "problem"),
    [("blue", (500, "run-failed")), ("yellow", (500, "out-of-memory"))],
)
def test_a_failed_run_is_told_as_ever(model_dir, colour, problem):
    """The error of a run in the owner reaches the client of a front; the next image is fine."""
    with fronted_server(model_dir, module=MOODY) as server, wire_to(server.url) as wire:
        wire.send(request("POST", "/predict", png(colour)))
        failed = wire.answer()
        wire.send(request("POST", "/predict", png()))

        assert problem == failed.problem
        assert 200 == wire.answer().status


def test_a_quota_holds_for_all_fronts_together(model_dir):
    """A token that one front gives out is missed by the other."""
    limit = {"rate_limit": "0.001", "rate_burst": "3"}
    with fronted_server(model_dir, **limit) as server, a_wire_to_each(server) as wires:
        statuses = []
        for wire in [*wires.values()] * 3:
            wire.send(request("POST", "/predict", png()))
            statuses.append(wire.answer().status)
            get(wire, "/metrics")  # goes through the owner, and so comes after the token

    assert [200, 200, 200, 429, 429, 429] == statuses


def test_a_port_that_is_taken_stops_the_start(model_dir):
    """Another service with fronts does not let itself in among those that listen."""
    with fronted_server(model_dir) as server:
        port = server.url.rpartition(":")[2]
        second = serve_and_wait(model_dir, models="colours", port=port, front_processes="2")

    assert 1 == second.returncode
    assert "VGG_PORT" in second.stderr
    assert "Traceback" not in second.stderr


def test_images_may_be_decoded_in_processes_of_the_fronts(model_dir):
    """Each front has its own, and they end with it."""
    isolated = fronted_server(model_dir, decode_isolation="process")
    with isolated as server, a_wire_to_each(server) as wires:
        for wire in wires.values():
            wire.send(request("POST", "/predict", png()))
        statuses = [wire.answer().status for wire in wires.values()]

    assert [200, 200] == statuses
