"""The photos that int8 is calibrated with: those of a folder, or else the samples in the box.

Some are held back: nothing of the graph depends on them, so that they show what it does with a photo
it has never seen.
"""

import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from app.errors import RequestError
from app.graph.int8.calibration import Photos
from app.images.formats import HEAD_BYTES, identify
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.images.views import views
from app.records import PixelBatch, Preprocess
from app.setup_errors import CalibrationError

log = logging.getLogger(__name__)

MOST_PHOTOS: Final = 256
"""Photos that are used; of more, as many are taken, evenly from their sorted list."""
_MOST_FILES: Final = 20_000
"""Files of a folder that are looked at; any more are as if they were not there."""
_MOST_BYTES: Final = 25_000_000
"""Of one photo."""
_ENOUGH: Final = 64
"""From so many photos on, each is seen once, as it is served; of fewer, several views are taken."""
_HELD_BACK: Final = 5
"""One image of so many is held back."""
_REMEDY: Final = (
    "Name a folder of some 100 photos of what will be classified, or leave VGG_CALIBRATION_DIR empty"
    " to use crops of the built-in samples."
)

Sets: TypeAlias = tuple[Photos, PixelBatch]
"""The photos to calibrate with, and those that are held back."""


@dataclass(frozen=True, slots=True)
class PhotoFiles:
    """Files to calibrate with.

    Attributes:
        source: What they are, in words that a client may read.
        paths: The files, at least one.
        digest: SHA-256 of all of their bytes: part of the key of a graph.
    """

    source: str
    paths: tuple[Path, ...]
    digest: str

    def read(self, preprocess: Preprocess) -> Sets:
        """Decode the photos; those that cannot be are left out, and the log says how many.

        Raises:
            CalibrationError: If none can be decoded.
        """
        several = len(self.paths) < _ENOUGH
        images: list[PixelBatch] = []
        failures: list[str] = []
        for path in self.paths:
            try:
                images.append(_seen(path.read_bytes(), preprocess, several=several))
            except (OSError, RequestError) as exc:
                failures.append(f"{path}: {exc}")
        if not images:
            raise CalibrationError(
                f"None of the photos to calibrate with can be decoded. {failures[0]} {_REMEDY}"
            )
        if failures:
            log.warning(
                "photos to calibrate with that cannot be decoded are left out: %d of %d, such as %s",
                len(failures),
                len(self.paths),
                failures[0],
            )
        left_out = f" ({len(failures)} of them left out)" if failures else ""
        together = np.concatenate(images)
        held = np.arange(len(together)) % _HELD_BACK == _HELD_BACK - 1
        return Photos(f"{self.source}{left_out}", together[~held]), together[held]


def find_photos(folder: Path | None, samples: Sequence[Path]) -> PhotoFiles:
    """Find the photos to calibrate with: those of the folder, or the samples if there is none.

    Raises:
        CalibrationError: If the folder cannot be read, or has no photo.
    """
    if folder is None:
        source, paths = f"{len(samples)} built-in samples", list(samples)
    else:
        found = _photos_in(folder)
        paths = found[:: -(-len(found) // MOST_PHOTOS)]
        of = f"{len(paths)} of {len(found)}" if len(paths) < len(found) else f"{len(paths)}"
        source = f"{of} {'photo' if len(found) == 1 else 'photos'} of a folder"
    return PhotoFiles(source, tuple(paths), _digest(paths))


def _photos_in(folder: Path) -> list[Path]:
    """List the photos of a folder, at any depth, sorted; hidden files and links to folders are none.

    Raises:
        CalibrationError: If there are none.
    """
    try:
        next(folder.iterdir(), None)
    except OSError as exc:
        raise CalibrationError(
            f"The folder of calibration photos cannot be read: {exc}. {_REMEDY}"
        ) from exc
    files = list(islice(_files_in(folder), _MOST_FILES))
    photos = sorted(path for path in files if _is_photo(path))
    if not photos:
        raise CalibrationError(
            f"{folder} has no photo to calibrate with, among {len(files)} files. {_REMEDY}"
        )
    return photos


def _files_in(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def _is_photo(path: Path) -> bool:
    """Return whether a file begins like a photo; one that cannot be opened is none."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_BYTES:  # never wait for a pipe
            return False
        with path.open("rb") as file:
            identify(file.read(HEAD_BYTES))
    except (OSError, RequestError):
        return False
    return True


def _digest(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of the digests of files; one that has gone counts as empty."""
    together = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                together.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            together.update(b"gone")
    return together.hexdigest()


def _seen(data: bytes, preprocess: Preprocess, *, several: bool) -> PixelBatch:
    """Return a photo as the model sees it, and as it might see it: uint8 [n, crop, crop, 3]."""
    if several:
        return views(data, preprocess, ImageLimits())
    return prepare(data, preprocess, ImageLimits())[0][np.newaxis]
