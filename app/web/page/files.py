"""The files of the demo page, under addresses that change when their content does."""

import re
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

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
"""Of the page and of every HTML answer."""

_PREFIX: Final = re.compile(r"v-[0-9a-f]{12}")
_YEAR: Final = 31_536_000  # seconds


def version() -> str:
    """Return what changes with any script or style of the page: `v-` and 12 hex digits."""
    return _version(tuple((path, path.stat().st_mtime_ns) for path in _sources()))


@lru_cache(maxsize=1)
def _version(sources: tuple[tuple[Path, int], ...]) -> str:
    digest = sha256()
    for path, _ in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"v-{digest.hexdigest()[:12]}"


def versioned(html: str) -> str:
    """Let the addresses of files in a page name their version.

    Modules import each other by relative addresses, so they follow.
    """
    return html.replace('"/static/', f'"/static/{version()}/')


def preloads() -> str:
    """Return a Link header that names all modules at once: none waits for another's import."""
    here = version()
    modules = [path for path in _sources() if path.parent.name == "js"]
    return ", ".join(f"</static/{here}/js/{path.name}>; rel=modulepreload" for path in modules)


class PageFiles(StaticFiles):
    """The folder `static`, with or without a version in front.

    With the version of today a file may be kept for ever. With another, as during a rolling
    update, it is served all the same; like one without, it is then asked for again each time.
    """

    def __init__(self) -> None:
        """Serve STATIC."""
        super().__init__(directory=STATIC)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve whole files only: what is wrong in a Range would be answered in plain text."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return one file."""
        first, _, rest = path.partition("/")
        named = _PREFIX.fullmatch(first) is not None
        response = await super().get_response(rest if named else path, scope)
        current = named and first == version()
        keep = f"public, max-age={_YEAR}, immutable" if current else "no-cache"
        response.headers["Cache-Control"] = keep
        return response


def _sources() -> list[Path]:
    return sorted(path for path in STATIC.rglob("*") if path.suffix in {".js", ".css", ".svg"})
