"""`vgg-serve serve` on a fake device whose mood depends on the colour of the first image of a run.

A run takes 30 ms. Cyan keeps it busy until there is a file `gate` in the model folder; blue makes a run fail;
yellow is too much for its memory; magenta ends it for good. None of them is among the images of the self-test.
"""

import logging
import sys
import time

from app.errors import DeviceLostError, OutOfMemoryError
from app.service.logs import configure_logs
from app.service.owner_process import serve_with_fronts
from app.service.server import serve
from app.service.settings import Settings
from tests.conftest import FakeSession

log = logging.getLogger(__name__)


class MoodySession(FakeSession):
    """In no mood before its warm-up is over."""

    served = False

    def run(self, batch):
        colour = tuple(int(batch[0, 0, 0, channel]) for channel in range(3)) if self.served else ()
        if colour == (0, 255, 255):
            log.info("a long run")
            while not (Settings().model_dir / "gate").exists():
                time.sleep(0.005)  # a device that computes
        time.sleep(0.03)
        if colour == (0, 0, 255):
            raise RuntimeError("blue")
        if colour == (255, 255, 0):
            raise OutOfMemoryError("yellow")
        if colour == (255, 0, 255):
            raise DeviceLostError("magenta")
        return super().run(batch)

    def trim(self) -> None:
        self.served = True


if __name__ == "__main__":
    settings = Settings()
    configure_logs("info", "json")
    start = serve_with_fronts if settings.front_processes else serve
    sys.exit(start(settings, MoodySession().open))  # type: ignore[arg-type] # a fake
