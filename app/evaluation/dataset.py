"""Labelled photos: folders named by class, a CSV, or one flat folder with a file of labels."""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.evaluation.classes import Classes
from app.setup_errors import LabelsError
from app.texts import name_of, read_text

_PATHS: Final = ("path", "filepath", "imagepath", "file", "filename", "image", "imagename", "imageid", "photo", "name")  # fmt: skip
_LABELS: Final = ("label", "wnid", "synset", "class", "classindex", "classid", "classname", "labelname", "category", "target", "predictionstring")  # fmt: skip
"""Heads of columns, without spaces and `_`."""
_SUFFIXES: Final = ("", ".JPEG", ".jpg", ".jpeg", ".png")
"""Tried behind the names of a label file: Kaggle's has none."""
_FOLDERS: Final = ("", "images")
"""Where photos lie, seen from the file of labels or from the folder that is named."""
_SHOWN: Final = 3
_IMAGENET: Final = 1000


@dataclass(frozen=True, slots=True)
class Photo:
    """One labelled photo.

    Attributes:
        path: Where it is.
        name: Its path inside the folder, as text; it is unique.
        class_index: Of its label.
    """

    path: Path
    name: str
    class_index: int


def by_folder(root: Path, paths: Iterable[Path], classes: Classes) -> list[Photo]:
    """Label photos by the folder right below `root` that they are in.

    Raises:
        LabelsError: If a photo is in none, or a folder is called like no class.
    """
    folders: dict[str, int] = {}
    photos, loose, wrong = [], [], {}
    for path in paths:
        inside = path.relative_to(root)
        if len(inside.parts) == 1:
            loose.append(path.name)
            continue
        folder = inside.parts[0]
        if folder not in folders and folder not in wrong:
            try:
                folders[folder] = classes.find(folder)
            except LabelsError as exc:
                wrong[folder] = str(exc)
        if folder in folders:
            photos.append(Photo(path, _text(inside), folders[folder]))
    if wrong:
        raise LabelsError(
            f"{root}: {_count(len(wrong), 'folder is', 'folders are')} named like no class:"
            f" {_some(wrong.values())}. Folders are named by wnid, class name or index."
        )
    if loose:
        raise LabelsError(
            f"{root}: {_count(len(loose), 'photo is', 'photos are')} in no folder of a class:"
            f" {_some(loose)}. Put each into one, or name a file of labels with --labels."
        )
    if not photos:
        raise LabelsError(f"{root}: has no photos. Expected one folder a class, with its photos.")
    return photos


def by_table(table: Path, folder: Path, classes: Classes) -> list[Photo]:
    """Read a CSV, or lines `path label`, of photos in a folder.

    The first two columns count, or those with a header that says so.

    Raises:
        LabelsError: If a line has no class of the model, or a file is not there.
    """
    photos: dict[str, Photo] = {}
    for number, name, label in _rows(table):
        where = f"{table}, line {number}"
        try:
            index = classes.find(label)
        except LabelsError as exc:
            raise LabelsError(f"{where}: {exc}.") from exc
        path = _find(folder, name)
        if path is None:
            raise LabelsError(f"{where}: there is no file {name!r} in {folder}.")
        text = _text(Path(os.path.relpath(path, folder)))
        before = photos.get(text)
        if before is not None and before.class_index != index:
            raise LabelsError(f"{where}: {name!r} was there before, with another label.")
        photos[text] = Photo(path, text, index)
    if not photos:
        raise LabelsError(f"{table}: has no lines. Expected a path and a label in each.")
    return list(photos.values())


