"""The service under Ray Serve, on two nodes of this machine."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.client import Client, ProblemError
from app.setup_errors import SetupError
from tests.conftest import PHOTOS, REPOSITORY
from tests.nginx import free_ports

RAY_PYTHON = Path(os.environ.get("VGG_TEST_RAY", REPOSITORY / ".venv-ray" / "bin" / "python"))


def python() -> str:
    """Return a Python that has Ray."""
    if importlib.util.find_spec("ray") is not None:
        return sys.executable
    if not RAY_PYTHON.exists():
        pytest.skip("Ray is not installed")
    return str(RAY_PYTHON)


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """What the processes of Ray have in their environment."""
    python()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VGG_", "RAY_"))}
    return kept | {
        "PYTHONPATH": str(REPOSITORY),
        "VGG_MODELS": "vgg16-mini",
        "VGG_MODEL_DIR": str(tmp_path_factory.mktemp("models")),
        "VGG_OFFLINE": "true",
        "VGG_THREADS": "1",
    }


@pytest.fixture(scope="module")
def address(variables):
    """Two nodes with one CPU each."""
    nodes = subprocess.Popen(
        [python(), "-m", "tests.ray_cluster", "2"],
        cwd=REPOSITORY,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert nodes.stdout is not None
    yield nodes.stdout.readline().strip()
    nodes.communicate("", timeout=60)


@pytest.fixture(scope="module")
def url(address, variables, tmp_path_factory):
    """`serve run`, with a replica on each node, since each takes one CPU."""
    [port] = free_ports(1)
    config = tmp_path_factory.mktemp("ray") / "serve.yaml"
    config.write_text(
        json.dumps(
            {
                "proxy_location": "HeadOnly",
                "http_options": {"host": "127.0.0.1", "port": port},
                "applications": [
                    {
                        "name": "vgg",
                        "route_prefix": "/",
                        "import_path": "app.service.ray:app",
                        "args": {"min_replicas": 2, "max_replicas": 2},
                    }
                ],
            }
        )
    )
    command = [Path(python()).parent / "serve", "run", "--address", address, config]
    with (config.parent / "log").open("w") as log:
        serving = subprocess.Popen(command, cwd=REPOSITORY, env=variables, stdout=log, stderr=log)
    for _ in range(1000):
        if is_ready(f"http://127.0.0.1:{port}/readyz"):
            break
        assert serving.poll() is None, (config.parent / "log").read_text()
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    serving.terminate()
    serving.wait(60)


def is_ready(url):
    """Return whether a replica answers; Ray's proxy answers 404 and 503 before."""
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def test_missing_extra_is_named_with_its_command(monkeypatch):
    """Whoever imports the module without it is told."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "app.service.ray", raising=False)

    with pytest.raises(SetupError, match=r"-m pip install 'ray\[serve\]'"):
        importlib.import_module("app.service.ray")


@pytest.mark.ray
def test_photo_is_answered_as_by_the_plain_server(url, mini_server):
    """With the id that Ray gave the request, once."""
    with Client(url) as ours, Client(mini_server.url) as plain:
        answer = ours.classify(PHOTOS / "coffee.jpg")
        expected = plain.classify(PHOTOS / "coffee.jpg")

    assert expected.predictions == answer.predictions
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.request_id or "")


@pytest.mark.ray
def test_bad_photo_gets_our_problem(url):
    """Not Ray's 500."""
    with Client(url) as client, pytest.raises(ProblemError) as caught:
        client.classify(b"no photo")

    assert (415, "unsupported-format") == (caught.value.status, caught.value.type)


@pytest.mark.ray
def test_both_nodes_answer(url):
    """The time of its first answer tells whose metrics a scrape shows."""
    photo = (PHOTOS / "coffee.jpg").read_bytes()
    since = set()
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(8) as pool:
        for _ in range(50):  # a replica is drawn for each request
            answers = pool.map(lambda _: client.post("/predict", content=photo), range(8))
            assert {200} == {answer.status_code for answer in answers}
            text = client.get("/metrics").text
            since |= set(re.findall(r'vgg_requests_created\{code="200".*', text))
            if len(since) == 2:
                break

    assert 2 == len(since)


OPTIONS = """
import json
from app.service.ray import Scale, app
bound = app(Scale(min_replicas=2, max_replicas=3))._bound_deployment
options = {n: getattr(bound, n) for n in ("max_ongoing_requests", "max_queued_requests", "ray_actor_options")}
config = bound._deployment_config
options |= {n: getattr(config, n) for n in ("graceful_shutdown_timeout_s", "graceful_shutdown_wait_loop_s")}
print(json.dumps(options))
"""


@pytest.mark.ray
def test_settings_become_options(variables):
    """Processors, bounds, the time to drain; paths hold in any folder."""
    given = {"VGG_MAX_BATCH_SIZE": "3", "VGG_DRAIN_DELAY_MS": "500", "VGG_CACHE_DIR": "cache"}
    command = [python(), "-c", OPTIONS]
    said = subprocess.run(
        command, cwd=REPOSITORY, env=variables | given, capture_output=True, text=True, check=True
    )
    options = json.loads(said.stdout)
    actor = options.pop("ray_actor_options")
    environment = actor["runtime_env"]["env_vars"]

    assert {
        "max_ongoing_requests": 12,
        "max_queued_requests": 24,
        "graceful_shutdown_timeout_s": 20.5,
        "graceful_shutdown_wait_loop_s": 0.5,
    } == options
    assert (1, 0) == (actor["num_cpus"], actor["num_gpus"])
    assert ("1", "3") == (environment["VGG_THREADS"], environment["VGG_MAX_BATCH_SIZE"])
    assert str(REPOSITORY / "cache") == environment["VGG_CACHE_DIR"]


@pytest.mark.ray
def test_setting_without_effect_is_refused(variables):
    """A port of gRPC that nobody listens on would be found out late."""
    command = [python(), "-c", OPTIONS]
    environment = variables | {"VGG_GRPC_PORT": "8001"}
    said = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )

    assert "VGG_GRPC_PORT has no effect under Ray" in said.stderr
