"""How the service ends, seen by the supervisor that has to restart it."""

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from tests.conftest import REPOSITORY, png, running_server
from tests.e2e.fronts import fronts_of, wait_ready
from tests.e2e.services import serve_and_wait
from tests.e2e.wire import wire_to

BOTH_WAYS = pytest.mark.parametrize(
    "fronts",
    [
        "0",
        pytest.param(
            "1", marks=pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
        ),
    ],
)
"""Without front processes, and with them."""

FAULTY_FRONTS = """
import os, sys
if "app.service.front_process" in sys.orig_argv and os.path.exists({gate!r}):
    os._exit(3)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["models"], 0),
        (["key", "alice"], 0),
        (["key", "no name"], 1),
        (["models", "nobody"], 1),
        (["pull", "nobody"], 1),
        (["predict", "LICENSE", "-m", "colours"], 1),
        (["bench", "http://127.0.0.1:1", "--seconds", "0.1"], 1),
        (["serve", "--no-such-option"], 2),
        (["no-such-command"], 2),
        (["predict", "no-such-file"], 1),
    ],
)
def test_commands_end_with_the_status_of_the_table(model_dir, arguments, status):
    """docs/operations.md lists them: done, failed, wrong usage."""
    ended = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "VGG_MODEL_DIR": str(model_dir), "VGG_OFFLINE": "true"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert status == ended.returncode, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -15), (signal.SIGHUP, -1)])
def test_other_commands_end_by_a_signal(model_dir, number, status):
    """SIGTERM and SIGHUP end a command that is no service, as they end any program."""
    before = signal.signal(number, signal.SIG_DFL)  # nohup has the command ignore SIGHUP
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "app", "predict", "tests", "-m", "colours"],
        cwd=REPOSITORY,
        env={**os.environ, "VGG_MODEL_DIR": str(model_dir)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        signal.signal(number, before)
        assert process.stderr is not None
        for line in process.stderr:
            if b" numpy." in line:
                break
        process.send_signal(number)
        process.stderr.read()

    assert status == process.returncode


@BOTH_WAYS
def test_a_lost_gpu_ends_the_service_with_1(model_dir, fronts):
    """The request gets 503, the probes fail while the service drains, and the log says what to do."""
    with running_server(
        model_dir,
        module="tests.e2e.moody_device",
        models="colours",
        front_processes=fronts,
        drain_delay_ms="1500",
    ) as server:
        with wire_to(server.url) as wire:
            wait_ready(wire)
        good = httpx.post(f"{server.url}/predict", content=png("red"))
        answer = httpx.post(f"{server.url}/predict", content=png("magenta"))
        server.wait_for("unrecoverable GPU failure")
        live = httpx.get(f"{server.url}/healthz")
        ready = httpx.get(f"{server.url}/readyz")
        later = httpx.post(f"{server.url}/predict", content=png("lime"))
        status = server.process.wait(30)

    assert 200 == good.status_code
    assert (503, "/problems/model-failed") == (answer.status_code, answer.json()["type"])
    assert (503, 503, 503) == (live.status_code, ready.status_code, later.status_code)
    assert 1 == status


@BOTH_WAYS
def test_an_unexpected_exception_ends_the_service_with_1(model_dir, fronts):
    """The exception is logged with its traceback."""
    with running_server(
        model_dir,
        ready=False,
        module="tests.e2e.faulty_loading",
        models="colours",
        front_processes=fronts,
    ) as server:
        event = server.wait_for("unhandled exception")
        status = server.process.wait(30)

    assert 1 == status
    assert "RuntimeError: not expected" in event["exception"]


@BOTH_WAYS
def test_a_model_that_cannot_be_loaded_ends_the_service_with_1(model_dir, fronts):
    """The weights are checked in the process that owns the models, with front processes too."""
    (model_dir / "colours.onnx").write_bytes(b"no graph")
    with running_server(model_dir, ready=False, models="colours", front_processes=fronts) as server:
        status = server.process.wait(30)

    assert 1 == status


@BOTH_WAYS
def test_a_taken_port_ends_the_service_with_1(model_dir, fronts):
    """The log names the address, and shows no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = serve_and_wait(model_dir, models="colours", port=port, front_processes=fronts)

    assert 1 == ended.returncode
    assert port in ended.stderr
    assert "Traceback" not in ended.stderr


@BOTH_WAYS
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -15), (signal.SIGINT, 130)])
def test_a_signal_ends_the_service_as_it_ends_any_program(model_dir, fronts, number, status):
    """The exit status tells SIGTERM from Ctrl-C, with front processes too."""
    with running_server(model_dir, models="colours", front_processes=fronts) as server:
        server.process.send_signal(number)
        ended = server.process.wait(30)

    assert status == ended


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_a_front_that_cannot_be_replaced_ends_the_service(model_dir, tmp_path, monkeypatch):
    """Otherwise the clients that the kernel sends to its socket would wait for ever."""
    gate = tmp_path / "gate"
    (tmp_path / "sitecustomize.py").write_text(FAULTY_FRONTS.format(gate=str(gate)))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
    with running_server(model_dir, models="colours", front_processes="2") as server:
        gate.touch()
        os.kill(min(fronts_of(server)), signal.SIGKILL)
        status = server.process.wait(60)

    assert 1 == status
