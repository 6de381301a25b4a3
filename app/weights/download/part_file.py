"""A file that is still incomplete, FOLDER/FILE.part, and its lock, FOLDER/.locks/FILE.lock.

A `.part` outlives the process that wrote it, so that the next one can resume. Once it is whole,
it is renamed to FOLDER/FILE. The lock file is never deleted: that would race with a process
that has just opened it.
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import DownloadError
from app.weights.download.digest import Progress, Tally
from app.weights.download.disk import on_disk

log = logging.getLogger(__name__)


class PartFile:
    """The `.part` of one file, counted and hashed as it grows.

    Attributes:
        tally: Count and digests of what is there.
        joined: Whether its bytes come from more than one response, so that they may be of two
            versions of the file.
    """

    def __init__(
        self, path: Path, pinned: str | None, total: int | None, progress: Progress
    ) -> None:
        """Continue what an earlier process has left of the file at `path`."""
        self.joined = False
        self._whole = path
        self._path = Path(f"{path}.part")
        self.tally = Tally(pinned, total, progress)
        if self._path.exists():
            self.tally.add_file(self._path)
        self._inherited = self.tally.count

    @property
    def count(self) -> int:
        """Bytes that are there."""
        return self.tally.count

    @property
    def gained(self) -> int:
        """Bytes that are there and were not left by an earlier process."""
        return self.count - self._inherited

    async def extend(self, body: AsyncIterable[bytes], total: int) -> None:
        """Append a body that continues at `count`; what it raises leaves the bytes so far.

        Raises:
            DownloadError: If more than the `total` bytes of the file come, and then nothing is
                kept; or if the disk is full.
        """
        self.joined = self.count > 0
        self.tally.total = total
        with on_disk(self._path), self._path.open("ab") as file:
            async for data in body:
                if self.count + len(data) > total:
                    break
                file.write(data)
                self.tally.add(data)
            else:
                return
        self.clear()
        raise DownloadError(
            f"{self._path} was deleted: the server sent more than its {total} bytes"
        )

    def clear(self) -> None:
        """Delete it, to start again."""
        with on_disk(self._path):
            self._path.unlink(missing_ok=True)
        self.tally.clear()
        self._inherited = 0
        self.joined = False

    def finish(self) -> None:
        """Rename it to the file, synced first: after a power cut that is whole or not there."""
        with on_disk(self._whole):
            with self._path.open("rb+") as file:
                os.fsync(file.fileno())
            self._path.replace(self._whole)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes and threads from downloading the same file; make its folder.

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
            log.info("%s is being downloaded by another process; waiting for it", path.name)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
