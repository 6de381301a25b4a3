"""What leaves the machine: nothing, as the kernel saw it.

onnxruntime would look up a host of its maker about ten seconds after it was loaded, so each
server is idle for a while; VGG_TEST_IDLE_SECONDS=60 makes that a minute.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.conftest import PHOTOS, REPOSITORY, RunningServer, write_colours
from tests.e2e.fronts import fronts_of

IDLE_SECONDS = float(os.environ.get("VGG_TEST_IDLE_SECONDS", "12"))
SERVE = [sys.executable, "-m", "app", "serve"]

SERVERS: dict[str, dict[str, str]] = {
    "online": {"VGG_MODELS": "vgg16-mini"},
    "offline": {"VGG_OFFLINE": "true", "ORT_DISABLE_TELEMETRY": "0"},
    "without a home": {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null"},
    "in processes, with a collector": {
        "VGG_FRONT_PROCESSES": "2",
        "VGG_DECODE_ISOLATION": "process",
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.invalid:4318",
        "OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider",
        "OTEL_PYTHON_METER_PROVIDER": "sdk_meter_provider",
    },
}


class Traced(NamedTuple):
    """What was seen of a server.

    Attributes:
        calls: All its calls that concern networks, of all its processes.
        lines: Of its log.
        statuses: Of the photos' answers.
        files: What is in its home at the end.
    """

    calls: list[str]
    lines: list[str]
    statuses: set[int]
    files: list[Path]


def outgoing(calls: list[str]) -> list[str]:
    """Return the calls that connect or send to an address, or make a socket that could."""
    reaching = re.compile(
        r"connect\(|send\w+\(.*sa_family=|socket\((?!AF_INET, SOCK_STREAM\|SOCK_CLOEXEC, )"
    )
    return [call for call in calls if reaching.search(call)]


def strace(out: Path, *options: str) -> list[str]:
    """Return what traces a command and all its processes; skip where nothing can be traced."""
    tracer = ["strace", "-f", "-qq", "-e", "trace=%network", "-e", "signal=none", *options]
    if shutil.which("strace") is None:
        pytest.skip("needs Debian's strace")
    tried = subprocess.run([*tracer, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"strace cannot trace here: {tried.stderr}")
    return [*tracer, "-o", str(out)]


def bare(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment without those by which onnxruntime knows CI, where it is silent."""
    folders = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home.parent)}
    return {"PATH": os.environ["PATH"]} | folders | variables


