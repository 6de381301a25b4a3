"""Answers of a server, and files to send."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PREDICTIONS = [
    {"rank": 1, "label": "cat", "probability": 0.75, "wnid": "n02123045", "class_index": 281},
    {"rank": 2, "label": "dog", "probability": 0.25, "wnid": "n02084071", "class_index": 5},
]
BODY = {
    "model": {"name": "vgg16", "weights_sha256": "57", "trained": True},
    "predictions": PREDICTIONS,
    "image": {"width": 3, "height": 2, "format": "jpeg"},
}


def problem(status: int, slug: str, title: str = "Title", **more: Any) -> bytes:
    """Return the body of a problem."""
    fields = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": "Detail."}
    return json.dumps(fields | more).encode()


@pytest.fixture
def photos(tmp_path):
    """Make files that begin like JPEGs, of this many bytes each."""

    def photos(*sizes: int) -> list[Path]:
        paths = []
        for number, size in enumerate(sizes):
            path = tmp_path / f"{number}.jpg"
            path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(size - 4))
            paths.append(path)
        return paths

    return photos


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Make a file with a key and a certificate that nobody signed."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", file, "-out", file.with_suffix(".crt"), "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + file.with_suffix(".crt").read_text())
    return file
