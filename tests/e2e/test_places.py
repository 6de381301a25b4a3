"""Where the service writes: into its folder of graphs alone, with or without a home."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import REPOSITORY, RunningServer, png
from tests.e2e.services import serve_and_wait

READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
SERVE = [sys.executable, "-m", "app", "serve"]


@pytest.fixture
def only_read(model_dir):
    """Return what runs a command that can only read the model folder, whoever runs it."""
    command = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(model_dir)]
    touch = subprocess.run([*command, "touch", str(model_dir / "new")], stderr=-1, check=False)
    if b"Read-only" not in touch.stderr:
        pytest.skip(f"a folder cannot be mounted read-only here: {touch.stderr.decode().strip()}")
    return command


def environment(model_dir: Path, **variables: str) -> dict[str, str]:
    """Return all variables of a service: HOME is among them only if it is given."""
    settings = {"VGG_MODELS": "colours", "VGG_MODEL_DIR": str(model_dir), "VGG_PORT": "0"}
    return {"PATH": os.environ["PATH"]} | settings | variables


def why_ended(command: list[str], model_dir: Path, **variables: str) -> str:
    """Start a service that cannot start; return what it says."""
    ended = subprocess.run(
        [*command, *SERVE],
        cwd=REPOSITORY,
        env=environment(model_dir, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 1 == ended.returncode
    return ended.stderr


@pytest.mark.parametrize("home", [None, "/", "/nonexistent/home"])
def test_read_only_model_folder_with_a_folder_of_graphs(model_dir, tmp_path, only_read, home):
    """It serves from a model folder that can only be read, and needs no home."""
    cache = tmp_path / "cache"
    variables = {"VGG_CACHE_DIR": str(cache)} | ({"HOME": home} if home else {})
    before, above = sorted(model_dir.rglob("*")), sorted(Path("/").iterdir())
    process = subprocess.Popen(
        [*only_read, *SERVE],
        cwd=REPOSITORY,
        env=environment(model_dir, **variables),
        stderr=subprocess.PIPE,
        text=True,
    )
    server = RunningServer(process)
    try:
        url = server.wait_for("listening on")["event"].split()[2]
        server.wait_for("ready after")
        answer = httpx.post(f"{url}/predict", content=png())
    finally:
        process.terminate()
        process.wait(30)

    assert 200 == answer.status_code
    assert [] == [event for event in server.events if event.get("level") != "info"]
    assert (before, above) == (sorted(model_dir.rglob("*")), sorted(Path("/").iterdir()))
    assert ["colours"] == [path.name for path in cache.iterdir()]


@pytest.mark.usefixtures("only_read")
def test_read_only_model_folder_without_one(model_dir, only_read):
    """Without a folder of graphs the start ends with a sentence that names the setting."""
    said = why_ended(only_read, model_dir)

    assert "Read-only file system" in said
    assert "VGG_CACHE_DIR" in said


def test_read_only_model_folder_without_weights(model_dir, only_read, tmp_path):
    """A download goes to the model folder: where that can only be read, the sentence says so."""
    variables = {"VGG_CACHE_DIR": str(tmp_path / "cache"), "HF_ENDPOINT": "http://127.0.0.1:1"}
    said = why_ended(only_read, model_dir, **variables, VGG_MODELS="vgg16")

    assert "Read-only file system" in said
    assert "VGG_MODEL_DIR" in said


def test_a_folder_of_graphs_that_cannot_be_made(model_dir, tmp_path):
    """A wrong VGG_CACHE_DIR ends the start with a sentence that names it."""
    (tmp_path / "file").write_text("")
    ended = serve_and_wait(model_dir, models="colours", cache_dir=str(tmp_path / "file" / "cache"))

    assert 1 == ended.returncode
    assert "VGG_CACHE_DIR" in ended.stderr


def test_the_model_folder_is_told(model_dir):
    """The first line of the log says where models are kept."""
    ended = serve_and_wait(model_dir, models="none")

    assert f"models are kept in {model_dir}" in ended.stderr.splitlines()[0]


def test_a_model_folder_that_is_a_file(tmp_path):
    """It ends the start with a sentence that names the setting, before anything is loaded."""
    (tmp_path / "file").write_text("")
    ended = serve_and_wait(tmp_path / "file", models="vgg16-mini")

    assert 1 == ended.returncode
    assert "VGG_MODEL_DIR" in ended.stderr
    assert "Traceback" not in ended.stderr
