"""A service whose weights cannot be had answers with the small model, and says so."""

import sys
from pathlib import Path

import httpx
import pytest

from app.command_line import command_line
from tests.conftest import PHOTOS, running_server
from tests.e2e.fronts import wait_ready
from tests.e2e.services import serve_and_wait
from tests.e2e.test_exit_status import BOTH_WAYS
from tests.e2e.wire import wire_to
from tests.weights.download.file_server import running, serve

COFFEE = (PHOTOS / "coffee.jpg").read_bytes()


@BOTH_WAYS
def test_the_small_model_answers_for_one_that_cannot_be_downloaded(tmp_path, fronts):
    """The answer is right and names both models; the log says how to get the real one."""
    with running_server(
        tmp_path, ready=False, stand_in="vgg16-mini", offline="true", front_processes=fronts
    ) as server:
        log = server.wait_for("vgg16-mini answers for vgg16")["event"]
        with wire_to(server.url) as wire:
            wait_ready(wire)
        answer = httpx.post(f"{server.url}/predict", content=COFFEE).json()
        named = httpx.post(f"{server.url}/predict?model=vgg16", content=COFFEE)
        listed = httpx.get(f"{server.url}/models").json()["models"]
        metrics = httpx.get(f"{server.url}/metrics").text

    command = f"VGG_OFFLINE=false {command_line(Path(sys.executable))} pull vgg16"
    assert f"run: {command}; then restart" in log
    assert ("vgg16-mini", "vgg16", True) == (
        answer["model"]["name"],
        answer["model"]["stands_in_for"],
        answer["model"]["trained"],
    )
    assert "espresso" == answer["predictions"][0]["label"]
    assert (503, "/problems/model-failed") == (named.status_code, named.json()["type"])
    assert [("vgg16", "failed", 1000, None), ("vgg16-mini", "ready", 202, "vgg16")] == [
        (one["name"], one["state"], one["classes"], one["stands_in_for"]) for one in listed
    ]
    assert 'vgg_requests_total{code="200",model="vgg16-mini",protocol="predict"} 1.0' in metrics


@BOTH_WAYS
@pytest.mark.parametrize("listen", ["start", "ready"])
def test_the_small_model_answers_while_the_default_one_is_downloaded(tmp_path, fronts, listen):
    """The service is ready, and its port open, with it alone; the probe names who answers."""
    with running() as hub:
        hub.script = [serve(pause=True)]
        settings = {"hf_endpoint": hub.url, "front_processes": fronts, "listen": listen}
        with running_server(tmp_path, ready=False, stand_in="vgg16-mini", **settings) as server:
            if listen == "start":
                server.wait_for("vgg16-mini: ready after")
            with wire_to(server.url) as wire:
                wait_ready(wire)
            probe = httpx.get(f"{server.url}/readyz").json()
            answer = httpx.post(f"{server.url}/predict", content=COFFEE).json()
            named = httpx.post(f"{server.url}/predict?model=vgg16", content=COFFEE)

    assert {"status": "ready", "models": ["vgg16-mini"]} == probe
    assert "vgg16" == answer["model"]["stands_in_for"]
    assert (503, "/problems/not-ready") == (named.status_code, named.json()["type"])


def test_a_model_that_was_named_does_not_stand_in(tmp_path):
    """An answer of the small model that was asked for has no field `stands_in_for`."""
    with running_server(tmp_path, models="vgg16-mini", stand_in="vgg16-mini") as server:
        answer = httpx.post(f"{server.url}/predict", content=COFFEE).json()

    assert {"name", "weights_sha256", "trained"} == answer["model"].keys()


def test_an_unknown_stand_in_ends_the_start(tmp_path):
    """The sentence names the variable and the models that there are."""
    ended = serve_and_wait(tmp_path, stand_in="vgg17")

    assert 1 == ended.returncode
    assert "VGG_STAND_IN: there is no model 'vgg17'; choose from alexnet" in ended.stderr


def test_without_a_stand_in_missing_weights_end_the_start(tmp_path):
    """That is the default: an operator who asked for vgg16 gets vgg16 or nothing."""
    ended = serve_and_wait(tmp_path, offline="true")

    assert 1 == ended.returncode


def test_top_k_is_at_most_the_classes_of_the_model(tmp_path):
    """The small model knows 202 classes: all of them can be had, and no more."""
    with running_server(tmp_path, models="vgg16-mini") as server:
        most = httpx.post(f"{server.url}/predict?top_k=202", content=COFFEE).json()
        more = httpx.post(f"{server.url}/predict?top_k=203", content=COFFEE)

    assert 202 == len(most["predictions"])
    assert (400, "top_k: vgg16-mini knows 202 classes.") == (
        more.status_code,
        more.json()["detail"],
    )
