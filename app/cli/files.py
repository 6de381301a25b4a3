"""Find the photos in folders: by what files contain, not by what they are called."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from app.errors import UnsupportedFormatError
from app.images.formats import FORMATS, HEAD_BYTES, identify, name_other

STDIN: Final = Path("-")

_PICTURES: Final = frozenset(
    {"TIFF", "PostScript (EPS)", "JPEG 2000", "JPEG XL", "Photoshop (PSD)", "ICO", "AVIF", "HEIC", "SVG"}
)  # fmt: skip
"""Names of formats that hold a picture, of those that are not decoded here."""
_RAW_SUFFIXES: Final = frozenset({".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"})
"""Cameras' own formats, whose first bytes are those of TIFF or of a video."""
_PICTURE_SUFFIXES: Final = frozenset(
    {".jfif", ".jif", ".jpe", ".pjpeg", ".pjp", ".mpo", ".apng", ".dib", ".heic", ".heif", ".hif",
     ".avif", ".tif", ".tiff", ".jp2", ".jxl", ".svg", ".psd", ".ico", *_RAW_SUFFIXES,
     *(end for one in FORMATS for end in one.suffixes)}
)  # fmt: skip
"""A file called so that is no picture is a failure; any other file that is none is passed over."""
_OF_SYSTEMS: Final = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin",
     "system volume information", "lost+found"}
)  # fmt: skip
"""Names (in lower case) of files and folders that systems put beside photos."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a file is not classified.

    Attributes:
        kind: In a few words, the same for all files with this trouble.
        sentence: For this file.
        skipped: Whether the file is only counted: it was found in a folder, and is no picture.
    """

    kind: str
    sentence: str
    skipped: bool = False


class TroubleError(Exception):
    """A file that is not classified."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.sentence)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class File:
    """A file to look at.

    Attributes:
        path: Where it is; STDIN for standard input.
        named: Whether the user named it, so that it is not skipped whatever it is.
        trouble: Why it need not be opened, if that is known.
        data: What standard input held.
    """

    path: Path
    named: bool = False
    trouble: Trouble | None = None
    data: bytes | None = None


_HIDDEN: Final = Trouble("hidden", "Hidden files are skipped.", skipped=True)
_LINKED: Final = Trouble("links to folders", "Links to folders are not followed.", skipped=True)
_NO_FILE: Final = Trouble("devices, pipes and sockets", "This is not a file.", skipped=True)


def walk(paths: Iterable[Path]) -> Iterator[File]:
    """Yield the files, and what is in the folders at any depth, sorted by name in each folder.

    In a folder, hidden files and folders and those of systems (`._photo.jpg`, `Thumbs.db`) are
    skipped, links to files are followed, links to folders are not, and nothing but a file is
    ever opened. Memory grows with the largest folder: about 10 MB for 100,000 files.
    """
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where a folder above is closed)
            yield from _inside(path)
        else:
            yield File(path, named=True)


def count(paths: Iterable[Path]) -> int:
    """Count about as many files as `walk` yields, without a look at any of them."""
    total = 0
    for path in paths:
        total += not os.path.isdir(path)  # noqa: PTH112 (the same)
        for _, folders, files in os.walk(path):
            folders[:] = [name for name in folders if not _is_hidden(name)]
            total += len(files)
    return total


def find_photos(paths: Iterable[Path]) -> list[Path]:
    """List the files that are named, and those in the folders that have one of FORMATS."""
    return [file.path for file in walk(paths) if file.named or is_photo(file)]


def is_photo(file: File) -> bool:
    """Return whether a file begins like one of FORMATS."""
    try:
        open_photo(file).close()
    except TroubleError:
        return False
    return True


def open_photo(file: File) -> BinaryIO:
    """Open a file that begins like one of FORMATS.

    Raises:
        TroubleError: If it does not, or cannot be read.
    """
    if file.trouble is not None:
        raise TroubleError(file.trouble)
    try:
        opened = BytesIO(file.data) if file.data is not None else _open(file.path)
    except OSError as exc:
        raise TroubleError(unreadable(exc)) from exc
    try:
        head = opened.read(HEAD_BYTES)
        opened.seek(0)
        _check(file, head)
    except OSError as exc:
        opened.close()
        raise TroubleError(unreadable(exc)) from exc
    except TroubleError:
        opened.close()
        raise
    return opened


def read_photo(file: File, most_bytes: int) -> bytes:
    """Read a file that begins like one of FORMATS.

    Raises:
        TroubleError: If it does not, cannot be read, or has more bytes than the service takes.
    """
    with open_photo(file) as opened:
        try:
            size = opened.seek(0, os.SEEK_END)
            if size > most_bytes:
                raise TroubleError(
                    Trouble(
                        "too large",
                        f"The file has {size / 1e6:,.0f} MB; VGG_MAX_UPLOAD_BYTES limits it to"
                        f" {most_bytes / 1e6:,.0f} MB.",
                    )
                )
            opened.seek(0)
            return opened.read()
        except OSError as exc:
            raise TroubleError(unreadable(exc)) from exc


def _inside(folder: Path) -> Iterator[File]:
    ways: list[tuple[Path, Iterator[str]]] = []
    try:
        ways.append((folder, _names(folder)))
    except OSError as exc:
        yield File(folder, trouble=unreadable(exc))
    while ways:
        folder, names = ways[-1]
        name = next(names, None)
        if name is None:
            ways.pop()
            continue
        path = folder / name
        try:
            if _is_hidden(name):
                yield File(path, trouble=_HIDDEN)
            elif stat.S_ISDIR(mode := path.stat().st_mode):
                if path.is_symlink():
                    yield File(path, trouble=_LINKED)
                else:
                    ways.append((path, _names(path)))
            else:
                yield File(path, trouble=None if stat.S_ISREG(mode) else _NO_FILE)
        except OSError as exc:
            yield File(path, trouble=unreadable(exc))


def _names(folder: Path) -> Iterator[str]:
    return iter(sorted(os.listdir(folder)))  # noqa: PTH208 (Path objects would take thrice the memory)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def _open(path: Path) -> BinaryIO:
    # Between the look at its kind and this, a file may have become a pipe: never wait for one.
    if not stat.S_ISREG(path.stat().st_mode):
        raise TroubleError(
            Trouble("not a file", "This is not a file. Pipe its contents into the file name -.")
        )
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags), "rb")  # noqa: PTH123 (a descriptor)


def unreadable(exc: OSError) -> Trouble:
    """Return the trouble with a file that the system does not open or read."""
    reason = exc.strerror or type(exc).__name__
    return Trouble(f"cannot be read ({reason})", f"This cannot be read: {reason}.")


def _check(file: File, head: bytes) -> None:
    claims = file.named or file.path.suffix.lower() in _PICTURE_SUFFIXES
    if not head:
        raise TroubleError(Trouble("empty", "The file is empty.", skipped=not claims))
    try:
        identify(head)
    except UnsupportedFormatError as exc:
        name = (name_other(head) or ("unknown format", ""))[0]
        if file.path.suffix.lower() in _RAW_SUFFIXES:
            name = "Camera raw"
            sentence = f"{name} is not supported. Export the photo as JPEG first."
            trouble = Trouble(f"{name} is not supported", sentence)
        elif name in _PICTURES:
            trouble = Trouble(f"{name} is not supported", str(exc))
        elif claims:
            trouble = Trouble("not an image", f"It is not an image. {exc}")
        else:
            trouble = Trouble(name, str(exc), skipped=True)
        raise TroubleError(trouble) from None
