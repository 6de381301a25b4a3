"""A real server in a process of its own, on a real socket."""

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import PHOTOS, REPOSITORY, png, running_server, write_colours
from tests.e2e.services import Posters, serve_and_wait
from tests.weights.download.file_server import running, serve


def test_a_photo_gets_its_name(mini_server):
    """A trained network names a coffee: photo, pixels, weights, classes and labels agree."""
    data = (PHOTOS / "coffee.jpg").read_bytes()
    answer = httpx.post(f"{mini_server.url}/predict", files={"file": data}).json()

    first = answer["predictions"][0]
    assert ("espresso", 194, "n07920052") == (
        first["label"],
        first["class_index"],
        first["wnid"],
    )
    assert pytest.approx(0.90, abs=0.05) == first["probability"]
    assert ("vgg16-mini", True) == (answer["model"]["name"], answer["model"]["trained"])


def test_two_photos_at_a_time_keep_their_own_names(mini_server):
    """Posted together, a coffee and a web of stars each get their own best class."""
    samples = REPOSITORY / "app" / "web" / "page" / "static" / "samples"
    names = ["coffee", "galaxies"] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda name: httpx.post(
                f"{mini_server.url}/predict", content=(samples / f"{name}.jpg").read_bytes()
            ).json(),
            names,
        )

    best = {"coffee": "espresso", "galaxies": "spider web, spider's web"}
    assert [best[name] for name in names] == [
        answer["predictions"][0]["label"] for answer in answers
    ]


@pytest.mark.real
def test_a_foreign_graph_of_1000_classes_names_a_cat(squeezenet_dir):
    """SqueezeNet sees an Egyptian cat, with its maker's probability, and then two other kinds of cat."""
    data = (PHOTOS / "chelsea.jpg").read_bytes()
    with running_server(squeezenet_dir, models="squeezenet") as server:
        rows = httpx.post(f"{server.url}/predict", content=data).json()["predictions"]

    assert ("Egyptian cat", 285) == (rows[0]["label"], rows[0]["class_index"])
    assert pytest.approx(0.60, abs=0.05) == rows[0]["probability"]
    assert {"tiger cat", "tabby, tabby cat"} == {row["label"] for row in rows[1:3]}


def test_command_line_agrees_with_the_server(mini_server, tmp_path):
    """`vgg-serve predict` gives the same rows here as through a server."""
    arguments = [sys.executable, "-m", "app", "predict", str(PHOTOS), "--json", "-k", "3"]
    here = subprocess.run(
        arguments,
        cwd=REPOSITORY,
        env={"VGG_MODEL_DIR": str(tmp_path), "VGG_MODELS": "vgg16-mini"},
        capture_output=True,
        check=True,
    )
    there = subprocess.run(
        [*arguments, "--url", mini_server.url], cwd=REPOSITORY, capture_output=True, check=True
    )

    rows = [json.loads(line) for line in here.stdout.splitlines()]
    assert 3 == len(rows)
    assert "espresso" in [row["predictions"][0]["label"] for row in rows]
    for mine, servers in zip(rows, there.stdout.splitlines(), strict=True):
        theirs = json.loads(servers)
        for a, b in zip(mine.pop("predictions"), theirs.pop("predictions"), strict=True):
            assert pytest.approx(a.pop("probability"), abs=1e-5) == b.pop("probability")
            assert a == b
        assert mine == theirs


def test_client_that_leaves_is_dropped_and_counted(model_dir):
    """A connection that closes in the middle of an upload costs nothing and is counted."""
    with running_server(model_dir, models="colours") as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf"
            )
        server.wait_for("POST /predict 499")
        metrics = httpx.get(f"{server.url}/metrics").text

    assert 'vgg_cancelled_total{stage="upload"} 1.0' in metrics
    assert 'vgg_requests_total{code="499",model="colours",protocol="predict"} 1.0' in metrics
    assert "vgg_upload_bytes 0.0" in metrics


def test_large_declared_body_is_refused_before_it_is_sent(model_dir):
    """The answer to a declared 1 GB comes without a byte of it."""
    with running_server(model_dir, models="colours") as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
            )
            answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_sigterm_drains_and_loses_nothing(model_dir):
    """From the signal on it is not ready, and every request that is accepted is answered."""
    with (
        running_server(model_dir, models="colours", drain_delay_ms="700") as server,
        Posters(server.url) as posters,
    ):
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        draining = httpx.get(f"{server.url}/readyz")
        server.process.wait(30)

    assert 503 == draining.status_code
    assert "/problems/draining" == draining.json()["type"]
    assert "close" == draining.headers["connection"]  # nothing more is sent into a closing port
    assert {200} == set(posters.statuses)
    assert len(posters.gone) <= 4


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_signal_interrupts_a_download(tmp_path, end):
    """A server that is told to stop while it fetches weights, even from a stalled host, stops."""
    with running() as hub:
        hub.script = [serve(pause=True)]
        with running_server(tmp_path, ready=False, models="vgg16", hf_endpoint=hub.url) as server:
            assert hub.half_sent.wait(30)
            server.process.send_signal(end)
            server.process.wait(5)

    assert 0 != server.process.returncode


def test_missing_weights_stop_the_start_and_say_what_to_do(tmp_path):
    """Without weights and without a network the start fails with one helpful sentence."""
    ended = serve_and_wait(tmp_path, models="vgg16")

    assert 1 == ended.returncode
    for advice in ("HF_ENDPOINT", str(tmp_path / "vgg16.safetensors"), "VGG_STAND_IN"):
        assert advice in ended.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"models": "vgg99"}, "vgg99"),
        ({"models": "colours", "port": "http"}, "VGG_PORT"),
        ({"models": "colours", "device": "tpu"}, "VGG_DEVICE"),
        ({"models": ","}, "VGG_MODELS"),
        ({"models": "colours", "device": "cuda"}, "CUDA"),
    ],
)
def test_wrong_setting_stops_the_start(model_dir, settings, said):
    """A setting that cannot be stops the start, and the sentence names it."""
    ended = serve_and_wait(model_dir, **settings)

    assert 0 != ended.returncode
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_manifest_stops_the_start(model_dir):
    """A manifest with a slip of the pen is named with its key and what was expected."""
    manifest = model_dir / "colours.toml"
    manifest.write_text(manifest.read_text().replace('channels = "RGB"', 'channels = "rgb"'))
    ended = serve_and_wait(model_dir, models="colours")

    assert 0 != ended.returncode
    for part in (str(manifest), "preprocess.channels", "'rgb'", "RGB, BGR"):
        assert part in ended.stderr.replace("\n", "")


def test_two_models_are_served_side_by_side(model_dir):
    """Each request is answered by the model it names, the first one by default."""
    write_colours(model_dir, "again")
    with running_server(model_dir, ready=False, models="colours,again") as server:
        server.wait_for("again: ready")
        names = [
            httpx.post(f"{server.url}/predict{query}", content=png()).json()["model"]["name"]
            for query in ("", "?model=again", "?model=colours")
        ]

    assert ["colours", "again", "colours"] == names
