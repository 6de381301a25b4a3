import json
import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from app.cli.commands import cli
from app.machine import sums_bytes
from app.runtime.ort import has_cuda
from app.setup_errors import SessionError, SetupError
from tests.conftest import REPOSITORY, running_server


def command(*arguments, **environment):
    return {
        "args": [sys.executable, "-m", "app", "bench", *map(str, arguments)],
        "cwd": REPOSITORY,
        "env": os.environ | environment,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


@pytest.fixture(scope="module")
def server(colours):
    with running_server(colours, models="colours") as server:
        yield server, {"VGG_MODEL_DIR": str(colours), "VGG_MODELS": "colours"}


def test_sweep_with_its_limit(server, tmp_path):
    """A sweep against the real service: a table, JSON, a plot, the limit beside it."""
    running, environment = server
    done = subprocess.run(
        **command(
            running.url, "--sweep", "1,4", "--raw", "--seconds", "0.4", "--warmup", "0.1",
            "--repeats", "1", "--sizes", "120x90", "--threads", "1",
            "--json", tmp_path / "b.json", "--plot", tmp_path / "b.svg", **environment,
        ),
        check=True,
    )  # fmt: skip
    report = json.loads((tmp_path / "b.json").read_text())

    assert "4 connections" in done.stdout
    assert "session.run alone: colours (untrained), 1 thread" in done.stdout
    assert "1/1 session.run alone" in done.stderr
    assert ["1", "2", "4", "8", "16"] == list(report["raw"]["images_per_second"])
    for point in report["points"]:
        assert ["200"] == list(point["median"]["codes"])
        assert point["median"]["batch_sizes"]
        assert {} == point["median"]["failures"]
        assert 0 < point["of_raw"] < 1
    assert ET.parse(tmp_path / "b.svg").getroot().tag.endswith("svg")  # noqa: S314 (our own)


def test_open_loop_against_the_service(server, tmp_path):
    """An open loop is answered as it comes, and Ctrl-C ends it with a report."""
    running, environment = server
    process = subprocess.Popen(
        **command(
            running.url, "--rate", "40", "--seconds", "60", "--warmup", "0",
            "--sizes", "120x90", "--json", tmp_path / "b.json", **environment,
        )
    )  # fmt: skip
    assert process.stderr is not None
    assert "1/3 40/s" == process.stderr.readline().strip()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    report = json.loads((tmp_path / "b.json").read_text())

    assert 0 == process.returncode
    assert "Ended early" in output
    assert report["interrupted"]
    assert report["points"][0]["median"]["codes"]["200"] > 0


def test_limit_alone(server, monkeypatch):
    """Without a URL the limit is measured by itself."""
    for name, value in server[1].items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(cli, ["bench", "--raw", "--repeats", "1"])

    assert 0 == result.exit_code
    assert "images/s" in result.stdout


def test_ways_to_compute_convolutions(monkeypatch, tmp_path):
    """--conv shows them batch by batch in one run, and leaves no graph behind."""
    monkeypatch.setenv("VGG_MODEL_DIR", str(tmp_path))
    file = tmp_path / "out.json"
    result = CliRunner().invoke(
        cli,
        ["bench", "--conv", "direct,winograd", "--model", "vgg16-mini", "--repeats", "1",
         "--json", str(file)],
    )  # fmt: skip

    assert 0 == result.exit_code, result.output
    assert "images/s, direct" in result.stdout
    assert "winograd / direct" in result.stdout
    raw = json.loads(file.read_text())["raw"]
    assert "direct" == raw["way"]
    assert raw["images_per_second"].keys() == raw["beside"]["winograd"].keys()
    assert not [path for path in (tmp_path / "serving").iterdir() if path.is_dir()]


@pytest.mark.skipif(not sums_bytes(), reason="this processor does not sum bytes")
def test_number_formats(monkeypatch, tmp_path):
    """--precision shows int8 beside float32 in one run, and leaves no graph behind."""
    monkeypatch.setenv("VGG_MODEL_DIR", str(tmp_path))
    file = tmp_path / "out.json"
    result = CliRunner().invoke(
        cli,
        ["bench", "--raw", "--precision", "float32,int8", "--conv", "direct", "--model", "vgg16-mini",
         "--repeats", "1", "--json", str(file)],
    )  # fmt: skip

    assert 0 == result.exit_code, result.output
    assert "int8 / direct" in result.stdout
    raw = json.loads(file.read_text())["raw"]
    assert ("direct", ["int8"], False) == (raw["way"], list(raw["beside"]), raw["trained"])
    assert not [path for path in (tmp_path / "serving").iterdir() if path.is_dir()]


def test_cuda_that_is_not_there(server, monkeypatch):
    """One sentence says what is missing, before anything is fetched or measured."""
    if has_cuda():
        pytest.skip("onnxruntime-gpu is installed")
    for name, value in server[1].items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(cli, ["bench", "--raw", "--device", "cuda"])

    assert isinstance(result.exception, SessionError)
    assert "onnxruntime-gpu is not installed" in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--connections", "2"], "Give the URL"),
        (["http://127.0.0.1:1"], "No answer from http://127.0.0.1:1/predict"),
        (["https://h"], "speaks only http"),
        (["http://h", "--plot", "x.svg"], "--plot draws a sweep"),
        (["http://h", "--sweep", "1,2", "--plot", "x.gif"], ".svg or .png"),
        (["http://h", "--json", "/no/such/folder/x.json"], "is not a folder"),
        (["--raw", "--model", "no-such"], "There is no model 'no-such'"),
        (["--conv", "direct,fast"], "'direct,fast' is not a list of auto, direct, winograd"),
        (["--conv", "direct,winograd"], "--conv: colours is a ready graph"),
        (["--precision", "int8,float16"], "'int8,float16' is not a list of float32, int8"),
        (["--raw", "--precision", "float32,int8"], "--precision: colours is a ready graph"),
    ],
)
def test_mistakes_are_told_in_a_sentence(server, monkeypatch, arguments, sentence):
    """What cannot work is told before anything is measured."""
    for name, value in server[1].items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(cli, ["bench", "--sizes", "20x20", *arguments])

    assert isinstance(result.exception, SetupError)
    assert sentence in str(result.exception)


def test_mistake_ends_with_1(server):
    """The command says what is wrong in one line and fails."""
    done = subprocess.run(**command("https://h", **server[1]), check=False)

    assert 1 == done.returncode
    assert done.stderr.startswith("error: https://h")
    assert 1 == len(done.stderr.splitlines())
