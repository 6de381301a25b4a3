"""Every path of the service, one row each: who may call it, how it is logged, what limits it.

A new endpoint is one router function and one row here.
"""

from enum import Enum
from typing import Final

from starlette.routing import compile_path

METHODS: Final = ["GET", "HEAD"]
"""Of the routes that answer to GET; another route of the same path describes GET alone."""
KEY: Final = "key"
"""Needs an API key, on a server that has keys."""
PROBE: Final = "probe"
"""Requested every few seconds, so its requests are logged at level debug."""
PHOTO: Final = "photo"
"""A POST to it uploads a photo: admission, rate limit and size limits apply before its body is
read, and its answers are counted."""


class Endpoint(Enum):
    """One row: a path as its router has it, and marks."""

    PREDICT = "/predict", KEY, PHOTO
    INSPECT = "/inspect", KEY, PHOTO
    MODELS = ("/models",)
    MODEL = ("/models/{name}",)
    FILTERS = "/models/{name}/filters", KEY
    HEALTHZ = "/healthz", PROBE
    READYZ = "/readyz", PROBE
    METRICS = "/metrics", KEY, PROBE
    PAGE = ("/",)
    PAGE_FILES = ("/static/{path:path}",)
    DOCS = ("/docs",)
    DOCS_FILES = ("/docs/assets/{path:path}",)
    OPENAPI = ("/openapi.json",)

    def __init__(self, path: str, *marks: str) -> None:
        self.path = path
        self.marks = marks


class _Marks(dict[str, tuple[str, ...]]):
    """Finds a path with parameters by its pattern; one without a row needs a key before its 404."""

    def __missing__(self, path: str) -> tuple[str, ...]:
        found = (marks for pattern, marks in _WITH_PARAMETERS if pattern.match(path))
        return next(found, (KEY,))


_WITH_PARAMETERS: Final = [
    (compile_path(one.path)[0], one.marks) for one in Endpoint if "{" in one.path
]
MARKS: Final = _Marks({one.path: one.marks for one in Endpoint})
"""The marks of every path that a client may ask for."""
