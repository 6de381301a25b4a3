"""Every path of the service, one row each: who may call it, how it is logged, what limits it.

A new endpoint is one router function and one row here.
"""

from enum import Enum
from typing import Final, get_args

from starlette.routing import compile_path

from app.serving.metrics import Protocol

METHODS: Final = ["GET", "HEAD"]
"""Of the routes that answer to GET; another route of the same path describes GET alone."""
KEY: Final = "key"
"""Needs an API key, on a server that has keys."""
PROBE: Final = "probe"
"""Requested every few seconds, so its requests are logged at level debug."""
PHOTO: Final = "photo"
"""A POST to it uploads a photo: admission, rate limit and size limits apply before its body is
read, and its answers are counted."""


_PROTOCOLS: Final[tuple[Protocol, ...]] = get_args(Protocol)

PUT: Final = "PUT"
"""A photo may be uploaded with PUT too, as `curl -T` does."""


class Endpoint(Enum):
    """One row: a path as its router has it, and marks; a Protocol among them is what it speaks.

    In the path of an upload, `{model}` is the model that it is for.
    """

    PREDICT = "/predict", KEY, PHOTO
    INSPECT = "/inspect", KEY, PHOTO
    HF = "/hf/{model}", KEY, PHOTO, "hf"
    HF_BOXES = "/hf/{model}/boxes", KEY, PHOTO, "hf"
    TORCHSERVE = "/predictions/{model}", KEY, PHOTO, PUT, "torchserve"
    TORCHSERVE_VERSION = "/predictions/{model}/{version}", KEY, PHOTO, PUT, "torchserve"
    PING = "/ping", PROBE
    V1_PREDICT = "/v1/models/{model}:predict", KEY, PHOTO, "kserve_v1"
    V1_CLASSIFY = "/v1/models/{model}:classify", KEY, PHOTO, "kserve_v1"
    V1_VERSION_PREDICT = "/v1/models/{model}/versions/{version}:predict", KEY, PHOTO, "kserve_v1"
    V1_VERSION_CLASSIFY = "/v1/models/{model}/versions/{version}:classify", KEY, PHOTO, "kserve_v1"
    V1_VERSION = ("/v1/models/{model}/versions/{version}",)
    V1_MODELS = ("/v1/models",)
    V1_MODEL = ("/v1/models/{model}",)
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
    OIP = ("/v2",)
    OIP_LIVE = "/v2/health/live", PROBE
    OIP_READY = "/v2/health/ready", PROBE
    OIP_INDEX = ("/v2/repository/index",)
    OIP_MODELS = ("/v2/models",)
    OIP_ALL_STATS = "/v2/models/stats", KEY
    OIP_MODEL = ("/v2/models/{model}",)
    OIP_MODEL_READY = "/v2/models/{model}/ready", PROBE
    OIP_CONFIG = ("/v2/models/{model}/config",)
    OIP_STATS = "/v2/models/{model}/stats", KEY
    OIP_INFER = "/v2/models/{model}/infer", KEY, PHOTO, "oip"
    OIP_MODEL_VERSION = ("/v2/models/{model}/versions/{version}",)
    OIP_VERSION_READY = "/v2/models/{model}/versions/{version}/ready", PROBE
    OIP_VERSION_CONFIG = ("/v2/models/{model}/versions/{version}/config",)
    OIP_VERSION_STATS = "/v2/models/{model}/versions/{version}/stats", KEY
    OIP_VERSION_INFER = "/v2/models/{model}/versions/{version}/infer", KEY, PHOTO, "oip"

    def __init__(self, path: str, *marks: str) -> None:
        self.path = path
        self.marks = marks
        self.pattern = compile_path(path)[0]


class _Marks(dict[str, tuple[str, ...]]):
    """Finds a path with parameters by its pattern; one without a row needs a key before its 404."""

    def __missing__(self, path: str) -> tuple[str, ...]:
        found = (one.marks for one in _WITH_PARAMETERS if one.pattern.match(path))
        return next(found, (KEY,))


_WITH_PARAMETERS: Final = [one for one in Endpoint if "{" in one.path]
MARKS: Final = _Marks({one.path: one.marks for one in Endpoint})
"""The marks of every path that a client may ask for."""
_PLAIN: Final = frozenset(one.path for one in Endpoint if "{" not in one.path)
PROTOCOL_OF: Final[dict[tuple[str, ...], Protocol]] = {
    one.marks: spoken for one in Endpoint for spoken in _PROTOCOLS if spoken in one.marks
}
"""What clients of a path speak, by its marks; where nothing is said, `predict`."""


def model_in(path: str) -> tuple[str, str | None]:
    """Return a path as its router has it, and the model that it names; None if it names none."""
    if path in _PLAIN:
        return path, None
    for one in _WITH_PARAMETERS:
        match = one.pattern.match(path)
        if match:
            return one.path, match.groupdict().get("model")
    return path, None
