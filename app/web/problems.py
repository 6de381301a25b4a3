"""The one place where errors become answers: RFC 9457, one shape for all of them."""

import math
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from app.errors import (
    BodyTooLargeError,
    RateLimitedError,
    RequestError,
    ServiceError,
    SlowUploadError,
    UnauthorizedError,
)
from app.web.page.plain_answer import problem_page, wants_html

MEDIA_TYPE: Final = "application/problem+json"
UNAVAILABLE: Final = 503
_SERVER_ERRORS: Final = 500


def problem_response(
    scope: Scope,
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    limit: dict[str, float] | None = None,
) -> Response:
    """Write one problem.

    Args:
        scope: Of the request; carries its id.
        status: HTTP status.
        slug: Stable name, the last part of `type`.
        title: The same for each problem of this type.
        detail: What happened this time and what to do.
        headers: More headers.
        limit: The numbers that were passed, by name.
    """
    scope.setdefault("state", {})["problem"] = slug
    if wants_html(scope):
        return problem_page(status, title, detail, headers)
    body: dict[str, object] = {
        "type": f"/problems/{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": scope["state"].get("request_id"),
        "retryable": status in {408, 429, UNAVAILABLE, 504},
    }
    if limit is not None:
        body["limit"] = limit
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def answer_error(scope: Scope, error: RequestError | ServiceError) -> Response:
    """Write one of our own errors."""
    headers: dict[str, str] = {}
    limit = error.limit if isinstance(error, RequestError) else None
    if isinstance(error, BodyTooLargeError | SlowUploadError):
        headers["Connection"] = "close"  # the rest of the body is not read
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = 'Bearer realm="vgg-serve"'
    if isinstance(error, ServiceError | RateLimitedError) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return problem_response(
        scope, error.status, error.slug, error.title, str(error), headers=headers, limit=limit
    )


def install_problem_handlers(app: FastAPI) -> None:
    """Let every error of an app, FastAPI's and Starlette's own too, become a problem."""

    async def ours(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestError | ServiceError)  # noqa: S101 (narrows the type)
        return answer_error(request.scope, exc)

    async def invalid(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)  # noqa: S101 (narrows the type)
        sentences = [
            f"{'.'.join(str(part) for part in error['loc'][1:]) or 'request'}: {error['msg']}"
            for error in exc.errors()
        ]
        return problem_response(
            request.scope,
            RequestError.status,
            RequestError.slug,
            RequestError.title,
            "; ".join(sentences),
        )

    async def http(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)  # noqa: S101 (narrows the type)
        status = HTTPStatus(exc.status_code)
        detail = {
            404: f"There is nothing at {request.scope['path'][:200]!r}; see /docs.",
            405: f"{request.method[:20]} is not possible here; allowed: "
            + (exc.headers or {}).get("Allow", "see /docs")
            + ".",
        }.get(exc.status_code, str(exc.detail))
        return problem_response(
            request.scope,
            exc.status_code,
            status.phrase.lower().replace(" ", "-"),
            status.phrase,
            detail,
            headers=dict(exc.headers or {}),
        )

    app.add_exception_handler(RequestError, ours)
    app.add_exception_handler(ServiceError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


async def answer_bug(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer after an exception that nobody expected and whose details are in the log."""
    response = problem_response(
        scope,
        _SERVER_ERRORS,
        "internal",
        "The server failed",
        "This is a fault of the server; its log has the details under this request's id.",
    )
    await response(scope, receive, send)
