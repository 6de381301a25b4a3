"""The images, built for real and run as docker-compose.yml has them run."""

import json
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app import __version__
from tests.conftest import PHOTOS, REPOSITORY, png
from tests.test_package import build

pytestmark = pytest.mark.container

SITE = "opt/venv/lib/python3.13/site-packages"
UNCHECKED_HASH = 1
BASE_OF_THE_GOAL = 80_000_000
"""Bytes of debian:trixie-slim, about; the stand-in for it is larger."""


# --- as it is --------------------------------------------------------------------------


def test_configuration(cpu_image):
    """It says who runs it, where the weights are, how to ask for its health, and what it is."""
    config = cpu_image.config

    assert "10001:10001" == config["User"]
    assert {"/models": {}} == config["Volumes"]
    assert {"8000/tcp": {}} == config["ExposedPorts"]
    program = ["env", "--block-signal=TERM,INT", "python", "-m", "app"]
    assert (program, ["serve"]) == (config["Entrypoint"], config["Cmd"])
    assert ["CMD", "python", "healthcheck.py"] == config["Healthcheck"]["Test"]
    assert {"VGG_HOST=0.0.0.0", "VGG_MODEL_DIR=/models"} <= set(config["Env"])
    labels = {
        name.removeprefix("org.opencontainers.image."): v for name, v in config["Labels"].items()
    }
    assert ("vgg-serve", "MIT", __version__) == (
        labels["title"],
        labels["licenses"],
        labels["version"],
    )


def test_what_builds_is_not_in_it(cpu_image):
    """No compiler, no pip, no cache of a package manager, no dependency of developers."""
    root = cpu_image.root
    for name in ("gcc", "cc", "g++", "ld", "make", "pip", "pip3", "curl", "wget"):
        assert not list(root.glob(f"usr/bin/{name}")), name
        assert not list(root.glob(f"opt/venv/bin/{name}")), name
    for name in ("pip", "hatchling", "pluggy", "pytest", "mypy", "ruff"):
        assert not (root / SITE / name).exists(), name
        assert not list(root.glob(f"usr/lib/python3*/**/{name}")), name
    for folder in ("var/lib/apt/lists", "var/cache/apt", "root/.cache", "tmp"):
        assert not [path for path in (root / folder).rglob("*") if path.is_file()], folder
    assert not (root / "srv/vgg-serve/tests").exists()


def test_everything_is_compiled(cpu_image):
    """Each module of the service has its bytecode, which no changed time makes stale."""
    for folder in (f"{SITE}/fastapi", "srv/vgg-serve/app"):
        for source in (cpu_image.root / folder).rglob("*.py"):
            compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
            assert UNCHECKED_HASH == compiled.read_bytes()[4], source


def test_its_user_owns_the_volume_alone(cpu_image):
    """A new volume is for its user and for group 0; nothing else is its, and nothing is open to everybody."""
    owner = int(cpu_image.config["User"].split(":")[0])
    owned, open_to_all = [], []
    for path in cpu_image.root.rglob("*"):
        status = path.lstat()
        if status.st_uid == owner:
            owned.append(path.relative_to(cpu_image.root))
        if status.st_mode & stat.S_IWOTH and stat.S_IFMT(status.st_mode) in {
            stat.S_IFREG,
            stat.S_IFDIR,
        }:
            open_to_all.append(str(path.relative_to(cpu_image.root)))

    volume = (cpu_image.root / "models").stat()
    assert [Path("models")] == owned
    assert (0, 0o775) == (volume.st_gid, stat.S_IMODE(volume.st_mode))
    assert {"tmp", "var/tmp", "run/lock"} >= set(open_to_all)


def test_size(cpu_image):
    """On a base of 80 MB it is no larger than 350 MB."""
    assert BASE_OF_THE_GOAL + sum(cpu_image.layers[1:]) < 350_000_000


# --- as it runs ------------------------------------------------------------------------


