"""Cross-origin requests from browsers (CORS): only from the origins that an operator allows."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.web.endpoints import PUT
from app.web.protocols.oip.request import HEAD_LENGTH


class Origins(CORSMiddleware):
    """Starlette's middleware with the headers of this API; it never allows credentials."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """Allow origins such as `https://example.org`; `*` for all."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", PUT),
            allow_headers=(
                *("Authorization", "Content-Type", "X-Request-ID", "X-Request-Timeout-Ms"),
                *(HEAD_LENGTH, "Content-Encoding"),
                "User-Agent",  # set by @huggingface/inference, which Firefox asks about
            ),
            expose_headers=(
                *("Retry-After", "Server-Timing", "X-Batch-Size", "X-Request-ID"),
                HEAD_LENGTH,
            ),
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight with 204 and no body: browsers read its headers alone."""
        headers = super().preflight_response(request_headers).headers
        del headers["content-length"], headers["content-type"]
        return Response(status_code=204, headers=headers)