def by_order(labels: Path, paths: Sequence[Path], folder: Path, classes: Classes) -> list[Photo]:
    """Label the photos of a flat folder, sorted by name, with the lines of a file of labels.

    Raises:
        LabelsError: If there are more lines or fewer, a line is no class, the file counts from 1, or the
            photos are in several folders, whose order nobody knows.
    """
    lines = _lines(labels)
    if len(lines) != len(paths):
        raise LabelsError(
            f"{labels} has {len(lines)} labels, {folder} has {len(paths)} photos: expected one"
            " label a photo, in the order of their names."
        )
    if all(line.isdecimal() for line in lines) and not _are_names(lines, classes):
        numbers = {int(line) for line in lines}
        if max(numbers) == len(classes) and 0 not in numbers:
            own = (
                " ILSVRC's own numbers are in another order than the network's classes: use"
                " a file of wnids, such as imagenet_2012_validation_synset_labels.txt."
                if len(classes) == _IMAGENET
                else " Subtract 1, or use names."
            )
            raise LabelsError(f"{labels}: counts classes from 1 to {len(classes)}.{own}")
    if len({path.parent for path in paths}) > 1:
        raise LabelsError(
            f"{labels}: has one label a line, for photos that lie in one folder, and {folder} has them in"
            " several: name each photo before its label, or leave out --labels."
        )
    photos = []
    for number, (path, line) in enumerate(zip(sorted(paths), lines, strict=True), start=1):
        try:
            photos.append(Photo(path, _text(path.relative_to(folder)), classes.find(line)))
        except LabelsError as exc:
            raise LabelsError(f"{labels}, line {number}: {exc}.") from exc
    return photos


def is_table(labels: Path) -> bool:
    """Return whether a file of labels names the photos too: most lines have two columns or more."""
    if labels.suffix.lower() in {".csv", ".tsv"}:
        return True
    lines = _lines(labels)[:_IMAGENET]
    pairs = sum(Path(line.split()[0]).suffix.lower() in {s.lower() for s in _SUFFIXES[1:]} for line in lines)  # fmt: skip
    return 2 * pairs > len(lines)


def _rows(table: Path) -> Iterator[tuple[int, str, str]]:
    text = _read(table)
    first = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    # The names of ImageNet's classes have commas in them, and no semicolons.
    mark = next((mark for mark in ("\t", ";", ",") if mark in first), None)
    if mark is None:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                name, _, label = line.strip().rpartition(" ")
                yield number, name.strip(), label
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    path_at, label_at = 0, 1
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            header = [re.sub(r"[\s_]", "", cell.casefold()) for cell in row]
            if reader.line_num == 1 and set(header) & set(_PATHS) and set(header) & set(_LABELS):
                path_at = next(header.index(name) for name in _PATHS if name in header)
                label_at = next(header.index(name) for name in _LABELS if name in header)
                continue
            if len(row) <= max(path_at, label_at):
                raise LabelsError(f"{table}, line {reader.line_num}: expected a path and a label.")
            yield reader.line_num, row[path_at].strip(), row[label_at].strip()
    except csv.Error as exc:
        raise LabelsError(f"{table}, line {reader.line_num}: is no CSV: {exc}.") from exc


def _find(folder: Path, name: str) -> Path | None:
    if not name:
        return None
    tried = (folder / place / f"{name}{suffix}" for suffix in _SUFFIXES for place in _FOLDERS)
    # Unlike Path.is_file, this is false for a name that is too long, or in a folder that is closed.
    return next((path for path in tried if os.path.isfile(path)), None)  # noqa: PTH113


def _are_names(lines: Iterable[str], classes: Classes) -> bool:
    """Return whether the classes are called by these numbers, so that they are no indices."""
    try:
        return any(classes.find(line) != int(line) for line in set(lines))
    except LabelsError:
        return False


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _read(path).splitlines() if line.strip()]


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as exc:
        raise LabelsError(f"{path}: cannot be read as labels: {exc}.") from exc


def _text(path: Path) -> str:
    r"""Write a path as no other is written: a byte that is no UTF-8 as `\xff`, a backslash as two."""
    return name_of(path.as_posix().replace("\\", "\\\\"))


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _some(texts: Iterable[str]) -> str:
    listed = list(texts)
    return "; ".join(listed[:_SHOWN]) + ("; .." if len(listed) > _SHOWN else "")
