"""Logging: one event per line, as JSON for machines or as text for a terminal."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

_ENCODER = json.JSONEncoder(default=str)
"""`json.dumps` would make one for each line."""
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line; the items of `extra` become its keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; its time is that of its creation, not of writing."""
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        event.update({k: v for k, v in record.__dict__.items() if k not in _STANDARD})
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(event)


def configure_logs(
    level: str, style: Literal["auto", "json", "text"], stream: TextIO = sys.stderr
) -> None:
    """Send all logs of the process to a stream; `auto` is text if that is a terminal, else JSON."""
    handler = logging.StreamHandler(stream)
    if style == "json" or (style == "auto" and not stream.isatty()):
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        )
    # No line shows these, and finding them out is a fifth of what a line costs (the manual of `logging`,
    # Optimization): under overload, lines about refused requests take processor time from the runs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 (its name in the manual)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for library in ("httpx", "httpcore", "uvicorn.error"):  # httpcore would log proxies' passwords
        logging.getLogger(library).setLevel(logging.WARNING)
