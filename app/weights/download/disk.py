"""Turn what a disk refuses into sentences that say what the operator can do about it."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.errors import DownloadError

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Turn each OSError of the block into a DownloadError about `path`."""
    try:
        yield
    except OSError as exc:
        advice = "give this process access to it, or choose another model folder"
        if exc.errno in _FULL:
            advice = "make room there; the next download resumes where this one stopped"
        raise DownloadError(f"{path}: {exc.strerror or exc}; {advice}") from exc


def require_room(path: Path, needed: int) -> None:
    """Raise DownloadError unless `needed` more bytes fit into the folder of `path`."""
    folder = path.parent
    with on_disk(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{path.name} needs {needed / 1e6:,.1f} MB more in {folder}, where"
            f" {free / 1e6:,.1f} MB are free; make room there, or choose another model folder"
        )
