"""VGG_PRECISION=int8: right answers that say so, a proof that anyone can read, and clear refusals."""

import json
import os
import shutil
import subprocess
import sys

import httpx
import pytest

from app.machine import sums_bytes
from tests.conftest import PHOTOS, REPOSITORY, running_server
from tests.e2e.fronts import wait_ready
from tests.e2e.services import serve_and_wait
from tests.e2e.test_exit_status import BOTH_WAYS
from tests.e2e.wire import wire_to
from tests.web.answers import problem

COFFEE = (PHOTOS / "coffee.jpg").read_bytes()

needs_bytes = pytest.mark.skipif(not sums_bytes(), reason="this processor does not sum bytes")


@needs_bytes
@BOTH_WAYS
def test_answers_and_proof(tmp_path, fronts):
    """The answer is right and says `int8`; the log and GET /models have the same agreement, also after a restart."""
    settings = {"models": "vgg16-mini", "precision": "int8", "front_processes": fronts}
    told = []
    for _ in range(2):
        with running_server(tmp_path, **settings) as server:
            with wire_to(server.url) as wire:
                wait_ready(wire)
            answer = httpx.post(f"{server.url}/predict", content=COFFEE).json()
            model = httpx.get(f"{server.url}/models/vgg16-mini").json()
            metrics = httpx.get(f"{server.url}/metrics").text
            told.append([event["event"] for event in server.events])

    assert ("int8", True) == (answer["model"]["precision"], answer["model"]["trained"])
    assert "espresso" == answer["predictions"][0]["label"]
    assert ("int8", "cpu", "direct") == (
        model["precision"],
        model["device"],
        model["convolutions"],
    )
    agreement = model["agreement"]
    assert ("6 built-in samples", 72, 18) == (
        agreement["source"],
        agreement["calibrated"],
        agreement["held_back"],
    )
    assert 0.9 <= agreement["same_first"] <= 1
    assert 0 < agreement["mean_difference"] < agreement["largest_difference"] < 0.5
    assert 'precision="int8"' in metrics
    share = f"first answer for {100 * agreement['same_first']:.1f} % of 90 images"
    for events in told:
        assert any(share in event for event in events)
    calibrated = [any("calibrating" in event for event in events) for events in told]
    assert [True, False] == calibrated


@needs_bytes
@BOTH_WAYS
def test_what_needs_float32_is_refused(tmp_path, fronts):
    """Boxes and looks inside name int8 as the reason, also after another process has replaced the graph."""
    paths = "predict?explain=box", "inspect", "inspect?layer=conv3_3"
    with running_server(
        tmp_path, models="vgg16-mini", precision="int8", front_processes=fronts
    ) as server:
        with wire_to(server.url) as wire:
            wait_ready(wire)
        shutil.rmtree(tmp_path / "serving/vgg16-mini.int8")
        refused = [httpx.post(f"{server.url}/{path}", content=COFFEE) for path in paths]
        refused.append(httpx.get(f"{server.url}/models/vgg16-mini/filters"))
        plain = httpx.post(f"{server.url}/predict", content=COFFEE)

    assert [(422, "/problems/unknown-parameter")] * 4 == [problem(answer) for answer in refused]
    for answer in refused:
        assert "computes in int8 on this server" in answer.json()["detail"]
    assert 200 == plain.status_code


def test_float32_says_nothing(mini_server):
    """Answers in float32 are as they always were; the model has no agreement."""
    answer = httpx.post(f"{mini_server.url}/predict", content=COFFEE).json()
    model = httpx.get(f"{mini_server.url}/models/vgg16-mini").json()

    assert {"name", "weights_sha256", "trained"} == answer["model"].keys()
    assert ("float32", None) == (model["precision"], model["agreement"])


@needs_bytes
def test_calibrated_ahead(tmp_path):
    """`pull --precision int8 --calibrate` makes the graph that the service then serves, without the photos."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "coffee.jpg").write_bytes(COFFEE)
    (photos / "notes.txt").write_text("no photo")
    variables = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
    pulled = subprocess.run(
        [sys.executable, "-m", "app", "pull", "vgg16-mini", "--precision", "int8", "--calibrate", "photos"],
        cwd=tmp_path,
        env=variables | {"VGG_MODEL_DIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    command = [sys.executable, "-m", "app", "predict", "--model", "vgg16-mini"]
    predicted = subprocess.run(
        [*command, "--json", "photos/coffee.jpg"],
        cwd=tmp_path,
        env=variables
        | {"VGG_MODEL_DIR": str(tmp_path), "VGG_PRECISION": "int8", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    (photos / "coffee.jpg").unlink()
    with running_server(tmp_path, models="vgg16-mini", precision="int8") as server:
        agreement = httpx.get(f"{server.url}/models/vgg16-mini").json()["agreement"]

    assert "calibrated on 1 photo of a folder" in pulled.stdout
    assert "int8" == json.loads(predicted.stdout)["precision"]
    assert ("1 photo of a folder", 12, 3) == (
        agreement["source"],
        agreement["calibrated"],
        agreement["held_back"],
    )


@needs_bytes
def test_a_ready_graph_beside_it_keeps_its_precision(model_dir):
    """As with any VGG_PRECISION: it is served as it is, and its answers do not say int8."""
    with running_server(model_dir, models="vgg16-mini,colours", precision="int8") as server:
        with wire_to(server.url) as wire:
            wait_ready(wire)
        server.wait_for("colours: a ready ONNX graph, which VGG_PRECISION=int8 leaves as it is")
        names = "vgg16-mini", "colours"
        posted = [httpx.post(f"{server.url}/predict?model={n}", content=COFFEE) for n in names]

    assert ["int8", None] == [a.json()["model"].get("precision") for a in posted]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        pytest.param(
            {"models": "vgg16-mini", "calibration_dir": "/no/such/folder"},
            "The folder of calibration photos cannot be read",
            marks=needs_bytes,
        ),
        ({"models": "vgg16-mini", "device": "cuda"}, "CUDA"),
        pytest.param(
            {"models": "vgg16-mini"},
            "needs a processor that sums products of bytes",
            marks=pytest.mark.skipif(sums_bytes(), reason="this processor sums bytes"),
        ),
    ],
)
def test_what_int8_cannot_do_ends_the_start(model_dir, settings, sentence):
    """The service ends with 1 and one sentence."""
    ended = serve_and_wait(model_dir, precision="int8", **settings)

    assert 1 == ended.returncode
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
