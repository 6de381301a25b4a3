"""The description of the API at /openapi.json, with what FastAPI cannot know by itself."""

from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from app.errors import (
    CorruptImageError,
    RateLimitedError,
    RequestError,
    UnauthorizedError,
    answered,
)
from app.images.formats import FORMATS
from app.serving.batching.explaining import MOST
from app.serving.hosted_models import Models
from app.serving.many import MOST_IMAGES
from app.web.endpoints import KEY, MARKS, PHOTO, Endpoint
from app.web.middleware.admission import TIMEOUT_HEADER
from app.web.paper import TESTS
from app.web.parameters import PARAMETERS_OF, PARTS
from app.web.problems import MEDIA_TYPE, UNAVAILABLE, problem_body
from app.web.schemas.answers import BoxOut, HowOut, ImageOut, ModelRef, PredictionOut
from app.web.schemas.problem import ProblemOut

FIELD: Final = "file"
"""Name of the part of a form that holds the photo."""
_IMAGE: Final = {"schema": {"type": "string", "format": "binary"}}


def _list_of(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {
        "type": "array",
        "items": items,
        "minItems": 1,
        "maxItems": most,
        "uniqueItems": True,
    }


def photo_body(field: str, schema: dict[str, Any] = _IMAGE["schema"]) -> dict[str, Any]:
    """Describe an upload: an image itself, or a form with a file of this name."""
    form = {
        "type": "object",
        "required": [field],
        "additionalProperties": False,
        "properties": {field: schema},
    }
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            **{one.media_type: _IMAGE for one in FORMATS},
            "application/octet-stream": _IMAGE,
        },
    }


def json_or_photo(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe an upload that may also be JSON of this schema, with the photo in it."""
    described = photo_body(FIELD)
    described["content"] = {"application/json": {"schema": schema}} | described["content"]
    return described


INSPECT_BODY: Final = photo_body(FIELD)
PREDICT_BODY: Final = photo_body(
    FIELD,
    schema={
        "type": "array",
        "items": _IMAGE["schema"],
        "minItems": 1,
        "maxItems": MOST_IMAGES,
        "description": "One photo, answered by an object, or several, answered by a list.",
    },
)

_EXPLAIN: Final = (
    "What to say of where the model sees each class: box, evidence (the box, and the share of the"
    " evidence in it), heat; several by comma. GET /models/{name} says whether it can. At most"
    f" {MOST} classes a request."
)
_TEST: Final = (
    "Average many views of the photo: dense (all of it, at each position of the crop; networks of the"
    " VGG family) or ten-crop. It takes the time of 4 to 20 photos, and others go first: one at a time per"
    " model, else 503. One photo a request, and not with explain, classes or against."
)
_NAME_OF_CLASS: Final = {"type": "string", "minLength": 1}
_PARAMETERS: Final[list[dict[str, Any]]] = [
    {"name": name, "in": place, "schema": schema, "description": text}
    | ({"explode": False} if schema["type"] == "array" else {})
    for name, place, schema, text in (
        ("model", "query", {"type": "string"}, "Name of a model; see GET /models."),
        (
            *("explain", "query", _list_of({"type": "string", "enum": [*PARTS]}, len(PARTS))),
            _EXPLAIN,
        ),
        (
            *("classes", "query", _list_of(_NAME_OF_CLASS, MOST)),
            "Other classes to answer about, by index, WordNet id or label, in the list `asked`.",
        ),
        (
            *("against", "query", _NAME_OF_CLASS),
            "With explain: locate what speaks for each class and not for this one.",
        ),
        (
            *("test", "query", {"type": "string", "enum": [*TESTS]}),
            _TEST,
        ),
        (
            *(TIMEOUT_HEADER, "header", {"type": "integer", "minimum": 1, "maximum": 999_999_999}),
            "Milliseconds from the end of the upload to the answer, at most.",
        ),
        (
            *("X-Request-ID", "header", {"type": "string"}),
            "Returned unchanged if it matches [A-Za-z0-9._-]{1,64}.",
        ),
    )
]


def parameters_of(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Describe the parameters that an upload to an endpoint may have, and its headers."""
    known = PARAMETERS_OF.get(endpoint.path, ())
    return [one for one in _PARAMETERS if one["in"] == "header" or one["name"] in known]


_ANSWER: Final = {
    "model": ModelRef.example(),
    "predictions": [PredictionOut.example()],
    "image": ImageOut.example(),
}
_LOCATED: Final = PredictionOut.example() | {"box": BoxOut.example(), "evidence_in_box": 0.634}
_EXPLAINED: Final = _ANSWER | {
    "predictions": [_LOCATED],
    "view": {"xmin": 128, "ymin": 0, "xmax": 896, "ymax": 768},
    "explanation": HowOut.example(),
}

_TESTED: Final = _ANSWER | {"test": "dense", "scale": 256, "positions": 16}
_PROBLEM: Final = problem_body(
    CorruptImageError.status,
    CorruptImageError.slug,
    CorruptImageError.title,
    "The image is damaged.",
)

PREDICT_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            "application/json": {
                "examples": {
                    "plain": {"summary": "/predict?top_k=1", "value": _ANSWER},
                    "explained": {
                        "summary": "/predict?top_k=1&explain=evidence",
                        "value": _EXPLAINED,
                    },
                    "tested": {"summary": "/predict?top_k=1&test=dense", "value": _TESTED},
                    "several": {
                        "summary": "/predict?top_k=1, a form with two photos, one of them damaged",
                        "value": [_ANSWER, _PROBLEM],
                    },
                }
            },
            "image/png": _IMAGE,
        },
        "headers": {
            name: {"schema": {"type": kind}, "description": text}
            for name, kind, text in (
                ("X-Request-ID", "string", "Id of the request, in the log too."),
                (
                    *("Server-Timing", "string"),
                    "Milliseconds of decode, queue, run, rank, perhaps explain and draw, and total.",
                ),
                ("X-Batch-Size", "integer", "Images that shared the run."),
            )
        },
    }
}

