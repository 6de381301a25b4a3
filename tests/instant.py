"""`vgg-serve serve` with a model whose runs take no time, so that only the host's work is left."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from app.service.logs import configure_logs
from app.service.owner_process import serve_with_fronts
from app.service.server import serve
from app.service.settings import Settings
from tests.plain_session import PlainSession


class InstantSession(PlainSession):
    """An infinitely fast GPU, which takes two batches at a time like a real one."""

    def __init__(self, _graph: Path, **_options: object) -> None:
        self._rows = np.full((1024, 1000), 1e-3, np.float32)

    @property
    def lanes(self) -> list[tuple[Any, None]]:
        return [(self.run, None), (self.run, None)]

    def run(self, batch):
        return self._rows[: len(batch)]


if __name__ == "__main__":
    configure_logs("warning", "json")
    settings = Settings()
    start = serve_with_fronts if settings.front_processes else serve
    sys.exit(start(settings, InstantSession))  # type: ignore[arg-type] # a fake
