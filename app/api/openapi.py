"""The description of the API, as it really is: FastAPI's own errors are not sent here."""

from typing import Any

from fastapi import FastAPI

from app.api.problems import MEDIA_TYPE
from app.api.schemas import ProblemOut

_REFERENCE = {"$ref": "#/components/schemas/ProblemOut"}


def install_openapi(app: FastAPI) -> None:
    """Let an app describe its errors as problems, and nothing that it never answers."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        schema = generate()
        components = schema["components"]["schemas"]
        components["ProblemOut"] = ProblemOut.model_json_schema()
        components.pop("HTTPValidationError", None)
        components.pop("ValidationError", None)
        for path in schema["paths"].values():
            for operation in path.values():
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
