"""What a disk refuses, as sentences with a way out.

No room, no access, a folder that is a file: the system says so by an OSError, and an
operator should read what to do about it.
"""

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
    """Turn each OSError of the block into a sentence about `path`.

    Raises:
        DownloadError: What went wrong with which file, and what to do about it.
    """
    try:
        yield
    except OSError as exc:
        advice = "give this process access to it, or choose another model folder"
        if exc.errno in _FULL:
            advice = "make room there, and it goes on from where it stopped"
        raise DownloadError(f"{path}: {exc.strerror or exc}; {advice}") from exc


def require_room(path: Path, needed: int) -> None:
    """Make sure that `needed` bytes more fit into the folder of `path`.

    Raises:
        DownloadError: If they do not.
    """
    folder = path.parent
    with on_disk(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{path.name} needs {needed / 1e6:,.1f} MB more in {folder}, where"
            f" {free / 1e6:,.1f} MB are free; make room there, or choose another model folder"
        )
