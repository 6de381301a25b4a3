"""A front process, started by `app.service.owner`: `python -m app.service.front LISTENER MEMORY IMAGES MESSAGES [KEYS]`."""

import signal
import socket
import sys
from pathlib import Path

from app.machine import usable_cpus
from app.service.app import create_app
from app.service.fronts.front_side import OwnerConnection
from app.service.logs import configure_logs
from app.service.server import Server, make_config
from app.service.settings import Settings


def main(listener: int, memory: int, images: int, messages: int, keys: int | None = None) -> None:
    """Speak HTTP until a signal comes or the owner has gone.

    Args:
        listener: Descriptor of a socket from which connections are accepted.
        memory: See OwnerConnection.
        images: See OwnerConnection.
        messages: See OwnerConnection.
        keys: Descriptor of a copy of the file of keys, as the owner has found it in order.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server heeds it
    settings = Settings()
    configure_logs(settings.log_level, settings.log_format)
    settings = share_of(settings)
    if keys is not None:
        settings = settings.model_copy(update={"api_keys_file": Path(f"/proc/self/fd/{keys}")})
    owner = OwnerConnection(memory, socket.socket(fileno=images), socket.socket(fileno=messages))
    app = create_app(settings, owner=owner)
    server = Server(make_config(app, settings), app, settings.drain_delay_ms / 1000)
    server.run(sockets=[socket.socket(fileno=listener)])


def share_of(settings: Settings) -> Settings:
    """Return the settings of one front: what is counted in a process is divided, and rounded up."""
    fronts = settings.front_processes
    threads = settings.decode_threads or usable_cpus()
    return settings.model_copy(
        update={
            "decode_threads": -(-threads // fronts),
            "max_connections": -(-settings.max_connections // fronts),
            "max_upload_bytes": -(-settings.max_upload_bytes // fronts),
        }
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
