"""What has come of a file so far: FOLDER/FILE.part, and the lock FOLDER/.locks/FILE.lock.

A `.part` outlives the process that wrote it, so that the next one can go on from there. It
becomes FOLDER/FILE in one step, when it is whole. The lock stays, empty and out of sight:
deleting it would race with a process that has just opened it.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import DownloadError
from app.weights.download.digest import Progress, Tally
from app.weights.download.disk import on_disk

log = logging.getLogger(__name__)


class PartFile:
    """The `.part` of one file, counted and hashed as it grows.

    Attributes:
        joined: Whether its bytes come from more than one answer of a server, so that they may
            be of two files.
    """

    def __init__(self, path: Path, algorithm: str, total: int | None, progress: Progress) -> None:
        """Take over what an earlier process has left.

        Args:
            path: Where the whole file will be.
            algorithm: Of its digest: `sha256` or `sha384`.
            total: Bytes of the whole file; None if not known yet.
            progress: Told of each piece.
        """
        self.joined = False
        self._whole = path
        self._path = Path(f"{path}.part")
        self._tally = Tally(algorithm, total, progress)
        if self._path.exists():
            self._tally.read(self._path)
        self._inherited = self.count

    @property
    def count(self) -> int:
        """Bytes that are there."""
        return self._tally.count

    @property
    def gained(self) -> int:
        """Bytes that are there and were not left by an earlier process."""
        return self.count - self._inherited

    @property
    def digest(self) -> str:
        """The algorithm, a colon and the hex digits of what is there."""
        return self._tally.digest()

    def extend(self, body: Iterable[bytes], total: int) -> None:
        """Append a body, as far as it comes; what it raises leaves the bytes so far.

        Args:
            body: Goes on from `count`.
            total: Bytes of the whole file.

        Raises:
            DownloadError: If it is too long, and then nothing is kept; or if the disk is full.
        """
        self.joined = self.count > 0
        self._tally.total = total
        with on_disk(self._path), self._path.open("ab") as file:
            for data in body:
                if self.count + len(data) > total:
                    break
                file.write(data)
                self._tally.add(data)
            else:
                return
        self.clear()
        raise DownloadError(f"{self._path} was deleted: more than its {total} bytes came")

    def clear(self) -> None:
        """Delete it, to start anew."""
        with on_disk(self._path):
            self._path.unlink(missing_ok=True)
        self._tally.clear()
        self._inherited = 0
        self.joined = False

    def finish(self) -> None:
        """Put it into place, written through: after a power cut it is whole or not there."""
        with on_disk(self._whole):
            with self._path.open("rb+") as file:
                os.fsync(file.fileno())
            self._path.replace(self._whole)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes and threads from fetching the same file; make its folder.

    Raises:
        DownloadError: If the folder cannot be used.
    """
    folder = path.parent / ".locks"
    with on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{path.name}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.info("%s is being fetched by another process; waiting for it", path.name)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
