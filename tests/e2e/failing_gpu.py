"""`vgg-serve serve` on a fake GPU that fails for good once it is shown a black image."""

import sys

from app.errors import DeviceLostError
from app.service.logs import configure_logs
from app.service.server import serve
from app.service.settings import Settings
from tests.conftest import FakeSession


class FailingSession(FakeSession):
    """Raises what a real session raises after `CUDA failure 700`."""

    served = False

    def run(self, batch):
        if self.served and len(batch) == 1 and not batch.any():
            raise DeviceLostError("The GPU can be used no more.")
        return super().run(batch)

    def trim(self) -> None:
        self.served = True  # warm-up, which runs black images, is over


if __name__ == "__main__":
    configure_logs("info", "json")
    sys.exit(serve(Settings(), FailingSession().open))  # type: ignore[arg-type] # a fake
