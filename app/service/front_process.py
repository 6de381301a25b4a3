"""A front process: `python -m app.service.front_process MEMORY IMAGES MESSAGES LISTENER...`.

`app.service.fronts.processes` starts it.
"""

import logging
import signal
import socket
import sys

from app.machine import usable_cpus
from app.service.app import create_app
from app.service.fronts.front_side import OwnerConnection
from app.service.logs import configure_logs
from app.service.server import Server
from app.service.settings import Settings
from app.setup_errors import SetupError

log = logging.getLogger(__name__)


def main(memory: int, images: int, messages: int, *listeners: int) -> int:
    """Speak HTTP until a signal comes or the owner has gone; return the exit status."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the owner reads the keys for all fronts
    settings = share_of(Settings())
    configure_logs(settings.log_level, settings.log_format)
    owner = OwnerConnection(memory, socket.socket(fileno=images), socket.socket(fileno=messages))
    try:
        app = create_app(settings, owner=owner)
    except SetupError as exc:
        log.error("a front process cannot start: %s", exc)
        return 1
    server = Server(app, settings, [socket.socket(fileno=one) for one in listeners])
    server.run()
    return server.status


def share_of(settings: Settings) -> Settings:
    """Return the settings of one front: limits per process are divided, and rounded up."""
    fronts = settings.front_processes
    threads = settings.decode_threads or usable_cpus()
    return settings.model_copy(
        update={
            "decode_threads": -(-threads // fronts),
            "max_connections": -(-settings.max_connections // fronts),
            "max_upload_bytes": -(-settings.all_upload_bytes // fronts),
        }
    )


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
