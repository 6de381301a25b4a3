"""Write a picture for each photo: where the model saw its best class."""

import asyncio
import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.cli.files import STDIN, File, Trouble, TroubleError, open_photo, unreadable
from app.cli.predict.classify_all import Source
from app.cli.predict.result import FileResult
from app.errors import RequestError
from app.images.overlay import draw_overlay
from app.images.prepare import Prepare
from app.setup_errors import SetupError
from app.texts import printable

_SUFFIX: Final = ".png"
"""Follows the whole name of a photo, as cat.jpg and cat.png may be in one folder."""


class PlacesError(ValueError):
    """Pictures that would overwrite each other, or be found as photos."""


class Places:
    """Where the picture of each photo goes: into one folder, with the folders that were walked."""

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        """Plan for the files and folders that the user named.

        Raises:
            PlacesError: If two pictures would have the same place, or the folder is in one of them.
        """
        self._folder = folder
        folders = [path for path in paths if path.is_dir()]
        inside = folder.resolve()
        for path in folders:
            if inside.is_relative_to(path.resolve()):
                raise PlacesError(f"it is in {path}, where its pictures would be taken for photos")
        names = [_name(path) for path in paths]  # never `..`, which leads out of the folder
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise PlacesError(f"two of the photos or folders are called {twice!r}")
        single = len(paths) == 1
        self._roots = {path: Path() if single else Path(_name(path)) for path in folders}

    def of(self, photo: Path) -> Path:
        """Return where the picture of a photo goes."""
        for root, below in self._roots.items():
            if photo.is_relative_to(root):
                found = below / photo.relative_to(root)
                break
        else:
            found = Path(_name(photo))
        return self._folder / found.with_name(found.name + _SUFFIX)


def _name(path: Path) -> str:
    if path == STDIN:
        return "stdin"
    return path.name if path.name not in {"", ".."} else path.resolve().name


class Overlays:
    """Classifies by another source, and writes a picture of each photo that was located.

    Attributes:
        ahead: Of that source.
    """

    def __init__(self, source: Source, places: Places, prepare: Prepare) -> None:
        """Write nothing yet; `prepare` decodes the photos once more."""
        self._source = source
        self._places = places
        self._prepare = prepare
        self.ahead = source.ahead

    def waiting_for(self) -> str:
        """Say what the source waits for."""
        return self._source.waiting_for()

    async def close(self) -> None:
        """End the source."""
        await self._source.close()

    async def classify(self, file: File) -> FileResult:
        """Classify one file and draw what was seen; a picture that cannot be drawn is a trouble.

        Raises:
            SetupError: If it cannot be written.
        """
        result = await self._source.classify(file)
        if result.marks is None:
            return result
        try:
            overlay = await asyncio.to_thread(self._write, file, result)
        except TroubleError as exc:
            return FileResult(file.path, trouble=exc.trouble)
        except RequestError as exc:
            return FileResult(file.path, trouble=Trouble(exc.title, str(exc)))
        return replace(result, overlay=overlay)

    def _write(self, file: File, result: FileResult) -> Path:
        with open_photo(file) as opened:
            try:
                data = opened.read()
            except OSError as exc:
                raise TroubleError(unreadable(exc)) from exc
        image, marks = result.image, result.marks
        if image is None or marks is None:  # which only results without an error have
            raise ValueError(file.path)
        picture = draw_overlay(self._prepare, data, (image.width, image.height), marks)
        place = self._places.of(file.path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(picture)
        except OSError as exc:
            name = printable(os.fspath(place))
            if exc.errno == errno.ENAMETOOLONG:  # the next photo may have a shorter one
                what = f"Its picture cannot be written: the name {place.name} is too long."
                raise TroubleError(Trouble("name too long", what)) from exc
            raise SetupError(f"--output: {name} cannot be written: {exc.strerror or exc}.") from exc
        return place
