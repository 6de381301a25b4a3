"""A service that ends by itself, and clients that do not mind when it does."""

import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import httpx

from tests.conftest import REPOSITORY, png

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
