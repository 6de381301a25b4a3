"""docker-compose.yml: what it promises about safety, time and settings."""

import copy
import re
import shutil
import subprocess
import sys

import pytest

from app import __version__
from app.service.settings import Settings
from tests.conftest import REPOSITORY
from tests.docker.conftest import read_yaml

SETTINGS = {f"VGG_{name.upper()}" for name in Settings.model_fields}
OF_THE_CONTAINER = {"VGG_HOST", "VGG_PORT", "VGG_MODEL_DIR", "VGG_DEVICE"}
STAND_IN = "${VGG_STAND_IN-vgg16-mini}"
OF_THE_HUB = {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"}
HANDED_ON = OF_THE_HUB | {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
EXAMPLE = (REPOSITORY / ".env.example").read_text()
TMP = "/tmp"  # noqa: S108 (a private folder of the container)
SERVICES = ("api", "prometheus", "grafana")
BYTES_OF_VGG16 = 553_433_881
FILES = ["-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml"]


def seconds(duration: str) -> int:
    number, unit = int(duration[:-1]), duration[-1]
    return number * {"s": 1, "m": 60, "h": 3600}[unit]


# --- hardening -------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("read_only", True),
        ("cap_drop", ["ALL"]),
        ("security_opt", ["no-new-privileges:true"]),
        ("init", True),
    ],
)
def test_hardening(compose, name, key, expected):
    """Each container is read-only, without capabilities, without new privileges, with an init."""
    assert expected == compose["services"][name][key]


def test_a_failing_start_is_not_repeated_for_ever(compose):
    """After a wrong setting or missing weights the error stays readable: no endless restarts."""
    policies = {name: service["restart"] for name, service in compose["services"].items()}

    assert "on-failure:3" == policies["api"]
    assert {"unless-stopped"} == {policies["prometheus"], policies["grafana"]}


@pytest.mark.parametrize("name", SERVICES)
def test_places_to_write(compose, name):
    """Writable folders besides volumes are in memory, small, and not executable."""
    tmpfs = dict(line.split(":") for line in compose["services"][name]["tmpfs"])

    for options in tmpfs.values():
        assert {"nosuid", "nodev"} <= set(options.split(","))
        assert re.search(r"size=\d+m", options)
    assert "noexec" in tmpfs[TMP].split(",")


@pytest.mark.parametrize("name", SERVICES)
def test_limits(compose, name):
    """Each container has a memory limit and a limit on processes."""
    limits = compose["services"][name]["deploy"]["resources"]["limits"]

    assert re.fullmatch(r"\d+g", limits["memory"])
    assert 1024 == limits["pids"]


def test_nothing_takes_privileges_back(compose, gpu):
    """No service regains what the hardening above removes."""
    for name, service in [*compose["services"].items(), *gpu["services"].items()]:
        taken = {"privileged", "cap_add", "network_mode", "pid", "ipc", "user", "devices"}
        assert not taken & set(service), name
        for volume in service.get("volumes", []):
            assert not volume.startswith("/"), f"{name} mounts a folder of the host: {volume}"
            assert volume.startswith(("models:", "prometheus:")) or volume.endswith(":ro")


def test_one_port_on_the_loopback_address(compose):
    """By default one port is published, and every port only on 127.0.0.1."""
    published = {name: service.get("ports", []) for name, service in compose["services"].items()}

    assert ["127.0.0.1:${VGG_PORT:-8000}:8000"] == published["api"]
    for name, ports in published.items():
        assert all(port.startswith("127.0.0.1:") for port in ports)
        assert name == "api" or compose["services"][name]["profiles"] == ["observability"]


def test_images_are_pinned(compose, gpu):
    """Every image has a version; third-party images, and the base of ours, have a digest."""
    images = {name: service["image"] for name, service in compose["services"].items()}

    assert f"vgg-serve:{__version__}" == images.pop("api")
    assert f"vgg-serve:{__version__}-cuda" == gpu["services"]["api"]["image"]
    for image in [*images.values(), compose["services"]["api"]["build"]["args"]["BASE"]]:
        assert re.fullmatch(r"[a-z/]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}", image), image


# --- time ------------------------------------------------------------------------------


def test_grace_is_longer_than_the_drain(compose):
    """The service is not killed while it drains, nor while the last run ends after that."""
    defaults = Settings()
    drain = (defaults.drain_delay_ms + defaults.drain_timeout_ms) / 1000
    last_run = 5

    assert drain + last_run < seconds(compose["services"]["api"]["stop_grace_period"])


def test_start_period_covers_the_download(compose):
    """At 3 Mbit per second the weights arrive before the service counts as unhealthy."""
    start_period = seconds(compose["services"]["api"]["healthcheck"]["start_period"])

    assert 8 * BYTES_OF_VGG16 / 3e6 < start_period


