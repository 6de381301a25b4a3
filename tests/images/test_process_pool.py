import json
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from app.errors import (
    CorruptImageError,
    ImageTooLargeError,
    ModelFailedError,
    UnsupportedFormatError,
)
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.images.process_pool import DecodeProcesses, _read
from app.records import Preprocess
from tests.conftest import PHOTOS, client_of, png, started_app

EVALUATION = Preprocess(256, 224, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
COFFEE = (PHOTOS / "coffee.jpg").read_bytes()


def misbehave(data, preprocess):
    """Do what a hostile file could make a decoder do; else prepare it."""
    match data.split(b" "):
        case [b"die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case [b"burn"]:
            while True:
                pass
        case [b"stall"]:
            signal.pause()
        case [b"hoard"]:
            bytearray(2 << 30)
        case [b"write", path]:
            Path(path.decode()).write_bytes(bytes(1000))
        case [b"secret"]:
            raise CorruptImageError(str(os.environ.get("VGG_SECRET")))
        case [b"wait", path]:
            os.close(os.open(path, os.O_WRONLY))
            signal.pause()
        case [b"pid"]:
            raise CorruptImageError(str(os.getpid()))
    return prepare(data, preprocess, ImageLimits())


class Stillborn:
    """A `prepare` that ends the process which unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)

    def __call__(self, *_):
        raise AssertionError("it is never called")


def pid_of(processes):
    """The process that decodes the next image."""
    with pytest.raises(CorruptImageError) as caught:
        processes(b"pid", EVALUATION)
    return int(str(caught.value))


def children():
    """All processes that were started here and not reaped, also those that have ended."""
    pid = os.getpid()
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.fixture
def processes():
    processes = DecodeProcesses(misbehave)
    yield processes
    processes.stop()


def test_pixels_are_those_of_the_thread(processes):
    """Another process returns the same pixels and the same record."""
    pixels, info = prepare(COFFEE, EVALUATION, ImageLimits())

    actual, same = processes(COFFEE, EVALUATION)

    np.testing.assert_array_equal(pixels, actual)
    assert info == same


def test_errors_come_back_as_they_are(processes):
    """An error is the same as without a process, its numbers included."""
    with pytest.raises(UnsupportedFormatError, match="PDF"):
        processes(b"%PDF-1.7", EVALUATION)
    with pytest.raises(ImageTooLargeError) as caught:
        processes(png(size=(20_000, 8)), EVALUATION)

    limit = caught.value.limit
    assert {"width": 20_000, "height": 8, "max_side": 16_384} == limit
    assert {int} == {type(number) for number in (limit or {}).values()}


@pytest.mark.parametrize("crime", [b"die", b"hoard"])
def test_a_file_that_ends_its_process_is_refused_alone(processes, crime):
    """That file is refused, and the next one gets a new process."""
    before = pid_of(processes)

    with pytest.raises(CorruptImageError, match="crashed the decoder"):
        processes(crime, EVALUATION)

    assert before != pid_of(processes)
    assert not Path(f"/proc/{before}").exists()


@pytest.mark.parametrize(
    ("crime", "limits"),
    [(b"burn", {"cpu_seconds": 1}), (b"stall", {"wall_seconds": 2.0})],
)
def test_a_file_that_never_ends_is_stopped(crime, limits):
    """Beyond its processor time or its wall time the process is killed, and the error says so."""
    processes = DecodeProcesses(misbehave, **limits)
    before = pid_of(processes)

    with pytest.raises(CorruptImageError, match="took too long"):
        processes(crime, EVALUATION)

    assert not Path(f"/proc/{before}").exists()


def test_an_idle_process_that_was_killed_is_replaced(processes):
    """No image fails when a process dies between two of them."""
    pid = pid_of(processes)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert pid != pid_of(processes)


def test_others_do_not_notice(processes):
    """While some files end their processes, photos in other threads are decoded."""
    uploads = [b"die", COFFEE] * 6

    def answer(upload):
        try:
            return processes(upload, EVALUATION)[1].format
        except CorruptImageError:
            return "refused"

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(answer, uploads))

    assert ["refused", "jpeg"] * 6 == answers


def test_a_process_cannot_write_files_nor_see_secrets(processes, tmp_path, monkeypatch):
    """It can write nothing to the disk, and gets no secrets from the environment."""
    monkeypatch.setenv("VGG_SECRET", "hunter2")
    target = tmp_path / "written"

    with pytest.raises(CorruptImageError, match="crashed the decoder"):
        processes(b"write " + str(target).encode(), EVALUATION)
    with pytest.raises(CorruptImageError, match="None"):
        processes(b"secret", EVALUATION)

    assert not target.exists() or b"" == target.read_bytes()


def test_stopping_ends_the_processes(processes):
    """No process is left, not even a zombie."""
    pid = pid_of(processes)

    processes.stop()

    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_is_busy_when_the_pool_stops_is_reaped(processes, tmp_path):
    """Its image is refused, and no zombie is left."""
    before = children()
    started = tmp_path / "started"
    os.mkfifo(started)
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(processes, b"wait " + str(started).encode(), EVALUATION)
        started.read_bytes()
        processes.stop()

        assert isinstance(refused.exception(), CorruptImageError)
    assert before == children()


def test_a_process_that_fails_to_start_is_the_servers_fault():
    """It ends before it is ready: a 503, not a damaged image, and it is reaped."""
    before = children()

    with pytest.raises(ModelFailedError, match="could not start a process"):
        DecodeProcesses(Stillborn())(COFFEE, EVALUATION)

    assert before == children()


def test_a_process_that_cannot_be_started_is_the_servers_fault(processes):
    """The system refuses it: a 503, and later images are decoded."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, files[1]))
    try:
        with pytest.raises(ModelFailedError, match="could not start a process"):
            processes(COFFEE, EVALUATION)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)

    assert "jpeg" == processes(COFFEE, EVALUATION)[1].format


GOOD = json.dumps({"width": 8, "height": 8, "format": "png"}).encode()


@pytest.mark.parametrize(
    "said",
    [
        [b"not json"],
        [b"[]"],
        [b"3"],
        [b'{"error": "SystemExit", "detail": "", "limit": null}'],
        [b'{"error": "CorruptImageError"}'],
        [b'{"error": "CorruptImageError", "detail": "", "limit": 3}'],
        [b'{"error": "CorruptImageError", "detail": "", "limit": {"width": "wide"}}'],
        [b"{}"],
        [bytes(5000)],
        [GOOD, bytes(5)],
        [GOOD, bytes(13)],
        [GOOD, b""],
    ],
)
def test_an_answer_is_not_trusted(said):
    """What a hijacked process says is an answer of the right shape or none."""
    ours, theirs = Pipe()
    for message in said:
        theirs.send_bytes(message)
    with ours, theirs, pytest.raises(OSError, match=r"makes no sense|bad message"):
        _read(ours, crop=2)


@pytest.mark.anyio
async def test_the_service_can_decode_in_processes(model_dir, session):
    """With VGG_DECODE_ISOLATION=process answers are the same, errors too, and it stops."""
    async with (
        started_app(model_dir, session, decode_isolation="process") as app,
        client_of(app) as client,
    ):
        good = await client.post("/predict", content=png("lime"))
        bad = await client.post("/predict", content=png()[:60])

    assert 1 == good.json()["predictions"][0]["class_index"]
    assert 422 == bad.status_code