def _status(server, *names: str) -> list[str]:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return [re.findall(rf"^{name}:\s+(\S+)", text, re.MULTILINE)[0] for name in names]


def test_hardened_service_answers(cpu_image, model_dir):
    """Read-only, as its own user, without any privilege, it becomes ready and answers."""
    with cpu_image.started(model_dir, models="colours") as server:
        server.wait_for("colours: ready")
        ready = httpx.get(f"{server.url}/readyz")
        answer = httpx.post(f"{server.url}/predict", files={"file": png()})
        standing = _status(server, "Uid", "CapEff", "CapBnd", "NoNewPrivs")

    assert [200, 200] == [ready.status_code, answer.status_code]
    assert ["10001", "0" * 16, "0" * 16, "1"] == standing


@pytest.mark.parametrize("user", ["12345:0", "1000680000:0", "54321:65432"])
def test_any_user(cpu_image, model_dir, user):
    """A user without a name and a home, as a cluster chooses one, writes into a new volume and serves from it."""
    with cpu_image.started(model_dir, user, models="colours") as server:
        server.wait_for("colours: ready")
        answer = httpx.post(f"{server.url}/predict", files={"file": png()})

    assert 200 == answer.status_code
    assert {int(user.split(":")[0])} == {path.stat().st_uid for path in model_dir.glob("serving/*")}


def test_a_photo_is_classified(cpu_image, tmp_path):
    """The trained model in the image names a coffee, with an empty volume."""
    models = tmp_path / "models"
    models.mkdir()
    with cpu_image.started(models, models="vgg16-mini") as server:
        server.wait_for("vgg16-mini: ready")
        photo = (PHOTOS / "coffee.jpg").read_bytes()
        answer = httpx.post(f"{server.url}/predict", files={"file": photo}).json()

    assert "espresso" == answer["predictions"][0]["label"]


def test_sigterm_drains(cpu_image, model_dir):
    """What is under way when it is told to stop is answered, and then it ends by that signal."""
    with cpu_image.started(model_dir, models="colours", drain_delay_ms="1000") as server:
        server.wait_for("colours: ready")
        answers = []
        asked, over = threading.Event(), threading.Event()

        def load():
            with httpx.Client(base_url=server.url, timeout=30) as client:
                while not over.is_set():
                    try:
                        answers.append(client.post("/predict", content=png()).status_code)
                    except httpx.TransportError:
                        return  # the port is closed, or an idle connection was
                    asked.set()

        with ThreadPoolExecutor(4) as pool:
            try:
                for _ in range(4):
                    pool.submit(load)
                assert asked.wait(30)
                server.process.send_signal(signal.SIGTERM)
                server.wait_for("draining")
                draining = httpx.get(f"{server.url}/readyz").status_code
                status = server.process.wait(30)
            finally:
                over.set()

    assert (503, -signal.SIGTERM) == (draining, status)
    assert {200} == set(answers)


def test_the_wheel_works_with_debian_s_newest_python(cpu_image, tmp_path):
    """Installed beside the image's packages, the wheel classifies a photo with what it carries."""
    wheel, volume = build(REPOSITORY, "wheel", tmp_path / "wheel"), tmp_path / "volume"
    (volume / "home").mkdir(parents=True)
    shutil.copy(PHOTOS / "coffee.jpg", volume)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(volume / "site"), str(wheel)], check=True, timeout=120)
    of_a_user = ["env", "--unset=VGG_MODEL_DIR", "PYTHONPATH=/models/site", "HOME=/models/home"]
    predict = ["predict", "/models/coffee.jpg", "--model", "vgg16-mini", "--json"]
    ended = cpu_image.run(volume, *of_a_user, *cpu_image.config["Entrypoint"], *predict)

    assert "espresso" == json.loads(ended.stdout)["predictions"][0]["label"], ended
    assert (volume / "home" / ".cache" / "vgg-serve" / "serving" / "vgg16-mini").is_dir()


