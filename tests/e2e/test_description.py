"""The API does what /openapi.json says: schemathesis posts what follows from it, and what does not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.web.keys import make_key
from tests.conftest import running_server

EXAMPLES = os.environ.get("VGG_TEST_EXAMPLES", "60")
FEWER = os.environ.get("VGG_TEST_EXAMPLES", "10")


@pytest.fixture
def schemathesis(tmp_path):
    """Run schemathesis on a server ; what it finds fails the test."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = shutil.which("schemathesis", path=path)
    if command is None:
        pytest.skip("schemathesis is not installed")

    def run(url, *arguments, examples=EXAMPLES):
        config = Path(__file__).with_name("schemathesis.toml")
        ended = subprocess.run(
            [command, "--config-file", config, "--no-color", "run", f"{url}/openapi.json",
             "--phases", "coverage,fuzzing,stateful", "--seed", "1", "--max-examples", examples,
             *arguments],
            cwd=tmp_path,  # it remembers what it found
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )  # fmt: skip
        assert "Tested: " in ended.stdout, ended
        assert 0 == ended.returncode, ended.stdout

    return run


def test_schemathesis_finds_nothing(model_dir, schemathesis):
    """No answer is a fault of the server, undescribed, or of another shape than described."""
    with running_server(model_dir, models="colours") as server:
        schemathesis(server.url)


def test_schemathesis_finds_nothing_behind_keys(model_dir, schemathesis, tmp_path):
    """With keys the same holds, and what is said to need one cannot be had without.

    Bodies are the same as without, so fewer of them do.
    """
    key, line = make_key("alice")
    file = tmp_path / "keys"
    file.write_text(line)
    with running_server(model_dir, models="colours", api_keys_file=str(file)) as server:
        schemathesis(server.url, "--header", f"Authorization: Bearer {key}", examples=FEWER)
