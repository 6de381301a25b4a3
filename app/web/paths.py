"""Every path of the service, one row each: who may call it, how it is logged, what limits it.

A new endpoint is one router function and one row here.
"""

from enum import Enum
from typing import Final

from starlette.routing import compile_path
from starlette.types import Scope

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
    MODELS = ("/models",)
    MODEL = ("/models/{name}",)
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
        self.pattern = compile_path(path)[0]


_BY_PATH: Final = {endpoint.path: endpoint for endpoint in Endpoint}
_WITH_PARAMETERS: Final = tuple(endpoint for endpoint in Endpoint if "{" in endpoint.path)


def needs_key(path: str) -> bool:
    """Return whether a path needs an API key; one without a row does, before it gets its 404."""
    endpoint = _find(path)
    return endpoint is None or KEY in endpoint.marks


def is_probe(path: str) -> bool:
    """Return whether requests to a path are logged at level debug."""
    endpoint = _find(path)
    return endpoint is not None and PROBE in endpoint.marks


def uploads_photo(scope: Scope) -> bool:
    """Return whether a request uploads a photo, so that all limits apply to it."""
    endpoint = _find(scope["path"]) if scope["method"] == "POST" else None
    return endpoint is not None and PHOTO in endpoint.marks


def _find(path: str) -> Endpoint | None:
    endpoint = _BY_PATH.get(path)
    if endpoint is not None:
        return endpoint
    return next((one for one in _WITH_PARAMETERS if one.pattern.match(path)), None)