@contextmanager
def traced(command: list[str], environment: Mapping[str, str]) -> Iterator[RunningServer]:
    """Start a server under strace, and stop it so that strace sees its end."""
    tracer = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
    )
    server = RunningServer(tracer)
    try:
        server.url = server.wait_for("listening on")["event"].split()[2]
        server.wait_for("ready after")
        yield server
    finally:
        for process in fronts_of(server):
            os.kill(process, 15)
        try:
            tracer.wait(30)
        finally:
            tracer.kill()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model folder whose graphs have been built."""
    folder = tmp_path_factory.mktemp("models")
    write_colours(folder)
    command = [sys.executable, "-m", "app", "pull", "colours", "vgg16-mini"]
    environment = bare(folder, VGG_MODEL_DIR=str(folder))
    subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=True)
    return folder


@pytest.fixture(scope="module")
def seen(models, tmp_path_factory):
    """What was seen of all SERVERS, which run at the same time."""
    photo = (PHOTOS / "coffee.jpg").read_bytes()
    started: dict[str, tuple[Path, RunningServer]] = {}
    statuses: dict[str, set[int]] = {}

    def post(name: str) -> None:
        with httpx.Client(base_url=started[name][1].url, timeout=60) as client:
            while not client.get(
                "/readyz"
            ).is_success:  # a front hears of its models a moment later
                pass
            answers = [client.post("/predict", content=photo) for _ in range(100)]
        statuses[name] = {answer.status_code for answer in answers}

    with ExitStack() as servers, ThreadPoolExecutor(len(SERVERS)) as pool:
        for name, variables in SERVERS.items():
            folder = tmp_path_factory.mktemp("traced")
            (folder / "home").mkdir()
            settings = {"VGG_MODELS": "colours", "VGG_MODEL_DIR": str(models), "VGG_PORT": "0"}
            environment = bare(folder / "home", **settings, VGG_DRAIN_DELAY_MS="0") | variables
            command = [*strace(folder / "calls"), *SERVE]
            started[name] = folder, servers.enter_context(traced(command, environment))
        list(pool.map(post, SERVERS))
        time.sleep(IDLE_SECONDS)  # not for anything: it is what is to be seen
    return {
        name: Traced(
            (folder / "calls").read_text().splitlines(),
            [event["event"] for event in server.events if "level" not in event],
            statuses[name],
            list((folder / "home").rglob("*")),
        )
        for name, (folder, server) in started.items()
    }


@pytest.mark.parametrize("name", SERVERS)
def test_nothing_is_looked_up_or_sent(seen, name):
    """In a start, a hundred photos and the time after, no process connects, looks up or sends to an address."""
    assert {200} == seen[name].statuses
    assert any("listen(" in call for call in seen[name].calls)
    assert [] == outgoing(seen[name].calls)


@pytest.mark.parametrize("name", SERVERS)
def test_nothing_is_kept_in_the_home(seen, name):
    """No device id, no database of events and no cache is written below HOME."""
    assert [] == seen[name].files


@pytest.mark.parametrize("name", SERVERS)
def test_no_library_writes_into_the_log(seen, name):
    """Every line of the log is ours, in JSON, where HOME cannot be written too."""
    assert [] == seen[name].lines


LOOKS_UP = """
import contextlib, socket
with contextlib.suppress(OSError): socket.getaddrinfo("telemetry.invalid", 443)
"""
CONNECTS = """
import contextlib, socket
with contextlib.suppress(OSError): socket.create_connection(("192.0.2.1", 443), 1)
"""
SENDS = """
import contextlib, socket
with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as one: one.sendto(b"", ("192.0.2.1", 53))
"""


@pytest.mark.parametrize("source", [LOOKS_UP, CONNECTS, SENDS])
def test_these_tests_would_see_it(tmp_path, source):
    """A lookup, a connection and a datagram are found in a trace; none of these three gets out."""
    refusing = ["-e", "inject=connect,sendto,sendmsg,sendmmsg:error=ENETUNREACH"]
    command = [*strace(tmp_path / "calls", *refusing), sys.executable, "-c", source]
    subprocess.run(command, check=True, timeout=60)

    assert [] != outgoing((tmp_path / "calls").read_text().splitlines())


@pytest.mark.parametrize(
    "command",
    [
        [str(Path(sys.executable).parent / "vgg-serve"), "predict", str(PHOTOS / "coffee.jpg")],
        [sys.executable, "-m", "app", "pull", "colours"],
        [sys.executable, "-m", "app", "models"],
        [sys.executable, "-c", "from app.runtime import ort"],
    ],
    ids=["vgg-serve", "pull", "models", "a module"],
)
def test_commands_keep_nothing_in_the_home(models, tmp_path, command):
    """onnxruntime, which writes a device id when it is loaded, is silent in every way of starting."""
    (tmp_path / "home").mkdir()
    settings = {"VGG_MODEL_DIR": str(models), "VGG_MODELS": "colours"}
    environment = bare(tmp_path / "home", PYTHONPATH=str(REPOSITORY), **settings)
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )

    assert (0, True) == (ended.returncode, "[W:onnxruntime" not in ended.stderr)
    assert [] == list((tmp_path / "home").rglob("*"))


def test_only_the_package_loads_onnxruntime_in_commands():
    """A command of tests/ gets onnxruntime through app/, and other tests after conftest.py, which imports app/."""
    loads = re.compile(r"^\s*(import|from) onnxruntime", re.MULTILINE)
    own = {path for path in (REPOSITORY / "tests").rglob("*.py") if loads.search(path.read_text())}

    assert [] == [path for path in own if "__main__" in path.read_text()]
