"""The labelled photos that a user names, whichever way their labels are given."""

import os
from collections.abc import Callable
from pathlib import Path

from app.cli.files import TroubleError, open_photo, walk
from app.evaluation.answers import Answers
from app.evaluation.classes import Classes
from app.evaluation.dataset import Photo, by_folder, by_order, by_table, is_table
from app.setup_errors import LabelsError

Reader = Callable[[Classes], list[Photo]]


def find_labelled(place: Path, labels: Path | None) -> Reader:
    """Look at what is there, and return what labels it with the classes of a model.

    Args:
        place: A folder, or a CSV that names photos.
        labels: A file of labels, for a folder that has no folders of classes.

    Raises:
        LabelsError: If that cannot be: a file of labels for a CSV, a photo in place of a folder.
    """
    if not place.is_dir():
        if labels is not None:
            raise LabelsError(f"{place} has its own labels. Leave out --labels, or name a folder.")
        if place.suffix.lower() not in {".csv", ".tsv", ".txt"}:
            raise LabelsError(f"{place} is neither a folder nor a CSV of paths and labels.")
        return lambda classes: by_table(place, place.parent, classes)
    if labels is not None and is_table(labels):
        return lambda classes: by_table(labels, place, classes)
    paths = _pictures(place)
    if labels is None:
        return lambda classes: by_folder(place, paths, classes)
    return lambda classes: by_order(labels, paths, place, classes)


def unanswered(photos: list[Photo], answers: Answers, done: Callable[[], None]) -> list[Photo]:
    """Return the photos that have no answer yet, or have changed; `done` is called for each other one."""
    left = []
    for photo in photos:
        known = answers.known.get(photo.name)
        if known is None or known.trouble or known.stamp != stamp_of(photo.path):
            left.append(photo)
        else:
            done()
    return left


def stamp_of(path: Path) -> tuple[int, int]:
    """Return the size of a file in bytes and when it was changed, in nanoseconds; zeros if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)


def _pictures(folder: Path) -> list[Path]:
    """List the files of a folder that are photos, or claim to be; folders of classes may be links.

    A file that cannot be read is listed, too: it is reported as damaged.

    Raises:
        LabelsError: If a folder cannot be read, so that nobody knows what is in it.
    """
    linked = sorted(path for path in folder.iterdir() if path.is_symlink() and path.is_dir())
    paths = []
    for file in walk([folder, *linked]):
        if file.trouble is not None and not file.trouble.skipped and _is_folder(file.path):
            raise LabelsError(f"{file.path}: {file.trouble.sentence}")
        try:
            open_photo(file).close()
        except TroubleError as exc:
            if exc.trouble.skipped:
                continue
        paths.append(file.path)
    return paths


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises where a folder above is closed)
