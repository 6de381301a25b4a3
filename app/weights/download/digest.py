"""Count and hash the bytes of a file, once, for its pinned digest and for its SHA-256."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from app.weights.download.disk import on_disk

Progress: TypeAlias = Callable[[int, int | None], None]
"""Takes the bytes hashed so far and the total (None if unknown), for each piece of 64 kB to 1 MB.
An exception that it raises stops the work."""


def ignore(_count: int, _total: int | None) -> None:
    """Report no progress."""


class Tally:
    """Counts and hashes bytes: SHA-256 always, and the algorithm of a pinned digest.

    Attributes:
        count: Bytes so far.
        total: Bytes of the whole file, for `progress`; None if not known.
    """

    def __init__(self, pinned: str | None, total: int | None, progress: Progress) -> None:
        self.total = total
        self._algorithm = (pinned or "sha256").partition(":")[0]
        self._progress = progress
        self.clear()

    def clear(self) -> None:
        """Start again at no bytes."""
        self.count = 0
        self._hashes = {name: hashlib.new(name) for name in {"sha256", self._algorithm}}

    def add(self, data: bytes) -> None:
        """Add the next bytes."""
        for one in self._hashes.values():
            one.update(data)
        self.count += len(data)
        self._progress(self.count, self.total)

    def add_file(self, path: Path) -> None:
        """Add all bytes of a file; a DownloadError if it cannot be read."""
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