def test_health_check_is_that_of_the_image(compose):
    """Compose runs the health check of the image with the same times."""
    check = compose["services"]["api"]["healthcheck"]
    [line] = re.findall(r"^HEALTHCHECK .*", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)

    assert str(check["test"][1:]).replace("'", '"') in line
    for name in ("interval", "timeout", "retries", "start_period"):
        assert f"--{name.replace('_', '-')}={check[name]} " in line


# --- settings --------------------------------------------------------------------------


def test_settings_of_compose(compose, gpu):
    """Every setting reaches the container, and no other variable."""
    names = set(compose["services"]["api"]["environment"])

    assert SETTINGS | HANDED_ON == names
    assert {"VGG_DEVICE": "cuda"} == gpu["services"]["api"]["environment"]


def test_settings_of_the_container(compose):
    """Compose fixes the address, the device and the folder of weights, and has a stand-in."""
    environment = compose["services"]["api"]["environment"]
    decided = {name: value for name, value in environment.items() if value is not None}

    assert {
        "VGG_HOST": "0.0.0.0",
        "VGG_PORT": "8000",
        "VGG_MODEL_DIR": "/models",
        "VGG_DEVICE": "cpu",
        "VGG_STAND_IN": STAND_IN,
    } == decided
    assert OF_THE_CONTAINER == set(decided) - {"VGG_STAND_IN"}
    assert ["models:/models"] == compose["services"]["api"]["volumes"]


def test_settings_of_the_example():
    """.env.example has each setting that Compose leaves open, and nothing that does not exist."""
    variables = set(re.findall(r"^#(\w+)=", EXAMPLE, re.MULTILINE))
    of_compose = {"COMPOSE_FILE", "COMPOSE_PROFILES"}

    assert (SETTINGS - OF_THE_CONTAINER) | {"VGG_PORT"} | of_compose == variables
    assert set(re.findall(r"VGG_\w+", EXAMPLE)) <= SETTINGS


def test_defaults_of_the_example():
    """The values in .env.example are the defaults."""
    shown = dict(re.findall(r"^#(VGG_\w+)=(.*)", EXAMPLE, re.MULTILINE))
    for name, field in Settings.model_fields.items():
        value = shown.get(f"VGG_{name.upper()}")
        if value is not None and field.default is not None:
            default = field.default
            if isinstance(default, tuple):
                default = ",".join(str(item) for item in default)
            default = "vgg16-mini" if name == "stand_in" else default  # of Compose itself
            assert str(default).lower().removesuffix(".0") == value, name


def test_example_changes_nothing():
    """An unchanged copy of .env.example sets nothing."""
    assert all(line == "" or line.startswith("#") for line in EXAMPLE.splitlines())


# --- GPU -------------------------------------------------------------------------------


def test_gpu_is_the_same_service(compose, gpu):
    """The override changes the build, the device and the reservations, and nothing else."""
    service = copy.deepcopy(gpu["services"]["api"])

    assert ["api"] == list(gpu["services"])
    assert {"services"} == set(gpu)
    assert {"image", "build", "environment", "deploy"} == set(service)
    assert {"target": "cuda"} == service["build"]
    assert "cpu" == compose["services"]["api"]["build"]["target"]
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]} == device


# --- the specification -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.gpu.yml"])
def test_schema_of_the_specification(name):
    """Both files are valid by the schema that the Compose specification publishes."""
    tool = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    ended = subprocess.run(
        [*tool, name], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert 0 == ended.returncode, ended.stdout + ended.stderr


@pytest.mark.container
def test_a_program_that_runs_compose_files_reads_them(tmp_path):
    """podman-compose merges both files as intended."""
    if not shutil.which("podman"):
        pytest.skip("podman-compose does not even read without Debian's podman")
    tool = [sys.executable, "-m", "podman_compose", *FILES, "--profile", "observability", "config"]
    ended = subprocess.run(tool, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert 0 == ended.returncode, ended.stderr
    (tmp_path / "joined.yml").write_text(ended.stdout)
    joined = read_yaml(str(tmp_path / "joined.yml"))["services"]

    assert set(SERVICES) == set(joined)
    assert f"vgg-serve:{__version__}-cuda" == joined["api"]["image"]
    assert "cuda" == joined["api"]["environment"]["VGG_DEVICE"]
    assert "8g" == joined["api"]["deploy"]["resources"]["limits"]["memory"]
    assert 1024 == joined["api"]["deploy"]["resources"]["limits"]["pids"]
    assert ["127.0.0.1:8000:8000"] == joined["api"]["ports"]
