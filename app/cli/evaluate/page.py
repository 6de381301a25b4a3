"""The option --html: small pictures of the photos to look at, and the file."""

import shlex
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from app.cli.files import File, TroubleError, read_photo
from app.errors import RequestError
from app.evaluation.dataset import Photo
from app.evaluation.html.page import write_page
from app.evaluation.html.photos import shown
from app.evaluation.html.plots import Matplotlib
from app.images.thumbnail import thumbnail
from app.machine import usable_cpus
from app.records import Preprocess
from app.service.parts import preparation
from app.service.settings import Settings

_MOST_BYTES: Final = 700_000
"""Of all small pictures; as text in the page they take a third more."""
_SECRETS: Final = {"--key"}


def page(
    report: dict[str, Any],
    photos: Iterable[Photo],
    settings: Settings,
    preprocess: Preprocess,
    library: Matplotlib,
) -> str:
    """Return the page of a report, with small pictures of the photos that it shows."""
    wanted = set(shown(report))
    paths = {photo.name: photo.path for photo in photos if photo.name in wanted}
    named = [(name, paths[name]) for name in shown(report) if name in paths]
    small = _reader(settings, preprocess)
    with ThreadPoolExecutor(usable_cpus(), thread_name_prefix="thumbnail") as pool:
        found = zip(named, pool.map(small, (path for _, path in named)), strict=True)
        pictures, total = {}, 0
        for (name, _), data in found:
            total += len(data or b"")
            if data is not None and total <= _MOST_BYTES:
                pictures[name] = data
    return write_page(report, pictures, library)


def command_line(arguments: list[str] | None = None) -> str:
    """Return the command as it was typed, keys left out, so that it can be repeated."""
    words = ["vgg-serve", *(sys.argv[1:] if arguments is None else arguments)]
    for place, word in enumerate(words):
        name, mark, _ = word.partition("=")
        if name in _SECRETS and mark:
            words[place] = f"{name}=..."
        elif place and words[place - 1] in _SECRETS:
            words[place] = "..."
    return shlex.join(word.encode("utf-8", "backslashreplace").decode() for word in words)


def _reader(settings: Settings, preprocess: Preprocess) -> Callable[[Path], bytes | None]:
    prepare = preparation(settings)

    def read(path: Path) -> bytes | None:
        try:
            data = read_photo(File(path, named=True), settings.all_upload_bytes)
            return thumbnail(prepare, data, preprocess)
        except (TroubleError, RequestError):  # it has changed since it was classified
            return None

    return read
