"""The files of the demo page, read once, under addresses that change when their content does."""

import gzip
import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi import HTTPException, Request, Response

STATIC: Final = Path(__file__).resolve().parent / "static"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}
"""Headers of the page and of every HTML answer."""

_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".svg": "image/svg+xml",
}
_VERSIONED: Final = {".css", ".js", ".svg"}
_PREFIX: Final = re.compile(r"^v-[0-9a-f]{12}/")
_TAKES_GZIP: Final = re.compile(r"gzip(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
_YEAR: Final = 31_536_000  # seconds


class File:
    """One file in memory, as it is and, if it is text, compressed."""

    def __init__(self, content: bytes, suffix: str) -> None:
        self.content = content
        self._media_type = _TYPES[suffix]
        self._etag = f'W/"{sha256(content).hexdigest()[:24]}"'
        self._compressed = None if suffix == ".jpg" else gzip.compress(content, mtime=0)

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """Return the whole file whatever the Range, or 304 if the client has it."""
        headers = {**headers, "ETag": self._etag, "Vary": "Accept-Encoding"}
        if self._etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        content = self.content
        if self._compressed and _TAKES_GZIP.search(request.headers.get("accept-encoding", "")):
            content = self._compressed
            headers["Content-Encoding"] = "gzip"
        return Response(content, headers=headers, media_type=self._media_type)


class PageFiles:
    """The files of a folder, as they were when it was read."""

    def __init__(self, folder: Path) -> None:
        paths = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES
        }
        contents = {name: path.read_bytes() for name, path in paths.items()}
        digest = sha256()
        for name, content in contents.items():
            if paths[name].suffix in _VERSIONED:
                digest.update(name.encode() + b"\0" + content)
        # It changes with any script or style.
        self.version = f"v-{digest.hexdigest()[:12]}"
        self._files = {
            name: File(content, paths[name].suffix) for name, content in contents.items()
        }

    def text(self, name: str) -> str:
        """Return a file of HTML with the version in its addresses."""
        return self.versioned(self._files[name].content.decode())

    @property
    def preloads(self) -> str:
        """Return a Link header that names the modules of the first view, so that they load at the same time."""
        return ", ".join(
            f"<static/{self.version}/{name}>; rel=modulepreload"
            for name in self._files
            if name.startswith("js/") and not name.startswith("js/later/")
        )

    def versioned(self, html: str) -> str:
        """Put the version into the addresses of files.

        Modules import each other by relative addresses, so they follow. All addresses are relative
        to the page, which a proxy may have put behind a prefix.
        """
        return html.replace('"static/', f'"static/{self.version}/')

    def answer(self, path: str, request: Request) -> Response:
        """Return one file, from an address with or without a version.

        With the current version a browser may keep the file for ever. With another version (as
        during a rolling update) or with none, it has to ask each time whether the file changed.

        Raises:
            HTTPException: 404 if there is no such file.
        """
        file = self._files.get(_PREFIX.sub("", path))
        if file is None or path.endswith(".html"):  # HTML has fields to fill in
            raise HTTPException(404)
        current = path.startswith(f"{self.version}/")
        keep = f"public, max-age={_YEAR}, immutable" if current else "no-cache"
        return file.answer(request, {"Cache-Control": keep})


@cache
def page_files() -> PageFiles:
    """Return the files of the page; the first call reads them."""
    return PageFiles(STATIC)
