"""The process that owns the models, without any front."""

import os

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.services import serve_and_wait

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")


def test_a_front_that_cannot_start_ends_the_service(model_dir, tmp_path):
    """The service logs it and exits with 1 instead of starting fronts for ever."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'app.service.front_process' in sys.orig_argv: os._exit(3)\n"
    )
    first = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    ended = serve_and_wait(model_dir, first, models="colours", front_processes="2")

    assert 1 == ended.returncode
    assert "A front process ended" in ended.stderr
    assert "Traceback" not in ended.stderr
