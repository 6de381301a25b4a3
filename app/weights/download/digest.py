"""Digests of files, as manifests write them: `sha256:` or `sha384:` and hex digits.

Hashing 553 MB takes seconds, so whoever waits for it is told how far it is.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from app.weights.download.disk import on_disk

Progress: TypeAlias = Callable[[int, int | None], None]
"""Gets the bytes so far and the total, None if not known, with each piece of 64 kB to 1 MB.
What it raises stops the work."""


def ignore(_count: int, _total: int | None) -> None:
    """Be the Progress of those who do not ask."""


class Tally:
    """Bytes in their order: how many there are, and their digest.

    Attributes:
        count: Bytes so far.
        total: Bytes that there will be; None if not known.
    """

    def __init__(self, algorithm: str, total: int | None, progress: Progress) -> None:
        """Start at no bytes.

        Args:
            algorithm: `sha256` or `sha384`.
            total: For `progress`.
            progress: Told of each piece.
        """
        self.total = total
        self._algorithm = algorithm
        self._progress = progress
        self.clear()

    def clear(self) -> None:
        """Forget all bytes."""
        self.count = 0
        self._hash = hashlib.new(self._algorithm)

    def add(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._hash.update(data)
        self.count += len(data)
        self._progress(self.count, self.total)

    def read(self, path: Path) -> None:
        """Take in a whole file.

        Raises:
            DownloadError: If it cannot be read.
        """
        with on_disk(path), path.open("rb", buffering=0) as file:
            while data := file.read(2**20):
                self.add(data)

    def digest(self) -> str:
        """Return the algorithm, a colon and the hex digits of the bytes so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"


def digest_of(path: Path, algorithm: str = "sha256", progress: Progress = ignore) -> str:
    """Hash a file.

    Returns:
        The algorithm, a colon and hex digits.

    Raises:
        DownloadError: If it cannot be read.
    """
    with on_disk(path):
        total = path.stat().st_size
    tally = Tally(algorithm, total, progress)
    tally.read(path)
    return tally.digest()
