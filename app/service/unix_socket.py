"""A Unix socket to listen on: its file, who may connect, and its removal."""

import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.setup_errors import SetupError

if sys.platform != "win32":
    import fcntl

_PATIENCE: Final = 1.0
"""Seconds for another service to accept a connection; one that lives takes microseconds."""


class SocketFile:
    """A Unix socket, bound; it does not listen yet.

    A file beside it, locked until `remove`, keeps other services from taking its place meanwhile: while
    the models load it looks like one that was left behind. The system unlocks it if this process is killed.

    Attributes:
        listener: The socket.
    """

    def __init__(self, path: Path, mode: int) -> None:
        """Take the place of a socket that a service left behind, if there is one.

        Args:
            path: Where to put the file.
            mode: Its permissions. Who can write to it can connect.

        Raises:
            SetupError: If a service listens there, something else is there, or no file can be made.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise SetupError("VGG_UDS: this system has no Unix sockets. Set VGG_HOST and VGG_PORT.")
        self._path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self._lock = -1
        try:
            self._lock = _lock(path)
            _remove_stale(path)
            self.listener.bind(str(path))
            # Nobody can connect before it listens, so never with other permissions than these.
            path.chmod(mode)
            self._identity = _identity(path)
        except (OSError, SetupError) as exc:
            self.listener.close()
            self._unlock()
            if isinstance(exc, SetupError):
                raise
            raise SetupError(
                f"VGG_UDS: cannot listen on {path}: {exc.strerror or exc}. It needs a folder that is"
                " there and can be written, and at most about 100 characters."
            ) from exc

    def remove(self) -> None:
        """Remove the file, so that new clients are refused; not one that has taken its place."""
        with suppress(OSError):
            if _identity(self._path) == self._identity:
                self._path.unlink()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def _lock(path: Path) -> int:
    """Lock a file beside a path, and return its descriptor; the file stays, since others may wait for it.

    Raises:
        OSError: If it cannot be made.
        SetupError: If another service holds it.
    """
    if sys.platform == "win32":
        return -1
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    lock = os.open(f"{path}.lock", flags, stat.S_IRUSR | stat.S_IWUSR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(lock)
        raise SetupError(f"VGG_UDS: another service listens on {path}, or is about to.") from exc
    return lock


def _remove_stale(path: Path) -> None:
    """Remove the file of a socket at which nobody listens.

    Raises:
        OSError: If it cannot be removed.
        SetupError: If somebody listens, or it is no socket.
    """
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise SetupError(f"VGG_UDS: {path} is there and is no socket. Name another path.")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:  # it has more connections than it accepts
            pass
    raise SetupError(f"VGG_UDS: another service listens on {path}.")


def _identity(path: Path) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
