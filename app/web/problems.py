"""Errors as answers: RFC 9457, one shape for all of them."""

import math
from http import HTTPStatus
from json import JSONEncoder
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from app.errors import (
    BadRequestError,
    BodyTooLargeError,
    RateLimitedError,
    RequestError,
    ServiceError,
    SlowUploadError,
    UnauthorizedError,
)
from app.serving.metrics import Metrics
from app.web.page.plain_answer import problem_page

MEDIA_TYPE: Final = "application/problem+json"
UNAVAILABLE: Final = 503
CLIENT_LEFT: Final = 499
"""nginx's status for a client that closed the connection; counted, never sent."""
ENCODER: Final = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
"""As of a JSONResponse, which makes one for each answer."""
_RETRYABLE: Final = frozenset({408, 429, UNAVAILABLE, 504})


class UnwantedError(ClientDisconnect):
    """The client left after its upload, while it waited; that stage has counted it."""


def answer_error(scope: Scope, error: RequestError | ServiceError) -> Response:
    """Return the answer for one of our own errors.

    Its Retry-After is the error's `retry_after`, rounded up to whole seconds, at least 1. Whatever
    raises the error computes that; app.errors has the defaults.
    """
    headers = _headers_of(error)
    return _answer(scope, problem_of(error), headers)


def problem_of(error: RequestError | ServiceError) -> dict[str, Any]:
    """Return the problem of one of our own errors; `request_id` is still empty."""
    body = problem_body(error.status, error.slug, error.title, str(error))
    if isinstance(error, RequestError) and error.limit is not None:
        body["limit"] = error.limit
    return body


def _headers_of(error: RequestError | ServiceError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, BodyTooLargeError | SlowUploadError):
        headers["Connection"] = "close"  # the rest of the body is not read
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = 'Bearer realm="vgg-serve"'
    if isinstance(error, ServiceError | RateLimitedError) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return headers


def problem_body(status: int, slug: str, title: str, detail: str) -> dict[str, Any]:
    """Return the fields of a problem; the arguments are those of an error in app.errors."""
    return {
        "type": f"/problems/{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "error": detail,  # what clients of other servers show
        "request_id": None,  # known once it is an answer
        "retryable": status in _RETRYABLE,
    }


def install_problem_handlers(app: FastAPI) -> None:
    """Make problems of all errors of an app, FastAPI's and Starlette's own too."""

    async def answer(request: Request, exc: Exception) -> Response:
        scope = request.scope
        match exc:
            case RequestError() | ServiceError():
                return answer_error(scope, exc)
            case RequestValidationError():
                sentences = [
                    f"{'.'.join(str(part) for part in error['loc'][1:]) or 'request'}: {error['msg']}"
                    for error in exc.errors()
                ]
                return answer_error(scope, BadRequestError("; ".join(sentences)))
            case HTTPException():
                headers = dict(exc.headers or {})
                title = HTTPStatus(exc.status_code).phrase
                slug = title.lower().replace(" ", "-")
                detail = {
                    404: f"There is nothing at {scope['path'][:200]!r}. See /docs.",
                    405: f"{request.method[:20]} is not allowed here. Allowed:"
                    f" {headers.get('Allow', 'see /docs')}.",
                }.get(exc.status_code, str(exc.detail))
                body = problem_body(exc.status_code, slug, title, detail)
                return _answer(scope, body, headers)
        raise exc

    async def leave(request: Request, exc: Exception) -> Response:
        metrics: Metrics = request.app.state.metrics
        if not isinstance(exc, UnwantedError):
            metrics.cancelled("upload")
        return Response(status_code=CLIENT_LEFT)

    app.add_exception_handler(ClientDisconnect, leave)
    for kind in (RequestError, ServiceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


def _answer(scope: Scope, body: dict[str, Any], headers: dict[str, str]) -> Response:
    state = scope.setdefault("state", {})
    state["problem"] = body["type"].rpartition("/")[2]
    if state.get("html"):
        return problem_page(scope, body["status"], body["title"], body["detail"], headers)
    body["request_id"] = state.get("request_id")
    return Response(ENCODER.encode(body), body["status"], headers, MEDIA_TYPE)
