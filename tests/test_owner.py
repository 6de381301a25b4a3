"""The process that owns the models, without any front."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY, running_server

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")


def test_a_front_that_cannot_start_ends_the_service(model_dir, tmp_path):
    """The service says so and ends with 1, and does not start fronts for ever."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'app.front' in sys.orig_argv: os._exit(3)\n"
    )
    environment = {"VGG_MODEL_DIR": str(model_dir), "VGG_MODELS": "colours", "VGG_PORT": "0"}
    environment |= {"VGG_FRONT_PROCESSES": "2", "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    ended = subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 1 == ended.returncode
    assert "A front process ended" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ctrl_c_ends_all_processes(model_dir):
    """It is for the owner alone, which has the fronts drain."""
    with running_server(model_dir, models="colours", front_processes="1") as server:
        os.kill(server.process.pid, 2)
        status = server.process.wait(30)

    assert 130 == status
