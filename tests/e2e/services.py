"""A service that ends by itself, and clients that do not mind when it does."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.conftest import REPOSITORY, RunningServer, png

NOT_ROUTED = "http://127.0.0.1:1"  # nothing listens there: the weights cannot be reached


def serve_and_wait(
    model_dir: Path, environment: Mapping[str, str] | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Start a service that ends by itself, with nothing in its environment but this."""
    variables = {"VGG_MODEL_DIR": str(model_dir), "VGG_PORT": "0", "HF_ENDPOINT": NOT_ROUTED}
    variables |= {f"VGG_{key.upper()}": value for key, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=REPOSITORY,
        env=variables | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def starting(
    model_dir: Path, program: Sequence[str] = (), **settings: str
) -> Iterator[RunningServer]:
    """Start `vgg-serve serve`, wait for nothing, and show what it imports in its log.

    Args:
        model_dir: The model folder; its model is `colours` unless the settings say another.
        program: What starts it: nothing, or unshare with options.
        settings: More settings.
    """
    if program and (os.geteuid() != 0 or shutil.which("unshare") is None):
        pytest.skip("a namespace of processes needs root and unshare")
    variables = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
    variables |= {"VGG_PORT": "0", "VGG_MODEL_DIR": str(model_dir), "VGG_MODELS": "colours"}
    variables |= {"PYTHONPROFILEIMPORTTIME": "1"}
    variables |= {f"VGG_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [*program, sys.executable, "-m", "app", "serve"],
        cwd=REPOSITORY,
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield RunningServer(process)
    finally:
        with suppress(ProcessLookupError):  # none is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


class Posters:
    """Four clients that post until the port is closed, or until they shall stop.

    Attributes:
        statuses: Of all answers.
        gone: Idle connections that were closed meanwhile.
    """

    def __init__(self, url: str) -> None:
        self.statuses: list[int] = []
        self.gone: list[Exception] = []
        self._url = url
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(4)

    def __enter__(self) -> Self:
        for _ in range(4):
            self._pool.submit(self._post)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    def _post(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    self.statuses.append(client.post("/predict", content=png()).status_code)
                except httpx.ConnectError:
                    return  # the port is closed: this one was never accepted
                except httpx.RemoteProtocolError as exc:
                    self.gone.append(exc)
                    return
