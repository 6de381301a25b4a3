"""The Dockerfile, as it is written."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from app import __version__
from tests.conftest import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def test_linter_has_nothing_to_say():
    """The linter hadolint finds nothing, and each rule that it is not to check has its reason beside it."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    ended = subprocess.run(
        [hadolint, "--failure-threshold", "style", "Dockerfile"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (ended.returncode, ended.stdout + ended.stderr)
    [ignored] = re.findall(r"hadolint global ignore=(\S+)", DOCKERFILE)
    for rule in ignored.split(","):
        assert f"({rule}: " in DOCKERFILE


def test_code_is_the_last_layer():
    """A change of the code changes the last layer alone: no dependency is installed after it."""
    for target in ("cpu", "cuda"):
        stage = DOCKERFILE.split(f"FROM service AS {target}\n")[1].split("\nFROM")[0]
        copies = [line for line in stage.splitlines() if line.startswith(("COPY", "RUN"))]
        assert copies == [
            f"COPY --from=packages-{target} /opt/venv /opt/venv",
            "COPY --from=code /srv/vgg-serve /srv/vgg-serve",
        ]


def test_a_commit_rebuilds_no_packages():
    """The revision, another one with each commit, is named after all layers: it invalidates none."""
    for target in ("cpu", "cuda"):
        stage = DOCKERFILE.split(f"FROM service AS {target}\n")[1].split("\nFROM")[0]
        assert "REVISION" in stage.partition("COPY --from=code")[2]
    assert "REVISION" not in DOCKERFILE.partition("FROM service AS cuda")[0]


def test_default_is_cpu():
    """Without a target the image for a CPU is built."""
    assert "cpu" == re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE)[-1]


def test_version():
    """The label of the image has the version of the code."""
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE


def test_no_host_is_named():
    """The built image names no registry, no proxy and nothing else of one place."""
    for path in [REPOSITORY / "Dockerfile", *(REPOSITORY / "docker").glob("*.*")]:
        assert not re.findall(
            r"https?://(?!127\.0\.0\.1)|proxy", path.read_text(), re.IGNORECASE
        ), path


def test_only_what_is_copied_is_sent():
    """The build is sent what it copies and nothing else: the small weights alone, no history."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}

    assert "*" == next(line for line in lines if line and not line.startswith("#"))
    assert {
        *("LICENSE", "app", "models/*.toml", "models/*.tsv", "models/vgg16-mini.*"),
        *("requirements/cpu.txt", "requirements/cuda.txt"),
        *("docker/healthcheck.py", "docker/install.sh"),
    } == sent


def test_onnxruntime_is_silent_in_every_command():
    """What runs in a container beside the service tells the maker of onnxruntime nothing either."""
    assert "  ORT_DISABLE_TELEMETRY=1 \\\n" in DOCKERFILE
