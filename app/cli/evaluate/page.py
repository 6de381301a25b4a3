"""The option --html: small pictures of the photos to look at, and the file."""

import re
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
_LOGIN: Final = re.compile(r"(^|://)[^/?#]*@")
_ADDRESSES: Final = {"--url", "--compare"}


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
    """Return the command as it was typed, so that it can be repeated; keys and passwords are left out."""
    typed = sys.argv[1:] if arguments is None else arguments
    words = ["vgg-serve"]
    for before, word in zip(["", *typed], typed, strict=False):
        name, mark, value = word.partition("=")
        if not mark or name not in _SECRETS | _ADDRESSES:
            name, mark, value = before, "", word
        start = f"{name}=" if mark else ""
        if name in _SECRETS:
            value = "..."
        elif name in _ADDRESSES:
            value = without_login(value)
        words.append(start + value)
    return shlex.join(word.encode("utf-8", "backslashreplace").decode() for word in words)


def without_login(address: str) -> str:
    """Return a URL, or the value of --compare, without the name and the password in it."""
    return _LOGIN.sub(r"\1", address)


def _reader(settings: Settings, preprocess: Preprocess) -> Callable[[Path], bytes | None]:
    prepare = preparation(settings)

    def read(path: Path) -> bytes | None:
        try:
            data = read_photo(File(path, named=True), settings.all_upload_bytes)
            return thumbnail(prepare, data, preprocess)
        except (TroubleError, RequestError):  # it has changed since it was classified
            return None

    return read
