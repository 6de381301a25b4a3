"""The description of the API at /openapi.json, with what FastAPI cannot know by itself."""

from inspect import getdoc
from typing import Any, Final

from fastapi import FastAPI

from app.errors import RequestError, UnauthorizedError, answered
from app.images.formats import FORMATS
from app.web.middleware.admission import TIMEOUT_HEADER
from app.web.paths import KEY, MARKS, PHOTO
from app.web.problems import MEDIA_TYPE, UNAVAILABLE, problem_body
from app.web.schemas import ProblemOut

FIELD: Final = "file"
"""Name of the part of a form that holds the photo."""
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
    {"name": name, "in": place, "schema": schema, "description": text}
    for name, place, schema, text in (
        ("model", "query", {"type": "string"}, "Name of a model; see GET /models."),
        (
            *(TIMEOUT_HEADER, "header", {"type": "integer", "minimum": 1, "maximum": 999_999_999}),
            "Milliseconds that the request may take.",
        ),
        (
            *("X-Request-ID", "header", {"type": "string"}),
            "Returned unchanged if it matches [A-Za-z0-9._-]{1,64}.",
        ),
    )
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

_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, issued by the operator of this server.",
}
_UNAUTHORIZED: Final = {
    "description": getdoc(UnauthorizedError),
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
}
_RETRY_AFTER: Final = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}


def install_openapi(app: FastAPI, *, with_keys: bool) -> None:
    """Have an app describe its own errors in place of FastAPI's, which it never sends."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        schema = generate()
        components = schema["components"]["schemas"]
        components["ProblemOut"] = ProblemOut.model_json_schema()
        components.pop("HTTPValidationError", None)
        components.pop("ValidationError", None)
        if with_keys:
            schema["components"]["securitySchemes"] = {"key": _SCHEME}
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                responses = operation["responses"]
                if method == "post" and PHOTO in MARKS[path]:
                    responses |= _problems()
                if with_keys and KEY in MARKS[path]:
                    operation["security"] = [{"key": []}]
                    responses["401"] = _UNAUTHORIZED
                operation["responses"] = {
                    status: _as_problem(response) if int(status) >= 400 else response  # noqa: PLR2004
                    for status, response in responses.items()
                    if "HTTPValidationError" not in str(response)
                }
        return schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI documents this way


def _problems() -> dict[str, dict[str, Any]]:
    """Return a response per status that an upload can get, with an example of each problem."""
    responses: dict[str, dict[str, Any]] = {}
    for error in answered():
        if error in {RequestError, UnauthorizedError}:  # never raised; only where keys are needed
            continue
        meaning = (getdoc(error) or "").partition("\n")[0]
        response = responses.setdefault(
            str(error.status),
            {
                "description": "",
                "headers": _RETRY_AFTER if error.status in {429, UNAVAILABLE} else {},
                "content": {MEDIA_TYPE: {"examples": {}}},
            },
        )
        examples = response["content"][MEDIA_TYPE]["examples"]
        if error.slug not in examples:
            body = problem_body(error.status, error.slug, error.title, meaning)
            examples[error.slug] = {"value": body | {"request_id": "4f9b2c"}}
            response["description"] = f"{response['description']} {meaning}".strip()
    return responses


def _as_problem(response: dict[str, Any]) -> dict[str, Any]:
    content = response.get("content", {}).get(MEDIA_TYPE, {})
    schema = {"$ref": "#/components/schemas/ProblemOut"}
    return {**response, "content": {MEDIA_TYPE: {"schema": schema, **content}}}
