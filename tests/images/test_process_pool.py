import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from app.errors import CorruptImageError, ImageTooLargeError, UnsupportedFormatError
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.images.process_pool import Isolated, _read
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
    return prepare(data, preprocess, ImageLimits())


@pytest.fixture
def isolated():
    isolated = Isolated(misbehave)
    yield isolated
    isolated.stop()


def test_pixels_are_those_of_the_thread(isolated):
    """Another process gives the same pixels and the same record."""
    pixels, info = prepare(COFFEE, EVALUATION, ImageLimits())

    actual, same = isolated(COFFEE, EVALUATION)

    np.testing.assert_array_equal(pixels, actual)
    assert info == same


def test_errors_come_back_as_they_are(isolated):
    """What is wrong with a file is told as well as without isolation, its numbers included."""
    with pytest.raises(UnsupportedFormatError, match="PDF"):
        isolated(b"%PDF-1.7", EVALUATION)
    with pytest.raises(ImageTooLargeError) as caught:
        isolated(png(size=(20_000, 8)), EVALUATION)

    assert {"width": 20_000, "height": 8, "max_side": 16_384} == caught.value.limit


@pytest.mark.parametrize("crime", [b"die", b"hoard"])
def test_a_file_that_ends_its_process_is_refused_alone(isolated, crime):
    """That file gets an answer, the next one a new process."""
    isolated(COFFEE, EVALUATION)
    before = isolated.pids

    with pytest.raises(CorruptImageError, match="ended the decoder"):
        isolated(crime, EVALUATION)
    isolated(COFFEE, EVALUATION)

    assert len(before) == len(isolated.pids) == 1
    assert before != isolated.pids


@pytest.mark.parametrize(
    ("crime", "limits"),
    [(b"burn", {"cpu_seconds": 1}), (b"stall", {"wall_seconds": 2.0})],
)
def test_a_file_that_never_ends_is_stopped(crime, limits):
    """Beyond its seconds, of processor or at all, the process is ended, and the client told so."""
    isolated = Isolated(misbehave, **limits)

    with pytest.raises(CorruptImageError, match="takes too long"):
        isolated(crime, EVALUATION)

    assert [] == isolated.pids


def test_an_idle_process_that_was_killed_is_replaced(isolated):
    """Nobody notices when a process dies between two images."""
    isolated(COFFEE, EVALUATION)
    [pid] = isolated.pids
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    isolated(COFFEE, EVALUATION)

    assert [pid] != isolated.pids


def test_others_do_not_notice(isolated):
    """While files end their processes, photos in other threads are decoded."""
    uploads = [b"die", COFFEE] * 6

    def answer(upload):
        try:
            return isolated(upload, EVALUATION)[1].format
        except CorruptImageError:
            return "refused"

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(answer, uploads))

    assert ["refused", "jpeg"] * 6 == answers


def test_a_process_cannot_write_files_nor_see_secrets(isolated, tmp_path, monkeypatch):
    """Nothing can be put on disk, and the environment is not passed on."""
    monkeypatch.setenv("VGG_SECRET", "hunter2")
    target = tmp_path / "written"

    with pytest.raises(CorruptImageError, match="ended the decoder"):
        isolated(b"write " + str(target).encode(), EVALUATION)
    with pytest.raises(CorruptImageError, match="None"):
        isolated(b"secret", EVALUATION)

    assert not target.exists() or b"" == target.read_bytes()


def test_stopping_ends_the_processes(isolated):
    """No process is left."""
    isolated(COFFEE, EVALUATION)
    [pid] = isolated.pids

    isolated.stop()

    assert not Path(f"/proc/{pid}").exists()


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
        [b"{}"],
        [bytes(5000)],
        [GOOD, bytes(5)],
        [GOOD, bytes(13)],
        [GOOD, b""],
    ],
)
def test_an_answer_is_not_believed(said):
    """Whatever a process that was taken over says, it is an answer of the right shape or none."""
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
