"""A file on disk and on its way there: its digests, FOLDER/FILE.part, FOLDER/.locks/FILE.lock.

A `.part` outlives the process that wrote it, so that the next one can resume. Once it is whole,
it is renamed to FOLDER/FILE. The lock file is never deleted: that would race with a process
that has just opened it.
"""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
from collections.abc import AsyncIterable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock, Timeout

from app.setup_errors import DownloadError

log = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int | None], None]
"""Takes the bytes hashed so far and the total (None if unknown), for each piece of 64 kB to 1 MB.
An exception that it raises stops the work."""


class Tally:
    """Counts and hashes the bytes of a file: SHA-256, and the algorithm of a pinned digest.

    Attributes:
        count: Bytes so far.
        total: Bytes of the whole file, for `progress`; None if not known.
    """

    def __init__(self, pinned: str | None, total: int | None, progress: Progress) -> None:
        self.total = total
        self._algorithm = (pinned or "sha256").partition(":")[0]
        self._progress = progress
        self._start_again()

    def _start_again(self) -> None:
        self.count = 0
        self._hashes = {name: hashlib.new(name) for name in {"sha256", self._algorithm}}

    def add(self, data: bytes) -> None:
        """Add the next bytes."""
        for one in self._hashes.values():
            one.update(data)
        self.count += len(data)
        self._progress(self.count, self.total)

    def add_file(self, path: Path) -> None:
        """Add all bytes of a file."""
        with on_disk(path), path.open("rb", buffering=0) as file:
            while data := file.read(2**20):
                self.add(data)

    @property
    def digest(self) -> str:
        """What to compare with the pinned digest: algorithm, colon, hex digits."""
        return f"{self._algorithm}:{self._hashes[self._algorithm].hexdigest()}"

    @property
    def sha256(self) -> str:
        """64 hex digits."""
        return self._hashes["sha256"].hexdigest()


def hash_file(path: Path, pinned: str | None, progress: Progress) -> Tally:
    """Read a file once; a DownloadError if it cannot be read."""
    with on_disk(path):
        tally = Tally(pinned, path.stat().st_size, progress)
    tally.add_file(path)
    return tally


class PartFile(Tally):
    """The `.part` of the file at `path`, counted and hashed as it grows.

    Attributes:
        joined: Whether its bytes come from more than one response, so that they may be of two
            versions of the file.
    """

    def __init__(
        self, path: Path, pinned: str | None, total: int | None, progress: Progress
    ) -> None:
        super().__init__(pinned, total, progress)
        self.joined = False
        self._whole = path
        self._path = Path(f"{path}.part")
        if self._path.exists():
            self.add_file(self._path)
        self._inherited = self.count

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
        self.total = total
        with on_disk(self._path), self._path.open("ab") as file:
            async for data in body:
                if self.count + len(data) > total:
                    break
                file.write(data)
                self.add(data)
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
        self._start_again()
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
    """Keep other processes and threads from downloading the same file; make its folder."""
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


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Turn each OSError of the block into a DownloadError that says what can be done about it."""
    try:
        yield
    except OSError as exc:
        advice = "give this process access to it, copy the file there by hand, or set VGG_MODEL_DIR to another folder"
        if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
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
