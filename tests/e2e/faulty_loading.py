"""`vgg-serve serve` whose loading task raises an exception that nothing expects."""

import logging
import sys

from app.service.logs import configure_logs
from app.service.owner_process import serve_with_fronts
from app.service.server import serve
from app.service.settings import Settings
from tests.conftest import FakeSession


class Fault(logging.Filter):
    """Raises at the line that follows the load of a model."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "ready after" in record.getMessage():
            raise RuntimeError("not expected")
        return True


if __name__ == "__main__":
    settings = Settings()
    configure_logs("info", "json")
    logging.getLogger("app.serving.hosted_models").addFilter(Fault())
    start = serve_with_fronts if settings.front_processes else serve
    sys.exit(start(settings, FakeSession().open))  # type: ignore[arg-type] # a fake
