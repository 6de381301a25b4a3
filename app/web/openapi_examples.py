"""What /docs shows of POST /predict: the two kinds of body, and an example of every status."""

from typing import Any, Final

from app.web.middleware.admission import TIMEOUT_HEADER
from app.web.problems import MEDIA_TYPE
from app.web.uploads import FIELD

_RETRY_AFTER: Final = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."},
}
_LATER: Final = {429, 503}
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
        **{f"image/{name}": _IMAGE for name in ("jpeg", "png", "webp", "gif", "bmp")},
        "application/octet-stream": _IMAGE,
    },
}

_PROBLEMS: Final = (
    (400, "bad-request", "A broken form, a second file, a parameter out of range",
     "The request cannot be understood", "top_k: Input should be less than or equal to 1000"),
    (404, "unknown-model", "A model that is not served here",
     "There is no such model here", "This server has no model of that name; it has vgg16."),
    (408, "slow-upload", "The body did not arrive before the deadline",
     "The upload took too long", "The body did not arrive before the deadline."),
    (413, "body-too-large", "A body above the limit, refused before it is read",
     "The upload is too large", "The body has 18.0 MB or more; the limit is 10 MB."),
    (415, "unsupported-format", "Not a JPEG, PNG, WebP, GIF or BMP",
     "This is not an image format that is read here",
     "This looks like HEIC, which is not read here; send JPEG, PNG, WebP, GIF or BMP."),
    (422, "image-too-large", "A damaged image, or one with too many or too few pixels",
     "The image has too many pixels",
     "The image is 12000 x 9000 (108.0 MP); the limit is 40 MP."),
    (429, "rate-limited", "More photos than the operator lets one client post",
     "Too many requests", "You have sent too many requests; the next one is answered in 0.4 s."),
    (500, "run-failed", "The model failed; the next request may succeed",
     "The model failed on this request",
     "The model failed on the batch that this image was in."),
    (503, "overloaded", "Busy, still loading or shutting down; Retry-After says when to come back",
     "The server is busy", "An answer may have to wait for 3.1 s; the limit is 2 s."),
    (504, "deadline-exceeded", "The deadline passed before the image was run",
     "The request was not answered in time",
     "The deadline passed before the image was run."),
)  # fmt: skip

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
        "description": "Milliseconds that the request may take; after them the client gives up.",
    },
    {
        "name": "X-Request-ID",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Echoed if it matches [A-Za-z0-9._-]{1,64}.",
    },
]

PREDICT_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            "application/json": {
                "example": {
                    "model": {"name": "vgg16", "weights_sha256": "57b02691...", "trained": True},
                    "predictions": [
                        {
                            "rank": 1,
                            "label": "tabby, tabby cat",
                            "probability": 0.4251449,
                            "wnid": "n02123045",
                            "class_index": 281,
                        }
                    ],
                    "image": {"width": 1024, "height": 768, "format": "jpeg"},
                }
            }
        },
        "headers": {
            "X-Request-ID": {"schema": {"type": "string"}, "description": "Echoed, or made here."},
            "Server-Timing": {
                "schema": {"type": "string"},
                "description": "Milliseconds of decode, queue, run, rank and total.",
            },
            "X-Batch-Size": {
                "schema": {"type": "integer"},
                "description": "Images that shared the run.",
            },
        },
    },
    **{
        status: {
            "description": description,
            "headers": _RETRY_AFTER if status in _LATER else {},
            "content": {
                MEDIA_TYPE: {
                    "example": {
                        "type": f"/problems/{slug}",
                        "title": title,
                        "status": status,
                        "detail": detail,
                        "request_id": "4f9b2c",
                        "retryable": status in {408, 504} | _LATER,
                    }
                }
            },
        }
        for status, slug, description, title, detail in _PROBLEMS
    },
}