_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, issued by the operator of this server.",
}
_RETRY_AFTER: Final = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
_HEADERS: Final[dict[int, dict[str, Any]]] = {
    UnauthorizedError.status: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    RateLimitedError.status: _RETRY_AFTER,
    UNAVAILABLE: _RETRY_AFTER,
}


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
        _limit_parameters(schema, app.state.models)
        problems = _problems()
        unauthorized = problems.pop("401")
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                responses = operation["responses"]
                uploads = method == "post" or method.upper() in MARKS[path]
                if uploads and PHOTO in MARKS[path]:
                    responses |= problems
                if with_keys and KEY in MARKS[path]:
                    operation["security"] = [{"key": []}]
                    responses["401"] = unauthorized
                operation["responses"] = {
                    status: _as_problem(response) if int(status) >= 400 else response  # noqa: PLR2004
                    for status, response in sorted(responses.items())
                    if "HTTPValidationError" not in str(response)
                }
        return schema

    async def describe(request: Request) -> Response:
        """Return the description, with the prefix of a proxy."""
        prefix = request.scope["state"].get("prefix")
        servers = {"servers": [{"url": prefix}]} if prefix else {}
        return JSONResponse({**app.openapi(), **servers})

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI documents this way
    app.add_route(Endpoint.OPENAPI.path, describe, include_in_schema=False)


def _limit_parameters(schema: dict[str, Any], models: Models) -> None:
    """Say which models there are, each of one version, and how many classes are the most."""
    most = max(len(model.labels) for model in models.all().values())
    limits = {"model": [*models.all()], "version": ["1"]}
    operations = (one for path in schema["paths"].values() for one in path.values())
    for parameter in (one for operation in operations for one in operation.get("parameters", ())):
        if parameter["name"] == "top_k":
            parameter["schema"]["anyOf"][0]["maximum"] = most
        if parameter["in"] == "path" and parameter["name"] in limits:
            parameter["schema"]["enum"] = limits[parameter["name"]]


def _problems() -> dict[str, dict[str, Any]]:
    """Return a response per status that an error has, with an example of one of its problems."""
    responses: dict[str, dict[str, Any]] = {}
    for status in {error.status for error in answered()}:
        errors = [one for one in answered() if one.status == status and one is not RequestError]
        shown = next((one for one in errors if one.example), errors[0])
        body = problem_body(status, shown.slug, shown.title, shown.example or f"{shown.title}.")
        responses[str(status)] = {
            "description": " ".join(dict.fromkeys(f"{one.title}." for one in errors)),
            "headers": _HEADERS.get(status, {}),
            "content": {MEDIA_TYPE: {"example": body | {"request_id": "4f9b2c"}}},
        }
    return responses


def _as_problem(response: dict[str, Any]) -> dict[str, Any]:
    content = response.get("content", {}).get(MEDIA_TYPE, {})
    schema = {"$ref": "#/components/schemas/ProblemOut"}
    return {**response, "content": {MEDIA_TYPE: {"schema": schema, **content}}}
