"""The description of the API, as it really is: FastAPI's own errors are not sent here."""

from typing import Any, Final

from fastapi import FastAPI

from app.web.paths import needs_key
from app.web.problems import MEDIA_TYPE
from app.web.schemas import ProblemOut

_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, given out by the operator of this server.",
}
_NO_KEY: Final = {
    "description": "No key, or one that is not known here",
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
}
_REFERENCE: Final = {"$ref": "#/components/schemas/ProblemOut"}


def install_openapi(app: FastAPI, *, with_keys: bool) -> None:
    """Let an app describe its errors as problems, and nothing that it never answers.

    Args:
        app: Whose description it is.
        with_keys: Say which requests need an API key.
    """
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
            for operation in operations.values():
                if with_keys and needs_key(path):
                    operation["security"] = [{"key": []}]
                    operation["responses"]["401"] = _NO_KEY
                operation["responses"] = {
                    status: _as_problem(response) if int(status) >= 400 else response  # noqa: PLR2004
                    for status, response in operation["responses"].items()
                    if "HTTPValidationError" not in str(response)
                }
        return schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to do it


def _as_problem(response: dict[str, Any]) -> dict[str, Any]:
    content = response.get("content", {}).get(MEDIA_TYPE, {})
    return {**response, "content": {MEDIA_TYPE: {"schema": _REFERENCE, **content}}}
