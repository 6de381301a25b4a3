"""The package, built as a wheel and installed elsewhere: nothing that it needs stays behind in the checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app import __version__
from tests.conftest import PHOTOS, REPOSITORY, RunningServer

COFFEE = PHOTOS / "coffee.jpg"
STAY_BEHIND = (
    "models/vgg16-vgg16-397923af.pth",
    "models/vgg16.safetensors",
    "models/vgg16-mini.safetensors.part",
    "models/serving/vgg16/0123456789abcdef/graph.onnx",
    "app/.DS_Store",
)
"""What a used checkout has, and no package."""
PYTHONS = ("python3.11", "python3.12", "python3.13", "/usr/bin/python3")


def kept(folder: Path) -> set[str]:
    """Name the files of a folder that are neither bytecode nor documents about the models."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".md", ".pyc"}
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what a package is built from, with files beside it that do not belong to it."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "models").mkdir()
    for part in ("LICENSE", "README.md", "pyproject.toml", ".gitignore"):
        shutil.copyfile(REPOSITORY / part, folder / part)
    for pattern in ("*.toml", "*.tsv", "*.md", "vgg16-mini.*"):
        for path in (REPOSITORY / "models").glob(pattern):
            shutil.copyfile(path, folder / "models" / path.name)
    shutil.copytree(REPOSITORY / "app", folder / "app")
    for name in STAY_BEHIND:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"left")
    return folder


def build(folder: Path, target: str, out: Path) -> Path:
    """Build a wheel or an sdist with what is pinned here; no registry is asked."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "-d", str(out)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    [built] = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    """The wheel of the checkout."""
    return build(checkout, "wheel", tmp_path_factory.mktemp("wheel"))


def files_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_what_the_service_needs_and_nothing_else(checkout, wheel):
    """It has the code, the page, and of models/ the manifests, the labels and the small model."""
    code = {f"app/{name}" for name in kept(checkout / "app")} - {"app/.DS_Store"}
    small = {"vgg16-mini.safetensors", "vgg16-mini.jpg", "vgg16-mini.baseline.json"}
    models = {n for n in kept(checkout / "models") if n.endswith((".toml", ".tsv"))} | small
    files = files_of(wheel)
    documents = {name for name in files if name.endswith(".md")}

    assert (
        code | {f"app/models/{name}" for name in models}
        == {name for name in files if ".dist-info/" not in name} - documents
    )
    assert {"app/serving/self_test.jpg", "app/web/page/static/index.html"} < files.keys()
    assert (REPOSITORY / "models/vgg16-mini.safetensors").read_bytes() == (
        files["app/models/vgg16-mini.safetensors"]
    )


def test_the_wheel_of_the_sdist_is_the_same(checkout, wheel, tmp_path):
    """A wheel that is built from the sdist, without git, has the same bytes."""
    sdist = build(checkout, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [unpacked] = tmp_path.glob("vgg_serve-*")
    again = build(unpacked, "wheel", tmp_path / "wheel")

    assert not [name for name in STAY_BEHIND if (unpacked / name).exists()]
    assert (wheel.name, wheel.read_bytes()) == (again.name, again.read_bytes())


def interpreter(name: str) -> Path:
    """Find a Python by its name or place; pyenv has those of other versions aside."""
    places = [Path(folder, name) for folder in os.get_exec_path()]
    places += Path.home().glob(f".pyenv/versions/{name.removeprefix('python')}.*/bin/python3")
    works = "import sys, venv; sys.exit(sys.version_info < (3, 11))"
    for place in places:
        if (
            place.exists()
            and not subprocess.run([place, "-c", works], check=False, stderr=-3).returncode
        ):
            return place
    pytest.skip(f"there is no {name} of 3.11 or newer here")


@pytest.fixture(scope="module", params=PYTHONS)
def installed(request, wheel, tmp_path_factory):
    """The folder `bin` of an environment outside the checkout that the wheel was installed into, with all it needs."""
    folder = tmp_path_factory.mktemp("environment")
    python = interpreter(request.param)
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    pins = (REPOSITORY / "requirements" / "cpu.txt").read_text()
    constraints = folder / "constraints.txt"
    lines = re.findall(r"^([a-z].*?==.*) \\$", pins, re.MULTILINE)
    constraints.write_text("\n".join(re.sub(r"\[.*?\]", "", line) for line in lines))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    options = ["--quiet", "--disable-pip-version-check", "--no-compile", "--only-binary", ":all:"]
    ended = subprocess.run(
        [*pip, *options, "--constraint", str(constraints), str(wheel)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if "from versions: none" in ended.stderr:
        pytest.skip(f"the package registry cannot be reached: {ended.stderr[-300:]}")
    assert 0 == ended.returncode, ended.stderr
    return folder / "bin"


@pytest.fixture
def environment(tmp_path):
    """All variables of a user with a home."""
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "PATH": os.defpath, "COLUMNS": "200"}


def run(installed: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [installed / "vgg-serve", *arguments],
        cwd=variables["HOME"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def serving(installed: Path, environment: dict[str, str]) -> Iterator[RunningServer]:
    process = subprocess.Popen(
        [installed / "vgg-serve", "serve"],
        cwd=environment["HOME"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield RunningServer(process)
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.registry
def test_an_installed_package_works_from_any_folder(installed, environment, tmp_path):
    """It lists the models, classifies a photo, and serves; what it writes goes to the user's cache folder alone."""
    version = run(installed, "--version", **environment)
    listed = run(installed, "models", **environment)
    predicted = run(
        installed, "predict", str(COFFEE), "--model", "vgg16-mini", "--json", **environment
    )
    settings = {"VGG_STAND_IN": "vgg16-mini", "VGG_OFFLINE": "true", "VGG_PORT": "0"}
    with serving(installed, environment | settings) as server:
        told = server.wait_for("models are kept in")["event"]
        url = server.wait_for("listening on")["event"].split()[2]
        server.wait_for("vgg16-mini answers for vgg16")
        answer = httpx.post(f"{url}/predict", content=COFFEE.read_bytes(), timeout=60).json()
        page = httpx.get(url, headers={"Accept": "text/html"})
        script = httpx.get(f"{url}/static/js/page.js")

    assert __version__ in version.stdout, version
    assert {path.stem for path in (REPOSITORY / "models").glob("vgg*.toml")} <= set(
        re.findall(r"[\w.-]+", listed.stdout)
    ), listed
    assert "espresso" == json.loads(predicted.stdout)["predictions"][0]["label"], predicted
    cache = tmp_path / "home" / ".cache"
    assert f"models are kept in {cache / 'vgg-serve'}" == told
    assert ("espresso", "vgg16") == (
        answer["predictions"][0]["label"],
        answer["model"]["stands_in_for"],
    )
    assert (200, 200) == (page.status_code, script.status_code)
    assert [cache] == [*(tmp_path / "home").iterdir()]
    assert ["vgg-serve"] == [path.name for path in cache.iterdir()]


@pytest.mark.registry
@pytest.mark.parametrize("home", ["/dev/null", "/proc"])
def test_a_home_that_cannot_be_written_is_told(installed, environment, home):
    """The sentence names the setting, with which no home is needed."""
    photo = ("predict", str(COFFEE), "--model", "vgg16-mini", "--json")
    told = subprocess.run(
        [installed / "vgg-serve", *photo],
        env=environment | {"HOME": home},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (1, True) == (told.returncode, "VGG_MODEL_DIR" in told.stderr), told
    assert "Traceback" not in told.stderr
