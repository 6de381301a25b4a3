"""The files that make the containers, and images that are built for real without an engine."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY, SHARED_DATA, RunningServer

TOOL = SHARED_DATA.parent / "tools" / "container_check.sh"
ENTER = Path(__file__).parent / "enter.sh"
BUILDAH = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}  # as TOOL sets them
NAME = "vgg-serve:check"


def read_yaml(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / name).read_text())
    return content


@pytest.fixture(scope="session")
def compose():
    """docker-compose.yml."""
    return read_yaml("docker-compose.yml")


@pytest.fixture(scope="session")
def gpu():
    """docker-compose.gpu.yml."""
    return read_yaml("docker-compose.gpu.yml")


@dataclass(frozen=True)
class Image:
    """An image, unpacked.

    Attributes:
        root: Its files.
        config: What it says about how it is run.
        layers: Bytes, from the base up.
        tmpfs: The mount options of /tmp in docker-compose.yml.
    """

    root: Path
    config: dict[str, Any]
    layers: list[int]
    tmpfs: str

    def command(
        self, volume: Path, command: list[str], user: str | None = None, **settings: str
    ) -> list[str]:
        """Return what runs a command in it, hardened, with a folder as its volume.

        The folder gets the owner and the mode of the image's, as an empty volume does; `user` is
        that of `docker run --user`, who has no home. For one of another group than 0 everybody may
        write into it, as into an emptyDir of Kubernetes.
        """
        like = (self.root / "models").stat()
        for path in [volume, *volume.rglob("*")]:
            os.chown(path, like.st_uid, like.st_gid)
        volume.chmod(like.st_mode if user is None or user.endswith(":0") else 0o777)
        environment = [*self.config["Env"], *(f"VGG_{k.upper()}={v}" for k, v in settings.items())]
        environment += ["HOME=/"] if user else []
        arguments = [str(self.root), str(volume), self.tmpfs, user or self.config["User"]]
        folder = self.config["WorkingDir"]
        return ["unshare", "--mount", "sh", str(ENTER), *arguments, folder, *environment, *command]

    def run(self, volume: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end."""
        return subprocess.run(
            self.command(volume, list(command), **settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def started(
        self, volume: Path, user: str | None = None, **settings: str
    ) -> Iterator[RunningServer]:
        """Start it as its configuration says, on a free port of this machine alone."""
        local = {"host": "127.0.0.1", "port": "0"}
        command = [*self.config["Entrypoint"], *self.config["Cmd"]]
        process = subprocess.Popen(
            self.command(volume, command, user, **local, **settings),
            stderr=subprocess.PIPE,
            text=True,
        )
        server = RunningServer(process)
        try:
            server.url = server.wait_for("listening on")["event"].split()[2]
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()


def _run(*command: str) -> str:
    ended = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **BUILDAH},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert 0 == ended.returncode, f"{command}: {ended.stdout[-2000:]} {ended.stderr[-2000:]}"
    return ended.stdout.strip()


@contextmanager
def _built(target: str) -> Iterator[Image]:
    missing = [name for name in ("apt-get", "buildah", "debootstrap") if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"building an image takes root and Debian's tools; missing: {missing}")
    if not TOOL.exists():
        pytest.skip(f"what builds an image without an engine is not there: {TOOL}")
    _run("bash", str(TOOL), "base")
    _run("bash", str(TOOL), "build", "--format", "docker", "--target", target)
    inspected = json.loads(_run("buildah", "inspect", "--type", "image", NAME))
    container = _run("buildah", "from", "--pull-never", NAME)
    try:
        yield Image(
            root=Path(_run("buildah", "mount", container)),
            config=inspected["Docker"]["config"],
            layers=[layer["size"] for layer in json.loads(inspected["Manifest"])["layers"]],
            tmpfs=read_yaml("docker-compose.yml")["services"]["api"]["tmpfs"][0].split(":")[1],
        )
    finally:
        _run("buildah", "rm", container)
        _run("buildah", "rmi", "--force", inspected["FromImageID"])


@pytest.fixture(scope="session")
def cpu_image():
    """The target cpu, built from the Dockerfile."""
    with _built("cpu") as image:
        yield image


@pytest.fixture(scope="module")
def cuda_image():
    """The target cuda, built from the Dockerfile."""
    with _built("cuda") as image:
        yield image
