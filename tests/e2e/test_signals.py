"""Signals at every moment of a start, to an ordinary process and to process 1 of a container."""

import os
import select
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import RunningServer, running_server
from tests.e2e.fronts import fronts_of
from tests.e2e.services import starting
from tests.weights.download.file_server import running, serve

SOON = 2.0
"""Seconds in which a start ends after a signal."""

namespaces = pytest.mark.namespaces
WAYS = pytest.mark.parametrize(
    "program", [[], pytest.param(["unshare", "--pid", "--fork"], marks=namespaces)]
)
"""As an ordinary process, and as process 1 without an init."""
FRONTS = pytest.mark.parametrize("fronts", ["0", "2"])


def target(server: RunningServer, program: list[str]) -> int:
    """Return the process that the service is, as this machine numbers it."""
    pid = server.process.pid
    if program:
        [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)
    return pid


def end(server: RunningServer, program: list[str], number: int) -> tuple[int, float]:
    """Send a signal; return the exit status and the seconds until the end."""
    pid, began = target(server, program), time.monotonic()
    os.kill(pid, number)
    status = server.process.wait(30)
    return status, time.monotonic() - began


def status_of(number: int, program: list[str], *, serving: bool) -> int:
    """Return the status: a shell, Docker and Kubernetes show 128 + number for all of them."""
    if program or (serving and number == signal.SIGINT):
        return 128 + number
    return -number


@WAYS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["typer", "onnxruntime"])
def test_a_signal_during_the_imports_ends_the_start(model_dir, program, number, module):
    """Before there is a service, a signal ends the process at once, and no traceback is shown."""
    with starting(model_dir, program) as server:
        server.wait_for(f" {module}.")  # a part of it is imported
        status, seconds = end(server, program, number)
        with pytest.raises(AssertionError) as ended:
            server.wait_for("never said")

    assert status_of(number, program, serving=False) == status
    assert seconds < SOON
    assert "Traceback" not in str(ended.value)


@WAYS
@FRONTS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_download_ends_the_start(tmp_path, program, fronts, number):
    """A service that was never ready waits for nothing: neither a stalled host nor a drain."""
    with running() as hub:
        hub.script = [serve(pause=True)]
        settings = {"models": "vgg16", "hf_endpoint": hub.url, "front_processes": fronts}
        with starting(tmp_path, program, drain_delay_ms="60000", **settings) as server:
            server.wait_for("listening on")
            assert hub.half_sent.wait(30)
            status, seconds = end(server, program, number)

    assert status_of(number, program, serving=True) == status
    assert seconds < SOON


@pytest.mark.parametrize("moment", [" numpy.", " app.service.fronts.front_side"])
def test_a_signal_while_fronts_start_ends_the_start(model_dir, moment):
    """Fronts that import or wait for the owner end with it."""
    with starting(model_dir, [], front_processes="2", drain_delay_ms="60000") as server:
        server.wait_for(" app.cli.commands")  # from now on the fronts import
        server.wait_for(moment)
        status, seconds = end(server, [], signal.SIGTERM)

    assert -signal.SIGTERM == status
    assert seconds < SOON


@WAYS
@FRONTS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_service(model_dir, program, fronts, number):
    """The status of a service that drained says which signal it was, for process 1 too."""
    with starting(model_dir, program, drain_delay_ms="0", front_processes=fronts) as server:
        server.wait_for("ready after")
        status, _ = end(server, program, number)

    assert status_of(number, program, serving=True) == status


@FRONTS
def test_a_second_signal_ends_the_delay(model_dir, fronts):
    """Whoever signals twice does not wait for VGG_DRAIN_DELAY_MS."""
    settings = {"models": "colours", "drain_delay_ms": "60000", "front_processes": fronts}
    with running_server(model_dir, **settings) as server:
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        status = server.process.wait(30)

    assert -signal.SIGTERM == status
    assert time.monotonic() - began < 5


def test_a_front_that_is_late_counts_both_signals(model_dir):
    """A front that runs again after both signals came does not wait for VGG_DRAIN_DELAY_MS."""
    with running_server(
        model_dir, models="colours", drain_delay_ms="60000", front_processes="2"
    ) as server:
        late, other = fronts_of(server)
        os.kill(late, signal.SIGSTOP)
        ended = select.poll()
        ended.register(os.pidfd_open(other))
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        server.process.send_signal(signal.SIGTERM)
        assert ended.poll(30_000)
        os.kill(late, signal.SIGCONT)
        status = server.process.wait(30)

    assert -signal.SIGTERM == status


@FRONTS
def test_a_hangup_ends_no_service(model_dir, fronts):
    """SIGHUP without a file of API keys changes nothing, from the imports on."""
    with starting(model_dir, [], front_processes=fronts, drain_delay_ms="0") as server:
        for moment in (" numpy.", "listening on", "ready after"):
            server.wait_for(moment)
            server.process.send_signal(signal.SIGHUP)
        status, _ = end(server, [], signal.SIGTERM)

    assert -signal.SIGTERM == status