def test_health_check(cpu_image, model_dir, tmp_path):
    """Its health check says yes while it is ready, and says why not when it is not there."""
    command = cpu_image.config["Healthcheck"]["Test"][1:]
    (tmp_path / "other").mkdir()
    with cpu_image.started(model_dir, models="colours") as server:
        server.wait_for("colours: ready")
        port = server.url.rsplit(":", 1)[1]
        healthy = cpu_image.run(tmp_path / "other", *command, port=port)
    gone = cpu_image.run(tmp_path / "other", *command, port=port)

    assert (0, '{"status":"ready","models":["colours"]}\n') == (healthy.returncode, healthy.stdout)
    assert 1 == gone.returncode
    assert "Connection refused" in gone.stderr


def test_weights_are_carried_to_a_machine_without_a_network(cpu_image, model_dir, tmp_path):
    """What `pull` put into one volume, packed and unpacked as docs/container.md says, serves."""
    there = tmp_path / "there"
    there.mkdir()
    pulled = cpu_image.run(model_dir, *cpu_image.config["Entrypoint"], "pull", "colours")
    with (tmp_path / "models.tar").open("w+b") as tar:
        pack = cpu_image.command(model_dir, ["tar", "-C", "/models", "-c", "."])
        subprocess.run(pack, stdout=tar, check=True, timeout=60)
        tar.seek(0)
        unpack = cpu_image.command(there, ["tar", "-C", "/models", "-x"])
        subprocess.run(unpack, stdin=tar, check=True, timeout=60)
    with cpu_image.started(there, models="colours", offline="true") as server:
        server.wait_for("colours: ready")

    assert 0 == pulled.returncode
    assert "colours: ready" in pulled.stdout
    docs = (REPOSITORY / "docs/container.md").read_text()
    for line in (
        "api pull\n",
        "tar api -C /models -c . > models",
        "tar api -C /models -x < models",
    ):
        assert line in docs


def test_without_weights_it_says_what_to_do(cpu_image, tmp_path):
    """Where the weights can be had nowhere, it ends, and the last line says how to help it."""
    ended = cpu_image.run(
        tmp_path,
        *cpu_image.config["Entrypoint"],
        *cpu_image.config["Cmd"],
        host="127.0.0.1",
        port="0",
        offline="true",
    )

    assert 1 == ended.returncode
    assert "/models/vgg16" in ended.stderr
    assert "VGG_STAND_IN" in ended.stderr


# --- CUDA ------------------------------------------------------------------------------


def test_cuda_without_a_gpu(cuda_image, model_dir):
    """Where there is no GPU the target cuda does not start, and says what is missing and to do."""
    ended = cuda_image.run(
        model_dir,
        *cuda_image.config["Entrypoint"],
        *cuda_image.config["Cmd"],
        host="127.0.0.1",
        port="0",
        models="colours",
    )

    assert 1 == ended.returncode
    assert (
        "there is no NVIDIA driver here, or this container has no access to the GPU" in ended.stderr
    )
    assert "VGG_DEVICE=cpu" in ended.stderr


def test_cuda_on_a_cpu(cuda_image, model_dir):
    """Told so, the target cuda runs on the CPU: all of it is there but the driver."""
    with cuda_image.started(model_dir, models="colours", device="auto") as server:
        server.wait_for("colours: ready")
        metrics = httpx.get(f"{server.url}/metrics").text

    assert 'vgg_model_info{device="cpu",model="colours"' in metrics


def test_cuda_libraries(cuda_image):
    """The CUDA libraries are those that the pinned requirements name, as Python packages."""
    pinned = set(
        re.findall(
            r"^(nvidia-[\w-]+)==", (REPOSITORY / "requirements/cuda.txt").read_text(), re.MULTILINE
        )
    )
    found = {
        path.name.split("-")[0] for path in (cuda_image.root / SITE).glob("nvidia_*.dist-info")
    }

    assert {name.replace("-", "_") for name in pinned} == found
    assert not list(cuda_image.root.glob("usr/local/cuda*"))
