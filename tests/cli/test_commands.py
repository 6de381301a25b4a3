"""The command line, as a user types it."""

import json
import os
import platform
import shlex
import subprocess
import sys

import pytest

from app import __version__
from app.runtime.ort import VERSION
from app.web.keys import make_key
from tests.conftest import PHOTOS, REPOSITORY, png, running_server


@pytest.fixture
def run(model_dir):
    """Run `vgg-serve ...` with the network `colours` and return what became of it."""

    def run(*arguments, **settings):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
        environment |= {"VGG_MODEL_DIR": str(model_dir), "VGG_MODELS": "colours", "COLUMNS": "80"}
        return subprocess.run(
            [sys.executable, "-m", "app", *map(str, arguments)],
            cwd=REPOSITORY,
            env=environment | settings,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def pictures(tmp_path):
    """A folder with a red and a green picture, one that is broken, and a text."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    (folder / "red.png").write_bytes(png("red"))
    (folder / "deep" / "GREEN.PNG").write_bytes(png("green"))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0broken")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_predict_prints_a_table(run, pictures):
    """A photo gets a readable table of its classes, and says that nothing was trained."""
    ended = run("predict", pictures / "red.png", "-k", 2)

    assert 0 == ended.returncode
    assert "tench, Tinca tinca" in ended.stdout
    assert "99.9 %" in ended.stdout or "100.0 %" in ended.stdout
    assert "UNTRAINED" in ended.stdout


def test_predict_takes_a_folder_and_goes_on_after_a_broken_file(run, pictures):
    """All images of a folder are classified; a broken one is named and makes the exit status 1."""
    ended = run("predict", pictures, "--json")
    rows = {
        os.path.basename(row["file"]): row  # noqa: PTH119 (a text)
        for row in map(json.loads, ended.stdout.splitlines())
    }

    assert 1 == ended.returncode
    assert {"red.png", "GREEN.PNG", "broken.jpg"} == set(rows)
    assert [0, 1] == [
        rows[name]["predictions"][0]["class_index"] for name in ("red.png", "GREEN.PNG")
    ]
    assert rows["broken.jpg"]["error"]


def test_key_is_sent_and_never_shown(run, pictures, model_dir):
    """`predict --url` and `bench` get in by VGG_API_KEY or --key, and print it nowhere."""
    secret, line = make_key("alice")
    (model_dir / "keys").write_text(line)
    photo = pictures / "red.png"
    with running_server(
        model_dir, models="colours", api_keys_file=str(model_dir / "keys")
    ) as server:
        predict = ["predict", photo, "--url", server.url]
        short = ["-c", 1, "-s", 0.2, "--warmup", 0, "--repeats", 1, "--json", pictures / "b.json"]
        bench = ["bench", server.url, "-i", photo, *short]
        outside = run(*predict)
        inside = [
            run(*command, *option, **environment)
            for command in (predict, bench)
            for option, environment in ((("--key", secret), {}), ((), {"VGG_API_KEY": secret}))
        ]

    assert 1 == outside.returncode
    assert [0] * 4 == [ended.returncode for ended in inside]
    report = (pictures / "b.json").read_text()
    assert "Authorization" in report
    for ended in inside:
        assert secret not in ended.stdout + ended.stderr + report
        assert "warning" not in ended.stderr


@pytest.mark.parametrize("command", [["predict", PHOTOS, "--url"], ["bench"]])
def test_key_that_cannot_be_is_not_shown_either(run, command):
    """A key that no header can hold is refused without a word of it."""
    ended = run(*command, "http://127.0.0.1:1", VGG_API_KEY="my secret\u00e9")

    assert 1 == ended.returncode
    assert "API key" in ended.stderr
    assert "secret" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", PHOTOS / "none.jpg"], "none.jpg"),
        (["predict", REPOSITORY / "requirements"], "no JPEG"),
        (["predict", PHOTOS, "-m", "resnet"], "resnet"),
        (["predict", PHOTOS, "--url", "http://127.0.0.1:1"], "127.0.0.1:1"),
        (["predict", PHOTOS, "-k", 100_001], "--top-k"),
        (["pull", "resnet"], "resnet"),
        (["models", "resnet"], "resnet"),
        (["nonsense"], "nonsense"),
    ],
)
def test_mistakes_are_told_in_a_sentence(run, arguments, said):
    """A wrong command ends with a status above 0 and a sentence, never with a traceback."""
    ended = run(*arguments)

    assert 0 != ended.returncode
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_pull_without_weights_says_what_to_do(run):
    """`pull` of weights that may not be downloaded names the variable that forbids it."""
    ended = run("pull", "vgg16", VGG_OFFLINE="true")

    assert 1 == ended.returncode
    assert "unset VGG_OFFLINE" in ended.stderr


def test_calibration_without_int8(run):
    """--calibrate alone would be forgotten in silence."""
    ended = run("pull", "vgg16-mini", "--calibrate", "photos")

    assert 1 == ended.returncode
    assert "Add --precision int8" in ended.stderr


def test_pull_of_a_ready_graph_builds_it(run, model_dir):
    """`pull` leaves the serving graph behind and says whose weights they are."""
    ended = run("pull")

    assert 0 == ended.returncode
    assert ended.stdout.startswith("colours: ready")
    assert list((model_dir / "serving" / "colours").glob("*/graph.onnx"))


def test_models_lists_the_catalog(run):
    """`models` names every model that can be served, the folder's own too."""
    ended = run("models")

    assert 0 == ended.returncode
    for name in ("vgg16", "vgg19-oxford", "colours"):
        assert name in ended.stdout


def test_models_says_the_temperature(run, model_dir):
    """Only of a manifest that has one."""
    manifest = model_dir / "colours.toml"
    before = run("models", "colours").stdout
    manifest.write_text(manifest.read_text().replace("[pre", "temperature = 1.07\n[pre"))

    assert "temperature" not in before
    assert "temperature: 1.07, divides the logits" in run("models", "colours").stdout


def test_models_shows_every_layer_in_eighty_columns(run):
    """`models vgg16` prints the layer table whole, even on a narrow terminal."""
    ended = run("models", "vgg16")

    assert 0 == ended.returncode
    for part in (
        "conv5_3",
        "64x224x224",
        "102,764,544",
        "138,357,544",
        "15,470,264,320",
        "404x404",
    ):
        assert part in ended.stdout
    assert "…" not in ended.stdout


def test_version_is_one_line(run):
    """What a report needs: the version, the runtime and its devices, Python and the system."""
    ended = run("--version")
    [line] = ended.stdout.splitlines()

    assert 0 == ended.returncode
    assert line.startswith(f"vgg-serve {__version__}, onnxruntime {VERSION} (CPU")
    assert f"Python {platform.python_version()}, {platform.platform()}" in line


def test_the_command_in_the_help_works(run):
    """What `Usage:` and `Try` show is how the command was started."""
    shown = run("predict").stderr.split("Try '")[1].split("'")[0]
    again = subprocess.run(
        shlex.split(shown), cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )

    assert 0 == again.returncode
    assert "--csv" in again.stdout
