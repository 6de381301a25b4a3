"""What FastAPI cannot know of POST /predict: its bodies, its parameters and the headers of its answer."""

from typing import Any, Final

from app.images.formats import FORMATS
from app.web.middleware.admission import TIMEOUT_HEADER
from app.web.uploads import FIELD

_IMAGE: Final = {"schema": {"type": "string", "format": "binary"}}

PREDICT_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "additionalProperties": False,
                "properties": {FIELD: {"type": "string", "format": "binary"}},
            }
        },
        **{one.media_type: _IMAGE for one in FORMATS},
        "application/octet-stream": _IMAGE,
    },
}

PREDICT_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "model",
        "in": "query",
        "schema": {"type": "string"},
        "description": "Name of a model; see GET /models.",
    },
    {
        "name": TIMEOUT_HEADER,
        "in": "header",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
        "description": "Milliseconds that the request may take.",
    },
    {
        "name": "X-Request-ID",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Returned unchanged if it matches [A-Za-z0-9._-]{1,64}.",
    },
]

PREDICT_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "headers": {
            name: {"schema": {"type": kind}, "description": text}
            for name, kind, text in (
                ("X-Request-ID", "string", "Id of the request, in the log too."),
                ("Server-Timing", "string", "Milliseconds of decode, queue, run, rank and total."),
                ("X-Batch-Size", "integer", "Images that shared the run."),
            )
        }
    }
}
